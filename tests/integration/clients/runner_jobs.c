/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The runner API that starts and ends jobs. That nothing is left is checked by who runs this. */

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "burst.h"
#include "check.h"
#include "runner_cases.h"

static struct rankcall_runner *start(const char *worker, int ranks, const char *name)
{
    const char *program[] = {worker, "own", "arguments", NULL};
    struct rankcall_start_options options = {.ranks = ranks, .name = name, .program = program, .timeout = 60};
    struct rankcall_runner *runner;
    OK(rankcall_start(&options, &runner));
    return runner;
}

static int start_with_setup(const char *worker, const char *setup, double timeout, struct rankcall_runner **runner)
{
    const char *program[] = {worker, NULL};
    struct rankcall_payload *args = json_payload(setup);
    struct rankcall_start_options options = {
        .ranks = 3, .name = "failing", .program = program, .setup = args, .timeout = timeout, .quiet = true};
    int code = rankcall_start(&options, runner);
    struct rankcall_error error = *rankcall_last_error();
    if (code)
        fprintf(stderr, "%s, rank %d: %s\n", rankcall_code_name(code), error.rank, error.message);
    rankcall_payload_free(args);
    return code;
}

static void expect_sum(struct rankcall_runner *runner, double wanted)
{
    struct rankcall_payload *result;
    double sum;
    OK(rankcall_invoke(runner, "sum", json_payload("{\"value\": 1}"), &result));
    OK(rankcall_get_double(result, "sum", &sum));
    CHECK(sum == wanted);
    rankcall_payload_free(result);
}

static void test_start(const char *worker)
{
    struct rankcall_runner *runner = start(worker, 2, "started");
    struct rankcall_payload *result;
    const char *text;
    SAME(rankcall_runner_job_name(runner), "started");
    CHECK(rankcall_runner_world_size(runner) == 2);
    expect_sum(runner, 3);
    OK(rankcall_invoke(runner, "info", NULL, &result));
    OK(rankcall_get_string(result, "last_argument", &text));
    SAME(text, "arguments");
    rankcall_payload_free(result);
    OK(rankcall_stop(runner, 0));
    CHECK(!rankcall_is_alive(runner));
    CHECK(rankcall_invoke(runner, "empty", NULL, &result) != RANKCALL_OK);
    rankcall_runner_free(runner);
}

static void test_start_two(const char *worker)
{
    struct rankcall_runner *first = start(worker, 0, NULL), *second = start(worker, 2, NULL);
    CHECK(strcmp(rankcall_runner_job_name(first), rankcall_runner_job_name(second)) != 0);
    expect_sum(first, 1);
    expect_sum(second, 3);
    OK(rankcall_terminate(first, 5));
    CHECK(!rankcall_is_alive(first));
    expect_sum(second, 3);
    rankcall_runner_free(first);
    rankcall_runner_free(second); /* terminates */
}

static void test_start_setup(const char *worker)
{
    const char *program[] = {worker, NULL}, *text;
    struct rankcall_payload *args = json_payload("{\"text\": \"f\\u00fcr alle\"}"), *result;
    struct rankcall_start_options options = {.ranks = 2, .program = program, .setup = args, .timeout = 60};
    struct rankcall_runner *runner;
    OK(rankcall_start(&options, &runner));
    OK(rankcall_invoke(runner, "info", NULL, &result));
    OK(rankcall_get_string(result, "/setup/text", &text));
    SAME(text, "für alle");
    rankcall_payload_free(result);
    rankcall_payload_free(args);
    OK(rankcall_stop(runner, 1));
    rankcall_runner_free(runner);
}

static void test_start_failing_setup(const char *worker)
{
    struct rankcall_runner *runner;
    CODE(start_with_setup(worker, "{\"fail\": 1, \"message\": \"no model here\"}", 60, &runner), RANKCALL_EWORKER);
    const struct rankcall_error *error = rankcall_last_error();
    CHECK(error->rank == 1 && error->host[0] && strstr(error->message, "no model here"));
    CODE(start_with_setup(worker, "{\"fail\": -1, \"message\": \"none anywhere\"}", 60, &runner), RANKCALL_EWORKER);
    error = rankcall_last_error();
    CHECK(error->rank >= 0 && strstr(error->message, "none anywhere"));
}

static void test_start_timeout(const char *worker)
{
    struct rankcall_runner *runner;
    CODE(start_with_setup(worker, "{\"hang\": 2}", 1.5, &runner), RANKCALL_ETIMEOUT);
}

static void test_start_dying_setup(const char *worker)
{
    struct rankcall_runner *runner;
    int code = start_with_setup(worker, "{\"die\": 1}", 60, &runner);
    CHECK(code == RANKCALL_EJOBDIED || code == RANKCALL_ERANKDIED || code == RANKCALL_ELAUNCH);
}

