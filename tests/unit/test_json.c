/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The JSON check, and walking text that has passed it. */

#include "unit.h"

#include <locale.h>
#include <math.h>

#include "base/error.h"
#include "wire/frame.h"
#include "wire/json_check.h"
#include "wire/json_text.h"

static const char *const good[] = {
    "{}",
    " \t\r\n{ } \n",
    "{\"a\":1}",
    "{\"\":0}",
    "{\"a\":{\"a\":{\"a\":1}},\"b\":[{\"a\":1},{\"a\":2}]}",
    "{\"a\":[],\"b\":[[],[[]]],\"c\":{}}",
    "{\"n\":[0,-0,1,-1,10,0.5,-0.5e1,1e3,1E+3,1e-3,1.25e00,123456789012345678901234567890]}",
    "{\"n\":1e999}",
    "{\"l\":[true,false,null]}",
    "{\"s\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD83D\\uDE00\\u0000\"}",
    "{\"s\":\"\x7f\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xef\xbf\xbf\xf4\x8f\xbf\xbf\"}",
    "{\"a\":1,\"A\":1,\"\\u0061a\":1,\"aaa\":1}",
};

struct bad_text {
    const char *text, *message;
};

static const struct bad_text bad[] = {
    {"", "JSON byte 0: the text ends before its value"},
    {"  ", "JSON byte 2: the text ends before its value"},
    {"[]", "JSON byte 0: expected '{': the top level must be an object, got '['"},
    {"1", "JSON byte 0: expected '{'"},
    {"\xef\xbb\xbf{}", "JSON byte 0: expected '{': the top level must be an object, got byte 0xef"},
    {"{", "JSON byte 1: the text ends within an object"},
    {"{\"a\"", "JSON byte 4: the text ends after a key"},
    {"{\"a\":", "JSON byte 5: the text ends before a value"},
    {"{\"a\":1", "JSON byte 6: the text ends after a number"},
    {"{\"a\":1.", "JSON byte 7: the text ends within a number"},
    {"{\"a\":[", "JSON byte 6: the text ends within an array"},
    {"{\"a\":\"x", "JSON byte 7: the text ends within a string"},
    {"{\"a\":tru", "JSON byte 8: the text ends within true"},
    {"{} x", "JSON byte 3: expected nothing more, got 'x'"},
    {"{}{}", "JSON byte 2: expected nothing more"},
    {"{,}", "JSON byte 1: expected a key in '\"', got ','"},
    {"{\"a\":1,}", "JSON byte 7: expected a key"},
    {"{a:1}", "JSON byte 1: expected a key"},
    {"{'a':1}", "JSON byte 1: expected a key"},
    {"{\"a\" 1}", "JSON byte 5: expected ':' after a key, got '1'"},
    {"{\"a\":1 \"b\":2}", "JSON byte 7: expected ',' or '}'"},
    {"{\"a\":[1,]}", "JSON byte 8: expected a value"},
    {"{\"a\":[1 2]}", "JSON byte 8: expected ',' or ']'"},
    {"{\"a\":[1}}", "JSON byte 7: expected ',' or ']'"},
    {"{\"a\":1]", "JSON byte 6: expected ',' or '}'"},
    {"{\"a\":NaN}", "JSON byte 5: expected a value, got 'N'"},
    {"{\"a\":nan}", "JSON byte 6: expected true, false or null"},
    {"{\"a\":Infinity}", "JSON byte 5: expected a value"},
    {"{\"a\":-Infinity}", "JSON byte 6: expected a digit after '-'"},
    {"{\"a\":True}", "JSON byte 5: expected a value"},
    {"{\"a\":truE}", "JSON byte 8: expected true, false or null"},
    {"{\"a\":nulll}", "JSON byte 9: expected ',' or '}'"},
    {"{\"a\":+1}", "JSON byte 5: expected a value"},
    {"{\"a\":01}", "JSON byte 6: expected ',' or '}'"},
    {"{\"a\":-}", "JSON byte 6: expected a digit after '-'"},
    {"{\"a\":.5}", "JSON byte 5: expected a value"},
    {"{\"a\":1.}", "JSON byte 7: expected a digit after '.'"},
    {"{\"a\":1e}", "JSON byte 7: expected a digit in the exponent"},
    {"{\"a\":1e+}", "JSON byte 8: expected a digit in the exponent"},
    {"{\"a\":1.5.5}", "JSON byte 8: expected ',' or '}'"},
    {"{\"a\":0x10}", "JSON byte 6: expected ',' or '}'"},
    {"{\"a\":\"\\x41\"}", "JSON byte 7: expected an escape"},
    {"{\"a\":\"\\u12g4\"}", "JSON byte 10: expected four hexadecimal digits"},
    {"{\"a\":\"\\ud800\"}", "expected \\u with the second half of a pair"},
    {"{\"a\":\"\\ud800\\n\"}", "expected \\u with the second half of a pair"},
    {"{\"a\":\"\\ud800\\u0041\"}", "half a pair of surrogates"},
    {"{\"a\":\"\\ud800\\ud800\"}", "half a pair of surrogates"},
    {"{\"a\":\"\\udc00\"}", "half a pair of surrogates"},
    {"{\"a\":\"\n\"}", "JSON byte 6: expected control characters to be escaped, got byte 0x0a"},
    {"{\"a\":\"\x01\"}", "JSON byte 6: expected control characters"},
    {"{\"a\":\"\x80\"}", "JSON byte 6: expected valid UTF-8, got byte 0x80"},
    {"{\"a\":\"\xc0\x80\"}", "JSON byte 6: expected valid UTF-8"},
    {"{\"a\":\"\xc3\"}", "JSON byte 7: expected valid UTF-8, got '\"'"},
    {"{\"a\":\"\xc3\\\"}", "JSON byte 7: expected valid UTF-8"},
    {"{\"a\":\"\xe0\x80\x80\"}", "expected valid UTF-8"},
    {"{\"a\":\"\xed\xa0\x80\"}", "expected valid UTF-8"},
    {"{\"a\":\"\xf4\x90\x80\x80\"}", "expected valid UTF-8"},
    {"{\"a\":\"\xf8\x88\x80\x80\x80\"}", "expected valid UTF-8"},
    {"{\"\xff\":1}", "expected valid UTF-8"},
    {"{\"a\":1,\"a\":2}", "JSON byte 7: duplicate key \"a\""},
    {"{\"x\":[{\"b\":1,\"b\":1}]}", "JSON byte 13: duplicate key \"b\""},
    {"{\"a\":1,\"\\u0061\":2}", "JSON byte 7: duplicate key \"\\u0061\""},
    {"{\"\\/\":1,\"/\":2}", "duplicate key \"/\""},
    {"{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":2}", "duplicate key"},
    {"{\"a\\u0000\":1}", "\\u0000 in a key"},
    {"{/**/}", "JSON byte 1: expected a key"},
};

