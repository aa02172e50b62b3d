/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* UTF-8 as the Unicode Standard's table 3-7 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */

#include "wire/utf8.h"
#include "wire/json_check.h"

/* What may follow a first byte above 0x7f. */
static bool begin(struct rk_utf8 *utf8, unsigned char byte)
{
    utf8->low = 0x80;
    utf8->high = 0xbf;
    if (byte >= 0xc2 && byte <= 0xdf)
        utf8->left = 1;
    else if (byte >= 0xe0 && byte <= 0xef)
        utf8->left = 2;
    else if (byte >= 0xf0 && byte <= 0xf4)
        utf8->left = 3;
    else
        return false;
    switch (byte) {
    case 0xe0: utf8->low = 0xa0; break;
    case 0xed: utf8->high = 0x9f; break;
    case 0xf0: utf8->low = 0x90; break;
    case 0xf4: utf8->high = 0x8f; break;
    default: break;
    }
    return true;
}

bool rk_utf8_feed(struct rk_utf8 *utf8, unsigned char byte)
{
    if (utf8->left == 0)
        return byte < 0x80 || begin(utf8, byte);
    if (byte < utf8->low || byte > utf8->high)
        return false;
    utf8->left--;
    utf8->low = 0x80;
    utf8->high = 0xbf;
    return true;
}

size_t rk_utf8_encode(uint32_t point, unsigned char bytes[4])
{
    size_t size = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};

    for (size_t i = size; i-- > 1; point >>= 6)
        bytes[i] = (unsigned char)(0x80 | (point & 0x3f));
    bytes[0] = (unsigned char)(first[size] | point);
    return size;
}

bool rk_utf8_ok(const char *text, size_t size)
{
    struct rk_utf8 utf8 = {0};

    for (size_t i = 0; i < size; i++) {
        if (utf8.left == 0 && text[i] > '\0' && text[i] < 0x7f)
            continue;
        if (text[i] == '\0' || !rk_utf8_feed(&utf8, (unsigned char)text[i]))
            return false;
    }
    return utf8.left == 0;
}
