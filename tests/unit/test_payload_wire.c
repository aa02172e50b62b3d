/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A payload's wire form, and what is refused of wire bytes. */

#include "unit.h"

#include "wire/frame.h"
#include "wire/payload.h"

/* {"a":1}, "x" of 3 bytes and "m" of 2 x 1 int16. */
static struct rankcall_payload *make_sample(void)
{
    static const int16_t matrix[] = {0x0102, 0x0304};
    struct rankcall_payload *payload;
    struct rankcall_attachment x = {.name = "x", .data = "abc", .size = 3};
    struct rankcall_attachment m = {.name = "m",
                                    .type = RANKCALL_NDARRAY,
                                    .dtype = RANKCALL_INT16,
                                    .ndim = 2,
                                    .shape = {2, 1},
                                    .data = matrix,
                                    .size = 4};

    assert_ok(rankcall_payload_from_json("{\"a\":1}", SIZE_MAX, &payload));
    assert_ok(rankcall_attach(payload, &x, NULL, NULL));
    assert_ok(rankcall_attach(payload, &m, NULL, NULL));
    assert_ok(rk_payload_freeze(payload));
    return payload;
}

enum { SAMPLE_SIZE = 196 };

/* The table takes 24 + 40 bytes behind byte 16. */
static const uint8_t sample[SAMPLE_SIZE] = {
    7, 0, 0, 0, 2, 0, 0, 0, '{', '"', 'a', '"', ':', '1', '}', 0, /* sizes, JSON, padding */
    3, 0, 0, 0, 0, 0, 0, 0, 1,   0,   0,   0,   0,   0,   0,   0, 'x',         0,   0,   0,         0, 0, 0,
    0, /* entry of "x" at 16 */
    4, 0, 0, 0, 0, 0, 0, 0, 1,   0,   3,   3,   2,   0,   0,   0, 2,           0,   0,   0,         0, 0, 0,
    0, /* entry of "m" at 40 */
    1, 0, 0, 0, 0, 0, 0, 0, 'm', 0,   0,   0,   0,   0,   0,   0, [128] = 'a', 'b', 'c', [192] = 2, 1, 4, 3};

static uint8_t *bytes_of(const struct rankcall_payload *payload)
{
    uint8_t *bytes = rk_payload_alloc(rk_payload_size(payload));

    rk_payload_copy(payload, bytes);
    return bytes;
}

static struct rankcall_payload *decode(const void *bytes, size_t size, int *code)
{
    struct rankcall_payload *payload = NULL;
    uint8_t *copy = rk_payload_alloc(size);

    memcpy(copy, bytes, size);
    *code = rk_payload_decode(copy, size, &payload);
    if (*code)
        free(copy);
    return payload;
}

static void the_wire_form_is_as_documented(void **state)
{
    struct rankcall_payload *payload = make_sample();
    const struct iovec *pieces;
    size_t count, total = 0;
    uint8_t *bytes;

    (void)state;
    assert_int_equal(rk_payload_size(payload), SAMPLE_SIZE);
    bytes = bytes_of(payload);
    assert_memory_equal(bytes, sample, SAMPLE_SIZE);
    free(bytes);
    count = rk_payload_pieces(payload, &pieces);
    assert_int_equal(count, 4); /* front, data, padding, data */
    for (size_t i = 0; i < count; i++)
        total += pieces[i].iov_len;
    assert_int_equal(total, SAMPLE_SIZE);
    assert_string_equal(pieces[1].iov_base, "abc"); /* the caller's memory, not a copy */
    assert_null(rk_payload_bytes(payload));
    rankcall_payload_free(payload);
}

