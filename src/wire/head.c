/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The heads of the frame types, field by field. */

#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "wire/frame.h"
#include "wire/json_check.h"

#define CALL_FIXED 24 /* bytes of a CALL's head before the handler's name */

/* Every encoder writes into RK_HEAD_CAP bytes, which is more than any head has. */
static size_t written(const struct rk_writer *writer, const uint8_t *bytes)
{
    return (size_t)(writer->at - bytes);
}

static int check_read(const struct rk_reader *reader, const char *type, size_t size)
{
    if (reader->failed)
        return rk_error(RANKCALL_EPROTOCOL, "%s head: %zu bytes are too few", type, size);
    return RANKCALL_OK;
}

size_t rk_hello_encode(const struct rk_hello *head, uint8_t *bytes)
{
    struct rk_writer writer = rk_writer(bytes, RK_HEAD_CAP);

    rk_write_u16(&writer, head->min_version);
    rk_write_u16(&writer, head->max_version);
    rk_write_u32(&writer, 0);
    rk_write_u64(&writer, head->features);
    if (head->token)
        rk_write_u64(&writer, head->token);
    return written(&writer, bytes);
}

/* A field that older peers do not send. */
static uint64_t read_later_u64(struct rk_reader *reader, size_t size, size_t offset)
{
    return size >= offset + 8 ? rk_read_u64(reader) : 0;
}

int rk_hello_decode(const uint8_t *bytes, size_t size, struct rk_hello *head)
{
    struct rk_reader reader = rk_reader(bytes, size);

    head->min_version = rk_read_u16(&reader);
    head->max_version = rk_read_u16(&reader);
    rk_read_u32(&reader);
    head->features = rk_read_u64(&reader);
    head->token = read_later_u64(&reader, size, 16);
    if (check_read(&reader, "HELLO", size))
        return RANKCALL_EPROTOCOL;
    if (head->min_version == 0 || head->min_version > head->max_version)
        return rk_error(RANKCALL_EPROTOCOL, "HELLO head, byte 0: versions %d to %d are no range", head->min_version,
                        head->max_version);
    return RANKCALL_OK;
}

size_t rk_welcome_encode(const struct rk_welcome *head, uint8_t *bytes)
{
    struct rk_writer writer = rk_writer(bytes, RK_HEAD_CAP);

    rk_write_u16(&writer, head->version);
    rk_write_u16(&writer, 0);
    rk_write_u32(&writer, head->world_size);
    rk_write_u64(&writer, head->features);
    rk_write_u64(&writer, head->payload_cap);
    if (head->token) {
        rk_write_u64(&writer, head->token);
        rk_write_u64(&writer, head->begun);
        rk_write_u64(&writer, head->clock_us);
        rk_write_u32(&writer, head->times);
        rk_write_u32(&writer, 0);
    }
    return written(&writer, bytes);
}

int rk_welcome_decode(const uint8_t *bytes, size_t size, struct rk_welcome *head)
{
    struct rk_reader reader = rk_reader(bytes, size);

    head->version = rk_read_u16(&reader);
    rk_read_u16(&reader);
    head->world_size = rk_read_u32(&reader);
    head->features = rk_read_u64(&reader);
    head->payload_cap = rk_read_u64(&reader);
    head->token = read_later_u64(&reader, size, 24);
    head->begun = read_later_u64(&reader, size, 32);
    head->clock_us = read_later_u64(&reader, size, 40);
    head->times = (uint32_t)read_later_u64(&reader, size, 48);
    if (check_read(&reader, "WELCOME", size))
        return RANKCALL_EPROTOCOL;
    if (head->world_size == 0 || head->world_size > INT32_MAX)
        return rk_error(RANKCALL_EPROTOCOL, "WELCOME head, byte 4: a world size of %lu",
                        (unsigned long)head->world_size);
    return RANKCALL_OK;
}

size_t rk_call_encode(const struct rk_call_head *head, uint8_t *bytes)
{
    struct rk_writer writer = rk_writer(bytes, RK_HEAD_CAP);
    size_t handler_size = strnlen(head->handler, RANKCALL_MAX_NAME);

    rk_write_u8(&writer, head->kind);
    rk_write_u8(&writer, head->flags);
    rk_write_u16(&writer, (uint16_t)handler_size);
    rk_write_u32(&writer, head->begun);
    rk_write_u64(&writer, head->timeout_us);
    rk_write_u64(&writer, head->streaming_timeout_us);
    rk_write_bytes(&writer, head->handler, handler_size);
    if (head->flags & RK_CALL_WAITED)
        rk_write_u64(&writer, head->submitted_us);
    if (head->flags & RK_CALL_DURATION)
        rk_write_u64(&writer, head->duration_us);
    return written(&writer, bytes);
}

