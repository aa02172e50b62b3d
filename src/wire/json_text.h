/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Walking JSON text that has passed rk_json_check: where a value's own text lies, and what a number's text says
 * exactly. */

#ifndef RK_WIRE_JSON_TEXT_H
#define RK_WIRE_JSON_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Past white space. */
const char *rk_json_space(const char *at);

/* Past the value that begins at `at`. */
const char *rk_json_skip(const char *at);

/* The text of the value of member or element number `index`, which must exist, of the object or array at `at`. */
const char *rk_json_child(const char *at, size_t index);

/* Whether the string at `at` holds U+0000, which a C string cannot. */
bool rk_json_has_nul(const char *at);

enum rk_integer { RK_INTEGER, RK_FRACTION, RK_INTEGER_RANGE };

/* The number at `at` as an integer, decided by its digits alone: "1e3" and "2.50e1" are integers, however written.
 * RK_INTEGER_RANGE: int64_t or a double does not hold it exactly. */
enum rk_integer rk_json_integer(const char *at, int64_t *value);

/* The shortest text that reads back as exactly `value`, which must be finite; with a fraction or exponent, so that it
 * stays a float where a language tells the two apart. Whatever the locale. */
#define RK_JSON_DOUBLE_SIZE 40
void rk_json_double(double value, char text[RK_JSON_DOUBLE_SIZE]);

#endif
