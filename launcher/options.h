/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* One table an option set: the parser reads it, and so does --help. */

#ifndef RK_LAUNCHER_OPTIONS_H
#define RK_LAUNCHER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Arguments that an option may be given several times. */
struct rk_list {
    const char **items;
    size_t count;
};

enum rk_option_kind {
    RK_OPTION_FLAG,    /* bool */
    RK_OPTION_TEXT,    /* const char * */
    RK_OPTION_LIST,    /* struct rk_list */
    RK_OPTION_COUNT,   /* int, 1 or more */
    RK_OPTION_NUMBER,  /* int, 0 or more */
    RK_OPTION_SECONDS, /* double, 0 or more */
    RK_OPTION_SIZE,    /* uint64_t in bytes; K, M, G are powers of 1024 */
};

struct rk_option {
    const char *name;  /* long; NULL ends a table */
    int letter;        /* 0: none */
    const char *value; /* how --help calls the value; NULL for a flag */
    enum rk_option_kind kind;
    size_t offset;    /* of the variable in the values */
    const char *help; /* may hold newlines; NULL: not shown */
};

struct rk_command {
    const char *name;
    const char *usage; /* what follows the name */
    const char *help;  /* what it does: the first line is the summary */
    const struct rk_option *options;
    const char *epilogue;              /* printed after the options; may be NULL */
    bool greedy;                       /* options end at the first argument that is none */
    int min_arguments, max_arguments;  /* max negative: any number */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns the exit status */
};

/* Parses argv[1…] into `values`, moving what is no option to the end. --help prints the command's page on stdout.
 * Returns: the index of the first argument that is no option; -1 when the command is done with *status. */
int rk_options_parse(const struct rk_command *command, int argc, char **argv, void *values, int *status);

/* Prints the page that --help shows. */
void rk_options_help(const struct rk_command *command);

/* One value as the options take them; false when `text` is none. */
bool rk_parse_int(const char *text, int min, int *value);
bool rk_parse_seconds(const char *text, double *value);
bool rk_parse_size(const char *text, uint64_t *value);

#endif
