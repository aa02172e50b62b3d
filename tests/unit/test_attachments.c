/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Attachments: what is taken, how they are found, and whose their memory is. */

#include "unit.h"

#include "wire/payload.h"

struct attachment_case {
    struct rankcall_attachment attachment;
    const char *message; /* NULL: it is right */
};

static char long_name[257];

static const struct attachment_case attachments[] = {
    {{.name = "a", .data = "x", .size = 1}, NULL},
    {{.name = "b", .size = 0}, NULL},
    {{.name = "\xc3\xa9", .type = RANKCALL_IMAGE_JPEG, .data = "x", .size = 1}, NULL},
    {{.name = "s", .type = RANKCALL_NDARRAY, .dtype = RANKCALL_UINT8, .data = "x", .size = 1}, NULL},
    {{.name = "v",
      .type = RANKCALL_NDARRAY,
      .dtype = RANKCALL_INT16,
      .ndim = 1,
      .shape = {2},
      .data = "abcd",
      .size = 4},
     NULL},
    {{.name = "z", .type = RANKCALL_NDARRAY, .dtype = RANKCALL_INT16, .ndim = 3, .shape = {UINT64_MAX, 0, 9}}, NULL},
    {{.name = "", .data = "x", .size = 1}, "0 bytes, expected 1 to 255"},
    {{.name = long_name, .data = "x", .size = 1}, "256 bytes, expected 1 to 255"},
    {{.name = "\xff"}, "not UTF-8"},
    {{.name = "a"}, "there is an attachment \"a\" already"},
    {{.name = "c", .size = 1}, "attachment \"c\": data is NULL"},
    {{.name = "c", .type = 4}, "type is 4, expected 0 to 3"},
    {{.name = "c", .type = -1}, "type is -1"},
    {{.name = "c", .dtype = RANKCALL_INT8}, "bytes has neither dtype nor dimensions"},
    {{.name = "c", .ndim = 1}, "bytes has neither dtype nor dimensions"},
    {{.name = "c", .type = RANKCALL_NDARRAY}, "dtype is 0, expected 1 to 15"},
    {{.name = "c", .type = RANKCALL_NDARRAY, .dtype = 16}, "dtype is 16"},
    {{.name = "c", .type = RANKCALL_NDARRAY, .dtype = RANKCALL_INT8, .ndim = 33}, "33 dimensions, expected 0 to 32"},
    {{.name = "c", .type = RANKCALL_NDARRAY, .dtype = RANKCALL_INT8, .ndim = -1}, "-1 dimensions"},
    {{.name = "c", .type = RANKCALL_NDARRAY, .dtype = RANKCALL_INT8, .ndim = 1, .shape = {2}, .data = "x", .size = 1},
     "the shape needs 2 bytes of int8, but there are 1"},
    {{.name = "c", .type = RANKCALL_NDARRAY, .dtype = RANKCALL_INT16, .ndim = 2, .shape = {1ull << 32, 1ull << 31}},
     "the shape's product overflows"},
};

static void attachments_must_agree_with_themselves(void **state)
{
    struct rankcall_payload *payload = rankcall_payload_new();
    size_t right = 0;

    (void)state;
    memset(long_name, 'n', sizeof long_name - 1);
    for (size_t i = 0; i < COUNT(attachments); i++) {
        const struct attachment_case *one = &attachments[i];

        if (one->message) {
            assert_fails(rankcall_attach(payload, &one->attachment, NULL, NULL), RANKCALL_EPAYLOAD, one->message);
            assert_fails(rankcall_attach_copy(payload, &one->attachment), RANKCALL_EPAYLOAD, one->message);
        } else {
            assert_ok(rankcall_attach_copy(payload, &one->attachment));
            right++;
        }
        assert_int_equal(rankcall_attachment_count(payload), right);
    }
    rankcall_payload_free(payload);
}

static void attachments_are_found_by_place_name_and_type(void **state)
{
    static const float numbers[] = {1, 2, 3, 4};
    struct rankcall_attachment array = {.name = "grid",
                                        .type = RANKCALL_NDARRAY,
                                        .dtype = RANKCALL_FLOAT32,
                                        .ndim = 2,
                                        .shape = {2, 2},
                                        .data = numbers,
                                        .size = sizeof numbers},
                               bytes = {.name = "raw", .data = "abc", .size = 3}, found;
    struct rankcall_payload *payload = rankcall_payload_new();

    (void)state;
    assert_fails(rankcall_attachment(payload, "raw", &found), RANKCALL_ENOKEY, "no attachment \"raw\" (it has 0)");
    assert_ok(rankcall_attach_copy(payload, &array));
    assert_ok(rankcall_attach(payload, &bytes, NULL, NULL));
    assert_ok(rankcall_attachment(payload, "grid", &found));
    assert_true((uintptr_t)found.data % 64 == 0 && found.data != numbers);
    assert_memory_equal(found.data, numbers, sizeof numbers);
    assert_true(found.ndim == 2 && found.shape[1] == 2);
    assert_ok(rankcall_attachment_at(payload, 1, &found));
    assert_string_equal(found.name, "raw");
    assert_ptr_equal(found.data, bytes.data);
    assert_fails(rankcall_attachment_at(payload, 2, &found), RANKCALL_EINVAL, "no attachment number 2: it has 2");
    assert_fails(rankcall_attachment(payload, "x", &found), RANKCALL_ENOKEY, "(it has 2: \"grid\" ...)");
    assert_ok(rankcall_attachment_of(payload, "grid", RANKCALL_NDARRAY, RANKCALL_FLOAT32, &found));
    assert_ok(rankcall_attachment_of(payload, "grid", RANKCALL_NDARRAY, RANKCALL_DTYPE_NONE, &found));
    assert_fails(rankcall_attachment_of(payload, "grid", RANKCALL_NDARRAY, RANKCALL_FLOAT64, &found), RANKCALL_ETYPE,
                 "payload: attachment \"grid\": expected ndarray of float64, got ndarray of float32");
    assert_fails(rankcall_attachment_of(payload, "raw", RANKCALL_IMAGE_PNG, RANKCALL_DTYPE_NONE, &found),
                 RANKCALL_ETYPE, "payload: attachment \"raw\": expected image/png, got bytes");
    rankcall_payload_free(payload);
}