static void decoded_bytes_give_the_same_payload_in_place(void **state)
{
    struct rankcall_attachment found;
    struct rankcall_payload *payload;
    const uint8_t *bytes;
    size_t size;
    int64_t value;
    int code;

    (void)state;
    payload = decode(sample, SAMPLE_SIZE, &code);
    assert_ok(code);
    bytes = rk_payload_bytes(payload);
    assert_memory_equal(bytes, sample, SAMPLE_SIZE);
    assert_ptr_equal(rankcall_payload_json(payload, &size), bytes + 8);
    assert_int_equal(size, 7);
    assert_string_equal(rankcall_payload_json(payload, NULL), "{\"a\":1}");
    assert_ok(rankcall_get_int(payload, "a", &value));
    assert_ok(rankcall_attachment_of(payload, "m", RANKCALL_NDARRAY, RANKCALL_INT16, &found));
    assert_ptr_equal(found.data, bytes + 192);
    assert_int_equal((uintptr_t)found.data % 64, 0);
    assert_true(found.ndim == 2 && found.shape[0] == 2 && found.shape[1] == 1 && found.size == 4);
    assert_fails(rankcall_set_int(payload, "a", 2), RANKCALL_EINVAL, "read-only");
    assert_ok(rk_payload_freeze(payload));
    assert_int_equal(rk_payload_size(payload), SAMPLE_SIZE);
    rankcall_payload_free(payload);
}

static void an_empty_payload_has_no_bytes(void **state)
{
    struct rankcall_payload *payload = rankcall_payload_new();
    const struct iovec *pieces;

    (void)state;
    assert_ok(rk_payload_freeze(payload));
    assert_int_equal(rk_payload_size(payload), 0);
    assert_int_equal(rk_payload_pieces(payload, &pieces), 0);
    rk_payload_copy(payload, NULL);
    rankcall_payload_free(payload);

    assert_ok(rk_payload_decode(NULL, 0, &payload));
    assert_string_equal(rankcall_payload_json(payload, NULL), "{}");
    assert_fails(rankcall_set_int(payload, "a", 1), RANKCALL_EINVAL, "read-only");
    assert_int_equal(rk_payload_size(payload), 0);
    rankcall_payload_free(payload);
}

static void json_alone_ends_with_one_to_eight_zeros(void **state)
{
    (void)state;
    for (size_t spaces = 0; spaces < 9; spaces++) {
        struct rankcall_payload *payload, *back;
        char text[16] = "{          ";
        const uint8_t *bytes;
        int code;

        text[1 + spaces] = '}';
        text[2 + spaces] = '\0';
        assert_ok(rankcall_payload_from_json(text, SIZE_MAX, &payload));
        assert_ok(rk_payload_freeze(payload));
        if (spaces == 0) {
            assert_int_equal(rk_payload_size(payload), 0);
        } else {
            assert_int_equal(rk_payload_size(payload), spaces < 6 ? 16 : 24);
            bytes = rk_payload_bytes(payload);
            assert_non_null(bytes);
            back = decode(bytes, rk_payload_size(payload), &code);
            assert_ok(code);
            assert_string_equal(rankcall_payload_json(back, NULL), text);
            rankcall_payload_free(back);
        }
        rankcall_payload_free(payload);
    }
}

static void empty_attachments_have_their_place(void **state)
{
    struct rankcall_payload *payload = rankcall_payload_new(), *back;
    struct rankcall_attachment found;
    uint8_t *bytes;

    (void)state;
    assert_ok(rankcall_attach(payload, &(struct rankcall_attachment){.name = "a"}, NULL, NULL));
    assert_ok(rankcall_attach(payload, &(struct rankcall_attachment){.name = "b", .data = "x", .size = 1}, NULL, NULL));
    assert_ok(rankcall_attach(payload, &(struct rankcall_attachment){.name = "c"}, NULL, NULL));
    assert_ok(rk_payload_freeze(payload));
    assert_int_equal(rk_payload_size(payload), 192); /* 16 + 3 * 24; "a" and "b" at 128, "c" at 192 */
    rankcall_payload_free(payload);
    payload = rankcall_payload_new();
    assert_ok(rankcall_attach(payload, &(struct rankcall_attachment){.name = "a"}, NULL, NULL));
    assert_ok(rk_payload_freeze(payload));
    assert_int_equal(rk_payload_size(payload), 64);
    bytes = bytes_of(payload);
    assert_ok(rk_payload_decode(bytes, 64, &back));
    assert_ok(rankcall_attachment(back, "a", &found));
    assert_int_equal(found.size, 0);
    rankcall_payload_free(back);
    rankcall_payload_free(payload);
}

