/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* mpirun's tagged output, put together again into lines of ranks; and what its end means. */

#include "unit.h"

#include "launcher/output.h"
#include "launcher/verdict.h"

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
static void feed(enum rk_tags tags, size_t part, const char *text)
{
    struct rk_output *output = rk_output_new(4, tags, on_line, NULL);
    size_t size = strlen(text);
    seen[0] = '\0';
    lines = longest = 0;
    for (size_t at = 0; at < size; at += part)
        rk_output_feed(output, text + at, size - at < part ? size - at : part);
    rk_output_end(output);
    rk_output_free(output);
}

static void check(enum rk_tags tags, const char *text, const char *expected)
{
    static const size_t parts[] = {1, 2, 3, 7, 13, 100000};
    for (size_t i = 0; i < COUNT(parts); i++) {
        feed(tags, parts[i], text);
        assert_string_equal(seen, expected);
    }
}

static void tags_become_ranks(void **state)
{
    (void)state;
    check(RK_TAGS_PLAIN, "[1,0]<stdout>:hello\n[1,3]<stderr>: indented\n[1,2]<stdout>:\n",
          "0|hello\n3| indented\n2|\n");
}

static void the_space_of_open_mpi_5_belongs_to_the_tag(void **state)
{
    (void)state;
    check(RK_TAGS_SPACED, "[1,0]<stdout>: hello\n[1,3]<stderr>:  indented\n", "0|hello\n3| indented\n");
}

static void srun_labels_the_beginnings_of_lines_alone(void **state)
{
    (void)state;
    check(RK_TAGS_LABELS, "0: hello\n 3:  indented 1: x\n2: \nsrun: error: no\n9: nobody's\n1:no label\n",
          "0|hello\n3| indented 1: x\n2|\n-1|srun: error: no\n-1|9: nobody's\n-1|1:no label\n");
}

static void pieces_of_one_line_are_put_together(void **state)
{
    (void)state;
    check(RK_TAGS_PLAIN, "[1,3]<stdout>:abc[1,3]<stdout>:def\n", "3|abcdef\n");
    check(RK_TAGS_PLAIN, "[1,3]<stdout>:abc[1,2]<stdout>:two\n[1,1]<stdout>:on[1,3]<stdout>:def\n[1,1]<stdout>:e\n",
          "2|two\n3|abcdef\n1|one\n");
}

static void lines_of_mpirun_have_no_rank(void **state)
{
    (void)state;
    check(RK_TAGS_PLAIN, "-----\nmpirun noticed [something]\n[1,1]<stdout>:x\n[host:123] a message\n",
          "-1|-----\n-1|mpirun noticed [something]\n1|x\n-1|[host:123] a message\n");
}

static void what_only_looks_like_a_tag_is_text(void **state)
{
    (void)state;
    check(RK_TAGS_PLAIN, "[1,0]<stdout>:[ [1 [1,2 [1,2] [1,2]< [1,2]<std> [a,2]<stdout>: [1,9]<stdout>: [,1]\n",
          "0|[ [1 [1,2 [1,2] [1,2]< [1,2]<std> [a,2]<stdout>: [1,9]<stdout>: [,1]\n");
}

static void a_last_line_without_newline_comes_at_the_end(void **state)
{
    (void)state;
    check(RK_TAGS_PLAIN, "[1,2]<stdout>:prompt> [1,0]<stdout>:[1,", "0|[1,\n2|prompt> \n");
}

static void any_bytes_pass(void **state)
{
    struct rk_output *output = rk_output_new(4, RK_TAGS_PLAIN, on_line, NULL);
    (void)state;
    lines = longest = 0;
    rk_output_feed(output, "[1,0]<stdout>:\0\xff\x01\0\n", 19);
    assert_int_equal(lines, 1);
    assert_int_equal(longest, 4);
    rk_output_free(output);
}

static void a_line_without_end_is_given_in_parts(void **state)
{
    struct rk_output *output = rk_output_new(4, RK_TAGS_PLAIN, on_line, NULL);
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

/* ---- mpirun's end ---- */

#define EXITED(status) ((status) << 8)

static void mpiruns_end_is_judged_by_its_status_and_its_account(void **state)
{
    static const char signal_4[] =
        "mpirun noticed that process rank 2 with PID 0 on node n1 exited on signal 9 (Killed).";
    static const char signal_5[] =
        "prterun noticed that process rank 12 with PID 21771 on node n1.x exited on\nsignal 11 "
        "(Segmentation fault).";
    static const char status_4[] =
        "The first process to do so was:\n\n  Process name: [[8081,1],3]\n  Exit code:    7\n--";
    static const char status_5[] = "do so was:\n\n   Process name: [prterun-vm-26300@1,3]\n   Exit code:    7\n--";
    static const struct {
        int wait_status;
        const char *last;
        bool was_ready;
        int code, rank;
        const char *text;
    } cases[] = {
        {EXITED(0), "", true, RANKCALL_OK, -1, ""},
        {EXITED(0), "", false, RANKCALL_ELAUNCH, -1, "rankcall worker?"},
        {EXITED(137), signal_4, true, RANKCALL_EJOBDIED, 2, "killed by signal 9"},
        {EXITED(139), signal_5, true, RANKCALL_EJOBDIED, 12, "killed by signal 11"},
        {EXITED(137), signal_4, false, RANKCALL_ELAUNCH, 2, "before it was READY"},
        {EXITED(7), status_4, true, RANKCALL_EJOBDIED, 3, "ended with status 7"},
        {EXITED(7), status_5, true, RANKCALL_EJOBDIED, 3, "ended with status 7"},
        {EXITED(17), status_4, true, RANKCALL_EWEDGED, -1, "did not come back"},
        {EXITED(19), status_4, false, RANKCALL_EEXIST, -1, "another live job"},
        {EXITED(137), "", true, RANKCALL_EJOBDIED, -1, "a rank got signal 9"},
        {EXITED(1), "noticed that process rank x", true, RANKCALL_EJOBDIED, -1, "mpirun ended with status 1"},
        {EXITED(1), "Process name: [[1", true, RANKCALL_EJOBDIED, -1, "mpirun ended with status 1"},
        {9, "", true, RANKCALL_EJOBDIED, -1, "mpirun was killed by signal 9"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int code = rk_verdict(cases[i].wait_status, cases[i].last, cases[i].was_ready, false);
        assert_int_equal(code, cases[i].code);
        if (!code)
            continue;
        assert_int_equal(rankcall_last_error()->rank, cases[i].rank);
        assert_non_null(strstr(rankcall_last_error()->message, cases[i].text));
    }
}

UNIT_MAIN(cmocka_unit_test(tags_become_ranks), cmocka_unit_test(the_space_of_open_mpi_5_belongs_to_the_tag),
          cmocka_unit_test(srun_labels_the_beginnings_of_lines_alone),
          cmocka_unit_test(pieces_of_one_line_are_put_together), cmocka_unit_test(lines_of_mpirun_have_no_rank),
          cmocka_unit_test(what_only_looks_like_a_tag_is_text),
          cmocka_unit_test(a_last_line_without_newline_comes_at_the_end), cmocka_unit_test(any_bytes_pass),
          cmocka_unit_test(a_line_without_end_is_given_in_parts),
          cmocka_unit_test(a_prefix_is_added_only_where_none_is),
          cmocka_unit_test(mpiruns_end_is_judged_by_its_status_and_its_account))
