/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Turns of collectives with known results: what all ranks draw, and the bytes that each of them has. */

#ifndef TURNS_H
#define TURNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All ranks draw the same numbers. */
static inline uint64_t draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* The byte that rank `rank` has at a place of turn `turn`. */
static inline unsigned char byte_of(int rank, int turn, size_t at)
{
    return (unsigned char)((size_t)rank * 37 + (size_t)turn * 11 + at * 7 + (at >> 8));
}

static inline void fill(unsigned char *bytes, size_t size, int rank, int turn)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = byte_of(rank, turn, i);
}

static inline bool is_filled(const unsigned char *bytes, size_t size, int rank, int turn)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != byte_of(rank, turn, i))
            return false;
    return true;
}

#endif
