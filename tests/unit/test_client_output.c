/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* mpirun's tagged output, put together again into lines of ranks. */

#include "unit.h"

#include "launcher/output.h"

/* What came, one line each: "RANK|text". */
static char seen[4096];
static size_t lines, longest;

static void on_line(void *context, int rank, const char *text, size_t size)
{
    (void)context;
    lines++;
    longest = size > longest ? size : longest;
    if (size < 200)
        snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%d|%.*s\n", rank, (int)size, text);
}

/* Feeds `text` in parts of `part` bytes. */
static void feed(bool spaced, size_t part, const char *text)
{
    struct rk_output *output = rk_output_new(4, spaced, on_line, NULL);
    size_t size = strlen(text);
    seen[0] = '\0';
    lines = longest = 0;
    for (size_t at = 0; at < size; at += part)
        rk_output_feed(output, text + at, size - at < part ? size - at : part);
    rk_output_end(output);
    rk_output_free(output);
}

static void check(bool spaced, const char *text, const char *expected)
{
    static const size_t parts[] = {1, 2, 3, 7, 13, 100000};
    for (size_t i = 0; i < COUNT(parts); i++) {
        feed(spaced, parts[i], text);
        assert_string_equal(seen, expected);
    }
}

static void tags_become_ranks(void **state)
{
    (void)state;
    check(false, "[1,0]<stdout>:hello\n[1,3]<stderr>: indented\n[1,2]<stdout>:\n", "0|hello\n3| indented\n2|\n");
}

static void the_space_of_open_mpi_5_belongs_to_the_tag(void **state)
{
    (void)state;
    check(true, "[1,0]<stdout>: hello\n[1,3]<stderr>:  indented\n", "0|hello\n3| indented\n");
}

static void pieces_of_one_line_are_put_together(void **state)
{
    (void)state;
    check(false, "[1,3]<stdout>:abc[1,3]<stdout>:def\n", "3|abcdef\n");
    check(false, "[1,3]<stdout>:abc[1,2]<stdout>:two\n[1,1]<stdout>:on[1,3]<stdout>:def\n[1,1]<stdout>:e\n",
          "2|two\n3|abcdef\n1|one\n");
}

static void lines_of_mpirun_have_no_rank(void **state)
{
    (void)state;
    check(false, "-----\nmpirun noticed [something]\n[1,1]<stdout>:x\n[host:123] a message\n",
          "-1|-----\n-1|mpirun noticed [something]\n1|x\n-1|[host:123] a message\n");
}

static void what_only_looks_like_a_tag_is_text(void **state)
{
    (void)state;
    check(false, "[1,0]<stdout>:[ [1 [1,2 [1,2] [1,2]< [1,2]<std> [a,2]<stdout>: [1,9]<stdout>: [,1]\n",
          "0|[ [1 [1,2 [1,2] [1,2]< [1,2]<std> [a,2]<stdout>: [1,9]<stdout>: [,1]\n");
}

static void a_last_line_without_newline_comes_at_the_end(void **state)
{
    (void)state;
    check(false, "[1,2]<stdout>:prompt> [1,0]<stdout>:[1,", "0|[1,\n2|prompt> \n");
}

static void any_bytes_pass(void **state)
{
    struct rk_output *output = rk_output_new(4, false, on_line, NULL);
    (void)state;
    lines = longest = 0;
    rk_output_feed(output, "[1,0]<stdout>:\0\xff\x01\0\n", 19);
    assert_int_equal(lines, 1);
    assert_int_equal(longest, 4);
    rk_output_free(output);
}

static void a_line_without_end_is_given_in_parts(void **state)
{
    struct rk_output *output = rk_output_new(4, false, on_line, NULL);
    static char block[65536];
    (void)state;
    memset(block, 'x', sizeof block);
    lines = longest = 0;
    rk_output_feed(output, "[1,0]<stdout>:", 14);
    for (int i = 0; i < 64; i++)
        rk_output_feed(output, block, sizeof block);
    rk_output_end(output);
    assert_int_equal(longest, RK_OUTPUT_LINE_MAX);
    assert_int_equal(lines, 64 * sizeof block / RK_OUTPUT_LINE_MAX);
    rk_output_free(output);
}

static void a_prefix_is_added_only_where_none_is(void **state)
{
    static const struct {
        int rank;
        const char *text, *prefix;
    } cases[] = {
        {3, "hello", "[rank 3] "},           {3, "[rank 3] hello", ""},
        {3, "[debug] [rank 3] hello", ""},   {3, "rankcall: [rank 3] hello", ""},
        {3, "[rank 30] hello", "[rank 3] "}, {3, "[rank 2] hello", "[rank 3] "},
        {3, "[debug] hello", "[rank 3] "},   {3, "", "[rank 3] "},
        {12, "[rank 12]", "[rank 12] "},     {-1, "mpirun says", ""},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char prefix[32];
        rk_output_prefix(cases[i].rank, cases[i].text, strlen(cases[i].text), prefix);
        assert_string_equal(prefix, cases[i].prefix);
    }
}

UNIT_MAIN(cmocka_unit_test(tags_become_ranks), cmocka_unit_test(the_space_of_open_mpi_5_belongs_to_the_tag),
          cmocka_unit_test(pieces_of_one_line_are_put_together), cmocka_unit_test(lines_of_mpirun_have_no_rank),
          cmocka_unit_test(what_only_looks_like_a_tag_is_text),
          cmocka_unit_test(a_last_line_without_newline_comes_at_the_end), cmocka_unit_test(any_bytes_pass),
          cmocka_unit_test(a_line_without_end_is_given_in_parts),
          cmocka_unit_test(a_prefix_is_added_only_where_none_is))