struct change {
    size_t at;
    uint8_t value;
    int code;
    const char *message;
};

static const struct change changes[] = {
    {0, 8, RANKCALL_EPAYLOAD, "byte 16 is padding and 0x03"},
    {0, 200, RANKCALL_EPAYLOAD, "ends after 196 bytes, within the JSON text"},
    {0, 185, RANKCALL_EPAYLOAD, "within the padding at byte 193"},
    {3, 0xff, RANKCALL_ETOOLARGE, "json_size is 4278190087, over the cap of 67108864"},
    {4, 0, RANKCALL_EPAYLOAD, "180 bytes are left over behind its end at byte 16"},
    {4, 1, RANKCALL_EPAYLOAD, "byte 40 is padding and 0x04"},
    {4, 3, RANKCALL_EPAYLOAD, "name has 0 bytes"},
    {5, 4, RANKCALL_ETOOLARGE, "1026 attachments, over the cap of 1024"},
    {15, 1, RANKCALL_EPAYLOAD, "byte 15 is padding and 0x01"},
    {16, 66, RANKCALL_EPAYLOAD, "ends after 196 bytes, within the padding at byte 194"},
    {16, 0, RANKCALL_EPAYLOAD, "64 bytes are left over behind its end at byte 132"},
    {23, 0xff, RANKCALL_EPAYLOAD, "attachment \"x\" has 18374686479671623683 bytes from byte 128"},
    {24, 0, RANKCALL_EPAYLOAD, "name has 0 bytes"},
    {24, 2, RANKCALL_EPAYLOAD, "name is not UTF-8"}, /* a NUL */
    {25, 0xff, RANKCALL_EPAYLOAD, "within the attachment table's entry at byte 16"},
    {26, 4, RANKCALL_EPAYLOAD, "attachment \"x\": type is 4"},
    {27, 1, RANKCALL_EPAYLOAD, "attachment \"x\": bytes has neither dtype nor dimensions"},
    {28, 1, RANKCALL_EPAYLOAD, "bytes has neither dtype nor dimensions"},
    {28, 33, RANKCALL_EPAYLOAD, "ndim at byte 28 is 33, expected at most 32"},
    {28, 21, RANKCALL_EPAYLOAD, "within the attachment table's entry at byte 16"},
    {29, 1, RANKCALL_EPAYLOAD, "reserved bytes at byte 29"},
    {32, 0xff, RANKCALL_EPAYLOAD, "name is not UTF-8"},
    {32, 'm', RANKCALL_EPAYLOAD, "two attachments are named \"m\""},
    {33, 1, RANKCALL_EPAYLOAD, "byte 33 is padding"},
    {40, 5, RANKCALL_EPAYLOAD, "\"m\": the shape needs 4 bytes of int16, but there are 5"},
    {51, 0, RANKCALL_EPAYLOAD, "\"m\": an ndarray's dtype is 0"},
    {51, 16, RANKCALL_EPAYLOAD, "\"m\": an ndarray's dtype is 16"},
    {63, 0x80, RANKCALL_EPAYLOAD, "\"m\": the shape's product overflows"},
    {64, 2, RANKCALL_EPAYLOAD, "\"m\": the shape needs 8 bytes"},
    {80, 1, RANKCALL_EPAYLOAD, "byte 80 is padding"},
    {127, 1, RANKCALL_EPAYLOAD, "byte 127 is padding"},
    {131, 1, RANKCALL_EPAYLOAD, "byte 131 is padding"},
};

static void lying_bytes_are_refused_in_words(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(changes); i++) {
        uint8_t bytes[SAMPLE_SIZE];
        int code;

        memcpy(bytes, sample, sizeof bytes);
        bytes[changes[i].at] = changes[i].value;
        assert_null(decode(bytes, sizeof bytes, &code));
        assert_fails(code, changes[i].code, changes[i].message);
    }
}

