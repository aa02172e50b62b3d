/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What test events and attachments hold. */

#include "pattern.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

uint32_t pattern_crc(uint32_t crc, const void *bytes, size_t size)
{
    static const uint32_t nibbles[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    const uint8_t *at = bytes;
    crc = ~crc;
    while (size-- > 0) {
        crc ^= *at++;
        crc = (crc >> 4) ^ nibbles[crc & 15];
        crc = (crc >> 4) ^ nibbles[crc & 15];
    }
    return ~crc;
}

static uint32_t pattern_sum(uint32_t seed, int rank, uint64_t index)
{
    uint64_t key[3] = {seed, (uint64_t)rank, index};
    return pattern_crc(0, key, sizeof key);
}

void pattern_text(char *text, size_t size, uint32_t seed, int rank, uint64_t index)
{
    uint32_t sum = pattern_sum(seed, rank, index);
    int head = snprintf(text, size, "{\"s\":%" PRIu32 ",\"r\":%d,\"i\":%" PRIu64 ",\"c\":%" PRIu32 ",\"p\":\"", seed,
                        rank, index, sum);
    for (size_t at = (size_t)head; at + 2 < size; at++)
        text[at] = (char)('a' + (sum + at) % 26);
    memcpy(text + size - 2, "\"}", 3);
}

void pattern_fill(void *bytes, size_t size, uint32_t seed, int rank, uint64_t index)
{
    uint64_t state = pattern_sum(seed, rank, index) * 0x9e3779b97f4a7c15u + 1;
    uint8_t *at = bytes;
    for (size_t i = 0; i < size; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        at[i] = (uint8_t)state;
    }
}
