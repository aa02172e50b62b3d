/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A strict, resumable check of JSON text: RFC 8259, the top level one object, valid UTF-8, no duplicate key in an
 * object (compared after unescaping), no lone surrogate escape, no \u0000 in a key (no C string could name it), nesting
 * <= RK_JSON_DEPTH. Numbers may be of any size. Linear time whatever the input. */

#ifndef RK_WIRE_JSON_CHECK_H
#define RK_WIRE_JSON_CHECK_H

#include <stdbool.h>
#include <stddef.h>

struct rk_json_check;

/* `text` must live as long as the check. NULL when memory is out. */
struct rk_json_check *rk_json_check_new(const char *text, size_t size);
void rk_json_check_free(struct rk_json_check *check);

/* Looks at about `budget` more bytes. Returns RANKCALL_OK: valid to the end; RANKCALL_EAGAIN: call again;
 * RANKCALL_EPAYLOAD: "JSON byte 17: duplicate key \"a\"". */
int rk_json_check_step(struct rk_json_check *check, size_t budget);

/* All at once. */
int rk_json_check(const char *text, size_t size);

/* One value of any type (for rankcall_set_json), nested one level less: it goes into an object. */
int rk_json_check_value(const char *text, size_t size);

/* Whether the bytes are valid UTF-8 (no NUL, no surrogates, no overlong forms). */
bool rk_utf8_ok(const char *text, size_t size);

#endif
