/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Payloads: building them, looking things up, and attachments. */

#include "unit.h"

#include <errno.h>
#include <math.h>

#include "base/error.h"
#include "wire/frame.h"
#include "wire/payload.h"

static struct rankcall_payload *from(const char *json)
{
    struct rankcall_payload *payload = NULL;

    assert_ok(rankcall_payload_from_json(json, SIZE_MAX, &payload));
    return payload;
}

static void an_empty_payload_is_an_empty_object(void **state)
{
    struct rankcall_payload *payload = rankcall_payload_new();
    size_t size;

    (void)state;
    assert_string_equal(rankcall_payload_json(payload, &size), "{}");
    assert_int_equal(size, 2);
    assert_false(rankcall_has(payload, "a"));
    assert_int_equal(rankcall_attachment_count(payload), 0);
    rankcall_payload_free(payload);
    errno = 77;
    rankcall_payload_free(NULL);
    assert_int_equal(errno, 77);
}

static void what_was_set_is_written_in_order_and_found_again(void **state)
{
    struct rankcall_payload *payload = rankcall_payload_new();
    const double numbers[] = {1, 0.1, -1e300}, *found;
    int64_t integer = 0;
    double number = 0;
    bool truth = false;
    const char *text;
    size_t count;

    (void)state;
    assert_ok(rankcall_set_int(payload, "i", INT64_MAX));
    assert_ok(rankcall_set_double(payload, "d", 0.1));
    assert_ok(rankcall_set_bool(payload, "b", true));
    assert_ok(rankcall_set_string(payload, "s", "a\"\\\n\xc3\xa9"));
    assert_ok(rankcall_set_doubles(payload, "v", numbers, 3));
    assert_ok(rankcall_set_doubles(payload, "e", NULL, 0));
    assert_ok(rankcall_set_json(payload, "j", " {\"x\": [1, 2]} "));
    assert_ok(rankcall_set_int(payload, "/k\"", 5)); /* a member's name, not a pointer */
    assert_string_equal(rankcall_payload_json(payload, NULL),
                        "{\"i\":9223372036854775807,\"d\":0.1,\"b\":true,\"s\":\"a\\\"\\\\\\n\xc3\xa9\","
                        "\"v\":[1.0,0.1,-1e+300],\"e\":[],\"j\": {\"x\": [1, 2]} ,\"/k\\\"\":5}");

    assert_fails(rankcall_get_int(payload, "i", &integer), RANKCALL_ERANGE, "\"i\": 9223372036854775807 is not held");
    assert_ok(rankcall_get_double(payload, "d", &number));
    assert_true(number == 0.1);
    assert_ok(rankcall_get_bool(payload, "b", &truth));
    assert_true(truth);
    assert_ok(rankcall_get_string(payload, "s", &text));
    assert_string_equal(text, "a\"\\\n\xc3\xa9");
    assert_ok(rankcall_get_doubles(payload, "v", &found, &count));
    assert_int_equal(count, 3);
    assert_memory_equal(found, numbers, sizeof numbers);
    assert_ok(rankcall_get_int(payload, "/j/x/1", &integer));
    assert_int_equal(integer, 2);
    assert_ok(rankcall_get_int(payload, "/~1k\"", &integer));
    assert_int_equal(integer, 5);
    rankcall_payload_free(payload);
}

static void setting_again_replaces_in_place(void **state)
{
    struct rankcall_payload *payload = from("{ \"a\" : 1 , \"b\\u0062\":9007199254740993,\"c\":[ 1 ]}");
    int64_t value;

    (void)state;
    assert_ok(rankcall_get_int(payload, "a", &value));
    assert_ok(rankcall_set_string(payload, "a", "new"));
    assert_ok(rankcall_set_int(payload, "d", -1));
    assert_ok(rankcall_set_int(payload, "d", -2));
    assert_string_equal(rankcall_payload_json(payload, NULL),
                        "{\"a\":\"new\",\"bb\":9007199254740993,\"c\":[ 1 ],\"d\":-2}");
    assert_ok(rankcall_get_int(payload, "d", &value));
    assert_int_equal(value, -2);
    assert_fails(rankcall_get_int(payload, "a", &value), RANKCALL_ETYPE, "got the string \"new\"");
    rankcall_payload_free(payload);
}

static void an_array_given_out_outlives_changes(void **state)
{
    struct rankcall_payload *payload = from("{\"v\": [1, 2, 3]}");
    const double *first, *again;
    size_t count;

    (void)state;
    assert_ok(rankcall_get_doubles(payload, "v", &first, &count));
    assert_ok(rankcall_get_doubles(payload, "/v", &again, &count));
    assert_ptr_equal(first, again); /* asked again, the same memory */
    assert_ok(rankcall_set_json(payload, "v", "[4]"));
    assert_ok(rankcall_get_doubles(payload, "v", &again, &count));
    assert_int_equal(count, 1);
    assert_true(first[2] == 3 && again[0] == 4);
    rankcall_payload_free(payload);
}

