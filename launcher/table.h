/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Tables for people: columns as wide as their widest cell. */

#ifndef RK_LAUNCHER_TABLE_H
#define RK_LAUNCHER_TABLE_H

#include <stddef.h>
#include <stdio.h>

#define RK_TABLE_COLUMNS 10

struct rk_table {
    size_t columns, cells, room;
    char **cell; /* row by row */
};

/* Adds a cell, made by a format; rows fill from the left. Memory that runs out leaves the table short. */
void rk_table_add(struct rk_table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Prints and frees the table; every line begins with `indent`. */
void rk_table_print(struct rk_table *table, FILE *out, const char *indent);

#endif
