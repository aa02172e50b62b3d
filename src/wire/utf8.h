/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* UTF-8, one byte at a time. */

#ifndef RK_WIRE_UTF8_H
#define RK_WIRE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Within a character: how many bytes follow, and between what the next one lies. All 0 between characters. */
struct rk_utf8 {
    uint8_t left, low, high;
};

/* Takes one byte; false when it cannot stand there. NUL is a character like others here. */
bool rk_utf8_feed(struct rk_utf8 *utf8, unsigned char byte);

/* Writes a code point; returns its bytes, 1 to 4. */
size_t rk_utf8_encode(uint32_t point, unsigned char bytes[4]);

#endif
