/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The JSON check: a machine that takes one byte at a time and so can stop after any.
 *
 * Each state has a function that takes a byte which may stand there, or says what should. A number ends with the byte
 * behind it, which its functions hand on to after_value. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "wire/frame.h"
#include "wire/json_check.h"
#include "wire/json_keys.h"
#include "wire/utf8.h"

enum state {
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
    bool object_only; /* the top-level value must be an object */
    unsigned depth, depth_cap;
    enum state state;
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

static int wrong(const struct rk_json_check *check, const char *what)
{
    return rk_error(RANKCALL_EPAYLOAD, "JSON byte %zu: %s", check->at, what);
}

static int expected(const struct rk_json_check *check, const char *what)
{
    unsigned char got = (unsigned char)check->text[check->at];

    if (got > ' ' && got < 0x7f)
        return rk_error(RANKCALL_EPAYLOAD, "JSON byte %zu: expected %s, got '%c'", check->at, what, got);
    return rk_error(RANKCALL_EPAYLOAD, "JSON byte %zu: expected %s, got byte 0x%02x", check->at, what, got);
}

static bool is_space(unsigned char byte)
{
    return byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r';
}

static bool is_digit(unsigned char byte)
{
    return byte >= '0' && byte <= '9';
}

static int end_value(struct rk_json_check *check)
{
    check->state = check->depth ? AFTER : DONE;
    return RANKCALL_OK;
}

static int open_container(struct rk_json_check *check, bool object)
{
    if (check->depth == check->depth_cap)
        return rk_error(RANKCALL_EPAYLOAD, "JSON byte %zu: more than %d nested arrays and objects", check->at,
                        RK_JSON_DEPTH);
    check->is_object[check->depth] = object;
    if (object)
        rk_keys_begin(&check->keys[check->depth]);
    check->depth++;
    check->state = object ? FIRST_KEY : FIRST_VALUE;
    return RANKCALL_OK;
}

static int close_container(struct rk_json_check *check)
{
    check->depth--;
    if (check->is_object[check->depth])
        rk_keys_end(&check->keys[check->depth]);
    return end_value(check);
}

static int begin_string(struct rk_json_check *check, bool key)
{
    check->state = STRING;
    check->in_key = key;
    if (key) {
        check->key_at = check->at + 1;
        rk_key_begin(&check->hash);
    }
    return RANKCALL_OK;
}

static int begin_literal(struct rk_json_check *check, const char *rest)
{
    check->literal = rest;
    check->state = LITERAL;
    return RANKCALL_OK;
}

static int on_value(struct rk_json_check *check, unsigned char byte)
{
    if (is_space(byte))
        return RANKCALL_OK;
    switch (byte) {
    case '{': return open_container(check, true);
    case '[': return open_container(check, false);
    case '"': return begin_string(check, false);
    case 't': return begin_literal(check, "rue");
    case 'f': return begin_literal(check, "alse");
    case 'n': return begin_literal(check, "ull");
    default: break;
    }
    if (byte != '-' && !is_digit(byte))
        return expected(check, "a value");
    check->state = byte == '-' ? MINUS : byte == '0' ? ZERO : DIGITS;
    return RANKCALL_OK;
}

static int on_top(struct rk_json_check *check, unsigned char byte)
{
    if (check->object_only && byte != '{' && !is_space(byte))
        return expected(check, "'{': the top level must be an object");
    return on_value(check, byte);
}

static int on_first_value(struct rk_json_check *check, unsigned char byte)
{
    if (byte == ']')
        return close_container(check);
    return on_value(check, byte);
}

static int on_key(struct rk_json_check *check, unsigned char byte)
{
    if (is_space(byte))
        return RANKCALL_OK;
    return byte == '"' ? begin_string(check, true) : expected(check, "a key in '\"'");
}

static int on_first_key(struct rk_json_check *check, unsigned char byte)
{
    if (byte == '}')
        return close_container(check);
    return on_key(check, byte);
}

static int on_colon(struct rk_json_check *check, unsigned char byte)
{
    if (is_space(byte))
        return RANKCALL_OK;
    if (byte != ':')
        return expected(check, "':' after a key");
    check->state = VALUE;
    return RANKCALL_OK;
}

static int on_after(struct rk_json_check *check, unsigned char byte)
{
    bool object = check->is_object[check->depth - 1];

    if (is_space(byte))
        return RANKCALL_OK;
    if (byte == (object ? '}' : ']'))
        return close_container(check);
    if (byte != ',')
        return expected(check, object ? "',' or '}'" : "',' or ']'");
    check->state = object ? KEY : VALUE;
    return RANKCALL_OK;
}

static int on_done(struct rk_json_check *check, unsigned char byte)
{
    return is_space(byte) ? RANKCALL_OK : expected(check, "nothing more");
}

/* The byte behind a number. */
static int after_number(struct rk_json_check *check, unsigned char byte)
{
    end_value(check);
    return check->depth ? on_after(check, byte) : on_done(check, byte);
}

static int duplicate(const struct rk_json_check *check)
{
    size_t size = check->at - check->key_at, shown = size;
    const char *key = check->text + check->key_at;

    if (shown > 60)
        for (shown = 60; shown > 0 && ((unsigned char)key[shown] & 0xc0) == 0x80;)
            shown--;
    return rk_error(RANKCALL_EPAYLOAD, "JSON byte %zu: duplicate key \"%.*s%s\"", check->key_at - 1, (int)shown, key,
                    shown < size ? "..." : "");
}

static int end_string(struct rk_json_check *check)
{
    if (!check->in_key)
        return end_value(check);
    check->state = COLON;
    switch (rk_keys_add(&check->keys[check->depth - 1], rk_key_end(&check->hash))) {
    case RK_KEY_NEW: return RANKCALL_OK;
    case RK_KEY_DUPLICATE: return duplicate(check);
    default: return rk_error(RANKCALL_EINTERNAL, "JSON byte %zu: no memory for the object's keys", check->at);
    }
}

static bool is_plain(unsigned char byte)
{
    return byte >= ' ' && byte < 0x80 && byte != '"' && byte != '\\';
}

/* One byte, and all plain ones right behind it that lie before `limit`. */
static int in_string(struct rk_json_check *check, unsigned char byte, size_t limit)
{
    if (check->utf8.left == 0 && byte == '"')
        return end_string(check);
    if (check->utf8.left == 0 && byte == '\\') {
        check->state = ESCAPE;
        return RANKCALL_OK;
    }
    if (byte < ' ')
        return expected(check, "control characters to be escaped");
    if (!rk_utf8_feed(&check->utf8, byte))
        return expected(check, "valid UTF-8");
    if (check->in_key) {
        rk_key_feed(&check->hash, byte);
        return RANKCALL_OK;
    }
    if (check->utf8.left == 0)
        while (check->at + 1 < limit && is_plain((unsigned char)check->text[check->at + 1]))
            check->at++;
    return RANKCALL_OK;
}

static void feed_point(struct rk_json_check *check, uint32_t point)
{
    unsigned char bytes[4];
    size_t size = rk_utf8_encode(point, bytes);

    for (size_t i = 0; check->in_key && i < size; i++)
        rk_key_feed(&check->hash, bytes[i]);
    check->state = STRING;
}

static int on_escape(struct rk_json_check *check, unsigned char byte)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const char *found = memchr(letters, byte, sizeof letters - 1);