static void what_has_no_place_in_json_cannot_be_set(void **state)
{
    struct rankcall_payload *payload = rankcall_payload_new();
    const double numbers[] = {1, INFINITY};

    (void)state;
    assert_fails(rankcall_set_double(payload, "a", NAN), RANKCALL_ERANGE, "\"a\": NaN");
    assert_fails(rankcall_set_double(payload, "a", -INFINITY), RANKCALL_ERANGE, "infinity");
    assert_fails(rankcall_set_doubles(payload, "a", numbers, 2), RANKCALL_ERANGE, "infinity");
    assert_fails(rankcall_set_doubles(payload, "a", NULL, 2), RANKCALL_EINVAL, "NULL");
    assert_fails(rankcall_set_string(payload, "a", "\xff"), RANKCALL_EPAYLOAD, "\"a\": the string is not UTF-8");
    assert_fails(rankcall_set_string(payload, "a", NULL), RANKCALL_EINVAL, "NULL");
    assert_fails(rankcall_set_int(payload, "\xff", 1), RANKCALL_EPAYLOAD, "key is not UTF-8");
    assert_fails(rankcall_set_int(payload, NULL, 1), RANKCALL_EINVAL, "key is NULL");
    assert_fails(rankcall_set_int(NULL, "a", 1), RANKCALL_EINVAL, "NULL");
    assert_fails(rankcall_set_json(payload, "a", "{\"x\":1,\"x\":2}"), RANKCALL_EPAYLOAD, "duplicate key");
    assert_fails(rankcall_set_json(payload, "a", "1,\"b\":2"), RANKCALL_EPAYLOAD, "JSON byte 1");
    assert_fails(rankcall_set_json(payload, "a", NULL), RANKCALL_EINVAL, "NULL");
    assert_string_equal(rankcall_payload_json(payload, NULL), "{}");
    rankcall_payload_free(payload);
}

static void text_is_kept_byte_for_byte(void **state)
{
    static const char text[] = " {\"a\" : 1.50, \"b\":[ ]\t}\n";
    struct rankcall_payload *payload = from(text);
    size_t size;

    (void)state;
    assert_string_equal(rankcall_payload_json(payload, &size), text);
    assert_int_equal(size, strlen(text));
    assert_ok(rk_payload_freeze(payload));
    assert_string_equal(rankcall_payload_json(payload, NULL), text);
    rankcall_payload_free(payload);

    assert_ok(rankcall_payload_from_json("{\"a\":1} and more", 7, &payload));
    assert_string_equal(rankcall_payload_json(payload, NULL), "{\"a\":1}");
    rankcall_payload_free(payload);
    assert_fails(rankcall_payload_from_json("{\"a\":}", SIZE_MAX, &payload), RANKCALL_EPAYLOAD, "JSON byte 5");
    assert_fails(rankcall_payload_from_json("{}", (64u << 20) + 1, &payload), RANKCALL_ETOOLARGE, "67108865 bytes");
    assert_fails(rankcall_payload_from_json(NULL, 0, &payload), RANKCALL_EINVAL, "NULL");
}

static const char lookup_text[] =
    "{\"n\":10,\"f\":1.5,\"e\":1e3,\"big\":9007199254740993,\"huge\":1e999,\"s\":\"ten\",\"t\":true,\"z\":null,"
    "\"a\":[1,2.5,\"x\"],\"o\":{\"p\":{\"q\":7},\"a/b\":1,\"m~n\":2,\"\":3},\"nul\":\"a\\u0000b\",\"\":4,"
    "\"esc\":\"a\\\\u0000b\",\"k\\ud83d\\ude00\":5}";

struct lookup_case {
    const char *key;
    int code;
    const char *message;
    int64_t value;
};

