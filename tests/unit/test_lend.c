/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Payloads that the peer copies out of their own memory: they stay as they are until it has, and no longer. */

#include "sides.h"

#include "wire/lend.h"

/* An attachment that is overwritten when it is released: who reads too late sees that. */
struct owned {
    uint8_t *data;
    size_t size;
    int *released;
};

static void overwrite(void *data, void *context)
{
    struct owned *owned = context;

    memset(data, 0xee, owned->size);
    ++*owned->released;
    free(data);
    free(owned);
}

static uint8_t expected(uint64_t id, size_t at)
{
    return (uint8_t)(id * 31 + at * 7 + at / 4096);
}

static void send_owned(struct rk_conn *conn, uint64_t id, size_t size, int *released)
{
    struct rankcall_payload *payload = rankcall_payload_new();
    struct owned *owned = malloc(sizeof *owned);

    *owned = (struct owned){malloc(size), size, released};
    for (size_t i = 0; i < size; i++)
        owned->data[i] = expected(id, i);
    assert_ok(rankcall_attach(payload, &(struct rankcall_attachment){.name = "data", .data = owned->data, .size = size},
                              overwrite, owned));
    assert_ok(rk_conn_send(conn, RK_RESULT, id, NULL, 0, payload));
    rankcall_payload_free(payload);
}

/* The peer checks every byte as soon as a payload has come. */
struct reader {
    struct rk_conn *conn;
    uint64_t seen;
};

static void check_frame(void *context, const struct rk_header *header, const uint8_t *head,
                        struct rankcall_payload *payload)
{
    struct reader *reader = context;
    struct rankcall_attachment found;

    (void)head;
    assert_int_equal(header->id, ++reader->seen);
    assert_ok(rankcall_attachment(payload, "data", &found));
    for (size_t i = 0; i < found.size; i++)
        if (((const uint8_t *)found.data)[i] != expected(header->id, i))
            fail_msg("byte %zu of frame %d is wrong", i, (int)header->id);
    rankcall_payload_free(payload);
}

static struct reader *other_side(struct sides *sides)
{
    static const struct rk_conn_callbacks checking = {.frame = check_frame};
    struct reader *reader = calloc(1, sizeof *reader);

    reader->conn = rk_conn_new(sides->b, &checking, reader);
    sides->b = -1;
    return reader;
}

/* Returns the code that ended it. */
static int read_to_end(struct reader *reader)
{
    int code;

    while ((code = rk_conn_read(reader->conn)) == RANKCALL_OK || code == RANKCALL_EAGAIN)
        ;
    return code;
}

static void free_reader(struct reader *reader)
{
    rk_conn_free(reader->conn);
    free(reader);
}

static struct rk_lending *lending;

static int make_lenders(void **state)
{
    if (make_sides(state) || !(lending = rk_lending_open()))
        return -1;
    rk_conn_lend(((struct sides *)*state)->a, lending);
    return 0;
}

static int free_lenders(void **state)
{
    free_sides(state);
    rk_lending_close(lending);
    return 0;
}

static void a_payload_is_given_back_when_it_has_been_read(void **state)
{
    struct sides *sides = *state;
    struct reader *reader = other_side(sides);
    int released = 0;

    send_owned(sides->a, 1, 300001, &released);
    assert_ok(rk_conn_flush(sides->a));
    assert_int_equal(rk_conn_queued(sides->a), 0);
    assert_true(rk_conn_settle(sides->a));
    assert_int_equal(released, 0);
    assert_ok(pump(reader->conn));
    assert_int_equal(reader->seen, 1);
    assert_false(rk_conn_settle(sides->a));
    assert_int_equal(released, 1);
    free_reader(reader);
}

static void a_small_one_is_copied(void **state)
{
    struct sides *sides = *state;
    struct reader *reader = other_side(sides);
    int released = 0;

    send_owned(sides->a, 1, 20000, &released);
    assert_ok(rk_conn_flush(sides->a));
    assert_int_equal(released, 1);
    assert_ok(pump(reader->conn));
    assert_int_equal(reader->seen, 1);
    free_reader(reader);
}