static void what_rfc_8259_allows_is_taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++)
        assert_ok(rk_json_check(good[i], strlen(good[i])));
}

static void anything_else_is_refused_with_the_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_fails(rk_json_check(bad[i].text, strlen(bad[i].text)), RANKCALL_EPAYLOAD, bad[i].message);
    assert_fails(rk_json_check("{}\0", 3), RANKCALL_EPAYLOAD, "JSON byte 2: expected nothing more, got byte 0x00");
    assert_fails(rk_json_check("{\"a\":\"\0\"}", 9), RANKCALL_EPAYLOAD, "JSON byte 6");
}

/* Checks with a budget of so many bytes a step. */
static int check_in_steps(const char *text, size_t size, size_t budget)
{
    struct rk_json_check *check = rk_json_check_new(text, size);
    int code, steps = 0;

    while ((code = rk_json_check_step(check, budget)) == RANKCALL_EAGAIN)
        assert_true((size_t)++steps <= size / budget + 1);
    rk_json_check_free(check);
    return code;
}

static void stopping_after_any_byte_changes_nothing(void **state)
{
    (void)state;
    for (size_t budget = 1; budget <= 3; budget++) {
        for (size_t i = 0; i < COUNT(good); i++)
            assert_ok(check_in_steps(good[i], strlen(good[i]), budget));
        for (size_t i = 0; i < COUNT(bad); i++)
            assert_fails(check_in_steps(bad[i].text, strlen(bad[i].text), budget), RANKCALL_EPAYLOAD, bad[i].message);
    }
    rk_json_check_free(NULL);
}

/* Whole and byte by byte, which takes no runs: the same code and message. */
static void check_both_ways(const char *text, size_t size)
{
    char message[200] = "";
    int code = rk_json_check(text, size);

    if (code)
        snprintf(message, sizeof message, "%s", rankcall_last_error()->message);
    assert_int_equal(check_in_steps(text, size, 1), code);
    if (code)
        assert_string_equal(rankcall_last_error()->message, message);
}