    if (byte == 'u') {
        check->unit = 0;
        check->digits = 4;
        check->state = HEX;
        return RANKCALL_OK;
    }
    if (!found)
        return expected(check, "an escape: one of \" \\ / b f n r t u");
    feed_point(check, (uint32_t)meanings[found - letters]);
    return RANKCALL_OK;
}

/* Four digits are there: a character, or half a pair of surrogates. */
static int end_hex(struct rk_json_check *check)
{
    bool low = check->unit >= 0xdc00 && check->unit <= 0xdfff;

    if ((check->high != 0) != low)
        return wrong(check, "half a pair of surrogates without the other half");
    if (check->unit >= 0xd800 && check->unit <= 0xdbff) {
        check->high = check->unit;
        check->state = LOW_SLASH;
        return RANKCALL_OK;
    }
    if (check->unit == 0 && check->in_key)
        return wrong(check, "\\u0000 in a key"); /* no C string could name it */
    feed_point(check, low ? 0x10000 + ((check->high - 0xd800) << 10) + (check->unit - 0xdc00) : check->unit);
    check->high = 0;
    return RANKCALL_OK;
}

static int on_hex(struct rk_json_check *check, unsigned char byte)
{
    uint32_t digit;

    if (is_digit(byte))
        digit = byte - '0';
    else if ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'f')
        digit = (byte | 0x20) - 'a' + 10u;
    else
        return expected(check, "four hexadecimal digits after \\u");
    check->unit = check->unit << 4 | digit;
    return --check->digits > 0 ? RANKCALL_OK : end_hex(check);
}