static void every_cut_and_every_addition_is_refused(void **state)
{
    uint8_t longer[SAMPLE_SIZE + 1] = {0};
    int code;

    (void)state;
    memcpy(longer, sample, SAMPLE_SIZE);
    for (size_t size = 1; size <= SAMPLE_SIZE + 1; size++) {
        struct rankcall_payload *payload = decode(longer, size, &code);

        assert_int_equal(code, size == SAMPLE_SIZE ? RANKCALL_OK : RANKCALL_EPAYLOAD);
        rankcall_payload_free(payload);
    }
}

static void every_flipped_bit_is_refused_or_another_value(void **state)
{
    size_t taken = 0;

    (void)state;
    for (size_t bit = 0; bit < 8 * SAMPLE_SIZE; bit++) {
        uint8_t bytes[SAMPLE_SIZE];
        struct rankcall_payload *payload;
        int code;

        memcpy(bytes, sample, sizeof bytes);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        payload = decode(bytes, sizeof bytes, &code);
        if (code)
            continue;
        taken++;
        assert_int_equal(rankcall_attachment_count(payload), 2);
        assert_int_equal(rk_payload_size(payload), SAMPLE_SIZE);
        assert_memory_equal(rk_payload_bytes(payload), bytes, SAMPLE_SIZE);
        rankcall_payload_free(payload);
    }
    assert_true(taken > 8 * (7 + 3 + 4) && taken < 8 * 32); /* JSON, data, and a few of types and names */
}

static void a_payload_of_many_attachments_comes_back(void **state)
{
    struct rankcall_payload *payload = rankcall_payload_new(), *back;
    char name[16], data[16] = {0};
    uint8_t *bytes;

    (void)state;
    for (int i = 0; i < RANKCALL_MAX_ATTACHMENTS; i++) {
        snprintf(name, sizeof name, "n%d", i);
        snprintf(data, sizeof data, "d%d", i);
        assert_ok(rankcall_attach_copy(
            payload, &(struct rankcall_attachment){.name = name, .data = data, .size = (uint64_t)(i % 16)}));
    }
    assert_ok(rk_payload_freeze(payload));
    bytes = bytes_of(payload);
    assert_ok(rk_payload_decode(bytes, rk_payload_size(payload), &back));
    for (size_t i = 0; i < RANKCALL_MAX_ATTACHMENTS; i++) {
        struct rankcall_attachment sent, got;

        assert_ok(rankcall_attachment_at(payload, i, &sent));
        assert_ok(rankcall_attachment_at(back, i, &got));
        assert_string_equal(sent.name, got.name);
        assert_int_equal(sent.size, got.size);
        assert_memory_equal(sent.data, got.data, sent.size);
        assert_int_equal((uintptr_t)got.data % 64, 0);
    }
    rankcall_payload_free(back);
    rankcall_payload_free(payload);
}

static void memory_for_payloads_is_aligned_and_has_limits(void **state)
{
    void *bytes = rk_payload_alloc(1), *none = rk_payload_alloc(0);

    (void)state;
    assert_int_equal((uintptr_t)bytes % 64, 0);
    assert_non_null(none);
    free(bytes);
    free(none);
    assert_null(rk_payload_alloc(UINT64_MAX));
    assert_null(rk_payload_alloc((uint64_t)PTRDIFF_MAX + 1));
}

UNIT_MAIN(cmocka_unit_test(the_wire_form_is_as_documented),
          cmocka_unit_test(decoded_bytes_give_the_same_payload_in_place),
          cmocka_unit_test(an_empty_payload_has_no_bytes), cmocka_unit_test(json_alone_ends_with_one_to_eight_zeros),
          cmocka_unit_test(empty_attachments_have_their_place), cmocka_unit_test(lying_bytes_are_refused_in_words),
          cmocka_unit_test(every_cut_and_every_addition_is_refused),
          cmocka_unit_test(every_flipped_bit_is_refused_or_another_value),
          cmocka_unit_test(a_payload_of_many_attachments_comes_back),
          cmocka_unit_test(memory_for_payloads_is_aligned_and_has_limits))
