/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The JSON check: values, arrays and objects, and running the machine. */

#include <stdlib.h>

#include "base/error.h"
#include "wire/json_check.h"
#include "wire/json_machine.h"

int rk_json_wrong(const struct rk_json_check *check, const char *what)
{
    return rk_error(RANKCALL_EPAYLOAD, "JSON byte %zu: %s", check->at, what);
}

int rk_json_expected(const struct rk_json_check *check, const char *what)
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

int rk_json_end_value(struct rk_json_check *check)
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
    return rk_json_end_value(check);
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
    case '"': return rk_json_begin_string(check, false);
    case 't': return begin_literal(check, "rue");
    case 'f': return begin_literal(check, "alse");
    case 'n': return begin_literal(check, "ull");
    default: break;
    }
    if (byte != '-' && !rk_json_is_digit(byte))
        return rk_json_expected(check, "a value");
    check->state = byte == '-' ? MINUS : byte == '0' ? ZERO : DIGITS;
    return check->state == DIGITS ? rk_json_take_digits(check) : RANKCALL_OK;
}

static int on_top(struct rk_json_check *check, unsigned char byte)
{
    if (check->object_only && byte != '{' && !is_space(byte))
        return rk_json_expected(check, "'{': the top level must be an object");
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
    return byte == '"' ? rk_json_begin_string(check, true) : rk_json_expected(check, "a key in '\"'");
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
        return rk_json_expected(check, "':' after a key");
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
        return rk_json_expected(check, object ? "',' or '}'" : "',' or ']'");
    check->state = object ? KEY : VALUE;
    return RANKCALL_OK;
}

static int on_done(struct rk_json_check *check, unsigned char byte)
{
    return is_space(byte) ? RANKCALL_OK : rk_json_expected(check, "nothing more");
}

int rk_json_after_number(struct rk_json_check *check, unsigned char byte)
{
    rk_json_end_value(check);
    return check->depth ? on_after(check, byte) : on_done(check, byte);
}

static int on_literal(struct rk_json_check *check, unsigned char byte)
{
    if (byte != (unsigned char)*check->literal)
        return rk_json_expected(check, "true, false or null");
    return *++check->literal ? RANKCALL_OK : rk_json_end_value(check);
}

struct state_entry {
    rk_json_take take;
    const char *where; /* for "the text ends ..." */
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
    [STRING] = {rk_json_in_string, "within a string"},
    [ESCAPE] = {rk_json_on_escape, "within a string"},
    [HEX] = {rk_json_on_hex, "within a string"},
    [LOW_SLASH] = {rk_json_on_low_slash, "within a string"},
    [LOW_U] = {rk_json_on_low_u, "within a string"},
    [LITERAL] = {on_literal, "within true, false or null"},
    [MINUS] = {rk_json_on_minus, "within a number"},
    [ZERO] = {rk_json_on_zero, "after a number"},
    [DIGITS] = {rk_json_on_digits, "after a number"},
    [POINT] = {rk_json_on_point, "within a number"},
    [FRACTION] = {rk_json_on_fraction, "after a number"},
    [EXPONENT] = {rk_json_on_exponent, "within a number"},
    [EXPONENT_SIGN] = {rk_json_on_exponent_sign, "within a number"},
    [EXPONENT_DIGITS] = {rk_json_on_exponent_digits, "after a number"},
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
    check->limit = check->size - check->at > budget ? check->at + budget : check->size;
    for (; check->at < check->limit; check->at++) {
        int code = states[check->state].take(check, (unsigned char)check->text[check->at]);

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