static int on_low_slash(struct rk_json_check *check, unsigned char byte)
{
    check->state = LOW_U;
    return byte == '\\' ? RANKCALL_OK : expected(check, "\\u with the second half of a pair of surrogates");
}

static int on_low_u(struct rk_json_check *check, unsigned char byte)
{
    return byte == 'u' ? on_escape(check, byte) : expected(check, "\\u with the second half of a pair of surrogates");
}

static int on_literal(struct rk_json_check *check, unsigned char byte)
{
    if (byte != (unsigned char)*check->literal)
        return expected(check, "true, false or null");
    return *++check->literal ? RANKCALL_OK : end_value(check);
}

static int on_minus(struct rk_json_check *check, unsigned char byte)
{
    if (!is_digit(byte))
        return expected(check, "a digit after '-'");
    check->state = byte == '0' ? ZERO : DIGITS;
    return RANKCALL_OK;
}

/* After a whole part: a fraction, an exponent or the end. */
static int on_zero(struct rk_json_check *check, unsigned char byte)
{
    if (byte == '.')
        check->state = POINT;
    else if (byte == 'e' || byte == 'E')
        check->state = EXPONENT;
    else
        return after_number(check, byte);
    return RANKCALL_OK;
}

static int on_digits(struct rk_json_check *check, unsigned char byte)
{
    return is_digit(byte) ? RANKCALL_OK : on_zero(check, byte);
}

static int on_point(struct rk_json_check *check, unsigned char byte)
{
    check->state = FRACTION;
    return is_digit(byte) ? RANKCALL_OK : expected(check, "a digit after '.'");
}

static int on_fraction(struct rk_json_check *check, unsigned char byte)
{
    if (is_digit(byte))
        return RANKCALL_OK;
    if (byte != 'e' && byte != 'E')
        return after_number(check, byte);
    check->state = EXPONENT;
    return RANKCALL_OK;
}

static int on_exponent_sign(struct rk_json_check *check, unsigned char byte)
{
    check->state = EXPONENT_DIGITS;
    return is_digit(byte) ? RANKCALL_OK : expected(check, "a digit in the exponent");
}

static int on_exponent(struct rk_json_check *check, unsigned char byte)
{
    if (byte != '+' && byte != '-')
        return on_exponent_sign(check, byte);
    check->state = EXPONENT_SIGN;
    return RANKCALL_OK;
}

static int on_exponent_digits(struct rk_json_check *check, unsigned char byte)
{
    return is_digit(byte) ? RANKCALL_OK : after_number(check, byte);
}

struct state_entry {
    int (*take)(struct rk_json_check *check, unsigned char byte); /* NULL: in_string */
    const char *where;                                            /* for "the text ends ..." */
};

