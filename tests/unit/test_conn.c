/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Connections over a socketpair: `a` is one side's connection, `b` the other's, or its bare descriptor. */

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

static enum rk_admission on_admit(void *context, const struct rk_header *header, const uint8_t *head)
{
    struct seen *seen = context;

    (void)head;
    return seen->discard_id && header->id == seen->discard_id ? RK_DISCARD : RK_ADMIT;
}

static void on_frame(void *context, const struct rk_header *header, const uint8_t *head,
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

static void on_bad_payload(void *context, const struct rk_header *header, const uint8_t *head)
{
    struct seen *seen = context;

    (void)head;
    seen->bad++;
    seen->bad_id = header->id;
    snprintf(seen->bad_message, sizeof seen->bad_message, "%.200s", rankcall_last_error()->message);
}

static const struct rk_conn_callbacks callbacks = {on_admit, on_frame, on_bad_payload};

static int make_sides(void **state)
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

static void forget(struct seen *seen)
{
    for (size_t i = 0; i < KEPT; i++) {
        rankcall_payload_free(seen->payloads[i]);
        seen->payloads[i] = NULL;
    }
    seen->frames = seen->bad = 0;
}

static int free_sides(void **state)
{
    struct sides *sides = *state;

    forget(&sides->seen);
    rk_conn_free(sides->a);
    rk_conn_free(NULL);
    rk_fd_close(&sides->b);
    free(sides);
    return 0;
}

/* Reads until there is nothing more. */
static int pump(struct rk_conn *conn)
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

static struct bytes frame_bytes(uint8_t type, uint64_t id, const void *head, size_t head_size,
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
static struct bytes two_frames(void)
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

static void check_two_frames(const struct seen *seen)
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

static void push(int fd, const void *bytes, size_t size)
{
    assert_int_equal(write(fd, bytes, size), size);
}

static void two_frames_in_one_read_are_two_frames(void **state)
{
    struct sides *sides = *state;
    struct bytes bytes = two_frames();

    push(sides->b, bytes.at, bytes.size);
    assert_ok(rk_conn_read(sides->a));
    check_two_frames(&sides->seen);
    assert_false(rk_conn_mid_frame(sides->a));
    free(bytes.at);
}

static void frames_may_come_byte_by_byte(void **state)
{
    struct sides *sides = *state;
    struct bytes bytes = two_frames();

    for (size_t i = 0; i < bytes.size; i++) {
        assert_int_equal(rk_conn_mid_frame(sides->a), i != 0 && i != bytes.size - RK_HEADER_SIZE);
        push(sides->b, bytes.at + i, 1);
        assert_ok(rk_conn_read(sides->a));
    }
    check_two_frames(&sides->seen);
    free(bytes.at);
}

static void frames_may_be_cut_anywhere(void **state)
{
    struct sides *sides = *state;
    struct bytes bytes = two_frames();

    for (size_t cut = 1; cut < bytes.size; cut++) {
        push(sides->b, bytes.at, cut);
        assert_ok(rk_conn_read(sides->a));
        push(sides->b, bytes.at + cut, bytes.size - cut);
        assert_ok(rk_conn_read(sides->a));
        check_two_frames(&sides->seen);
        forget(&sides->seen);
    }
    free(bytes.at);
}

static void a_peer_that_closes_is_noticed_with_the_place(void **state)
{
    static const char *const places[] = {"closed the connection", "of its header", "of its head", "of its payload"};
    struct bytes bytes = two_frames();

    for (size_t size = 0; size < bytes.size; size++) {
        size_t place = size == 0 || size == bytes.size - RK_HEADER_SIZE ? 0
                       : size < RK_HEADER_SIZE                          ? 1
                       : size < RK_HEADER_SIZE + 16                     ? 2
                       : size < bytes.size - RK_HEADER_SIZE             ? 3
                                                                        : 1;
        struct sides *sides;

        assert_int_equal(make_sides((void **)&sides), 0);
        push(sides->b, bytes.at, size);
        rk_fd_close(&sides->b);
        if (size > 0)
            assert_ok(rk_conn_read(sides->a));
        assert_fails(rk_conn_read(sides->a), RANKCALL_ECLOSED, places[place]);
        assert_int_equal(strstr(rankcall_last_error()->message, "within a frame") != NULL, place != 0);
        assert_int_equal(rk_conn_read(sides->a), RANKCALL_ECLOSED);
        free_sides((void **)&sides);
    }
    free(bytes.at);
    (void)state;
}

static void any_flipped_bit_is_survived(void **state)
{
    struct bytes bytes = two_frames();

    for (size_t bit = 0; bit < 8 * bytes.size; bit++) {
        struct sides *sides;

        assert_int_equal(make_sides((void **)&sides), 0);
        rk_conn_set_payload_cap(sides->a, 1 << 20);
        bytes.at[bit / 8] ^= (uint8_t)(1 << bit % 8);
        push(sides->b, bytes.at, bytes.size);
        bytes.at[bit / 8] ^= (uint8_t)(1 << bit % 8);
        rk_fd_close(&sides->b);
        while (rk_conn_read(sides->a) == RANKCALL_OK)
            assert_true(sides->seen.frames + sides->seen.bad <= 4);
        free_sides((void **)&sides);
    }
    free(bytes.at);
    (void)state;
}

static void a_bad_header_ends_reading_but_not_writing(void **state)
{
    struct sides *sides = *state;
    struct bytes bytes = two_frames();
    uint8_t answer[RK_HEADER_SIZE];

    bytes.at[0] = 'X';
    push(sides->b, bytes.at, bytes.size);
    assert_fails(rk_conn_read(sides->a), RANKCALL_EPROTOCOL, "magic");
    assert_int_equal(rk_conn_read(sides->a), RANKCALL_EPROTOCOL);
    assert_int_equal(sides->seen.frames, 0);
    assert_ok(rk_conn_send(sides->a, RK_PONG, 1, NULL, 0, NULL));
    assert_ok(rk_conn_flush(sides->a));
    assert_int_equal(read(sides->b, answer, sizeof answer), RK_HEADER_SIZE);
    free(bytes.at);
}

static void a_payload_over_the_cap_is_refused_by_its_header(void **state)
{
    struct sides *sides = *state;
    struct bytes bytes = two_frames();

    rk_conn_set_payload_cap(sides->a, 66);
    push(sides->b, bytes.at, RK_HEADER_SIZE); /* nothing of the payload is needed */
    assert_fails(rk_conn_read(sides->a), RANKCALL_ETOOLARGE, "payload_size is 67, over the cap of 66");
    free(bytes.at);
}

static void a_discarded_frame_leaves_no_trace(void **state)
{
    struct sides *sides = *state;
    struct bytes bytes = two_frames(), other = frame_bytes(RK_PING, 1, "", 0, NULL);

    sides->seen.discard_id = 7;
    push(sides->b, bytes.at, bytes.size);
    assert_ok(rk_conn_read(sides->a));
    assert_int_equal(sides->seen.frames, 1);
    assert_int_equal(sides->seen.headers[0].type, RK_PONG);

    for (size_t i = 0; i < bytes.size; i++) {
        push(sides->b, bytes.at + i, 1);
        assert_ok(rk_conn_read(sides->a));
    }
    assert_int_equal(sides->seen.frames, 2);
    sides->seen.discard_id = 1; /* a frame without a payload */
    push(sides->b, other.at, other.size);
    assert_ok(rk_conn_read(sides->a));
    assert_int_equal(sides->seen.frames, 2);
    assert_false(rk_conn_mid_frame(sides->a));
    free(bytes.at);
    free(other.at);
}

/* A RESULT whose payload is JSON text, unchecked, of `size` bytes: {"s":"xxx..."} with a tail. */
static struct bytes text_frame(size_t size, const char *tail)
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

/* Writes all, reading on the other side as it goes; returns the last code of reading. */
static int push_and_pump(struct sides *sides, struct bytes bytes)
{
    int code = RANKCALL_OK;

    assert_ok(rk_fd_prepare(sides->b));
    for (size_t done = 0; done < bytes.size && (code == RANKCALL_OK || code == RANKCALL_EAGAIN);) {
        ssize_t size = write(sides->b, bytes.at + done, bytes.size - done);

        done += size > 0 ? (size_t)size : 0;
        code = rk_conn_read(sides->a);
    }
    return code == RANKCALL_EAGAIN ? pump(sides->a) : code;
}

static void a_bad_payload_is_reported_and_the_next_frame_read(void **state)
{
    static const size_t sizes[] = {20, 5000, 100000, 300000, 2000000};
    struct sides *sides = *state;

    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct bytes good = text_frame(sizes[i], "\"}"), bad = text_frame(sizes[i], "\"]"),
                     broken = text_frame(sizes[i], "\"}");
        size_t bad_before = sides->seen.bad;

        broken.at[RK_HEADER_SIZE + 4] = 1; /* an attachment that is not there */
        assert_ok(push_and_pump(sides, bad));
        assert_int_equal(sides->seen.bad, bad_before + 1);
        assert_non_null(strstr(sides->seen.bad_message, "expected ',' or '}', got ']'"));
        assert_ok(push_and_pump(sides, broken));
        assert_int_equal(sides->seen.bad, bad_before + 2);
        assert_non_null(strstr(sides->seen.bad_message, "attachment table"));
        assert_int_equal(sides->seen.bad_id, 5);
        assert_int_equal(sides->seen.frames, i);
        assert_ok(push_and_pump(sides, good));
        assert_int_equal(sides->seen.frames, i + 1);
        assert_int_equal(rk_payload_size(sides->seen.payloads[i]), good.size - RK_HEADER_SIZE);
        free(good.at);
        free(bad.at);
        free(broken.at);
    }
}

static void a_bad_payload_that_nobody_wants_to_hear_of_ends_the_connection(void **state)
{
    static const struct rk_conn_callbacks deaf = {NULL, on_frame, NULL};
    struct bytes bad = text_frame(20, "\"]");
    struct seen seen = {0};
    struct rk_conn *conn;
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    conn = rk_conn_new(pair[0], &deaf, &seen);
    push(pair[1], bad.at, bad.size);
    assert_fails(rk_conn_read(conn), RANKCALL_EPAYLOAD, "JSON byte 19");
    rk_conn_free(conn);
    close(pair[1]);
    free(bad.at);
}

static void a_payload_that_finds_no_memory_is_reported_and_skipped(void **state)
{
    struct sides *sides = *state;
    struct rk_header header = {.version = 1, .type = RK_RESULT, .id = 6, .payload_size = 1ull << 63};
    uint8_t bytes[RK_HEADER_SIZE];

    rk_conn_set_payload_cap(sides->a, UINT64_MAX);
    rk_header_encode(&header, bytes);
    push(sides->b, bytes, sizeof bytes);
    assert_ok(rk_conn_read(sides->a));
    assert_int_equal(sides->seen.bad, 1);
    assert_non_null(strstr(sides->seen.bad_message, "no memory for a payload of 9223372036854775808"));
    push(sides->b, bytes, sizeof bytes); /* part of the payload now */
    assert_ok(rk_conn_read(sides->a));
    assert_int_equal(sides->seen.frames + sides->seen.bad, 1);
}

static void a_large_text_is_checked_in_turns(void **state)
{
    struct sides *sides = *state;
    struct bytes bytes = text_frame(2000000, "\"}");
    int turns = 0;

    assert_ok(rk_fd_prepare(sides->b));
    for (size_t done = 0; done < bytes.size;) {
        ssize_t size = write(sides->b, bytes.at + done, bytes.size - done);

        done += size > 0 ? (size_t)size : 0;
        (void)rk_conn_read(sides->a);
    }
    while (sides->seen.frames == 0) {
        assert_true(rk_conn_mid_frame(sides->a));
        turns += rk_conn_read(sides->a) == RANKCALL_EAGAIN;
    }
    assert_true(turns >= 6);
    assert_ok(pump(sides->a));
    free(bytes.at);
}

/* A connection on the other end, with what it saw. */
struct other {
    struct rk_conn *conn;
    struct seen seen;
};

static struct other *other_side(struct sides *sides)
{
    struct other *other = calloc(1, sizeof *other);

    other->conn = rk_conn_new(sides->b, &callbacks, &other->seen);
    sides->b = -1;
    return other;
}

static void free_other(struct other *other)
{
    forget(&other->seen);
    rk_conn_free(other->conn);
    free(other);
}

/* Writes on one side and reads on the other until all is through. */
static void transfer(struct rk_conn *from, struct rk_conn *to)
{
    do {
        assert_ok(rk_conn_flush(from));
        assert_ok(pump(to));
    } while (rk_conn_queued(from) > 0 || rk_conn_mid_frame(to));
}

static void count_release(void *data, void *context)
{
    free(data);
    ++*(int *)context;
}

static void a_large_payload_travels_uncopied_and_is_given_back(void **state)
{
    enum { SIZE = 5000001 };
    struct sides *sides = *state;
    struct other *other = other_side(sides);
    struct rankcall_payload *payload = rankcall_payload_new();
    uint8_t *data = malloc(SIZE);
    struct rankcall_attachment found;
    int released = 0;

    for (size_t i = 0; i < SIZE; i++)
        data[i] = (uint8_t)(i * 7 + i / 65536);
    assert_ok(rankcall_set_int(payload, "n", 1));
    for (char name[] = "a"; name[0] < 'd'; name[0]++) {
        struct rankcall_attachment one = {.name = name, .data = data, .size = SIZE};

        assert_ok(rankcall_attach(payload, &one, name[0] == 'c' ? count_release : NULL, &released));
    }
    assert_ok(rk_conn_send(sides->a, RK_RESULT, 1, NULL, 0, payload));
    assert_ok(rk_conn_send(sides->a, RK_PING, 2, NULL, 0, NULL));
    rankcall_payload_free(payload);
    assert_int_equal(released, 0);
    transfer(sides->a, other->conn);
    assert_int_equal(released, 1);
    assert_int_equal(other->seen.frames, 2);
    for (size_t i = 0; i < 3; i++) {
        assert_ok(rankcall_attachment_at(other->seen.payloads[0], i, &found));
        assert_int_equal(found.size, SIZE);
        for (size_t at = 0; at < SIZE; at += 4099)
            assert_true(((const uint8_t *)found.data)[at] == (uint8_t)(at * 7 + at / 65536));
    }
    assert_int_equal(other->seen.headers[1].type, RK_PING);
    free_other(other);
}

static void everything_queued_arrives_in_order(void **state)
{
    struct sides *sides = *state;
    struct other *other = other_side(sides);
    struct rankcall_payload *payload;
    struct bytes bytes = frame_bytes(RK_PING, 1000, "", 0, NULL), large = text_frame(9000, "\"}");
    char *text = malloc(40001);
    uint8_t *place;

    memset(text, 'y', 40000);
    text[40000] = '\0';
    payload = rankcall_payload_new();
    assert_ok(rankcall_set_string(payload, "t", text)); /* too large to be copied */
    for (uint64_t id = 1; id <= 8; id++) {
        assert_ok(rk_conn_send(sides->a, RK_PING, id, NULL, 0, NULL));
        assert_ok(rk_conn_send(sides->a, RK_RESULT, id, NULL, 0, id % 2 ? payload : NULL));
    }
    assert_ok(rk_conn_send_bytes(sides->a, bytes.at, bytes.size));
    assert_ok(rk_conn_send_take(sides->a, bytes.at, bytes.size));
    assert_ok(rk_conn_send_take(sides->a, large.at, large.size));
    place = rk_conn_reserve(sides->a, 65536);
    rk_header_encode(&(struct rk_header){.version = 1, .type = RK_PONG, .id = 1001}, place);
    rk_conn_commit(sides->a, RK_HEADER_SIZE);
    transfer(sides->a, other->conn);
    assert_int_equal(other->seen.frames, 20);
    for (size_t i = 0; i < 16; i++) {
        assert_int_equal(other->seen.headers[i].id, 1 + i / 2);
        assert_int_equal(other->seen.headers[i].type, i % 2 ? RK_RESULT : RK_PING);
    }
    assert_int_equal(other->seen.headers[17].id, 1000);
    assert_int_equal(other->seen.headers[18].type, RK_RESULT);
    assert_int_equal(other->seen.headers[19].id, 1001);
    rankcall_payload_free(payload);
    free(text);
    free_other(other);
}

static void a_slow_reader_gets_all_in_the_end(void **state)
{
    enum { FRAMES = 20000 };
    struct sides *sides = *state;
    struct other *other = other_side(sides);
    struct rankcall_payload *payload;
    uint8_t head[16] = {0};
    uint64_t queued;

    assert_ok(rankcall_payload_from_json("{\"text\": \"an event of about 64 bytes\"}", SIZE_MAX, &payload));
    for (size_t i = 0; i < FRAMES; i++) {
        memcpy(head + 8, &i, 8);
        assert_ok(rk_conn_send(sides->a, RK_EVENT, 9, head, 16, payload));
    }
    rankcall_payload_free(payload);
    queued = rk_conn_queued(sides->a);
    assert_int_equal(queued, FRAMES * (32 + 16 + 48));
    assert_ok(rk_conn_flush(sides->a));
    assert_true(rk_conn_queued(sides->a) > 0 && rk_conn_queued(sides->a) < queued);
    queued = rk_conn_queued(sides->a);
    assert_ok(rk_conn_flush(sides->a)); /* the socket is full */
    assert_int_equal(rk_conn_queued(sides->a), queued);
    transfer(sides->a, other->conn);
    assert_int_equal(other->seen.frames, FRAMES);
    assert_int_equal(other->seen.heads[(FRAMES - 1) % KEPT][8], (FRAMES - 1) & 0xff);
    free_other(other);
}

static void writing_to_a_peer_that_is_gone_fails_quietly(void **state)
{
    struct sides *sides = *state;
    struct rankcall_payload *payload = rankcall_payload_new();
    int released = 0;

    assert_ok(rankcall_attach(payload,
                              &(struct rankcall_attachment){.name = "a", .data = calloc(1, 100000), .size = 100000},
                              count_release, &released));
    rk_fd_close(&sides->b);
    assert_ok(rk_conn_send(sides->a, RK_RESULT, 1, NULL, 0, payload));
    rankcall_payload_free(payload);
    assert_fails(rk_conn_flush(sides->a), RANKCALL_ECLOSED, "closed");
    assert_int_equal(released, 1);
    assert_int_equal(rk_conn_queued(sides->a), 0);
    assert_int_equal(rk_conn_send(sides->a, RK_PING, 1, NULL, 0, NULL), RANKCALL_ECLOSED);
    assert_int_equal(rk_conn_send_bytes(sides->a, "x", 1), RANKCALL_ECLOSED);
    assert_int_equal(rk_conn_send_take(sides->a, calloc(1, 10000), 10000), RANKCALL_ECLOSED);
    assert_non_null(rk_conn_reserve(sides->a, 10));
    rk_conn_commit(sides->a, 10);
    assert_int_equal(rk_conn_queued(sides->a), 0);
    assert_int_equal(rk_conn_flush(sides->a), RANKCALL_ECLOSED);
}

static void a_callback_may_read_another_connection(void **state)
{
    struct sides *sides = *state, *second;
    struct bytes bytes = two_frames();

    assert_int_equal(make_sides((void **)&second), 0);
    sides->seen.read_also = second->a;
    push(second->b, bytes.at, bytes.size);
    push(sides->b, bytes.at, bytes.size);
    assert_ok(rk_conn_read(sides->a));
    check_two_frames(&sides->seen);
    check_two_frames(&second->seen);
    free_sides((void **)&second);
    free(bytes.at);
}

static void a_connection_takes_only_a_good_descriptor(void **state)
{
    (void)state;
    assert_null(rk_conn_new(-1, &callbacks, NULL));
    check_last_error(RANKCALL_ESYSTEM, "fcntl", __FILE__, __LINE__);
}

#define ON_SIDES(test) cmocka_unit_test_setup_teardown(test, make_sides, free_sides)

UNIT_MAIN(ON_SIDES(two_frames_in_one_read_are_two_frames), ON_SIDES(frames_may_come_byte_by_byte),
          ON_SIDES(frames_may_be_cut_anywhere), cmocka_unit_test(a_peer_that_closes_is_noticed_with_the_place),
          cmocka_unit_test(any_flipped_bit_is_survived), ON_SIDES(a_bad_header_ends_reading_but_not_writing),
          ON_SIDES(a_payload_over_the_cap_is_refused_by_its_header), ON_SIDES(a_discarded_frame_leaves_no_trace),
          ON_SIDES(a_bad_payload_is_reported_and_the_next_frame_read),
          cmocka_unit_test(a_bad_payload_that_nobody_wants_to_hear_of_ends_the_connection),
          ON_SIDES(a_payload_that_finds_no_memory_is_reported_and_skipped), ON_SIDES(a_large_text_is_checked_in_turns),
          ON_SIDES(a_large_payload_travels_uncopied_and_is_given_back), ON_SIDES(everything_queued_arrives_in_order),
          ON_SIDES(a_slow_reader_gets_all_in_the_end), ON_SIDES(writing_to_a_peer_that_is_gone_fails_quietly),
          ON_SIDES(a_callback_may_read_another_connection), cmocka_unit_test(a_connection_takes_only_a_good_descriptor))
