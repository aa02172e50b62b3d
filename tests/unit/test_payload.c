/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Payloads: building them and looking things up. */

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

static void a_payload_lives_as_long_as_somebody_holds_it(void **state)
{
    struct rankcall_payload *payload = from("{\"a\":1}");
    struct rankcall_attachment bytes = {.name = "b", .data = "xyz", .size = 3};
    uint64_t released = 0;

    (void)state;
    assert_ok(rankcall_attach(payload, &bytes, rankcall_release_count, &released));
    assert_ptr_equal(rankcall_payload_ref(payload), payload);
    rankcall_payload_free(payload);
    assert_int_equal(released, 0);
    assert_string_equal(rankcall_payload_json(payload, NULL), "{\"a\":1}");
    rankcall_payload_free(payload);
    assert_int_equal(released, 1);
}

UNIT_MAIN(cmocka_unit_test(an_empty_payload_is_an_empty_object),
          cmocka_unit_test(what_was_set_is_written_in_order_and_found_again),
          cmocka_unit_test(setting_again_replaces_in_place), cmocka_unit_test(an_array_given_out_outlives_changes),
          cmocka_unit_test(what_has_no_place_in_json_cannot_be_set), cmocka_unit_test(text_is_kept_byte_for_byte),
          cmocka_unit_test(integers_are_found_exactly_or_refused_in_words),
          cmocka_unit_test(other_types_are_found_or_refused_in_words),
          cmocka_unit_test(optional_look_ups_keep_the_default), cmocka_unit_test(a_range_is_kept_to),
          cmocka_unit_test(long_text_is_cut_in_messages), cmocka_unit_test(a_frozen_payload_is_read_only),
          cmocka_unit_test(a_payload_lives_as_long_as_somebody_holds_it))