static const struct state_entry states[STATES] = {
    [TOP] = {on_top, "before its value"},
    [VALUE] = {on_value, "before a value"},
    [FIRST_VALUE] = {on_first_value, "within an array"},
    [FIRST_KEY] = {on_first_key, "within an object"},
    [KEY] = {on_key, "before a key"},
    [COLON] = {on_colon, "after a key"},
    [AFTER] = {on_after, "within an array or object"},
    [DONE] = {on_done, ""},
    [STRING] = {NULL, "within a string"},
    [ESCAPE] = {on_escape, "within a string"},
    [HEX] = {on_hex, "within a string"},
    [LOW_SLASH] = {on_low_slash, "within a string"},
    [LOW_U] = {on_low_u, "within a string"},
    [LITERAL] = {on_literal, "within true, false or null"},
    [MINUS] = {on_minus, "within a number"},
    [ZERO] = {on_zero, "after a number"},
    [DIGITS] = {on_digits, "after a number"},
    [POINT] = {on_point, "within a number"},
    [FRACTION] = {on_fraction, "after a number"},
    [EXPONENT] = {on_exponent, "within a number"},
    [EXPONENT_SIGN] = {on_exponent_sign, "within a number"},
    [EXPONENT_DIGITS] = {on_exponent_digits, "after a number"},
};

/* The end of the text may end a number that is the top-level value itself. */
static int finish(struct rk_json_check *check)
{
    bool number =
        check->state == ZERO || check->state == DIGITS || check->state == FRACTION || check->state == EXPONENT_DIGITS;

    if (check->state == DONE || (number && check->depth == 0))
        return RANKCALL_OK;
    return rk_error(RANKCALL_EPAYLOAD, "JSON byte %zu: the text ends %s", check->at, states[check->state].where);
}

int rk_json_check_step(struct rk_json_check *check, size_t budget)
{
    size_t limit = check->size - check->at > budget ? check->at + budget : check->size;

    for (; check->at < limit; check->at++) {
        int (*take)(struct rk_json_check *, unsigned char) = states[check->state].take;
        unsigned char byte = (unsigned char)check->text[check->at];
        int code = take ? take(check, byte) : in_string(check, byte, limit);

        if (code)
            return code;
    }
    return check->at < check->size ? RANKCALL_EAGAIN : finish(check);
}

/* The arrays in the check are left as they are: a check is made for every event. */
static void begin(struct rk_json_check *check, const char *text, size_t size, bool object_only)
{
    check->text = text;
    check->size = size;
    check->at = 0;
    check->object_only = object_only;
    check->depth = 0;
    check->depth_cap = object_only ? RK_JSON_DEPTH : RK_JSON_DEPTH - 1; /* a bare value goes into an object */
    check->state = TOP;
    check->utf8 = (struct rk_utf8){0};
    check->high = 0;
}

static void end(struct rk_json_check *check)
{
    while (check->depth > 0) {
        check->depth--;
        if (check->is_object[check->depth])
            rk_keys_end(&check->keys[check->depth]);
    }
}

struct rk_json_check *rk_json_check_new(const char *text, size_t size)
{
    struct rk_json_check *check = malloc(sizeof *check);

    if (check)
        begin(check, text, size, true);
    else
        rk_error(RANKCALL_EINTERNAL, "no memory to check JSON");
    return check;
}

void rk_json_check_free(struct rk_json_check *check)
{
    if (check)
        end(check);
    free(check);
}

static int check_all(const char *text, size_t size, bool object_only)
{
    struct rk_json_check check;
    int code;

    begin(&check, text, size, object_only);
    code = rk_json_check_step(&check, size);
    end(&check);
    return code;
}

int rk_json_check(const char *text, size_t size)
{
    return check_all(text, size, true);
}

int rk_json_check_value(const char *text, size_t size)
{
    return check_all(text, size, false);
}
