/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Connections over a socketpair: frames going out. */

#include "sides.h"

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

static void count_given(void *context, uint8_t *bytes)
{
    ++*(int *)context;
    free(bytes);
}

static void everything_queued_arrives_in_order(void **state)
{
    struct sides *sides = *state;
    struct other *other = other_side(sides);
    struct rankcall_payload *payload;
    int given = 0;
    const struct rk_payload_memory lender = {NULL, count_given, &given};
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
    assert_ok(rk_conn_send_take(sides->a, bytes.at, bytes.size, NULL));
    assert_ok(rk_conn_send_take(sides->a, large.at, large.size, &lender));
    place = rk_conn_reserve(sides->a, 65536);
    rk_header_encode(&(struct rk_header){.version = 1, .type = RK_PONG, .id = 1001}, place);
    rk_conn_commit(sides->a, RK_HEADER_SIZE);
    assert_int_equal(given, 0);
    transfer(sides->a, other->conn);
    assert_int_equal(given, 1);
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
    int released = 0, given = 0;
    const struct rk_payload_memory lender = {NULL, count_given, &given};

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
    assert_int_equal(rk_conn_send_take(sides->a, calloc(1, 10000), 10000, &lender), RANKCALL_ECLOSED);
    assert_int_equal(given, 1);
    assert_non_null(rk_conn_reserve(sides->a, 10));
    rk_conn_commit(sides->a, 10);
    assert_int_equal(rk_conn_queued(sides->a), 0);
    assert_int_equal(rk_conn_flush(sides->a), RANKCALL_ECLOSED);
}

UNIT_MAIN(ON_SIDES(a_large_payload_travels_uncopied_and_is_given_back), ON_SIDES(everything_queued_arrives_in_order),
          ON_SIDES(a_slow_reader_gets_all_in_the_end), ON_SIDES(writing_to_a_peer_that_is_gone_fails_quietly))
