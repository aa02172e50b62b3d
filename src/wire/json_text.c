/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Walking checked JSON text. Nothing here looks for errors: rk_json_check did. */

#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/json_text.h"

const char *rk_json_space(const char *at)
{
    while (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')
        at++;
    return at;
}

static const char *skip_string(const char *at)
{
    for (at++; *at != '"'; at++)
        if (*at == '\\')
            at++;
    return at + 1;
}

static const char *skip_container(const char *at)
{
    size_t depth = 0;

    do {
        at += strcspn(at, "\"[]{}");
        if (*at == '"') {
            at = skip_string(at);
            continue;
        }
        if (*at == '[' || *at == '{')
            depth++;
        else
            depth--;
        at++;
    } while (depth > 0);
    return at;
}

const char *rk_json_skip(const char *at)
{
    switch (*at) {
    case '"': return skip_string(at);
    case '[':
    case '{': return skip_container(at);
    default: return at + strcspn(at, ",]} \t\n\r");
    }
}

const char *rk_json_child(const char *at, size_t index)
{
    bool members = *at == '{';

    for (at = rk_json_space(at + 1);; at = rk_json_space(at + 1)) { /* over '{', '[' or ',' */
        if (members)
            at = rk_json_space(rk_json_space(skip_string(at)) + 1);
        if (index-- == 0)
            return at;
        at = rk_json_space(rk_json_skip(at));
    }
}

bool rk_json_has_nul(const char *at)
{
    for (at++; *at != '"'; at++)
        if (*at == '\\' && strncmp(++at, "u0000", 5) == 0)
            return true;
    return false;
}

/* A decimal number taken apart: the value is digits[first..end) without the point, times ten to the exponent. */
struct decimal {
    const char *digits; /* with a point somewhere, perhaps */
    const char *end;
    bool negative;
    long exponent; /* of the last digit */
};

static long read_exponent(const char *at)
{
    bool negative = *at == '-';
    long value = 0;

    if (*at == '-' || *at == '+')
        at++;
    for (; *at >= '0' && *at <= '9'; at++)
        if (value < 1000000000)
            value = value * 10 + (*at - '0');
    return negative ? -value : value;
}

static struct decimal take_apart(const char *at)
{
    struct decimal number = {.negative = *at == '-'};
    const char *point;

    number.digits = number.negative ? at + 1 : at;
    number.end = number.digits + strspn(number.digits, "0123456789.");
    point = memchr(number.digits, '.', (size_t)(number.end - number.digits));
    if (*number.end == 'e' || *number.end == 'E')
        number.exponent = read_exponent(number.end + 1);
    if (point)
        number.exponent -= (long)(number.end - point - 1);
    return number;
}

/* Drops zeros at the end of the digits, and leading ones; false when the number is zero. */
static bool trim(struct decimal *number)
{
    while (number->end > number->digits && (number->end[-1] == '0' || number->end[-1] == '.')) {
        if (number->end[-1] == '0')
            number->exponent++;
        number->end--;
    }
    while (number->digits < number->end && (*number->digits == '0' || *number->digits == '.'))
        number->digits++;
    return number->digits < number->end;
}

/* Digits times ten to the exponent (>= 0) as uint64_t; false when it does not fit. */
static bool magnitude_of(const struct decimal *number, uint64_t *magnitude)
{
    *magnitude = 0;
    for (const char *at = number->digits; at < number->end; at++) {
        if (*at == '.')
            continue;
        if (__builtin_mul_overflow(*magnitude, 10, magnitude) ||
            __builtin_add_overflow(*magnitude, (uint64_t)(*at - '0'), magnitude))
            return false;
    }
    for (long i = 0; i < number->exponent; i++)
        if (__builtin_mul_overflow(*magnitude, 10, magnitude))
            return false;
    return true;
}

enum rk_integer rk_json_integer(const char *at, int64_t *value)
{
    struct decimal number = take_apart(at);
    uint64_t magnitude, limit;

    if (!trim(&number)) {
        *value = 0;
        return RK_INTEGER;
    }
    if (number.exponent < 0)
        return RK_FRACTION;
    limit = (uint64_t)INT64_MAX + number.negative;
    if (!magnitude_of(&number, &magnitude) || magnitude > limit)
        return RK_INTEGER_RANGE;
    if (magnitude >> __builtin_ctzll(magnitude) >= UINT64_C(1) << 53)
        return RK_INTEGER_RANGE; /* more than the 53 bits of a double */
    *value = (int64_t)(number.negative ? -magnitude : magnitude);
    return RK_INTEGER;
}

static pthread_once_t locale_once = PTHREAD_ONCE_INIT;
static locale_t c_locale;

static void make_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

void rk_json_double(double value, char text[RK_JSON_DOUBLE_SIZE])
{
    locale_t before;
    int digits = 15;

    pthread_once(&locale_once, make_locale);
    before = uselocale(c_locale);
    do
        snprintf(text, RK_JSON_DOUBLE_SIZE - 2, "%.*g", digits, value);
    while (strtod(text, NULL) != value && ++digits <= 17);
    if (!strpbrk(text, ".e"))
        strcat(text, ".0");
    uselocale(before);
}
