/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The JSON check inside: a machine that takes one byte at a time and so can stop after any.
 *
 * Each state has a function that takes a byte which may stand there, or says what should. A number ends with the byte
 * behind it, which its functions hand on to rk_json_after_number. Functions that take long runs (plain text, digits)
 * take all of one that lies before the limit, for speed. */

#ifndef RK_WIRE_JSON_MACHINE_H
#define RK_WIRE_JSON_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/frame.h"
#include "wire/json_keys.h"
#include "wire/utf8.h"

enum rk_json_state {
    TOP,         /* before the top-level value */
    VALUE,       /* before a value */
    FIRST_VALUE, /* after '[' */
    FIRST_KEY,   /* after '{' */
    KEY,         /* after ',' in an object */
    COLON,       /* after a key */
    AFTER,       /* after a value within an array or object */
    DONE,        /* after the top-level value */
    STRING,      /* within a string */
    ESCAPE,      /* after '\' */
    HEX,         /* within the digits of \uXXXX */
    LOW_SLASH,   /* after the first half of a pair of surrogates */
    LOW_U,       /* ... and '\' */
    LITERAL,     /* within true, false or null */
    MINUS,       /* within numbers: after '-' ... */
    ZERO,
    DIGITS,
    POINT,
    FRACTION,
    EXPONENT,
    EXPONENT_SIGN,
    EXPONENT_DIGITS,
    STATES,
};

struct rk_json_check {
    const char *text;
    size_t size, at;
    size_t limit;     /* of the bytes that this step looks at */
    bool object_only; /* the top-level value must be an object */
    unsigned depth, depth_cap;
    enum rk_json_state state;
    bool is_object[RK_JSON_DEPTH];
    struct rk_keys keys[RK_JSON_DEPTH];

    const char *literal; /* what of it must still come */
    bool in_key;
    size_t key_at; /* of the open or last key's first byte */
    struct rk_key_hash hash;
    struct rk_utf8 utf8;
    uint32_t unit, high; /* of \uXXXX: so far; the first half of a pair, or 0 */
    int digits;          /* of \uXXXX still to come */
};

typedef int (*rk_json_take)(struct rk_json_check *check, unsigned char byte);

/* Errors, with the byte's offset: what is wrong there, or what should stand there instead. Return RANKCALL_EPAYLOAD. */
int rk_json_wrong(const struct rk_json_check *check, const char *what);
int rk_json_expected(const struct rk_json_check *check, const char *what);

/* A value is complete. */
int rk_json_end_value(struct rk_json_check *check);

/* The byte behind a number. */
int rk_json_after_number(struct rk_json_check *check, unsigned char byte);

/* ---- Strings ---- */

int rk_json_begin_string(struct rk_json_check *check, bool key);

int rk_json_in_string(struct rk_json_check *check, unsigned char byte);

int rk_json_on_escape(struct rk_json_check *check, unsigned char byte);
int rk_json_on_hex(struct rk_json_check *check, unsigned char byte);
int rk_json_on_low_slash(struct rk_json_check *check, unsigned char byte);
int rk_json_on_low_u(struct rk_json_check *check, unsigned char byte);

/* ---- Numbers: after '-', after a leading 0, within the whole part, and so on ---- */

/* The digits behind this one: within a whole part not after a leading 0, within a fraction or an exponent. */
int rk_json_take_digits(struct rk_json_check *check);

int rk_json_on_minus(struct rk_json_check *check, unsigned char byte);
int rk_json_on_zero(struct rk_json_check *check, unsigned char byte);
int rk_json_on_digits(struct rk_json_check *check, unsigned char byte);
int rk_json_on_point(struct rk_json_check *check, unsigned char byte);
int rk_json_on_fraction(struct rk_json_check *check, unsigned char byte);
int rk_json_on_exponent(struct rk_json_check *check, unsigned char byte);
int rk_json_on_exponent_sign(struct rk_json_check *check, unsigned char byte);
int rk_json_on_exponent_digits(struct rk_json_check *check, unsigned char byte);

static inline bool rk_json_is_digit(unsigned char byte)
{
    return byte >= '0' && byte <= '9';
}

#endif
