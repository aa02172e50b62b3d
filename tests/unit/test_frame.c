/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The frame header, the heads, and errors as payloads. */

#include "unit.h"

#include "base/error.h"
#include "wire/frame.h"

static const struct rk_header sample = {
    .version = 1, .type = RK_CALL, .id = 0x1122334455667788, .head_size = 29, .payload_size = 4096};

static const uint8_t sample_bytes[RK_HEADER_SIZE] = {'R',  'K',  'C',  'L', 1, 3, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44,
                                                     0x33, 0x22, 0x11, 29,  0, 0, 0, 0, 0,    0,    0,    0,    16};

static void a_header_is_encoded_as_documented_and_decoded_back(void **state)
{
    uint8_t bytes[RK_HEADER_SIZE];
    struct rk_header header;

    (void)state;
    rk_header_encode(&sample, bytes);
    assert_memory_equal(bytes, sample_bytes, sizeof bytes);
    assert_ok(rk_header_decode(bytes, 4096, &header));
    assert_int_equal(header.type, RK_CALL);
    assert_true(header.id == sample.id);
    assert_int_equal(header.head_size, 29);
    assert_true(header.payload_size == 4096);
}

struct bad_header {
    size_t at;     /* the byte that is changed */
    uint8_t value; /* to this */
    int code;
    const char *message;
};

static const struct bad_header bad_headers[] = {
    {0, 'X', RANKCALL_EPROTOCOL, "frame byte 0: magic is 0x4c434b58"},
    {3, 0, RANKCALL_EPROTOCOL, "frame byte 0: magic"},
    {4, 0, RANKCALL_EPROTOCOL, "frame byte 4: version is 0, expected 1"},
    {4, 2, RANKCALL_EPROTOCOL, "frame byte 4: version is 2, expected 1"},
    {5, 0, RANKCALL_EPROTOCOL, "frame byte 5: type is 0, expected 1 to 17"},
    {5, 18, RANKCALL_EPROTOCOL, "frame byte 5: type is 18"},
    {5, 255, RANKCALL_EPROTOCOL, "frame byte 5: type is 255"},
    {6, 1, RANKCALL_EPROTOCOL, "frame byte 6: flags are 0x0001"},
    {7, 0x80, RANKCALL_EPROTOCOL, "frame byte 6: flags are 0x8000"},
    {16, 23, RANKCALL_EPROTOCOL, "CALL frame, byte 16: head_size is 23, expected at least 24"},
    {17, 16, RANKCALL_EPROTOCOL, "CALL frame, byte 16: head_size is 4125, expected at most 4096"},
    {19, 0xff, RANKCALL_EPROTOCOL, "CALL frame, byte 16: head_size is"},
    {20, 1, RANKCALL_EPROTOCOL, "frame byte 20: reserved bytes are 0x00000001"},
    {24, 1, RANKCALL_ETOOLARGE, "CALL frame, byte 24: payload_size is 4097, over the cap of 4096"},
    {31, 0xff, RANKCALL_ETOOLARGE, "payload_size is 18374686479671627776, over the cap"},
    {5, RK_PING, RANKCALL_EPROTOCOL, "PING frame, byte 24: payload_size is 4096, expected 0"},
    {5, RK_CANCEL, RANKCALL_EPROTOCOL, "CANCEL frame, byte 24"},
    {5, RK_STATUS, RANKCALL_EPROTOCOL, "STATUS frame, byte 24"},
    {5, RK_STOP, RANKCALL_EPROTOCOL, "STOP frame, byte 24"},
};

static void a_wrong_header_is_refused_by_field_byte_and_value(void **state)
{
    struct rk_header header;

    (void)state;
    for (size_t i = 0; i < COUNT(bad_headers); i++) {
        uint8_t bytes[RK_HEADER_SIZE];

        memcpy(bytes, sample_bytes, sizeof bytes);
        bytes[bad_headers[i].at] = bad_headers[i].value;
        assert_fails(rk_header_decode(bytes, 4096, &header), bad_headers[i].code, bad_headers[i].message);
    }
}

