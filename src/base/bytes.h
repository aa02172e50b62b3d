/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Bounded little-endian cursors: reading or writing past the end sets `failed` and touches nothing. */

#ifndef RK_BASE_BYTES_H
#define RK_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rk_reader {
    const uint8_t *at, *end;
    bool failed;
};

struct rk_writer {
    uint8_t *at, *end;
    bool failed;
};

struct rk_reader rk_reader(const void *bytes, size_t size);
uint8_t rk_read_u8(struct rk_reader *reader);
uint16_t rk_read_u16(struct rk_reader *reader);
uint32_t rk_read_u32(struct rk_reader *reader);
uint64_t rk_read_u64(struct rk_reader *reader);
const uint8_t *rk_read_bytes(struct rk_reader *reader, size_t size); /* NULL past the end */

struct rk_writer rk_writer(void *bytes, size_t size);
void rk_write_u8(struct rk_writer *writer, uint8_t value);
void rk_write_u16(struct rk_writer *writer, uint16_t value);
void rk_write_u32(struct rk_writer *writer, uint32_t value);
void rk_write_u64(struct rk_writer *writer, uint64_t value);
void rk_write_bytes(struct rk_writer *writer, const void *bytes, size_t size);
void rk_write_zeros(struct rk_writer *writer, size_t size);

#endif
