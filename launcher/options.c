/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Command lines read by a table, and the --help that the same table makes. */

#include "launcher/options.h"

#include <ctype.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/say.h"

#define MAX_OPTIONS 32
#define COLUMN      28 /* where the help of an option begins */

static const struct rk_option help_option = {"help", 'h', NULL, RK_OPTION_FLAG, 0, "shows this and exits"};

bool rk_parse_int(const char *text, int min, int *value)
{
    char *end;
    if (!isdigit((unsigned char)text[0]))
        return false;
    long number = strtol(text, &end, 10);
    if (*end || number < min || number > 1000000000)
        return false;
    *value = (int)number;
    return true;
}

bool rk_parse_seconds(const char *text, double *value)
{
    char *end;
    if (!isdigit((unsigned char)text[0]) && text[0] != '.')
        return false;
    double number = strtod(text, &end);
    if (end == text || *end || !isfinite(number))
        return false;
    *value = number;
    return true;
}

bool rk_parse_size(const char *text, uint64_t *value)
{
    static const char suffixes[] = "KMGT";
    char *end;
    if (!isdigit((unsigned char)text[0]))
        return false;
    unsigned long long number = strtoull(text, &end, 10);
    const char *suffix = *end ? strchr(suffixes, toupper((unsigned char)*end)) : NULL;
    int shift = suffix ? 10 * (int)(suffix - suffixes + 1) : 0;
    if (*end && (!suffix || end[1]))
        return false;
    if (number > (UINT64_MAX >> 1) >> shift)
        return false;
    *value = (uint64_t)number << shift;
    return true;
}

static bool append(struct rk_list *list, const char *text)
{
    const char **items = reallocarray(list->items, list->count + 1, sizeof(*items));
    if (!items)
        return false;
    items[list->count++] = text;
    list->items = items;
    return true;
}

static bool store(const struct rk_option *option, const char *text, void *values)
{
    void *at = (char *)values + option->offset;
    switch (option->kind) {
    case RK_OPTION_FLAG: *(bool *)at = true; return true;
    case RK_OPTION_TEXT: *(const char **)at = text; return true;
    case RK_OPTION_LIST: return append(at, text);
    case RK_OPTION_COUNT: return rk_parse_int(text, 1, at);
    case RK_OPTION_NUMBER: return rk_parse_int(text, 0, at);
    case RK_OPTION_SECONDS: return rk_parse_seconds(text, at);
    case RK_OPTION_SIZE: return rk_parse_size(text, at);
    }
    return false;
}

static const char *wanted(enum rk_option_kind kind)
{
    switch (kind) {
    case RK_OPTION_COUNT: return "a whole number from 1";
    case RK_OPTION_NUMBER: return "a whole number from 0";
    case RK_OPTION_SECONDS: return "seconds, like 30 or 0.5";
    case RK_OPTION_SIZE: return "a size in bytes, like 65536, 64K, 16M or 2G";
    default: return "something else";
    }
}

/* The tables that getopt_long wants, in the order of the options; --help is the last. */
struct getopt_tables {
    const struct rk_option *options[MAX_OPTIONS];
    struct option longs[MAX_OPTIONS + 1];
    char letters[3 * MAX_OPTIONS + 3];
};

static void add_option(struct getopt_tables *tables, int at, const struct rk_option *option)
{
    char letter[3] = {(char)option->letter, option->value ? ':' : '\0', '\0'};
    tables->options[at] = option;
    tables->longs[at] = (struct option){option->name, option->value ? required_argument : no_argument, NULL, 256 + at};
    if (option->letter)
        strcat(tables->letters, letter);
}

static void make_tables(const struct rk_command *command, struct getopt_tables *tables)
{
    int count = 0;
    memset(tables, 0, sizeof(*tables));
    strcpy(tables->letters, command->greedy ? "+:" : ":");
    for (const struct rk_option *option = command->options; option->name; option++)
        add_option(tables, count++, option);
    add_option(tables, count, &help_option);
}

static const struct rk_option *find(const struct getopt_tables *tables, int found)
{
    if (found >= 256)
        return tables->options[found - 256];
    for (int i = 0; tables->options[i]; i++)
        if (tables->options[i]->letter == found)
            return tables->options[i];
    return NULL;
}

static int refuse(const struct rk_command *command)
{
    rk_say("`rankcall %s --help` lists what it takes", command->name);
    return rankcall_code_exit_status(RANKCALL_EINVAL);
}

/* What getopt_long stumbled over: `found` is ':' for a missing value, else '?'. */
static int refuse_option(const struct rk_command *command, const struct getopt_tables *tables, int found, char **argv)
{
    if (found == ':')
        rk_say("%s: the option %s needs a value", command->name, argv[optind - 1]);
    else if (optopt >= 256)
        rk_say("%s: the option --%s takes no value", command->name, tables->options[optopt - 256]->name);
    else if (optopt)
        rk_say("%s: there is no option -%c", command->name, optopt);
    else
        rk_say("%s: there is no option %s (or more than one begins so)", command->name, argv[optind - 1]);
    return refuse(command);
}

static int check_count(const struct rk_command *command, int count)
{
    if (count < command->min_arguments)
        rk_say("%s: something is missing: rankcall %s %s", command->name, command->name, command->usage);
    else if (command->max_arguments >= 0 && count > command->max_arguments)
        rk_say("%s: too many arguments: rankcall %s %s", command->name, command->name, command->usage);
    else
        return 0;
    return refuse(command);
}

int rk_options_parse(const struct rk_command *command, int argc, char **argv, void *values, int *status)
{
    struct getopt_tables tables;
    int found;
    make_tables(command, &tables);
    optind = 0; /* also forgets what an earlier parse left */
    while ((found = getopt_long(argc, argv, tables.letters, tables.longs, NULL)) != -1) {
        const struct rk_option *option = found == '?' || found == ':' ? NULL : find(&tables, found);
        if (!option) {
            *status = refuse_option(command, &tables, found, argv);
            return -1;
        }
        if (option == &help_option) {
            rk_options_help(command);
            *status = 0;
            return -1;
        }
        if (!store(option, optarg, values)) {
            rk_say("%s: --%s is \"%s\", but takes %s", command->name, option->name, optarg, wanted(option->kind));
            *status = refuse(command);
            return -1;
        }
    }
    *status = check_count(command, argc - optind);
    return *status ? -1 : optind;
}

/* Text that continues in a column after each of its newlines. */
static void print_column(const char *text)
{
    for (; *text; text++) {
        putchar(*text);
        if (*text == '\n')
            printf("%*s", COLUMN, "");
    }
    putchar('\n');
}

static void print_option(const struct rk_option *option)
{
    char left[80];
    char letter[] = {'-', (char)option->letter, ',', ' ', '\0'};
    if (!option->help)
        return;
    int size = snprintf(left, sizeof(left), "  %s--%s%s%s", option->letter ? letter : "    ", option->name,
                        option->value ? " " : "", option->value ? option->value : "");
    if (size >= COLUMN)
        printf("%s\n%*s", left, COLUMN, "");
    else
        printf("%-*s", COLUMN, left);
    print_column(option->help);
}

void rk_options_help(const struct rk_command *command)
{
    printf("Usage: rankcall %s %s\n\n%s\n\nOptions:\n", command->name, command->usage, command->help);
    for (const struct rk_option *option = command->options; option->name; option++)
        print_option(option);
    print_option(&help_option);
    if (command->epilogue)
        printf("\n%s\n", command->epilogue);
}