static void runs_of_plain_text_end_where_single_bytes_do(void **state)
{
    static const unsigned char edges[] = {0x00, 0x1f, ' ', '!', '"', '#', '[', '\\', ']', 0x7f, 0x80, 0xa0, 0xff};
    char text[] = "{\"k\":\"aaaaaaaaaaaaaaaaaaaaaaaa\"}";

    (void)state;
    for (size_t at = 6; at < 20; at++)
        for (int byte = 0; byte < 256; byte++)
            for (size_t i = 0; i < COUNT(edges); i++) {
                text[at] = (char)byte;
                text[at + 1] = (char)edges[i];
                check_both_ways(text, sizeof text - 1);
                text[at] = text[at + 1] = 'a';
            }
}

static void a_key_is_the_same_in_one_run_and_in_several(void **state)
{
    char text[80];

    (void)state;
    for (int size = 1; size <= 20; size++)
        for (int escaped = 0; escaped < size; escaped++) {
            snprintf(text, sizeof text, "{\"%.*s\":1,\"%.*s\\u006b%.*s\":2}", size, "kkkkkkkkkkkkkkkkkkkk", escaped,
                     "kkkkkkkkkkkkkkkkkkkk", size - escaped - 1, "kkkkkkkkkkkkkkkkkkkk");
            assert_fails(rk_json_check(text, strlen(text)), RANKCALL_EPAYLOAD, "duplicate key");
            text[2 + size / 2] = 'j';
            assert_ok(rk_json_check(text, strlen(text)));
        }
}

static void a_check_given_up_halfway_leaves_nothing_behind(void **state)
{
    static const char text[] = "{\"a\":{\"0\":0,\"1\":0,\"2\":0,\"3\":0,\"4\":0,\"5\":0,\"6\":0,\"7\":{\"b\":[";
    struct rk_json_check *check = rk_json_check_new(text, strlen(text));

    (void)state;
    assert_int_equal(rk_json_check_step(check, strlen(text) - 1), RANKCALL_EAGAIN);
    rk_json_check_free(check); /* a leak would be seen by the sanitizer */
    assert_int_equal(rk_json_check(text, strlen(text)), RANKCALL_EPAYLOAD);
}

static void every_cut_of_a_good_text_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        size_t whole = strlen(good[i]);

        while (good[i][whole - 1] != '}')
            whole--;
        for (size_t size = 0; size < whole; size++) {
            char *cut = malloc(size ? size : 1);

            memcpy(cut, good[i], size);
            assert_int_equal(rk_json_check(cut, size), RANKCALL_EPAYLOAD);
            free(cut);
        }
    }
}

/* {"a": then so many arrays in each other. */
static char *nested(int arrays)
{
    char *text = malloc(2 * (size_t)arrays + 16), *at = stpcpy(text, "{\"a\":");

    memset(at, '[', (size_t)arrays);
    memset(at + arrays, ']', (size_t)arrays);
    strcpy(at + 2 * arrays, "}");
    return text;
}

static void nesting_is_limited_to_64(void **state)
{
    char *deep = nested(63), *deeper = nested(64), *deepest = nested(100000);

    (void)state;
    assert_ok(rk_json_check(deep, strlen(deep)));
    assert_fails(rk_json_check(deeper, strlen(deeper)), RANKCALL_EPAYLOAD, "JSON byte 68: more than 64 nested");
    assert_fails(rk_json_check(deepest, strlen(deepest)), RANKCALL_EPAYLOAD, "JSON byte 68: more than 64 nested");
    free(deep);
    free(deeper);
    free(deepest);
}

static void duplicates_are_found_among_many_keys(void **state)
{
    enum { KEYS = 20000 };
    char *text = malloc(16 * KEYS), *at = text;

    (void)state;
    for (int i = 0; i < KEYS; i++)
        at += sprintf(at, "%c\"k%d\":0", i ? ',' : '{', i);
    strcpy(at, "}");
    assert_ok(rk_json_check(text, strlen(text)));
    strcpy(at, ",\"k7\":1}");
    assert_fails(rk_json_check(text, strlen(text)), RANKCALL_EPAYLOAD, "duplicate key \"k7\"");
    free(text);
}

