/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Tables for people. */

#include "launcher/table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void rk_table_add(struct rk_table *table, const char *format, ...)
{
    va_list arguments;
    char *text = NULL;
    if (table->cells == table->room) {
        size_t room = table->room ? 2 * table->room : 64;
        char **cell = reallocarray(table->cell, room, sizeof(*cell));
        if (!cell)
            return;
        table->cell = cell;
        table->room = room;
    }
    va_start(arguments, format);
    int size = vasprintf(&text, format, arguments);
    va_end(arguments);
    table->cell[table->cells++] = size < 0 ? NULL : text;
}

static const char *cell_at(const struct rk_table *table, size_t cell)
{
    return table->cell[cell] ? table->cell[cell] : "?";
}

void rk_table_print(struct rk_table *table, FILE *out, const char *indent)
{
    size_t widths[RK_TABLE_COLUMNS] = {0};
    for (size_t i = 0; i < table->cells; i++) {
        size_t width = strlen(cell_at(table, i));
        if (width > widths[i % table->columns])
            widths[i % table->columns] = width;
    }
    for (size_t i = 0; i < table->cells; i++) {
        size_t column = i % table->columns;
        fprintf(out, "%s", column ? "  " : indent);
        if (column + 1 == table->columns)
            fprintf(out, "%s\n", cell_at(table, i));
        else
            fprintf(out, "%-*s", (int)widths[column], cell_at(table, i));
    }
    for (size_t i = 0; i < table->cells; i++)
        free(table->cell[i]);
    free(table->cell);
    table->cell = NULL;
    table->cells = table->room = 0;
}