/* Sizes around every limit, a reader that falls behind, and memory that is overwritten as soon as it is given back. */
static void many_arrive_whole_while_memory_is_used_again(void **state)
{
    enum { FRAMES = 600 };
    struct sides *sides = *state;
    struct reader *reader = other_side(sides);
    int released = 0, most = 0;

    srand(11);
    for (int sent = 0; reader->seen < FRAMES;) {
        for (int more = rand() % 4; more > 0 && sent < FRAMES; more--)
            send_owned(sides->a, (uint64_t)++sent, (size_t)(rand() % 3 ? 30000 + rand() % 70000 : rand() % 1500000),
                       &released);
        assert_ok(rk_conn_flush(sides->a));
        most = sent - released > most ? sent - released : most;
        for (int reads = rand() % 3; reads > 0; reads--)
            (void)rk_conn_read(reader->conn);
        if (sent - (int)reader->seen > 20)
            assert_ok(pump(reader->conn));
    }
    assert_false(rk_conn_settle(sides->a));
    assert_int_equal(released, FRAMES);
    assert_true(most > 1);
    free_reader(reader);
}

static void what_is_unread_outlives_the_connection(void **state)
{
    struct sides *sides = *state;
    struct reader *reader = other_side(sides);
    int released = 0;

    send_owned(sides->a, 1, 500000, &released);
    send_owned(sides->a, 2, 100000, &released);
    assert_ok(rk_conn_flush(sides->a));
    assert_int_equal(rk_conn_queued(sides->a), 0);
    rk_conn_free(sides->a);
    sides->a = NULL;
    assert_true(rk_lending_settle(lending));
    assert_int_equal(released, 0);
    assert_int_equal(read_to_end(reader), RANKCALL_ECLOSED);
    assert_int_equal(reader->seen, 2);
    assert_false(rk_lending_settle(lending));
    assert_int_equal(released, 2);
    free_reader(reader);
}

static void what_is_unread_in_the_end_stays(void **state)
{
    static int released; /* never */
    struct sides *sides = *state;
    struct reader *reader = other_side(sides);

    send_owned(sides->a, 1, 500000, &released);
    assert_ok(rk_conn_flush(sides->a));
    rk_conn_free(sides->a);
    sides->a = NULL;
    rk_lending_close(lending);
    lending = NULL;
    assert_int_equal(read_to_end(reader), RANKCALL_ECLOSED);
    assert_int_equal(reader->seen, 1);
    assert_int_equal(released, 0);
    free_reader(reader);
}

static void a_peer_that_is_gone_reads_no_more(void **state)
{
    struct sides *sides = *state;
    int released = 0;

    send_owned(sides->a, 1, 8000000, &released);
    assert_ok(rk_conn_flush(sides->a));
    assert_true(rk_conn_queued(sides->a) > 0);
    assert_int_equal(released, 0);
    rk_fd_close(&sides->b);
    assert_fails(rk_conn_flush(sides->a), RANKCALL_ECLOSED, "closed");
    assert_false(rk_conn_settle(sides->a));
    assert_int_equal(released, 1);
}

/* Nothing of it is left over for those after it in the pipe that they share. */
static void a_full_socket_takes_nothing_from_another(void **state)
{
    struct sides *sides = *state, *more = more_sides();
    struct reader *reader = other_side(sides), *other = other_side(more);
    int released = 0;

    rk_conn_lend(more->a, lending);
    send_owned(sides->a, 1, 8000000, &released);
    send_owned(more->a, 1, 9000000, &released);
    while (reader->seen + other->seen < 2) {
        assert_ok(rk_conn_flush(sides->a));
        assert_ok(rk_conn_flush(more->a));
        if (!reader->seen)
            assert_ok(pump(reader->conn));
        if (!other->seen)
            assert_ok(pump(other->conn));
    }
    assert_false(rk_conn_settle(sides->a));
    assert_false(rk_conn_settle(more->a));
    assert_int_equal(released, 2);
    free_reader(reader);
    free_reader(other);
    drop_sides(more);
}

#define LENT(test) cmocka_unit_test_setup_teardown(test, make_lenders, free_lenders)

UNIT_MAIN(LENT(a_payload_is_given_back_when_it_has_been_read), LENT(a_small_one_is_copied),
          LENT(many_arrive_whole_while_memory_is_used_again), LENT(what_is_unread_outlives_the_connection),
          LENT(what_is_unread_in_the_end_stays), LENT(a_peer_that_is_gone_reads_no_more),
          LENT(a_full_socket_takes_nothing_from_another))