static void a_call_must_have_an_id(void **state)
{
    static const uint8_t types[] = {RK_CALL, RK_CANCEL, RK_EVENT, RK_RESULT};
    uint8_t bytes[RK_HEADER_SIZE];
    struct rk_header header = {.version = 1, .head_size = 24};

    (void)state;
    for (size_t i = 0; i < COUNT(types); i++) {
        header.type = types[i];
        header.id = 0;
        rk_header_encode(&header, bytes);
        assert_fails(rk_header_decode(bytes, 0, &header), RANKCALL_EPROTOCOL, "byte 8: id is 0");
        header.id = 1;
        rk_header_encode(&header, bytes);
        assert_ok(rk_header_decode(bytes, 0, &header));
    }
}

static void every_flipped_bit_of_a_header_is_an_error_or_another_value(void **state)
{
    (void)state;
    for (size_t bit = 0; bit < 8 * RK_HEADER_SIZE; bit++) {
        uint8_t bytes[RK_HEADER_SIZE], again[RK_HEADER_SIZE];
        struct rk_header header;

        memcpy(bytes, sample_bytes, sizeof bytes);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (rk_header_decode(bytes, UINT64_MAX, &header))
            continue;
        rk_header_encode(&header, again);
        assert_memory_equal(again, bytes, sizeof bytes);
    }
}

static void every_head_comes_back_as_it_was_sent(void **state)
{
    uint8_t bytes[RK_HEAD_CAP];
    struct rk_hello hello = {1, 3, 0x8000000000000001, 0}, hello_back;
    struct rk_welcome welcome = {2, 4096, 5, UINT64_MAX, 0, 0, 0, 0}, welcome_back;
    struct rk_call_head call = {.kind = RK_STREAM,
                                .timeout_us = 1,
                                .streaming_timeout_us = UINT64_MAX,
                                .handler = "d\xc3\xa9"
                                           "noise"},
                        call_back;
    struct rk_event_head event = {7, 1ull << 40}, event_back;
    struct rk_result_head result = {1, 2, 3, 4, 1ull << 40, 6, 7}, result_back;
    struct rk_error_head error = {RANKCALL_EBUSY, -1}, error_back;
    struct rk_status_head status = {1}, status_back;
    struct rk_stop_head stop = {12345678901}, stop_back;
    struct rk_cancel_head cancel = {UINT64_MAX}, cancel_back;
    struct rk_cancelled_head cancelled = {3}, cancelled_back;

    (void)state;
    assert_ok(rk_hello_decode(bytes, rk_hello_encode(&hello, bytes), &hello_back));
    assert_true(hello_back.min_version == 1 && hello_back.max_version == 3 && hello_back.features == hello.features);
    assert_ok(rk_welcome_decode(bytes, rk_welcome_encode(&welcome, bytes), &welcome_back));
    assert_true(welcome_back.version == 2 && welcome_back.world_size == 4096 && welcome_back.features == 5 &&
                welcome_back.payload_cap == UINT64_MAX);
    assert_ok(rk_call_decode(bytes, rk_call_encode(&call, bytes), &call_back));
    assert_true(call_back.kind == RK_STREAM && call_back.timeout_us == 1 &&
                call_back.streaming_timeout_us == UINT64_MAX);
    assert_string_equal(call_back.handler, call.handler);
    assert_ok(rk_event_decode(bytes, rk_event_encode(&event, bytes), &event_back));
    assert_true(event_back.rank == 7 && event_back.sequence == 1ull << 40);
    assert_int_equal(rk_result_encode(&result, bytes), RK_RESULT_HEAD_SIZE);
    assert_ok(rk_result_decode(bytes, RK_RESULT_HEAD_SIZE, &result_back));
    assert_memory_equal(&result_back, &result, offsetof(struct rk_result_head, slowest_rank));
    assert_int_equal(result_back.slowest_rank, 7);
    assert_ok(rk_error_decode(bytes, rk_error_encode(&error, bytes), &error_back));
    assert_true(error_back.code == RANKCALL_EBUSY && error_back.rank == -1);
    assert_ok(rk_status_decode(bytes, rk_status_encode(&status, bytes), &status_back));
    assert_int_equal(status_back.wait, 1);
    assert_ok(rk_stop_decode(bytes, rk_stop_encode(&stop, bytes), &stop_back));
    assert_true(stop_back.drain_us == stop.drain_us);
    assert_ok(rk_cancel_decode(bytes, rk_cancel_encode(&cancel, bytes), &cancel_back));
    assert_true(cancel_back.call == UINT64_MAX);
    assert_ok(rk_cancelled_decode(bytes, rk_cancelled_encode(&cancelled, bytes), &cancelled_back));
    assert_int_equal(cancelled_back.calls, 3);
}