static int decode_handler(struct rk_reader *reader, uint16_t size, char *handler)
{
    const uint8_t *name;

    if (size > RANKCALL_MAX_NAME)
        return rk_error(RANKCALL_EPROTOCOL, "CALL head, byte 2: handler_size is %d, expected at most %d", size,
                        RANKCALL_MAX_NAME);
    name = rk_read_bytes(reader, size);
    if (!name)
        return rk_error(RANKCALL_EPROTOCOL, "CALL head, byte 2: handler_size is %d, but the head ends before", size);
    if (!rk_utf8_ok((const char *)name, size))
        return rk_error(RANKCALL_EPROTOCOL, "CALL head, byte %d: the handler's name is not UTF-8", CALL_FIXED);
    memcpy(handler, name, size);
    handler[size] = '\0';
    return RANKCALL_OK;
}

int rk_call_decode(const uint8_t *bytes, size_t size, struct rk_call_head *head)
{
    struct rk_reader reader = rk_reader(bytes, size);
    uint16_t handler_size;

    head->kind = rk_read_u8(&reader);
    head->flags = rk_read_u8(&reader);
    handler_size = rk_read_u16(&reader);
    head->begun = rk_read_u32(&reader);
    head->timeout_us = rk_read_u64(&reader);
    head->streaming_timeout_us = rk_read_u64(&reader);
    head->handler[0] = '\0';
    if (check_read(&reader, "CALL", size))
        return RANKCALL_EPROTOCOL;
    if (head->kind != RK_INVOKE && head->kind != RK_STREAM)
        return rk_error(RANKCALL_EPROTOCOL, "CALL head, byte 0: kind is %d, expected 0 (invoke) or 1 (stream)",
                        head->kind);
    if (decode_handler(&reader, handler_size, head->handler))
        return RANKCALL_EPROTOCOL;
    head->submitted_us = head->flags & RK_CALL_WAITED ? rk_read_u64(&reader) : 0;
    head->duration_us = head->flags & RK_CALL_DURATION ? rk_read_u64(&reader) : 0;
    return check_read(&reader, "CALL", size);
}

size_t rk_event_encode(const struct rk_event_head *head, uint8_t *bytes)
{
    struct rk_writer writer = rk_writer(bytes, RK_EVENT_HEAD_SIZE);

    rk_write_u32(&writer, head->rank);
    rk_write_u32(&writer, 0);
    rk_write_u64(&writer, head->sequence);
    return written(&writer, bytes);
}

int rk_event_decode(const uint8_t *bytes, size_t size, struct rk_event_head *head)
{
    struct rk_reader reader = rk_reader(bytes, size);

    head->rank = rk_read_u32(&reader);
    rk_read_u32(&reader);
    head->sequence = rk_read_u64(&reader);
    if (check_read(&reader, "EVENT", size))
        return RANKCALL_EPROTOCOL;
    if (head->rank > INT32_MAX)
        return rk_error(RANKCALL_EPROTOCOL, "EVENT head, byte 0: a rank of %lu", (unsigned long)head->rank);
    return RANKCALL_OK;
}

size_t rk_result_encode(const struct rk_result_head *head, uint8_t *bytes)
{
    struct rk_writer writer = rk_writer(bytes, RK_RESULT_HEAD_SIZE);

    rk_write_u64(&writer, head->queued_us);
    rk_write_u64(&writer, head->broadcast_us);
    rk_write_u64(&writer, head->handler_min_us);
    rk_write_u64(&writer, head->handler_max_us);
    rk_write_u64(&writer, head->reply_us);
    rk_write_u64(&writer, head->call);
    rk_write_u32(&writer, (uint32_t)head->slowest_rank);
    rk_write_u32(&writer, 0);
    return written(&writer, bytes);
}

int rk_result_decode(const uint8_t *bytes, size_t size, struct rk_result_head *head)
{
    struct rk_reader reader = rk_reader(bytes, size);

    head->queued_us = rk_read_u64(&reader);
    head->broadcast_us = rk_read_u64(&reader);
    head->handler_min_us = rk_read_u64(&reader);
    head->handler_max_us = rk_read_u64(&reader);
    head->reply_us = rk_read_u64(&reader);
    head->call = rk_read_u64(&reader);
    head->slowest_rank = (int32_t)rk_read_u32(&reader);
    rk_read_u32(&reader);
    if (check_read(&reader, "RESULT", size))
        return RANKCALL_EPROTOCOL;
    if (head->slowest_rank < -1)
        return rk_error(RANKCALL_EPROTOCOL, "RESULT head, byte 48: a rank of %ld", (long)head->slowest_rank);
    return RANKCALL_OK;
}

