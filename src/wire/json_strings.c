/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The JSON check within strings: UTF-8, escapes, and keys that must not come twice. */

#include <endian.h>
#include <string.h>

#include "base/error.h"
#include "wire/json_machine.h"

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
        return rk_json_end_value(check);
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

/* Sixteen bytes that the compiler handles at a time where the processor can. */
typedef uint8_t sixteen __attribute__((vector_size(16)));

static bool all_plain(const char *text)
{
    sixteen bytes;
    memcpy(&bytes, text, sizeof bytes);
    const sixteen plain = (sixteen)((bytes >= ' ') & (bytes < 0x80) & (bytes != '"') & (bytes != '\\'));
    uint64_t halves[2];
    memcpy(halves, &plain, sizeof halves);
    return (halves[0] & halves[1]) == UINT64_MAX;
}

#define EACH UINT64_C(0x0101010101010101)

/* The highest bit of every byte that is below `value`, which is at most 0x80. Bits above the first such byte, counted
 * from the lowest, may be wrong: it is where a subtraction borrows from the next. */
static uint64_t below(uint64_t bytes, uint64_t value)
{
    return (bytes - value * EACH) & ~bytes & 0x80 * EACH;
}

/* The highest bit of the first of eight bytes that is not plain, and perhaps of later ones; 0 where all are. */
static uint64_t special(uint64_t bytes)
{
    return (bytes & 0x80 * EACH) | below(bytes, ' ') | below(bytes ^ '"' * EACH, 1) | below(bytes ^ '\\' * EACH, 1);
}

/* How many plain bytes `text` begins with: eight at a time, the last ones one at a time. */
static size_t plain_run(const char *text, size_t size)
{
    size_t run = 0;
    uint64_t eight, found;

    while (size - run >= sizeof(sixteen) && all_plain(text + run))
        run += sizeof(sixteen);
    for (; size - run >= sizeof eight; run += sizeof eight) {
        memcpy(&eight, text + run, sizeof eight);
        if ((found = special(le64toh(eight))))
            return run + (size_t)__builtin_ctzll(found) / 8;
    }
    while (run < size && is_plain((unsigned char)text[run]))
        run++;
    return run;
}

/* The plain bytes from here on, of which there is one at least. */
static int take_run(struct rk_json_check *check)
{
    const char *text = check->text + check->at;
    size_t size = plain_run(text, check->limit - check->at);

    if (check->in_key)
        rk_key_feed(&check->hash, text, size);
    check->at += size - 1;
    return RANKCALL_OK;
}

int rk_json_begin_string(struct rk_json_check *check, bool key)
{
    check->state = STRING;
    check->in_key = key;
    if (key) {
        check->key_at = check->at + 1;
        rk_key_begin(&check->hash);
    }
    if (check->at + 1 == check->limit || !is_plain((unsigned char)check->text[check->at + 1]))
        return RANKCALL_OK;
    check->at++;
    return take_run(check);
}

int rk_json_in_string(struct rk_json_check *check, unsigned char byte)
{
    if (check->utf8.left == 0 && is_plain(byte))
        return take_run(check);
    if (check->utf8.left == 0 && byte == '"')
        return end_string(check);
    if (check->utf8.left == 0 && byte == '\\') {
        check->state = ESCAPE;
        return RANKCALL_OK;
    }
    if (byte < ' ')
        return rk_json_expected(check, "control characters to be escaped");
    if (!rk_utf8_feed(&check->utf8, byte))
        return rk_json_expected(check, "valid UTF-8");
    if (check->in_key)
        rk_key_feed(&check->hash, check->text + check->at, 1);
    return RANKCALL_OK;
}

static void feed_point(struct rk_json_check *check, uint32_t point)
{
    unsigned char bytes[4];
    size_t size = rk_utf8_encode(point, bytes);

    if (check->in_key)
        rk_key_feed(&check->hash, (const char *)bytes, size);
    check->state = STRING;
}

int rk_json_on_escape(struct rk_json_check *check, unsigned char byte)
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
        return rk_json_expected(check, "an escape: one of \" \\ / b f n r t u");
    feed_point(check, (uint32_t)meanings[found - letters]);
    return RANKCALL_OK;
}

/* Four digits are there: a character, or half a pair of surrogates. */
static int end_hex(struct rk_json_check *check)
{
    bool low = check->unit >= 0xdc00 && check->unit <= 0xdfff;

    if ((check->high != 0) != low)
        return rk_json_wrong(check, "half a pair of surrogates without the other half");
    if (check->unit >= 0xd800 && check->unit <= 0xdbff) {
        check->high = check->unit;
        check->state = LOW_SLASH;
        return RANKCALL_OK;
    }
    if (check->unit == 0 && check->in_key)
        return rk_json_wrong(check, "\\u0000 in a key"); /* no C string could name it */
    feed_point(check, low ? 0x10000 + ((check->high - 0xd800) << 10) + (check->unit - 0xdc00) : check->unit);
    check->high = 0;
    return RANKCALL_OK;
}

int rk_json_on_hex(struct rk_json_check *check, unsigned char byte)
{
    uint32_t digit;

    if (rk_json_is_digit(byte))
        digit = byte - '0';
    else if ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'f')
        digit = (byte | 0x20) - 'a' + 10u;
    else
        return rk_json_expected(check, "four hexadecimal digits after \\u");
    check->unit = check->unit << 4 | digit;
    return --check->digits > 0 ? RANKCALL_OK : end_hex(check);
}

int rk_json_on_low_slash(struct rk_json_check *check, unsigned char byte)
{
    check->state = LOW_U;
    return byte == '\\' ? RANKCALL_OK : rk_json_expected(check, "\\u with the second half of a pair of surrogates");
}

int rk_json_on_low_u(struct rk_json_check *check, unsigned char byte)
{
    return byte == 'u' ? rk_json_on_escape(check, byte)
                       : rk_json_expected(check, "\\u with the second half of a pair of surrogates");
}
