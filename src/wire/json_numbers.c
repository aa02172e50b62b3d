/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The JSON check within numbers, after the grammar of RFC 8259. */

#include "base/error.h"
#include "wire/json_machine.h"

int rk_json_take_digits(struct rk_json_check *check)
{
    while (check->at + 1 < check->limit && rk_json_is_digit((unsigned char)check->text[check->at + 1]))
        check->at++;
    return RANKCALL_OK;
}

int rk_json_on_minus(struct rk_json_check *check, unsigned char byte)
{
    if (!rk_json_is_digit(byte))
        return rk_json_expected(check, "a digit after '-'");
    check->state = byte == '0' ? ZERO : DIGITS;
    return RANKCALL_OK;
}

/* After a whole part: a fraction, an exponent or the end. */
int rk_json_on_zero(struct rk_json_check *check, unsigned char byte)
{
    if (byte == '.')
        check->state = POINT;
    else if (byte == 'e' || byte == 'E')
        check->state = EXPONENT;
    else
        return rk_json_after_number(check, byte);
    return RANKCALL_OK;
}

int rk_json_on_digits(struct rk_json_check *check, unsigned char byte)
{
    return rk_json_is_digit(byte) ? rk_json_take_digits(check) : rk_json_on_zero(check, byte);
}

int rk_json_on_point(struct rk_json_check *check, unsigned char byte)
{
    check->state = FRACTION;
    return rk_json_is_digit(byte) ? rk_json_take_digits(check) : rk_json_expected(check, "a digit after '.'");
}

int rk_json_on_fraction(struct rk_json_check *check, unsigned char byte)
{
    if (rk_json_is_digit(byte))
        return rk_json_take_digits(check);
    if (byte != 'e' && byte != 'E')
        return rk_json_after_number(check, byte);
    check->state = EXPONENT;
    return RANKCALL_OK;
}

int rk_json_on_exponent_sign(struct rk_json_check *check, unsigned char byte)
{
    check->state = EXPONENT_DIGITS;
    return rk_json_is_digit(byte) ? RANKCALL_OK : rk_json_expected(check, "a digit in the exponent");
}

int rk_json_on_exponent(struct rk_json_check *check, unsigned char byte)
{
    if (byte != '+' && byte != '-')
        return rk_json_on_exponent_sign(check, byte);
    check->state = EXPONENT_SIGN;
    return RANKCALL_OK;
}

int rk_json_on_exponent_digits(struct rk_json_check *check, unsigned char byte)
{
    return rk_json_is_digit(byte) ? RANKCALL_OK : rk_json_after_number(check, byte);
}