static const struct lookup_case int_lookups[] = {
    {"n", RANKCALL_OK, "", 10},
    {"e", RANKCALL_OK, "", 1000},
    {"", RANKCALL_OK, "", 4},
    {"k\xf0\x9f\x98\x80", RANKCALL_OK, "", 5},
    {"/n", RANKCALL_OK, "", 10},
    {"/", RANKCALL_OK, "", 4},
    {"/a/0", RANKCALL_OK, "", 1},
    {"/o/p/q", RANKCALL_OK, "", 7},
    {"/o/a~1b", RANKCALL_OK, "", 1},
    {"/o/m~0n", RANKCALL_OK, "", 2},
    {"/o/", RANKCALL_OK, "", 3},
    {"f", RANKCALL_ETYPE, "payload: \"f\": expected an integer, got the number 1.5", 0},
    {"s", RANKCALL_ETYPE, "payload: \"s\": expected an integer, got the string \"ten\"", 0},
    {"t", RANKCALL_ETYPE, "payload: \"t\": expected an integer, got true", 0},
    {"z", RANKCALL_ETYPE, "payload: \"z\": expected an integer, got null", 0},
    {"a", RANKCALL_ETYPE, "payload: \"a\": expected an integer, got an array", 0},
    {"o", RANKCALL_ETYPE, "payload: \"o\": expected an integer, got an object", 0},
    {"/a/2", RANKCALL_ETYPE, "payload: \"/a/2\": expected an integer, got the string \"x\"", 0},
    {"big", RANKCALL_ERANGE, "payload: \"big\": 9007199254740993 is not held exactly", 0},
    {"huge", RANKCALL_ERANGE, "payload: \"huge\": 1e999 is not held exactly", 0},
    {"N", RANKCALL_ENOKEY, "payload: there is no \"N\"", 0},
    {"o/p", RANKCALL_ENOKEY, "payload: there is no \"o/p\"", 0},
    {"/a/3", RANKCALL_ENOKEY, "payload: there is no \"/a/3\"", 0},
    {"/a/-", RANKCALL_ENOKEY, "", 0},
    {"/a/00", RANKCALL_ENOKEY, "", 0},
    {"/a/1x", RANKCALL_ENOKEY, "", 0},
    {"/a/", RANKCALL_ENOKEY, "", 0},
    {"/a/99999999999999999999", RANKCALL_ENOKEY, "", 0},
    {"/n/x", RANKCALL_ENOKEY, "", 0},
    {"/o/p/q/r", RANKCALL_ENOKEY, "", 0},
};

static void integers_are_found_exactly_or_refused_in_words(void **state)
{
    struct rankcall_payload *payload = from(lookup_text);

    (void)state;
    for (size_t i = 0; i < COUNT(int_lookups); i++) {
        const struct lookup_case *one = &int_lookups[i];
        int64_t value = -99;

        if (one->code)
            assert_fails(rankcall_get_int(payload, one->key, &value), one->code, one->message);
        else
            assert_ok(rankcall_get_int(payload, one->key, &value));
        assert_int_equal(value, one->code ? -99 : one->value);
    }
    rankcall_payload_free(payload);
}

static void other_types_are_found_or_refused_in_words(void **state)
{
    struct rankcall_payload *payload = from(lookup_text);
    const char *text = "kept";
    const double *numbers;
    double number = -1;
    bool truth = false;
    size_t count;

    (void)state;
    assert_ok(rankcall_get_double(payload, "n", &number));
    assert_true(number == 10);
    assert_ok(rankcall_get_double(payload, "big", &number));
    assert_true(number == 9007199254740992.0); /* a double is what was asked for */
    assert_fails(rankcall_get_double(payload, "huge", &number), RANKCALL_ERANGE, "1e999 is beyond the range");
    assert_fails(rankcall_get_double(payload, "s", &number), RANKCALL_ETYPE, "expected a number, got the string");
    assert_ok(rankcall_get_bool(payload, "t", &truth));
    assert_true(truth);
    assert_fails(rankcall_get_bool(payload, "n", &truth), RANKCALL_ETYPE, "expected true or false, got the number 10");
    assert_fails(rankcall_get_string(payload, "nul", &text), RANKCALL_EPAYLOAD, "\"nul\": the string holds \\u0000");
    assert_fails(rankcall_get_string(payload, "n", &text), RANKCALL_ETYPE, "expected a string, got the number 10");
    assert_string_equal(text, "kept");
    assert_ok(rankcall_get_string(payload, "esc", &text));
    assert_string_equal(text, "a\\u0000b");
    assert_fails(rankcall_get_doubles(payload, "a", &numbers, &count), RANKCALL_ETYPE,
                 "\"a\": expected a number, got the string \"x\"");
    assert_fails(rankcall_get_doubles(payload, "n", &numbers, &count), RANKCALL_ETYPE, "an array of numbers");
    assert_fails(rankcall_get_int(NULL, "n", NULL), RANKCALL_EINVAL, "NULL");
    assert_fails(rankcall_get_int(payload, NULL, NULL), RANKCALL_EINVAL, "key is NULL");
    rankcall_payload_free(payload);
}

