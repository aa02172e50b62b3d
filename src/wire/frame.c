/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The frame header: encoding it, and checking one that came. */

#include <inttypes.h>

#include "base/bytes.h"
#include "base/error.h"
#include "wire/frame.h"

struct type_rule {
    const char *name;
    uint32_t min_head;
    bool payload; /* whether the type may have one */
    bool call;    /* whether the id is a call's, which is never 0 */
};

static const struct type_rule rules[RK_FRAME_TYPES] = {
    [RK_HELLO] = {"HELLO", 16, true, false},
    [RK_WELCOME] = {"WELCOME", 24, true, false},
    [RK_CALL] = {"CALL", 24, true, true},
    [RK_CANCEL] = {"CANCEL", 0, false, true},
    [RK_EVENT] = {"EVENT", RK_EVENT_HEAD_SIZE, true, true},
    [RK_RESULT] = {"RESULT", 0, true, true},
    [RK_ERROR] = {"ERROR", 8, true, false},
    [RK_STATUS] = {"STATUS", 8, false, false},
    [RK_STATUS_REPLY] = {"STATUS_REPLY", 0, true, false},
    [RK_PING] = {"PING", 0, false, false},
    [RK_PONG] = {"PONG", 0, false, false},
    [RK_STOP] = {"STOP", 8, false, false},
    [RK_STOPPING] = {"STOPPING", 0, false, false},
    [RK_CANCEL_CALL] = {"CANCEL_CALL", 8, false, false},
    [RK_AWAY] = {"AWAY", 16, true, false},
    [RK_RESUMED] = {"RESUMED", 0, false, false},
    [RK_CANCELLED] = {"CANCELLED", 8, false, false},
};

void rk_header_encode(const struct rk_header *header, uint8_t bytes[RK_HEADER_SIZE])
{
    struct rk_writer writer = rk_writer(bytes, RK_HEADER_SIZE);

    rk_write_u32(&writer, RK_MAGIC);
    rk_write_u8(&writer, header->version);
    rk_write_u8(&writer, header->type);
    rk_write_u16(&writer, header->flags);
    rk_write_u64(&writer, header->id);
    rk_write_u32(&writer, header->head_size);
    rk_write_u32(&writer, 0);
    rk_write_u64(&writer, header->payload_size);
}

static int check_fixed(uint32_t magic, const struct rk_header *header, uint32_t reserved)
{
    if (magic != RK_MAGIC)
        return rk_error(RANKCALL_EPROTOCOL, "frame byte 0: magic is 0x%08" PRIx32 ", expected 0x%08x (\"RKCL\")", magic,
                        RK_MAGIC);
    if (header->version != RK_VERSION)
        return rk_error(RANKCALL_EPROTOCOL, "frame byte 4: version is %d, expected %d", header->version, RK_VERSION);
    if (header->type == 0 || header->type >= RK_FRAME_TYPES || !rules[header->type].name)
        return rk_error(RANKCALL_EPROTOCOL, "frame byte 5: type is %d, expected 1 to %d", header->type,
                        RK_FRAME_TYPES - 1);
    if (header->flags != 0)
        return rk_error(RANKCALL_EPROTOCOL, "frame byte 6: flags are 0x%04x, expected 0", header->flags);
    if (reserved != 0)
        return rk_error(RANKCALL_EPROTOCOL, "frame byte 20: reserved bytes are 0x%08" PRIx32 ", expected 0", reserved);
    return RANKCALL_OK;
}

static int check_by_type(const struct rk_header *header, uint64_t payload_cap)
{
    const struct type_rule *rule = &rules[header->type];

    if (rule->call && header->id == 0)
        return rk_error(RANKCALL_EPROTOCOL, "%s frame, byte 8: id is 0, which is no call's", rule->name);
    if (header->head_size > RK_HEAD_CAP)
        return rk_error(RANKCALL_EPROTOCOL, "%s frame, byte 16: head_size is %" PRIu32 ", expected at most %d",
                        rule->name, header->head_size, RK_HEAD_CAP);
    if (header->head_size < rule->min_head)
        return rk_error(RANKCALL_EPROTOCOL, "%s frame, byte 16: head_size is %" PRIu32 ", expected at least %" PRIu32,
                        rule->name, header->head_size, rule->min_head);
    if (header->payload_size > 0 && !rule->payload)
        return rk_error(RANKCALL_EPROTOCOL, "%s frame, byte 24: payload_size is %" PRIu64 ", expected 0", rule->name,
                        header->payload_size);
    if (header->payload_size > payload_cap)
        return rk_error(RANKCALL_ETOOLARGE,
                        "%s frame, byte 24: payload_size is %" PRIu64 ", over the cap of %" PRIu64 " bytes", rule->name,
                        header->payload_size, payload_cap);
    return RANKCALL_OK;
}

int rk_header_decode(const uint8_t bytes[RK_HEADER_SIZE], uint64_t payload_cap, struct rk_header *header)
{
    struct rk_reader reader = rk_reader(bytes, RK_HEADER_SIZE);
    uint32_t magic = rk_read_u32(&reader), reserved;
    int code;

    header->version = rk_read_u8(&reader);
    header->type = rk_read_u8(&reader);
    header->flags = rk_read_u16(&reader);
    header->id = rk_read_u64(&reader);
    header->head_size = rk_read_u32(&reader);
    reserved = rk_read_u32(&reader);
    header->payload_size = rk_read_u64(&reader);
    code = check_fixed(magic, header, reserved);
    return code ? code : check_by_type(header, payload_cap);
}