static void a_value_alone_may_be_of_any_type(void **state)
{
    static const char *const values[] = {"1", "-0.5e3", " 10 ", "\"x\"", "true", "[1,{\"a\":2}]", "{}", "null"};
    static const struct bad_text wrong[] = {{"", "ends before its value"}, {"1 2", "nothing more"},
                                            {"1.", "within a number"},     {"-", "within a number"},
                                            {"tru", "within true"},        {"{\"a\":1,\"a\":1}", "duplicate"}};
    char deep[129];

    (void)state;
    for (size_t i = 0; i < COUNT(values); i++)
        assert_ok(rk_json_check_value(values[i], strlen(values[i])));
    for (size_t i = 0; i < COUNT(wrong); i++)
        assert_fails(rk_json_check_value(wrong[i].text, strlen(wrong[i].text)), RANKCALL_EPAYLOAD, wrong[i].message);
    memset(deep, '[', 64);
    memset(deep + 64, ']', 64);
    assert_ok(rk_json_check_value(deep + 1, 126)); /* 63: one level is the object's that it goes into */
    assert_fails(rk_json_check_value(deep, 128), RANKCALL_EPAYLOAD, "more than 64");
}

static void utf8_is_told_from_other_bytes(void **state)
{
    static const char *const yes[] = {"",
                                      "abc",
                                      "\xc2\x80",
                                      "\xdf\xbf",
                                      "\xe0\xa0\x80",
                                      "\xed\x9f\xbf",
                                      "\xee\x80\x80",
                                      "\xf0\x90\x80\x80",
                                      "\xf4\x8f\xbf\xbf"};
    static const char *const no[] = {"\x80",
                                     "\xbf",
                                     "\xc1\xbf",
                                     "\xc2",
                                     "\xe0\x9f\xbf",
                                     "\xed\xa0\x80",
                                     "\xf0\x8f\xbf\xbf",
                                     "\xf4\x90\x80\x80",
                                     "\xf5\x80",
                                     "\xff",
                                     "a\xc3",
                                     "\xe2\x82z"};

    (void)state;
    for (size_t i = 0; i < COUNT(yes); i++)
        assert_true(rk_utf8_ok(yes[i], strlen(yes[i])));
    for (size_t i = 0; i < COUNT(no); i++)
        assert_false(rk_utf8_ok(no[i], strlen(no[i])));
    assert_false(rk_utf8_ok("a\0b", 3));
}

static void a_values_own_text_is_found_by_its_place(void **state)
{
    static const char text[] = " { \"a\\\"}\" : [ 1 , \"]\\\\\" , {\"x\":[]} ,null] , \"b\":-2.5e1 ,\"c\":{}} ";
    const char *top = rk_json_space(text), *a = rk_json_child(top, 0), *b = rk_json_child(top, 1);

    (void)state;
    assert_int_equal(*a, '[');
    assert_int_equal(*rk_json_child(a, 0), '1');
    assert_memory_equal(rk_json_child(a, 1), "\"]\\\\\" ,", 7);
    assert_memory_equal(rk_json_child(rk_json_child(a, 2), 0), "[]}", 3);
    assert_memory_equal(rk_json_child(a, 3), "null]", 5);
    assert_memory_equal(b, "-2.5e1 ,", 8);
    assert_int_equal(rk_json_skip(b) - b, 6);
    assert_memory_equal(rk_json_child(top, 2), "{}}", 3);
    assert_int_equal(*rk_json_skip(top), ' ');
}

struct integer_case {
    const char *text;
    enum rk_integer kind;
    int64_t value;
};