static void optional_look_ups_keep_the_default(void **state)
{
    struct rankcall_payload *payload = from(lookup_text);
    int64_t integer = 5;
    double number = 0.5;
    bool truth = true;
    const char *text = "default";

    (void)state;
    assert_ok(rankcall_opt_int(payload, "missing", &integer));
    assert_ok(rankcall_opt_int(payload, "z", &integer));
    assert_ok(rankcall_opt_double(payload, "/o/missing", &number));
    assert_ok(rankcall_opt_bool(payload, "z", &truth));
    assert_ok(rankcall_opt_string(payload, "missing", &text));
    assert_true(integer == 5 && number == 0.5 && truth);
    assert_string_equal(text, "default");
    assert_ok(rankcall_opt_int(payload, "n", &integer));
    assert_ok(rankcall_opt_double(payload, "f", &number));
    assert_ok(rankcall_opt_string(payload, "s", &text));
    assert_true(integer == 10 && number == 1.5);
    assert_string_equal(text, "ten");
    assert_fails(rankcall_opt_int(payload, "s", &integer), RANKCALL_ETYPE, "expected an integer");
    assert_true(rankcall_has(payload, "n") && rankcall_has(payload, "/o/p"));
    assert_false(rankcall_has(payload, "z") || rankcall_has(payload, "missing"));
    rankcall_payload_free(payload);
}

static void a_range_is_kept_to(void **state)
{
    struct rankcall_payload *payload = from("{\"n\": 500, \"f\": 1.5}");
    int64_t integer = 7;
    double number = 7;

    (void)state;
    assert_fails(rankcall_opt_int_in(payload, "n", 1, 100, &integer), RANKCALL_ERANGE,
                 "payload: \"n\": expected 1 to 100, got 500");
    assert_fails(rankcall_opt_double_in(payload, "f", 0, 1, &number), RANKCALL_ERANGE,
                 "payload: \"f\": expected 0 to 1, got 1.5");
    assert_true(integer == 7 && number == 7);
    assert_ok(rankcall_opt_int_in(payload, "missing", 1, 2, &integer)); /* a default may lie outside */
    assert_ok(rankcall_opt_int_in(payload, "n", 500, 500, &integer));
    assert_ok(rankcall_opt_double_in(payload, "f", 1.5, 2, &number));
    assert_true(integer == 500 && number == 1.5);
    rankcall_payload_free(payload);
}

static void long_text_is_cut_in_messages(void **state)
{
    struct rankcall_payload *payload = rankcall_payload_new();
    char text[1001], key[1001];
    int64_t value;

    (void)state;
    for (size_t i = 0; i < 1000; i++)
        text[i] = key[i] = i % 2 ? '\xa9' : '\xc3';
    text[1000] = key[1000] = '\0';
    assert_ok(rankcall_set_string(payload, key, text));
    assert_fails(rankcall_get_int(payload, key, &value), RANKCALL_ETYPE, "got the string \"\xc3\xa9");
    assert_true(strlen(rankcall_last_error()->message) < 250);
    assert_true(rk_utf8_ok(rankcall_last_error()->message, strlen(rankcall_last_error()->message)));
    rankcall_payload_free(payload);
}

static void a_frozen_payload_is_read_only(void **state)
{
    struct rankcall_payload *payload = from("{\"a\":1}");
    struct rankcall_attachment image = {.name = "image", .type = RANKCALL_IMAGE_PNG};
    int64_t value;

    (void)state;
    assert_ok(rk_payload_freeze(payload));
    assert_ok(rk_payload_freeze(payload));
    assert_fails(rankcall_set_int(payload, "b", 1), RANKCALL_EINVAL, "\"b\" cannot be set: the payload is read-only");
    assert_fails(rankcall_attach(payload, &image, NULL, NULL), RANKCALL_EINVAL, "read-only");
    assert_ok(rankcall_get_int(payload, "a", &value));
    rankcall_payload_free(payload);
}

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

UNIT_MAIN(cmocka_unit_test(an_empty_payload_is_an_empty_object),
          cmocka_unit_test(what_was_set_is_written_in_order_and_found_again),
          cmocka_unit_test(setting_again_replaces_in_place), cmocka_unit_test(an_array_given_out_outlives_changes),
          cmocka_unit_test(what_has_no_place_in_json_cannot_be_set), cmocka_unit_test(text_is_kept_byte_for_byte),
          cmocka_unit_test(integers_are_found_exactly_or_refused_in_words),
          cmocka_unit_test(other_types_are_found_or_refused_in_words),
          cmocka_unit_test(optional_look_ups_keep_the_default), cmocka_unit_test(a_range_is_kept_to),
          cmocka_unit_test(long_text_is_cut_in_messages), cmocka_unit_test(a_frozen_payload_is_read_only),
          cmocka_unit_test(attachments_must_agree_with_themselves),
          cmocka_unit_test(attachments_are_found_by_place_name_and_type),
          cmocka_unit_test(lent_memory_is_given_back_once_whatever_happens),
          cmocka_unit_test(taken_memory_is_freed_also_on_failure), cmocka_unit_test(owning_copies_what_was_only_lent),
          cmocka_unit_test(there_is_room_for_1024_attachments), cmocka_unit_test(types_have_names_and_sizes))
