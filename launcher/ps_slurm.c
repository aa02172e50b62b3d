/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The user's jobs in Slurm, wherever they run: what squeue says. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "launcher/allocation.h"
#include "launcher/json_print.h"
#include "launcher/ps.h"
#include "launcher/say.h"
#include "launcher/table.h"

#define FIELDS 7

/* Name last: it may hold anything but a newline. */
static const char question[] = "squeue --me --noheader --format '%i|%T|%D|%N|%M|%L|%j' 2>&1";

/* Cuts a line of squeue's into its fields. False when it is none. */
static bool cut(char *line, char *fields[FIELDS])
{
    line[strcspn(line, "\n")] = '\0';
    for (int i = 0; i < FIELDS - 1; i++) {
        fields[i] = strsep(&line, "|");
        if (!line)
            return false;
    }
    fields[FIELDS - 1] = line;
    return true;
}

static void add_row(struct rk_table *table, char *const fields[FIELDS])
{
    char first[RK_HOST_MAX];
    rk_table_add(table, "%s", fields[0]);
    rk_table_add(table, "%s", fields[6]);
    rk_table_add(table, "%s", fields[1]);
    rk_table_add(table, "%s", fields[2]);
    rk_table_add(table, "%s", rk_hosts_first(fields[3], first) ? first : "-");
    rk_table_add(table, "%s", fields[4]);
    rk_table_add(table, "%s", fields[5]);
}

static void print_json(bool begun, char *const fields[FIELDS])
{
    static const char *const names[FIELDS] = {"id", "state", "nodes", "hosts", "up", "left", "name"};
    fputs(begun ? ", {" : "{", stdout);
    for (int i = 0; i < FIELDS; i++) {
        printf("%s\"%s\": ", i ? ", " : "", names[i]);
        rk_json_print_string(stdout, fields[i]);
    }
    char first[RK_HOST_MAX];
    fputs(", \"host\": ", stdout);
    rk_hosts_first(fields[3], first);
    rk_json_print_string(stdout, first);
    putchar('}');
}

int rk_ps_slurm(bool json)
{
    static const char *const titles[] = {"SLURM", "NAME", "STATE", "NODES", "RANK 0 ON", "UP", "LEFT"};
    struct rk_table table = {.columns = FIELDS};
    char line[4096], refused[1024] = "", *fields[FIELDS];
    bool begun = false;
    FILE *pipe = popen(question, "re");
    for (size_t i = 0; i < FIELDS; i++)
        rk_table_add(&table, "%s", titles[i]);
    if (json)
        putchar('[');
    while (pipe && fgets(line, sizeof(line), pipe)) {
        if (!cut(line, fields)) {
            snprintf(refused, sizeof(refused), "%.1000s", line);
            continue;
        }
        if (json)
            print_json(begun, fields);
        else
            add_row(&table, fields);
        begun = true;
    }
    int status = pipe ? pclose(pipe) : -1;
    if (json)
        puts("]");
    else
        rk_table_print(&table, stdout, "");
    if (status) {
        rk_error(RANKCALL_ESYSTEM, "squeue does not tell: %s", refused);
        return rk_say_error();
    }
    return 0;
}
