/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A payload from wire bytes: every count and length is checked before it is used. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "wire/payload_internal.h"

/* Where decoding stands, for messages. */
static uint64_t offset(const struct rk_reader *reader, const struct rankcall_payload *payload)
{
    return (uint64_t)(reader->at - payload->wire);
}

static int ends_early(uint64_t size, const char *what, uint64_t position)
{
    return rk_error(RANKCALL_EPAYLOAD, "payload: it ends after %" PRIu64 " bytes, within %s at byte %" PRIu64, size,
                    what, position);
}

/* Padding up to `end`, which is checked to be zero. */
static int skip_padding(struct rk_reader *reader, const struct rankcall_payload *payload, uint64_t end)
{
    uint64_t start = offset(reader, payload);
    const uint8_t *padding = rk_read_bytes(reader, end - start);

    if (!padding)
        return ends_early(payload->size, "the padding", start);
    for (uint64_t i = 0; i < end - start; i++)
        if (padding[i])
            return rk_error(RANKCALL_EPAYLOAD, "payload: byte %" PRIu64 " is padding and 0x%02x, expected 0", start + i,
                            padding[i]);
    return RANKCALL_OK;
}

static int decode_text(struct rk_reader *reader, struct rankcall_payload *payload, uint32_t *count)
{
    uint32_t text_size = rk_read_u32(reader);
    const uint8_t *text;

    *count = rk_read_u32(reader);
    if (reader->failed)
        return ends_early(payload->size, "the sizes", 0);
    if (text_size > RK_JSON_CAP)
        return rk_error(RANKCALL_ETOOLARGE, "payload: json_size is %" PRIu32 ", over the cap of %u", text_size,
                        RK_JSON_CAP);
    if (*count > RANKCALL_MAX_ATTACHMENTS)
        return rk_error(RANKCALL_ETOOLARGE, "payload: %" PRIu32 " attachments, over the cap of %d", *count,
                        RANKCALL_MAX_ATTACHMENTS);
    if (!(text = rk_read_bytes(reader, text_size)))
        return ends_early(payload->size, "the JSON text", 8);
    payload->text = (char *)text;
    payload->text_size = text_size;
    return skip_padding(reader, payload, rk_table_offset(text_size));
}

static int decode_entry(struct rk_reader *reader, struct rankcall_payload *payload)
{
    struct rk_attached attached = {0};
    struct rankcall_attachment *one = &attached.attachment;
    uint64_t start = offset(reader, payload);
    const uint8_t *reserved;
    uint16_t name_size;
    int code;

    one->size = rk_read_u64(reader);
    name_size = rk_read_u16(reader);
    one->type = rk_read_u8(reader);
    one->dtype = rk_read_u8(reader);
    one->ndim = rk_read_u8(reader);
    reserved = rk_read_bytes(reader, 3);
    if (reserved && (reserved[0] || reserved[1] || reserved[2]))
        return rk_error(RANKCALL_EPAYLOAD, "payload: reserved bytes at byte %" PRIu64 " are not 0", start + 13);
    if (one->ndim > RANKCALL_MAX_DIMS)
        return rk_error(RANKCALL_EPAYLOAD, "payload: ndim at byte %" PRIu64 " is %d, expected at most %d", start + 12,
                        one->ndim, RANKCALL_MAX_DIMS);
    for (int i = 0; i < one->ndim; i++)
        one->shape[i] = rk_read_u64(reader);
    one->name = (const char *)rk_read_bytes(reader, name_size);
    if (reader->failed)
        return ends_early(payload->size, "the attachment table's entry", start);
    if ((code = rk_attachment_check(one, name_size)) || (code = rk_payload_add(payload, &attached, name_size)))
        return code;
    return skip_padding(reader, payload, rk_align(offset(reader, payload), 8));
}

static int decode_data(struct rk_reader *reader, struct rankcall_payload *payload)
{
    for (size_t i = 0; i < payload->attached_count; i++) {
        struct rankcall_attachment *one = &payload->attached[i].attachment;
        uint64_t start = rk_align(offset(reader, payload), RK_PAYLOAD_ALIGN);
        int code = skip_padding(reader, payload, start);

        if (code)
            return code;
        if (!(one->data = rk_read_bytes(reader, one->size)))
            return rk_error(RANKCALL_EPAYLOAD,
                            "payload: attachment \"%s\" has %" PRIu64 " bytes from byte %" PRIu64
                            ", but the payload ends at %" PRIu64,
                            one->name, one->size, start, payload->size);
    }
    return RANKCALL_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check_unique(const struct rankcall_payload *payload)
{
    const char **names;
    size_t count = payload->attached_count;
    int code = RANKCALL_OK;

    if (count < 2)
        return RANKCALL_OK;
    if (!(names = calloc(count, sizeof *names)))
        return rk_error(RANKCALL_EINTERNAL, "payload: memory is out");
    for (size_t i = 0; i < count; i++)
        names[i] = payload->attached[i].attachment.name;
    qsort(names, count, sizeof *names, by_name);
    for (size_t i = 1; i < count && code == RANKCALL_OK; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            code = rk_error(RANKCALL_EPAYLOAD, "payload: two attachments are named \"%s\"", names[i]);
    free(names);
    return code;
}

static int decode(struct rankcall_payload *payload)
{
    struct rk_reader reader = rk_reader(payload->wire, payload->size);
    uint32_t count;
    int code = decode_text(&reader, payload, &count);

    for (uint32_t i = 0; code == RANKCALL_OK && i < count; i++)
        code = decode_entry(&reader, payload);
    if (code || (code = check_unique(payload)) || (code = decode_data(&reader, payload)))
        return code;
    if (reader.at != reader.end)
        return rk_error(RANKCALL_EPAYLOAD, "payload: %" PRIu64 " bytes are left over behind its end at byte %" PRIu64,
                        (uint64_t)(reader.end - reader.at), offset(&reader, payload));
    return RANKCALL_OK;
}

void rk_payload_lend(struct rankcall_payload *payload, const struct rk_payload_memory *memory)
{
    payload->lender = memory;
}

int rk_payload_decode(uint8_t *bytes, uint64_t size, struct rankcall_payload **out)
{
    struct rankcall_payload *payload = rankcall_payload_new();
    int code;

    if (!payload)
        return RANKCALL_EINTERNAL;
    payload->frozen = true;
    if (size == 0) {
        free(bytes);
        *out = payload;
        return rk_payload_make_text(payload);
    }
    payload->wire = bytes;
    payload->wire_size = payload->size = size;
    if ((code = decode(payload))) {
        payload->wire = NULL; /* stays the caller's */
        rankcall_payload_free(payload);
        return code;
    }
    payload->one_piece = (struct iovec){bytes, size};
    payload->pieces = &payload->one_piece;
    payload->piece_count = 1;
    *out = payload;
    return RANKCALL_OK;
}