static void count_release(void *data, void *context)
{
    assert_string_equal(data, "abc");
    ++*(int *)context;
}

static void lent_memory_is_given_back_once_whatever_happens(void **state)
{
    struct rankcall_attachment bytes = {.name = "raw", .data = "abc", .size = 3};
    struct rankcall_payload *payload = rankcall_payload_new();
    int released = 0;

    (void)state;
    assert_ok(rankcall_attach(payload, &bytes, count_release, &released));
    assert_int_equal(released, 0);
    assert_fails(rankcall_attach(payload, &bytes, count_release, &released), RANKCALL_EPAYLOAD, "already");
    assert_int_equal(released, 1);
    assert_fails(rankcall_attach(NULL, &bytes, count_release, &released), RANKCALL_EINVAL, "needs a payload");
    assert_int_equal(released, 2);
    rk_payload_ref(payload);
    rankcall_payload_free(payload);
    assert_int_equal(released, 2);
    rankcall_payload_free(payload);
    assert_int_equal(released, 3);
}

static void taken_memory_is_freed_also_on_failure(void **state)
{
    struct rankcall_attachment bytes = {.name = "raw", .data = malloc(3), .size = 3};
    struct rankcall_payload *payload = rankcall_payload_new();

    (void)state;
    assert_ok(rankcall_attach_take(payload, &bytes));
    bytes.data = malloc(3);
    assert_fails(rankcall_attach_take(payload, &bytes), RANKCALL_EPAYLOAD, "already"); /* leaks are seen */
    rankcall_payload_free(payload);
}

static void owning_copies_what_was_only_lent(void **state)
{
    char lent[] = "lent", *taken = malloc(6);
    struct rankcall_attachment one = {.name = "lent", .data = lent, .size = 5},
                               two = {.name = "taken", .data = strcpy(taken, "taken"), .size = 6},
                               none = {.name = "none"}, found;
    struct rankcall_payload *payload = rankcall_payload_new();

    (void)state;
    assert_ok(rankcall_attach(payload, &one, NULL, NULL));
    assert_ok(rankcall_attach_take(payload, &two));
    assert_ok(rankcall_attach(payload, &none, NULL, NULL));
    assert_ok(rk_payload_own(payload));
    assert_ok(rk_payload_own(payload));
    memset(lent, 'x', 4);
    assert_ok(rankcall_attachment(payload, "lent", &found));
    assert_string_equal(found.data, "lent");
    assert_ok(rankcall_attachment(payload, "taken", &found));
    assert_ptr_equal(found.data, taken);
    rankcall_payload_free(payload);
}

static void there_is_room_for_1024_attachments(void **state)
{
    struct rankcall_payload *payload = rankcall_payload_new();
    char name[16];
    struct rankcall_attachment bytes = {.name = name};

    (void)state;
    for (int i = 0; i < RANKCALL_MAX_ATTACHMENTS; i++) {
        snprintf(name, sizeof name, "%d", i);
        assert_ok(rankcall_attach(payload, &bytes, NULL, NULL));
    }
    strcpy(name, "last");
    assert_fails(rankcall_attach(payload, &bytes, NULL, NULL), RANKCALL_EPAYLOAD, "one more than the 1024");
    rankcall_payload_free(payload);
}

static void types_have_names_and_sizes(void **state)
{
    static const size_t sizes[] = {0, 1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 4, 8, 8, 16, 2};

    (void)state;
    for (int dtype = 0; dtype < (int)COUNT(sizes); dtype++)
        assert_int_equal(rankcall_dtype_size(dtype), sizes[dtype]);
    assert_int_equal(rankcall_dtype_size(16), 0);
    assert_int_equal(rankcall_dtype_size(-1), 0);
    assert_string_equal(rankcall_dtype_name(RANKCALL_BFLOAT16), "bfloat16");
    assert_string_equal(rankcall_dtype_name(RANKCALL_DTYPE_NONE), "");
    assert_string_equal(rankcall_dtype_name(99), "");
    assert_string_equal(rankcall_type_name(RANKCALL_IMAGE_JPEG), "image/jpeg");
    assert_string_equal(rankcall_type_name(4), "");
}

UNIT_MAIN(cmocka_unit_test(attachments_must_agree_with_themselves),
          cmocka_unit_test(attachments_are_found_by_place_name_and_type),
          cmocka_unit_test(lent_memory_is_given_back_once_whatever_happens),
          cmocka_unit_test(taken_memory_is_freed_also_on_failure), cmocka_unit_test(owning_copies_what_was_only_lent),
          cmocka_unit_test(there_is_room_for_1024_attachments), cmocka_unit_test(types_have_names_and_sizes))
