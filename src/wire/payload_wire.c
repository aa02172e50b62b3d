/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Freezing a payload: its wire form, in pieces that point to the attachments' data. */

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "wire/payload_internal.h"

static const uint8_t zeros[RK_PAYLOAD_ALIGN];

static uint64_t table_size(const struct rankcall_payload *payload)
{
    uint64_t size = 0;

    for (size_t i = 0; i < payload->attached_count; i++) {
        const struct rankcall_attachment *one = &payload->attached[i].attachment;

        size += rk_align(16 + 8 * (uint64_t)one->ndim + strlen(one->name), 8);
    }
    return size;
}

static void write_entry(struct rk_writer *writer, const struct rankcall_attachment *one)
{
    size_t name_size = strlen(one->name);

    rk_write_u64(writer, one->size);
    rk_write_u16(writer, (uint16_t)name_size);
    rk_write_u8(writer, (uint8_t)one->type);
    rk_write_u8(writer, (uint8_t)one->dtype);
    rk_write_u8(writer, (uint8_t)one->ndim);
    rk_write_zeros(writer, 3);
    for (int i = 0; i < one->ndim; i++)
        rk_write_u64(writer, one->shape[i]);
    rk_write_bytes(writer, one->name, name_size);
    rk_write_zeros(writer, -name_size & 7);
}

/* Writes `wire`: all bytes before the first attachment's data. */
static int write_front(struct rankcall_payload *payload)
{
    uint64_t table = rk_table_offset(payload->text_size), size = table + table_size(payload);
    struct rk_writer writer;

    if (payload->attached_count > 0)
        size = rk_align(size, RK_PAYLOAD_ALIGN);
    if (!(payload->wire = malloc(size)))
        return rk_error(RANKCALL_EINTERNAL, "payload: memory is out");
    writer = rk_writer(payload->wire, size);
    rk_write_u32(&writer, (uint32_t)payload->text_size);
    rk_write_u32(&writer, (uint32_t)payload->attached_count);
    rk_write_bytes(&writer, payload->text, payload->text_size);
    rk_write_zeros(&writer, table - 8 - payload->text_size);
    for (size_t i = 0; i < payload->attached_count; i++)
        write_entry(&writer, &payload->attached[i].attachment);
    rk_write_zeros(&writer, (size_t)(writer.end - writer.at));
    payload->wire_size = payload->size = size;
    return RANKCALL_OK;
}

static void add_piece(struct rankcall_payload *payload, const void *bytes, uint64_t size)
{
    if (size > 0)
        payload->pieces[payload->piece_count++] = (struct iovec){(void *)bytes, size};
    payload->size += size;
}

static int make_pieces(struct rankcall_payload *payload)
{
    payload->pieces = &payload->one_piece;
    if (payload->attached_count > 0)
        payload->pieces = calloc(1 + 2 * payload->attached_count, sizeof *payload->pieces);
    if (!payload->pieces)
        return rk_error(RANKCALL_EINTERNAL, "payload: memory is out");
    payload->piece_count = 0;
    payload->size = 0;
    add_piece(payload, payload->wire, payload->wire_size);
    for (size_t i = 0; i < payload->attached_count; i++) {
        const struct rankcall_attachment *one = &payload->attached[i].attachment;

        add_piece(payload, zeros, -payload->size & (RK_PAYLOAD_ALIGN - 1));
        add_piece(payload, one->data, one->size);
    }
    return RANKCALL_OK;
}

/* {} alone has a wire form of no bytes. */
static bool is_nothing(const struct rankcall_payload *payload)
{
    return payload->attached_count == 0 && payload->text_size == 2 && memcmp(payload->text, "{}", 2) == 0;
}

int rk_payload_freeze(struct rankcall_payload *payload)
{
    int code;

    if (payload->frozen)
        return RANKCALL_OK;
    if ((code = rk_payload_make_text(payload)))
        return code;
    if (payload->text_size > RK_JSON_CAP)
        return rk_error(RANKCALL_ETOOLARGE,
                        "payload: the JSON text has %zu bytes, over the cap of %u: send bulk data as attachments",
                        payload->text_size, RK_JSON_CAP);
    if (!is_nothing(payload) && ((code = write_front(payload)) || (code = make_pieces(payload)))) {
        free(payload->wire);
        payload->wire = NULL;
        return code;
    }
    payload->frozen = true;
    return RANKCALL_OK;
}

uint64_t rk_payload_size(const struct rankcall_payload *payload)
{
    return payload->size;
}

size_t rk_payload_pieces(const struct rankcall_payload *payload, const struct iovec **iov)
{
    *iov = payload->pieces;
    return payload->piece_count;
}

const uint8_t *rk_payload_bytes(const struct rankcall_payload *payload)
{
    return payload->wire_size == payload->size ? payload->wire : NULL;
}

void rk_payload_copy(const struct rankcall_payload *payload, uint8_t *bytes)
{
    for (size_t i = 0; i < payload->piece_count; i++) {
        memcpy(bytes, payload->pieces[i].iov_base, payload->pieces[i].iov_len);
        bytes += payload->pieces[i].iov_len;
    }
}