size_t rk_error_encode(const struct rk_error_head *head, uint8_t *bytes)
{
    struct rk_writer writer = rk_writer(bytes, RK_HEAD_CAP);

    rk_write_u32(&writer, head->code);
    rk_write_u32(&writer, (uint32_t)head->rank);
    return written(&writer, bytes);
}

int rk_error_decode(const uint8_t *bytes, size_t size, struct rk_error_head *head)
{
    struct rk_reader reader = rk_reader(bytes, size);

    head->code = rk_read_u32(&reader);
    head->rank = (int32_t)rk_read_u32(&reader);
    if (check_read(&reader, "ERROR", size))
        return RANKCALL_EPROTOCOL;
    if (head->code == 0 || head->code > INT32_MAX)
        return rk_error(RANKCALL_EPROTOCOL, "ERROR head, byte 0: code is %lu, which is no error",
                        (unsigned long)head->code);
    if (head->rank < -1)
        return rk_error(RANKCALL_EPROTOCOL, "ERROR head, byte 4: a rank of %ld", (long)head->rank);
    return RANKCALL_OK;
}

size_t rk_status_encode(const struct rk_status_head *head, uint8_t *bytes)
{
    struct rk_writer writer = rk_writer(bytes, RK_HEAD_CAP);

    rk_write_u8(&writer, head->wait);
    rk_write_zeros(&writer, 7);
    return written(&writer, bytes);
}

int rk_status_decode(const uint8_t *bytes, size_t size, struct rk_status_head *head)
{
    struct rk_reader reader = rk_reader(bytes, size);

    head->wait = rk_read_u8(&reader);
    rk_read_bytes(&reader, 7);
    if (check_read(&reader, "STATUS", size))
        return RANKCALL_EPROTOCOL;
    if (head->wait > 1)
        return rk_error(RANKCALL_EPROTOCOL, "STATUS head, byte 0: wait is %d, expected 0 or 1", head->wait);
    return RANKCALL_OK;
}

/* Heads of one number. */
static size_t encode_number(uint64_t number, uint8_t *bytes)
{
    struct rk_writer writer = rk_writer(bytes, RK_HEAD_CAP);

    rk_write_u64(&writer, number);
    return written(&writer, bytes);
}

static int decode_number(const uint8_t *bytes, size_t size, const char *type, uint64_t *number)
{
    struct rk_reader reader = rk_reader(bytes, size);

    *number = rk_read_u64(&reader);
    return check_read(&reader, type, size);
}

size_t rk_stop_encode(const struct rk_stop_head *head, uint8_t *bytes)
{
    return encode_number(head->drain_us, bytes);
}

int rk_stop_decode(const uint8_t *bytes, size_t size, struct rk_stop_head *head)
{
    return decode_number(bytes, size, "STOP", &head->drain_us);
}

size_t rk_cancel_encode(const struct rk_cancel_head *head, uint8_t *bytes)
{
    return encode_number(head->call, bytes);
}

int rk_cancel_decode(const uint8_t *bytes, size_t size, struct rk_cancel_head *head)
{
    return decode_number(bytes, size, "CANCEL_CALL", &head->call);
}

size_t rk_cancelled_encode(const struct rk_cancelled_head *head, uint8_t *bytes)
{
    return encode_number(head->calls, bytes);
}

int rk_cancelled_decode(const uint8_t *bytes, size_t size, struct rk_cancelled_head *head)
{
    return decode_number(bytes, size, "CANCELLED", &head->calls);
}

size_t rk_away_encode(const struct rk_away_head *head, uint8_t *bytes)
{
    struct rk_writer writer = rk_writer(bytes, RK_HEAD_CAP);

    rk_write_u64(&writer, head->begun);
    rk_write_u32(&writer, head->times);
    rk_write_u32(&writer, 0);
    return written(&writer, bytes);
}

int rk_away_decode(const uint8_t *bytes, size_t size, struct rk_away_head *head)
{
    struct rk_reader reader = rk_reader(bytes, size);

    head->begun = rk_read_u64(&reader);
    head->times = rk_read_u32(&reader);
    rk_read_u32(&reader);
    return check_read(&reader, "AWAY", size);
}
