/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* JSON text as the command prints it, and a look at an object's members. Texts that are read have passed the wire's
 * checks. */

#ifndef RK_LAUNCHER_JSON_PRINT_H
#define RK_LAUNCHER_JSON_PRINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <rankcall/runner.h>

/* A string with its quotes; bytes that are not UTF-8 become U+FFFD. */
void rk_json_print_string(FILE *out, const char *text);

/* A JSON text byte for byte, except that line breaks between its tokens become spaces: it stays on one line. */
void rk_json_print_line(FILE *out, const char *json, size_t size);

/* The members "error": name, "message", "rank", "host", "traceback", without braces around them. */
void rk_json_print_error(FILE *out, const struct rankcall_error *error);

/* Where a call's time went, as an object. */
void rk_json_print_timing(FILE *out, const struct rankcall_timing *timing);

/* One member of an object, as it is written there. */
struct rk_json_member {
    const char *key; /* with its quotes and escapes */
    size_t key_size;
    const char *value;
    size_t value_size;
};

/* The next member of the object that *at points at, or into after the first time. false at its end. */
bool rk_json_next_member(const char **at, struct rk_json_member *member);

#endif
