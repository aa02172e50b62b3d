/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What the tests of connections share. `a` is one side's connection, `b` the other's bare descriptor. */

#ifndef RK_TESTS_UNIT_SIDES_H
#define RK_TESTS_UNIT_SIDES_H

#include "unit.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "wire/conn.h"

#define KEPT 64

/* What the callbacks of one connection saw. */
struct seen {
    size_t frames, bad;
    struct rk_header headers[KEPT];
    uint8_t heads[KEPT][16];
    struct rankcall_payload *payloads[KEPT];
    char bad_message[300];
    uint64_t bad_id;
    uint64_t discard_id;       /* a frame of this id is not admitted */
    struct rk_conn *read_also; /* read within the frame callback */
};

struct sides {
    struct rk_conn *a;
    int b;
    struct seen seen;
};

static inline enum rk_admission on_admit(void *context, const struct rk_header *header, const uint8_t *head)
{
    struct seen *seen = context;

    (void)head;
    return seen->discard_id && header->id == seen->discard_id ? RK_DISCARD : RK_ADMIT;
}

static inline void on_frame(void *context, const struct rk_header *header, const uint8_t *head,
                            struct rankcall_payload *payload)
{
    struct seen *seen = context;
    size_t at = seen->frames++ % KEPT;

    rankcall_payload_free(seen->payloads[at]);
    seen->headers[at] = *header;
    seen->payloads[at] = payload;
    memcpy(seen->heads[at], head, header->head_size < 16 ? header->head_size : 16);
    if (seen->read_also)
        assert_ok(rk_conn_read(seen->read_also));
}

static inline void on_bad_payload(void *context, const struct rk_header *header, const uint8_t *head)
{
    struct seen *seen = context;

    (void)head;
    seen->bad++;
    seen->bad_id = header->id;
    snprintf(seen->bad_message, sizeof seen->bad_message, "%.200s", rankcall_last_error()->message);
}

static const struct rk_conn_callbacks callbacks = {on_admit, on_frame, on_bad_payload};

static inline int make_sides(void **state)
{
    struct sides *sides = calloc(1, sizeof *sides);
    int pair[2];

    if (!sides || socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
        return -1;
    sides->a = rk_conn_new(pair[0], &callbacks, &sides->seen);
    sides->b = pair[1];
    *state = sides;
    return sides->a ? 0 : -1;
}

static inline void forget(struct seen *seen)
{
    for (size_t i = 0; i < KEPT; i++) {
        rankcall_payload_free(seen->payloads[i]);
        seen->payloads[i] = NULL;
    }
    seen->frames = seen->bad = 0;
}

static inline int free_sides(void **state)
{
    struct sides *sides = *state;

    forget(&sides->seen);
    rk_conn_free(sides->a);
    rk_conn_free(NULL);
    rk_fd_close(&sides->b);
    free(sides);
    return 0;
}

/* A second pair of sides, within a test. */
static inline struct sides *more_sides(void)
{
    void *sides = NULL;

    assert_int_equal(make_sides(&sides), 0);
    return sides;
}

static inline void drop_sides(struct sides *sides)
{
    void *state = sides;

    free_sides(&state);
}

/* Reads until there is nothing more. */
static inline int pump(struct rk_conn *conn)
{
    int code;

    while ((code = rk_conn_read(conn)) == RANKCALL_EAGAIN)
        ;
    return code;
}

/* Frames made by a connection that is never written, as bytes. */
struct bytes {
    uint8_t *at;
    size_t size;
};

static inline struct bytes frame_bytes(uint8_t type, uint64_t id, const void *head, size_t head_size,
                                       struct rankcall_payload *payload)
{
    struct rk_header header = {.version = RK_VERSION, .type = type, .id = id, .head_size = (uint32_t)head_size};
    struct bytes bytes;

    if (payload)
        assert_ok(rk_payload_freeze(payload));
    header.payload_size = payload ? rk_payload_size(payload) : 0;
    bytes.size = RK_HEADER_SIZE + head_size + header.payload_size;
    bytes.at = malloc(bytes.size);
    rk_header_encode(&header, bytes.at);
    memcpy(bytes.at + RK_HEADER_SIZE, head, head_size);
    if (payload)
        rk_payload_copy(payload, bytes.at + RK_HEADER_SIZE + head_size);
    return bytes;
}

/* The job side of a small call: two frames with a head, one of them with a payload of JSON and an attachment. */
static inline struct bytes two_frames(void)
{
    static const uint8_t head[16] = {3, 0, 0, 0, 0, 0, 0, 0, 9};
    struct rankcall_payload *payload;
    struct bytes event, pong;

    assert_ok(rankcall_payload_from_json("{\"progress\": 0.5}", SIZE_MAX, &payload));
    assert_ok(
        rankcall_attach(payload, &(struct rankcall_attachment){.name = "x", .data = "abc", .size = 3}, NULL, NULL));
    event = frame_bytes(RK_EVENT, 7, head, 16, payload);
    pong = frame_bytes(RK_PONG, 8, "", 0, NULL);
    rankcall_payload_free(payload);
    event.at = realloc(event.at, event.size + pong.size);
    memcpy(event.at + event.size, pong.at, pong.size);
    free(pong.at);
    event.size += pong.size;
    return event;
}

static inline void check_two_frames(const struct seen *seen)
{
    struct rankcall_attachment x;
    double progress;

    assert_int_equal(seen->frames, 2);
    assert_int_equal(seen->headers[0].type, RK_EVENT);
    assert_int_equal(seen->headers[0].id, 7);
    assert_int_equal(seen->heads[0][0], 3);
    assert_int_equal(seen->heads[0][8], 9);
    assert_ok(rankcall_get_double(seen->payloads[0], "progress", &progress));
    assert_ok(rankcall_attachment(seen->payloads[0], "x", &x));
    assert_memory_equal(x.data, "abc", 3);
    assert_int_equal((uintptr_t)x.data % 64, 0);
    assert_int_equal(seen->headers[1].type, RK_PONG);
    assert_null(seen->payloads[1]);
}

static inline void push(int fd, const void *bytes, size_t size)
{
    assert_int_equal(write(fd, bytes, size), size);
}

/* A RESULT whose payload is JSON text, unchecked, of `size` bytes: {"s":"xxx..."} with a tail. */
static inline struct bytes text_frame(size_t size, const char *tail)
{
    size_t padded = (8 + size + 8) / 8 * 8;
    struct rk_header header = {.version = 1, .type = RK_RESULT, .id = 5, .payload_size = padded};
    struct bytes bytes = {calloc(1, RK_HEADER_SIZE + padded), RK_HEADER_SIZE + padded};
    uint8_t *payload = bytes.at + RK_HEADER_SIZE;

    rk_header_encode(&header, bytes.at);
    for (int i = 0; i < 4; i++)
        payload[i] = (uint8_t)(size >> 8 * i);
    memset(payload + 8, 'x', size);
    memcpy(payload + 8, "{\"s\":\"", 6);
    memcpy(payload + 8 + size - strlen(tail), tail, strlen(tail));
    return bytes;
}

#define ON_SIDES(test) cmocka_unit_test_setup_teardown(test, make_sides, free_sides)

#endif