static void what_a_client_needs_to_come_back_is_carried(void **state)
{
    uint8_t bytes[RK_HEAD_CAP];
    struct rk_hello hello = {1, 1, RK_FEATURE_RESUME, 77}, hello_back;
    struct rk_welcome welcome = {1, 2, RK_FEATURE_RESUME, 4096, UINT64_MAX - 1, 9, 2, 12}, welcome_back;
    struct rk_away_head away = {UINT64_MAX, 3}, away_back;
    struct rk_call_head call = {.kind = RK_INVOKE,
                                .flags = RK_CALL_IDEMPOTENT | RK_CALL_WAITED | RK_CALL_DURATION,
                                .duration_us = 5,
                                .begun = 2,
                                .submitted_us = 1ull << 40,
                                .handler = "x"},
                        call_back;
    size_t size;

    (void)state;
    assert_int_equal(rk_hello_encode(&hello, bytes), 24);
    assert_ok(rk_hello_decode(bytes, 24, &hello_back));
    assert_true(hello_back.token == 77);
    assert_ok(rk_hello_decode(bytes, 16, &hello_back)); /* an older client's */
    assert_true(hello_back.token == 0);
    assert_ok(rk_welcome_decode(bytes, rk_welcome_encode(&welcome, bytes), &welcome_back));
    assert_true(welcome_back.token == UINT64_MAX - 1 && welcome_back.begun == 9 && welcome_back.times == 2 &&
                welcome_back.clock_us == 12);
    assert_ok(rk_welcome_decode(bytes, 24, &welcome_back));
    assert_true(welcome_back.token == 0 && welcome_back.begun == 0);
    assert_ok(rk_away_decode(bytes, rk_away_encode(&away, bytes), &away_back));
    assert_true(away_back.begun == UINT64_MAX && away_back.times == 3);
    size = rk_call_encode(&call, bytes);
    assert_ok(rk_call_decode(bytes, size, &call_back));
    assert_true(call_back.flags == call.flags && call_back.begun == 2 && call_back.submitted_us == 1ull << 40 &&
                call_back.duration_us == 5);
    assert_string_equal(call_back.handler, "x");
    assert_fails(rk_call_decode(bytes, size - 1, &call_back), RANKCALL_EPROTOCOL, "CALL head");
}

/* A decoder of any type, as one that takes bytes and drops what it found. */
typedef int (*decode_fn)(const uint8_t *bytes, size_t size);

#define DECODER(name, type)                            \
    static int name(const uint8_t *bytes, size_t size) \
    {                                                  \
        type head;                                     \
                                                       \
        return rk_##name(bytes, size, &head);          \
    }

DECODER(hello_decode, struct rk_hello)
DECODER(welcome_decode, struct rk_welcome)
DECODER(call_decode, struct rk_call_head)
DECODER(event_decode, struct rk_event_head)
DECODER(result_decode, struct rk_result_head)
DECODER(error_decode, struct rk_error_head)
DECODER(status_decode, struct rk_status_head)
DECODER(stop_decode, struct rk_stop_head)
DECODER(cancel_decode, struct rk_cancel_head)
DECODER(cancelled_decode, struct rk_cancelled_head)

