/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The worker program's command line. */

#include "unit.h"

#include "core/options.h"

#define ARGUMENTS_MAX 20

static int run(struct rankcall_call *call)
{
    (void)call;
    return 0;
}

static const struct rankcall_handler handlers[] = {{"run", run, NULL}, {0}};
static const struct rankcall_worker worker = {.name = "my worker", .handlers = handlers};

/* Reads a line given as words; the words live in the test. */
static enum rk_options_end read_line(struct rk_options *options, char **words)
{
    int count = 0;
    while (words[count])
        count++;
    return rk_options_read(count, words, &worker, false, options);
}

#define READ(options, ...) read_line(options, (char *[ARGUMENTS_MAX]){"program", __VA_ARGS__})

static void an_empty_line_gives_the_defaults(void **state)
{
    struct rk_options options;
    (void)state;
    assert_int_equal(READ(&options, NULL), RK_OPTIONS_RUN);
    assert_string_equal(options.name, "my_worker");
    assert_non_null(strstr(options.socket, "/my_worker.sock"));
    assert_int_equal(options.queue, RK_QUEUE_DEFAULT);
    assert_int_equal(options.grace_us, 30000000);
    assert_int_equal(options.payload_cap, UINT64_C(1) << 30);
    assert_string_equal(rankcall_payload_json(options.setup, NULL), "{}");
    assert_int_equal(options.client_stall_us, 60000000);
    assert_int_equal(options.argc, 0);
    rk_options_free(&options);
}

static void every_option_is_read(void **state)
{
    struct rk_options options;
    (void)state;
    assert_int_equal(READ(&options, "--name", "demo", "--setup={\"a\": 1}", "--queue=3", "--grace=0.5",
                          "--payload-cap=2G", "--debug", "--launcher", "/l", "--call-log", "-", "--client-stall",
                          "0.25", "--", "x", "--y"),
                     RK_OPTIONS_RUN);
    assert_string_equal(options.name, "demo");
    assert_string_equal(rankcall_payload_json(options.setup, NULL), "{\"a\": 1}");
    assert_int_equal(options.queue, 3);
    assert_int_equal(options.grace_us, 500000);
    assert_int_equal(options.payload_cap, UINT64_C(2) << 30);
    assert_true(options.debug);
    assert_string_equal(options.launcher, "/l");
    assert_string_equal(options.call_log, "-");
    assert_int_equal(options.client_stall_us, 250000);
    assert_int_equal(options.argc, 2);
    assert_string_equal(options.argv[0], "x");
    assert_string_equal(options.argv[1], "--y");
    rk_options_free(&options);
}

static void a_socket_is_a_path_also_without_a_slash(void **state)
{
    struct rk_options options;
    (void)state;
    assert_int_equal(READ(&options, "--socket", "here", NULL), RK_OPTIONS_RUN);
    assert_string_equal(options.socket, "./here");
    rk_options_free(&options);
}

static void help_and_version_end_the_program(void **state)
{
    struct rk_options options;
    (void)state;
    assert_int_equal(READ(&options, "--help", NULL), RK_OPTIONS_EXIT);
    assert_int_equal(READ(&options, "--version", NULL), RK_OPTIONS_EXIT);
}

/* What is wrong with a line, and what the message names. */
struct refusal {
    const char *option, *value, *names;
};

static void what_is_wrong_is_named(void **state)
{
    static const struct refusal refusals[] = {
        {"--name", ".hidden", "--name"},
        {"--name", "a/b", "--name"},
        {"--queue", "0", "--queue"},
        {"--queue", "-3", "--queue"},
        {"--queue", "many", "--queue"},
        {"--grace", "-1", "--grace"},
        {"--grace", "soon", "--grace"},
        {"--grace", "nan", "--grace"},
        {"--payload-cap", "1X", "--payload-cap"},
        {"--payload-cap", "99999999999T", "--payload-cap"},
        {"--payload-cap", "", "--payload-cap"},
        {"--client-stall", "-1", "--client-stall"},
        {"--client-stall", "soon", "--client-stall"},
        {"--setup", "{\"a\":1,\"a\":2}", "--setup: JSON byte"},
        {"--setup", "[]", "--setup"},
        {"--setup", "@/no/such/file", "/no/such/file"},
        {"stray", "x", "stray"},
        {"--nonsense", "x", "--help"},
    };
    struct rk_options options;
    (void)state;
    for (size_t i = 0; i < COUNT(refusals); i++) {
        const struct refusal *refusal = &refusals[i];
        char *words[ARGUMENTS_MAX] = {"program", (char *)refusal->option, (char *)refusal->value};
        assert_int_equal(read_line(&options, words), RK_OPTIONS_FAIL);
        assert_non_null(strstr(rankcall_last_error()->message, refusal->names));
    }
}

UNIT_MAIN(cmocka_unit_test(an_empty_line_gives_the_defaults), cmocka_unit_test(every_option_is_read),
          cmocka_unit_test(a_socket_is_a_path_also_without_a_slash), cmocka_unit_test(help_and_version_end_the_program),
          cmocka_unit_test(what_is_wrong_is_named))
