/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Connections over a socketpair: frames coming in. */

#include "sides.h"

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
        struct sides *sides = more_sides();

        push(sides->b, bytes.at, size);
        rk_fd_close(&sides->b);
        if (size > 0)
            assert_ok(rk_conn_read(sides->a));
        assert_fails(rk_conn_read(sides->a), RANKCALL_ECLOSED, places[place]);
        assert_int_equal(strstr(rankcall_last_error()->message, "within a frame") != NULL, place != 0);
        assert_int_equal(rk_conn_read(sides->a), RANKCALL_ECLOSED);
        drop_sides(sides);
    }
    free(bytes.at);
    (void)state;
}

static void any_flipped_bit_is_survived(void **state)
{
    struct bytes bytes = two_frames();

    for (size_t bit = 0; bit < 8 * bytes.size; bit++) {
        struct sides *sides = more_sides();

        rk_conn_set_payload_cap(sides->a, 1 << 20);
        bytes.at[bit / 8] ^= (uint8_t)(1 << bit % 8);
        push(sides->b, bytes.at, bytes.size);
        bytes.at[bit / 8] ^= (uint8_t)(1 << bit % 8);
        rk_fd_close(&sides->b);
        while (rk_conn_read(sides->a) == RANKCALL_OK)
            assert_true(sides->seen.frames + sides->seen.bad <= 4);
        drop_sides(sides);
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

static void a_callback_may_read_another_connection(void **state)
{
    struct sides *sides = *state, *second = more_sides();
    struct bytes bytes = two_frames();

    sides->seen.read_also = second->a;
    push(second->b, bytes.at, bytes.size);
    push(sides->b, bytes.at, bytes.size);
    assert_ok(rk_conn_read(sides->a));
    check_two_frames(&sides->seen);
    check_two_frames(&second->seen);
    drop_sides(second);
    free(bytes.at);
}

static void a_connection_takes_only_a_good_descriptor(void **state)
{
    (void)state;
    assert_null(rk_conn_new(-1, &callbacks, NULL));
    check_last_error(RANKCALL_ESYSTEM, "fcntl", __FILE__, __LINE__);
}

UNIT_MAIN(ON_SIDES(two_frames_in_one_read_are_two_frames), ON_SIDES(frames_may_come_byte_by_byte),
          ON_SIDES(frames_may_be_cut_anywhere), cmocka_unit_test(a_peer_that_closes_is_noticed_with_the_place),
          cmocka_unit_test(any_flipped_bit_is_survived), ON_SIDES(a_bad_header_ends_reading_but_not_writing),
          ON_SIDES(a_payload_over_the_cap_is_refused_by_its_header), ON_SIDES(a_discarded_frame_leaves_no_trace),
          ON_SIDES(a_bad_payload_is_reported_and_the_next_frame_read),
          cmocka_unit_test(a_bad_payload_that_nobody_wants_to_hear_of_ends_the_connection),
          ON_SIDES(a_payload_that_finds_no_memory_is_reported_and_skipped), ON_SIDES(a_large_text_is_checked_in_turns),
          ON_SIDES(a_callback_may_read_another_connection), cmocka_unit_test(a_connection_takes_only_a_good_descriptor))