static void test_start_no_program(const char *worker)
{
    (void)worker;
    const char *program[] = {"/no/such/program", NULL}, *nothing[] = {NULL};
    struct rankcall_start_options options = {.ranks = 2, .program = program, .timeout = 60, .quiet = true};
    struct rankcall_runner *runner;
    CODE(rankcall_start(&options, &runner), RANKCALL_ELAUNCH);
    CHECK(strstr(rankcall_last_error()->message, "/no/such/program"));
    options.program = nothing;
    CODE(rankcall_start(&options, &runner), RANKCALL_EINVAL);
    options.program = program;
    options.ranks = -1;
    CODE(rankcall_start(&options, &runner), RANKCALL_EINVAL);
}

static void test_start_same_name(const char *worker)
{
    const char *program[] = {worker, NULL};
    struct rankcall_start_options options = {.name = "twice", .program = program, .timeout = 60, .quiet = true};
    struct rankcall_runner *first = start(worker, 1, "twice"), *second;
    CODE(rankcall_start(&options, &second), RANKCALL_EEXIST);
    expect_sum(first, 1); /* the first is untouched */
    rankcall_runner_free(first);
}

/* The caller ends without a word: with _exit, and with SIGKILL. The job must end too. */
static void test_start_and_vanish(const char *worker)
{
    for (int way = 0; way < 2; way++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            start(worker, 2, way ? "killed" : "left");
            if (way)
                kill(getpid(), SIGKILL);
            _exit(0);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(way ? WIFSIGNALED(status) : status == 0);
    }
}

static struct rankcall_pending *submit(struct rankcall_runner *runner, const char *handler, const char *json,
                                       bool streaming)
{
    struct rankcall_call_options options = {.handler = handler, .streaming = streaming};
    struct rankcall_pending *pending;
    OK(rankcall_submit(runner, &options, json_payload(json), &pending));
    return pending;
}

/* Asks until that handler runs. */
static void wait_until_runs(struct rankcall_runner *runner, const char *handler)
{
    const char *running = "";
    for (int tries = 0; tries < 10000; tries++) {
        struct rankcall_payload *status;
        OK(rankcall_status(runner, &status));
        bool found = rankcall_get_string(status, "/running/handler", &running) == RANKCALL_OK;
        found = found && strcmp(running, handler) == 0;
        rankcall_payload_free(status);
        if (found)
            return;
    }
    CHECK(!"the handler never ran");
}

/* Within the drain time the running call ends well; the queued one is refused. */
static void test_stop_drains(const char *worker)
{
    struct rankcall_runner *runner = start(worker, 2, "drained"), *other;
    struct rankcall_item item;
    OK(rankcall_connect("drained", &other));
    struct rankcall_pending *slow = submit(other, "slow", "{\"seconds\": 1}", false);
    struct rankcall_pending *queued = submit(other, "slow", "{\"seconds\": 1}", false);
    wait_until_runs(runner, "slow");
    OK(rankcall_stop(runner, 20));
    OK(rankcall_next(slow, 30, &item));
    rankcall_payload_free(item.payload);
    CODE(rankcall_next(queued, 30, &item), RANKCALL_ESHUTTINGDOWN);
    rankcall_runner_free(other);
    rankcall_runner_free(runner);
}

/* Without drain time the running call is cancelled. */
static void test_stop_at_once(const char *worker)
{
    struct rankcall_runner *runner = start(worker, 2, "stopped"), *other;
    OK(rankcall_connect("stopped", &other));
    struct rankcall_pending *running = submit(other, "wait", "{}", true);
    struct rankcall_item item;
    OK(rankcall_next(running, 30, &item));
    rankcall_payload_free(item.payload);
    struct rankcall_pending *queued = submit(other, "wait", "{}", true);
    OK(rankcall_stop(other, 0)); /* by one who only connected */
    CODE(rankcall_next(queued, 30, &item), RANKCALL_ESHUTTINGDOWN);
    int code = rankcall_next(running, 30, &item);
    CHECK(code == RANKCALL_ECANCELLED || code == RANKCALL_ESHUTTINGDOWN);
    rankcall_runner_free(other);
    rankcall_runner_free(runner);
}

/* Terminate in mid-call, where the handler never looks whether it is cancelled. */
static void test_terminate_stubborn(const char *worker)
{
    struct rankcall_runner *runner = start(worker, 2, "stubborn");
    struct rankcall_pending *busy = submit(runner, "slow", "{\"seconds\": 100}", false);
    struct rankcall_item item;
    wait_until_runs(runner, "slow");
    OK(rankcall_terminate(runner, 0.5));
    CHECK(!rankcall_is_alive(runner));
    CHECK(rankcall_next(busy, 5, &item) != RANKCALL_OK);
    rankcall_pending_free(busy);
    rankcall_runner_free(runner);
}

const struct runner_case runner_job_cases[] = {
    {"start", test_start},
    {"start_two", test_start_two},
    {"start_setup", test_start_setup},
    {"start_failing_setup", test_start_failing_setup},
    {"start_timeout", test_start_timeout},
    {"start_dying_setup", test_start_dying_setup},
    {"start_no_program", test_start_no_program},
    {"start_same_name", test_start_same_name},
    {"start_and_vanish", test_start_and_vanish},
    {"stop_drains", test_stop_drains},
    {"stop_at_once", test_stop_at_once},
    {"terminate_stubborn", test_terminate_stubborn},
    {0},
};