static const struct integer_case integers[] = {
    {"0", RK_INTEGER, 0},
    {"-0", RK_INTEGER, 0},
    {"0.000", RK_INTEGER, 0},
    {"0e999999999999", RK_INTEGER, 0},
    {"1", RK_INTEGER, 1},
    {"-17", RK_INTEGER, -17},
    {"1.0", RK_INTEGER, 1},
    {"1e3", RK_INTEGER, 1000},
    {"2.50e1", RK_INTEGER, 25},
    {"2.50E+2", RK_INTEGER, 250},
    {"1200e-2", RK_INTEGER, 12},
    {"0.00012e5", RK_INTEGER, 12},
    {"100", RK_INTEGER, 100},
    {"9007199254740991", RK_INTEGER, 9007199254740991},
    {"9007199254740992", RK_INTEGER, 9007199254740992},
    {"9007199254740993", RK_INTEGER_RANGE, 0},
    {"-9007199254740993", RK_INTEGER_RANGE, 0},
    {"9007199254740994", RK_INTEGER, 9007199254740994},
    {"1152921504606846976", RK_INTEGER, 1ll << 60},
    {"1152921504606846977", RK_INTEGER_RANGE, 0},
    {"9223372036854774784", RK_INTEGER, 9223372036854774784},
    {"9223372036854775807", RK_INTEGER_RANGE, 0},
    {"9223372036854775808", RK_INTEGER_RANGE, 0},
    {"-9223372036854775808", RK_INTEGER, INT64_MIN},
    {"-9223372036854775809", RK_INTEGER_RANGE, 0},
    {"18446744073709551616", RK_INTEGER_RANGE, 0},
    {"1e18", RK_INTEGER, 1000000000000000000},
    {"1e19", RK_INTEGER_RANGE, 0},
    {"1e999", RK_INTEGER_RANGE, 0},
    {"1e999999999999999999999", RK_INTEGER_RANGE, 0},
    {"123456789012345678901234567890", RK_INTEGER_RANGE, 0},
    {"0.5", RK_FRACTION, 0},
    {"1.5", RK_FRACTION, 0},
    {"1e-1", RK_FRACTION, 0},
    {"1e-999999999999999999999", RK_FRACTION, 0},
    {"1.00000000000000000000001", RK_FRACTION, 0},
    {"4503599627370497.25", RK_FRACTION, 0},
};

static void numbers_are_integers_by_their_digits_alone(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(integers); i++) {
        int64_t value = 0;

        if (rk_json_integer(integers[i].text, &value) != integers[i].kind || value != integers[i].value)
            fail_msg("%s gave kind %d, value %lld", integers[i].text, rk_json_integer(integers[i].text, &value),
                     (long long)value);
    }
}

static void doubles_are_short_and_read_back_exactly(void **state)
{
    static const struct {
        double value;
        const char *text;
    } doubles[] = {{0, "0.0"},
                   {-0.0, "-0.0"},
                   {1, "1.0"},
                   {0.1, "0.1"},
                   {1e22, "1e+22"},
                   {1e-300, "1e-300"},
                   {1.0 / 3, NULL},
                   {0x1.fffffffffffffp1023, NULL},
                   {5e-324, NULL},
                   {123456789.125, NULL},
                   {9007199254740993.0, "9007199254740992.0"}};
    char text[RK_JSON_DOUBLE_SIZE];

    (void)state;
    for (size_t i = 0; i < COUNT(doubles); i++) {
        rk_json_double(doubles[i].value, text);
        assert_true(strtod(text, NULL) == doubles[i].value);
        assert_ok(rk_json_check_value(text, strlen(text)));
        if (doubles[i].text)
            assert_string_equal(text, doubles[i].text);
    }
}

static void doubles_have_a_point_whatever_the_locale(void **state)
{
    static const char *const commas[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "ru_RU.UTF-8"};
    char text[RK_JSON_DOUBLE_SIZE];
    size_t i = 0;

    (void)state;
    while (i < COUNT(commas) && !setlocale(LC_NUMERIC, commas[i]))
        i++;
    if (i == COUNT(commas)) {
        print_message("no locale with a comma is installed here\n");
        skip();
    }
    rk_json_double(1.5, text);
    setlocale(LC_NUMERIC, "C");
    assert_string_equal(text, "1.5");
}

UNIT_MAIN(cmocka_unit_test(what_rfc_8259_allows_is_taken), cmocka_unit_test(anything_else_is_refused_with_the_byte),
          cmocka_unit_test(stopping_after_any_byte_changes_nothing),
          cmocka_unit_test(runs_of_plain_text_end_where_single_bytes_do),
          cmocka_unit_test(a_key_is_the_same_in_one_run_and_in_several),
          cmocka_unit_test(a_check_given_up_halfway_leaves_nothing_behind),
          cmocka_unit_test(every_cut_of_a_good_text_is_refused), cmocka_unit_test(nesting_is_limited_to_64),
          cmocka_unit_test(duplicates_are_found_among_many_keys), cmocka_unit_test(a_value_alone_may_be_of_any_type),
          cmocka_unit_test(utf8_is_told_from_other_bytes), cmocka_unit_test(a_values_own_text_is_found_by_its_place),
          cmocka_unit_test(numbers_are_integers_by_their_digits_alone),
          cmocka_unit_test(doubles_are_short_and_read_back_exactly),
          cmocka_unit_test(doubles_have_a_point_whatever_the_locale))
