/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Bounded little-endian cursors: reading or writing past the end sets `failed` and touches nothing.
 *
 * All inline: every frame is read and written with these, and so its fields become plain loads and stores. */

#ifndef RK_BASE_BYTES_H
#define RK_BASE_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct rk_reader {
    const uint8_t *at, *end;
    bool failed;
};

struct rk_writer {
    uint8_t *at, *end;
    bool failed;
};

static inline struct rk_reader rk_reader(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;

    return (struct rk_reader){at, at ? at + size : at, at == NULL && size > 0};
}

/* `size` bytes where they lie; NULL past the end. */
static inline const uint8_t *rk_read_bytes(struct rk_reader *reader, size_t size)
{
    const uint8_t *at = reader->at;

    if (reader->failed || (size_t)(reader->end - at) < size) {
        reader->failed = true;
        return NULL;
    }
    reader->at += size;
    return at;
}

/* Copies `size` bytes; past the end leaves *to as it is. */
static inline void rk_read_into(struct rk_reader *reader, void *to, size_t size)
{
    const uint8_t *from = rk_read_bytes(reader, size);

    if (from)
        memcpy(to, from, size);
}

/* Integers; 0 past the end. */
static inline uint8_t rk_read_u8(struct rk_reader *reader)
{
    uint8_t value = 0;

    rk_read_into(reader, &value, sizeof value);
    return value;
}

static inline uint16_t rk_read_u16(struct rk_reader *reader)
{
    uint16_t value = 0;

    rk_read_into(reader, &value, sizeof value);
    return le16toh(value);
}

static inline uint32_t rk_read_u32(struct rk_reader *reader)
{
    uint32_t value = 0;

    rk_read_into(reader, &value, sizeof value);
    return le32toh(value);
}

static inline uint64_t rk_read_u64(struct rk_reader *reader)
{
    uint64_t value = 0;

    rk_read_into(reader, &value, sizeof value);
    return le64toh(value);
}

static inline struct rk_writer rk_writer(void *bytes, size_t size)
{
    uint8_t *at = bytes;

    return (struct rk_writer){at, at ? at + size : at, at == NULL && size > 0};
}

/* Room for `size` bytes, which the caller fills; NULL past the end. */
static inline uint8_t *rk_write_room(struct rk_writer *writer, size_t size)
{
    uint8_t *at = writer->at;

    if (writer->failed || (size_t)(writer->end - at) < size) {
        writer->failed = true;
        return NULL;
    }
    writer->at += size;
    return at;
}

static inline void rk_write_bytes(struct rk_writer *writer, const void *bytes, size_t size)
{
    uint8_t *at = rk_write_room(writer, size);

    if (at && size > 0)
        memcpy(at, bytes, size);
}

static inline void rk_write_zeros(struct rk_writer *writer, size_t size)
{
    uint8_t *at = rk_write_room(writer, size);

    if (at && size > 0)
        memset(at, 0, size);
}

static inline void rk_write_u8(struct rk_writer *writer, uint8_t value)
{
    rk_write_bytes(writer, &value, sizeof value);
}

static inline void rk_write_u16(struct rk_writer *writer, uint16_t value)
{
    value = htole16(value);
    rk_write_bytes(writer, &value, sizeof value);
}

static inline void rk_write_u32(struct rk_writer *writer, uint32_t value)
{
    value = htole32(value);
    rk_write_bytes(writer, &value, sizeof value);
}

static inline void rk_write_u64(struct rk_writer *writer, uint64_t value)
{
    value = htole64(value);
    rk_write_bytes(writer, &value, sizeof value);
}

#endif
