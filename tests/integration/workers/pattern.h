/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What test events and attachments hold: a function of (seed, rank, index), so that a receiver knows every byte. */

#ifndef PATTERN_H
#define PATTERN_H

#include <stddef.h>
#include <stdint.h>

#define PATTERN_MIN_TEXT 64 /* bytes of the smallest event text */

/* The CRC-32 of zlib and PNG. `crc` is 0 at first, or the value so far. */
uint32_t pattern_crc(uint32_t crc, const void *bytes, size_t size);

/* Writes `size` (at least PATTERN_MIN_TEXT) bytes of JSON and a NUL:
 * {"s":seed,"r":rank,"i":index,"c":checksum,"p":"padding"}. */
void pattern_text(char *text, size_t size, uint32_t seed, int rank, uint64_t index);

/* Fills an attachment with bytes that depend on all three. */
void pattern_fill(void *bytes, size_t size, uint32_t seed, int rank, uint64_t index);

#endif
