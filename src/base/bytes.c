/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Bounded little-endian cursors. */

#include <string.h>

#include "base/bytes.h"

struct rk_reader rk_reader(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;

    return (struct rk_reader){at, at ? at + size : at, at == NULL && size > 0};
}

const uint8_t *rk_read_bytes(struct rk_reader *reader, size_t size)
{
    const uint8_t *at = reader->at;

    if (reader->failed || (size_t)(reader->end - at) < size) {
        reader->failed = true;
        return NULL;
    }
    reader->at += size;
    return at;
}

static uint64_t read_little(struct rk_reader *reader, size_t size)
{
    const uint8_t *bytes = rk_read_bytes(reader, size);
    uint64_t value = 0;

    for (size_t i = size; bytes && i-- > 0;)
        value = value << 8 | bytes[i];
    return value;
}

uint8_t rk_read_u8(struct rk_reader *reader)
{
    return (uint8_t)read_little(reader, 1);
}

uint16_t rk_read_u16(struct rk_reader *reader)
{
    return (uint16_t)read_little(reader, 2);
}

uint32_t rk_read_u32(struct rk_reader *reader)
{
    return (uint32_t)read_little(reader, 4);
}

uint64_t rk_read_u64(struct rk_reader *reader)
{
    return read_little(reader, 8);
}

struct rk_writer rk_writer(void *bytes, size_t size)
{
    uint8_t *at = bytes;

    return (struct rk_writer){at, at ? at + size : at, at == NULL && size > 0};
}

/* Room for `size` bytes, or NULL and `failed`. */
static uint8_t *advance(struct rk_writer *writer, size_t size)
{
    uint8_t *at = writer->at;

    if (writer->failed || (size_t)(writer->end - at) < size) {
        writer->failed = true;
        return NULL;
    }
    writer->at += size;
    return at;
}

void rk_write_bytes(struct rk_writer *writer, const void *bytes, size_t size)
{
    uint8_t *at = advance(writer, size);

    if (at && size > 0)
        memcpy(at, bytes, size);
}

void rk_write_zeros(struct rk_writer *writer, size_t size)
{
    uint8_t *at = advance(writer, size);

    if (at && size > 0)
        memset(at, 0, size);
}

static void write_little(struct rk_writer *writer, uint64_t value, size_t size)
{
    uint8_t *at = advance(writer, size);

    for (size_t i = 0; at && i < size; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

void rk_write_u8(struct rk_writer *writer, uint8_t value)
{
    write_little(writer, value, 1);
}

void rk_write_u16(struct rk_writer *writer, uint16_t value)
{
    write_little(writer, value, 2);
}

void rk_write_u32(struct rk_writer *writer, uint32_t value)
{
    write_little(writer, value, 4);
}

void rk_write_u64(struct rk_writer *writer, uint64_t value)
{
    write_little(writer, value, 8);
}