struct head_case {
    decode_fn decode;
    size_t size;
    const char *bytes;
    const char *message; /* NULL: it is right */
};

#define ZEROS_16 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define ZEROS_48 ZEROS_16 ZEROS_16 ZEROS_16

static const struct head_case heads[] = {
    {hello_decode, 16, "\1\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0", NULL},
    {hello_decode, 18, "\1\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0??", NULL},
    {hello_decode, 16, "\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0", "HELLO head, byte 0: versions 0 to 1"},
    {hello_decode, 16, "\2\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0", "HELLO head, byte 0: versions 2 to 1"},
    {welcome_decode, 24, "\1\0\0\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", NULL},
    {welcome_decode, 24, "\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "WELCOME head, byte 4"},
    {welcome_decode, 24, "\1\0\0\0\0\0\0\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "WELCOME head, byte 4"},
    {call_decode, 26, "\0\0\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0hi", NULL},
    {call_decode, 28, "\0\0\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0hi??", NULL},
    {call_decode, 24, "\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", NULL},
    {call_decode, 24, "\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "CALL head, byte 0: kind is 2"},
    {call_decode, 24, "\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "handler_size is 1, but the head ends"},
    {call_decode, 24, "\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "handler_size is 256, expected at most 255"},
    {call_decode, 26, "\0\0\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0h\xff", "name is not UTF-8"},
    {call_decode, 26, "\0\0\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0h\0", "name is not UTF-8"},
    {event_decode, 16, "\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", NULL},
    {event_decode, 16, "\0\0\0\x80\0\0\0\0\0\0\0\0\0\0\0\0", "EVENT head, byte 0"},
    {result_decode, 56, ZEROS_48 "\xff\xff\xff\xff\0\0\0\0", NULL},
    {result_decode, 56, ZEROS_48 "\xfe\xff\xff\xff\0\0\0\0", "RESULT head, byte 48: a rank of -2"},
    {cancel_decode, 8, "\1\0\0\0\0\0\0\0", NULL},
    {cancelled_decode, 8, "\1\0\0\0\0\0\0\0", NULL},
    {error_decode, 8, "\5\0\0\0\xff\xff\xff\xff", NULL},
    {error_decode, 8, "\0\0\0\0\0\0\0\0", "ERROR head, byte 0: code is 0"},
    {error_decode, 8, "\0\0\0\x80\0\0\0\0", "ERROR head, byte 0"},
    {error_decode, 8, "\1\0\0\0\xfe\xff\xff\xff", "ERROR head, byte 4: a rank of -2"},
    {status_decode, 8, "\1\0\0\0\0\0\0\0", NULL},
    {status_decode, 8, "\2\0\0\0\0\0\0\0", "STATUS head, byte 0: wait is 2"},
    {stop_decode, 8, "\0\0\0\0\0\0\0\1", NULL},
};

static void a_wrong_head_is_refused_and_a_longer_one_taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(heads); i++) {
        const uint8_t *bytes = (const uint8_t *)heads[i].bytes;

        if (heads[i].message)
            assert_fails(heads[i].decode(bytes, heads[i].size), RANKCALL_EPROTOCOL, heads[i].message);
        else
            assert_ok(heads[i].decode(bytes, heads[i].size));
    }
}

static void every_cut_and_every_flipped_bit_of_a_head_is_survived(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(heads); i++) {
        for (size_t size = 0; size < heads[i].size; size++) {
            uint8_t *cut = malloc(size ? size : 1); /* of the exact size: a sanitizer sees a read past its end */

            memcpy(cut, heads[i].bytes, size);
            if (size < (heads[i].size < 24 ? heads[i].size & ~7u : 24))
                assert_int_equal(heads[i].decode(cut, size), RANKCALL_EPROTOCOL);
            else
                (void)heads[i].decode(cut, size);
            free(cut);
        }
        for (size_t bit = 0; bit < 8 * heads[i].size; bit++) {
            uint8_t flipped[64];

            assert_true(heads[i].size <= sizeof flipped);
            memcpy(flipped, heads[i].bytes, heads[i].size);
            flipped[bit / 8] ^= (uint8_t)(1 << bit % 8);
            (void)heads[i].decode(flipped, heads[i].size);
        }
    }
}

static void an_error_travels_as_a_payload(void **state)
{
    struct rankcall_error error = {RANKCALL_EWORKER, 2, "node1", "\xc3\xa9 \"quoted\"", "line 1\nline 2"};
    struct rk_error_head head = {RANKCALL_EWORKER, 2};
    struct rankcall_payload *payload = rk_error_to_payload(&error);
    const char *name;

    (void)state;
    assert_non_null(payload);
    assert_ok(rankcall_get_string(payload, "error", &name));
    assert_string_equal(name, "worker_error");
    assert_int_equal(rk_error_from_payload(&head, payload), RANKCALL_EWORKER);
    assert_string_equal(rankcall_last_error()->message, error.message);
    assert_string_equal(rankcall_last_error()->traceback, error.traceback);
    assert_string_equal(rankcall_last_error()->host, "node1");
    assert_int_equal(rankcall_last_error()->rank, 2);
    rankcall_payload_free(payload);
}

static void bytes_that_are_no_text_are_replaced_in_an_error(void **state)
{
    struct rankcall_error error = {RANKCALL_EWORKER, 0, "", "a\xff\xc3\xa9\xe2\x82z\xed\xa0\x80", NULL};
    struct rankcall_payload *payload = rk_error_to_payload(&error);
    const char *message;

    (void)state;
    assert_ok(rankcall_get_string(payload, "message", &message));
    assert_string_equal(message, "a\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbdz"
                                 "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    rankcall_payload_free(payload);
}

static void an_error_without_a_good_payload_is_still_an_error(void **state)
{
    static const char *const poor[] = {"{}", "{\"message\": 3, \"host\": null, \"traceback\": [\"a\"]}",
                                       "{\"message\": \"a\\u0000b\"}"};
    struct rk_error_head head = {RANKCALL_EBUSY, -1}, unknown = {9999, -1};

    (void)state;
    assert_int_equal(rk_error_from_payload(&head, NULL), RANKCALL_EBUSY);
    assert_string_equal(rankcall_last_error()->message, "the call queue is full");
    for (size_t i = 0; i < COUNT(poor); i++) {
        struct rankcall_payload *payload;

        assert_ok(rankcall_payload_from_json(poor[i], SIZE_MAX, &payload));
        assert_int_equal(rk_error_from_payload(&head, payload), RANKCALL_EBUSY);
        assert_string_equal(rankcall_last_error()->message, "the call queue is full");
        rankcall_payload_free(payload);
    }
    assert_int_equal(rk_error_from_payload(&unknown, NULL), 9999);
}

UNIT_MAIN(cmocka_unit_test(a_header_is_encoded_as_documented_and_decoded_back),
          cmocka_unit_test(a_wrong_header_is_refused_by_field_byte_and_value), cmocka_unit_test(a_call_must_have_an_id),
          cmocka_unit_test(every_flipped_bit_of_a_header_is_an_error_or_another_value),
          cmocka_unit_test(every_head_comes_back_as_it_was_sent),
          cmocka_unit_test(what_a_client_needs_to_come_back_is_carried),
          cmocka_unit_test(a_wrong_head_is_refused_and_a_longer_one_taken),
          cmocka_unit_test(every_cut_and_every_flipped_bit_of_a_head_is_survived),
          cmocka_unit_test(an_error_travels_as_a_payload),
          cmocka_unit_test(bytes_that_are_no_text_are_replaced_in_an_error),
          cmocka_unit_test(an_error_without_a_good_payload_is_still_an_error))
