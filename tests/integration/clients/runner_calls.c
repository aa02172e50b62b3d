/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The runner API against a running job: connecting, calling, streaming, cancelling, forgetting. */

#include <time.h>

#include "burst.h"
#include "check.h"
#include "runner_cases.h"

static struct rankcall_runner *connect_to(const char *job)
{
    struct rankcall_runner *runner;
    OK(rankcall_connect(job, &runner));
    return runner;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* A call that must give {} at once: the connection and the job are well. */
static void expect_well(struct rankcall_runner *runner)
{
    struct rankcall_payload *result;
    OK(rankcall_invoke(runner, "empty", NULL, &result));
    SAME(rankcall_payload_json(result, NULL), "{}");
    rankcall_payload_free(result);
}

static struct rankcall_pending *submit(struct rankcall_runner *runner, const char *handler, const char *json,
                                       bool streaming)
{
    struct rankcall_call_options options = {.handler = handler, .streaming = streaming};
    struct rankcall_pending *pending;
    OK(rankcall_submit(runner, &options, json ? json_payload(json) : NULL, &pending));
    return pending;
}

/* A wait that runs: its first event has come. */
static struct rankcall_pending *begin_wait(struct rankcall_runner *runner)
{
    struct rankcall_pending *pending = submit(runner, "wait", NULL, true);
    struct rankcall_item item;
    OK(rankcall_next(pending, 30, &item));
    CHECK(item.kind == RANKCALL_ITEM_EVENT && item.rank == 0 && item.sequence == 0);
    rankcall_payload_free(item.payload);
    return pending;
}

static void test_connect(const char *job)
{
    struct rankcall_runner *runner = connect_to(job), *other;
    SAME(rankcall_runner_job_name(runner), job);
    CHECK(rankcall_runner_world_size(runner) == 2);
    CHECK(rankcall_runner_payload_cap(runner) == 1u << 30);
    CHECK(rankcall_is_alive(runner));
    const char *path = rankcall_runner_path(runner);
    CHECK(path[0] == '/');
    OK(rankcall_connect(path, &other));
    SAME(rankcall_runner_job_name(other), job);
    expect_well(other);
    rankcall_runner_free(other);
    OK(rankcall_connect(NULL, &other)); /* the only one */
    rankcall_runner_free(other);
    CHECK(setenv("RANKCALL_JOB", "elsewhere", 1) == 0);
    CODE(rankcall_connect(NULL, &other), RANKCALL_ENOJOB);
    CHECK(setenv("RANKCALL_JOB", job, 1) == 0);
    OK(rankcall_connect(NULL, &other));
    rankcall_runner_free(other);
    rankcall_runner_free(runner);
    rankcall_runner_free(NULL);
}

static void test_connect_refused(const char *job)
{
    (void)job;
    char path[200];
    struct rankcall_runner *runner;
    CODE(rankcall_connect("nobody", &runner), RANKCALL_ENOJOB);
    CHECK(strstr(rankcall_last_error()->message, "nobody"));
    CODE(rankcall_connect("/nowhere/at/all.sock", &runner), RANKCALL_ENOJOB);
    CODE(rankcall_connect("bad name", &runner), RANKCALL_EINVAL);
    CODE(rankcall_connect("", &runner), RANKCALL_EINVAL);
    memset(path, 'x', sizeof path);
    path[0] = '/';
    path[108] = 0;
    CODE(rankcall_connect(path, &runner), RANKCALL_EINVAL);
    CHECK(strstr(rankcall_last_error()->message, "108"));
}

static void test_invoke(const char *job)
{
    struct rankcall_runner *runner = connect_to(job);
    struct rankcall_payload *result;
    OK(rankcall_invoke(runner, NULL, NULL, &result)); /* the default handler is "empty" */
    SAME(rankcall_payload_json(result, NULL), "{}");
    rankcall_payload_free(result);
    OK(rankcall_invoke(runner, "echo", json_payload("{ \"a\" : [1, 2.50 , null] }"), &result));
    SAME(rankcall_payload_json(result, NULL), "{ \"a\" : [1, 2.50 , null] }");
    rankcall_payload_free(result);
    rankcall_runner_free(runner);
}

static void test_invoke_errors(const char *job)
{
    struct rankcall_runner *runner = connect_to(job);
    struct rankcall_payload *result;
    CODE(rankcall_invoke(runner, "no such", json_payload("{\"a\":1}"), &result), RANKCALL_ENOHANDLER);
    CHECK(strstr(rankcall_last_error()->message, "no such"));
    CODE(rankcall_invoke(runner, "fail", json_payload("{\"rank\":1,\"message\":\"it broke\"}"), &result),
         RANKCALL_EWORKER);
    const struct rankcall_error *error = rankcall_last_error();
    CHECK(error->rank == 1 && error->host[0] && strstr(error->message, "it broke"));
    expect_well(runner);
    char name[RANKCALL_MAX_NAME + 2];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    CODE(rankcall_invoke(runner, name, NULL, &result), RANKCALL_EINVAL);
    expect_well(runner);
    rankcall_runner_free(runner);
}

static void test_stream(const char *job)
{
    struct rankcall_runner *runner = connect_to(job);
    struct rankcall_pending *pending;
    struct rankcall_item item;
    struct burst burst = burst_of(5, 100, 80, 2);
    burst.attach = 1000;
    burst_submit(&burst, runner, &pending);
    CHECK(rankcall_pending_id(pending) != 0);
    while (burst_step(&burst, pending))
        ;
    CODE(rankcall_next(pending, 0, &item), RANKCALL_EINVAL);
    CODE(rankcall_next(pending, -1, &item), RANKCALL_EINVAL);
    rankcall_pending_free(pending);
    pending = submit(runner, "burst", "{\"count\": 5}", false); /* no events for a call that doesn't stream */
    OK(rankcall_next(pending, 30, &item));
    CHECK(item.kind == RANKCALL_ITEM_RESULT);
    rankcall_payload_free(item.payload);
    rankcall_pending_free(pending);
    rankcall_pending_free(NULL);
    rankcall_runner_free(runner);
}

static void test_outstanding(const char *job)
{
    enum { CALLS = 20 };
    struct rankcall_runner *runner = connect_to(job);
    struct rankcall_pending *pending[CALLS];
    struct burst burst[CALLS];
    for (int i = 0; i < CALLS; i++) {
        burst[i] = burst_of((uint32_t)i, (uint64_t)(i * 10), 64, 2);
        burst_submit(&burst[i], runner, &pending[i]);
        for (int k = 0; k < i; k++)
            CHECK(rankcall_pending_id(pending[k]) != rankcall_pending_id(pending[i]));
    }
    for (int i = CALLS; i-- > 0;) { /* in the order in which they don't end */
        while (burst_step(&burst[i], pending[i]))
            ;
        rankcall_pending_free(pending[i]);
    }
    rankcall_runner_free(runner);
}

static void test_timing(const char *job)
{
    struct rankcall_runner *runner = connect_to(job);
    struct rankcall_call_options options = {.handler = "slow"};
    struct rankcall_pending *pending;
    struct rankcall_timing timing;
    struct rankcall_item item;
    OK(rankcall_submit(runner, &options, json_payload("{\"seconds\": 0.1, \"rank\": 1}"), &pending));
    CODE(rankcall_pending_timing(pending, &timing), RANKCALL_EAGAIN);
    OK(rankcall_next(pending, 30, &item));
    OK(rankcall_pending_timing(pending, &timing));
    CHECK(timing.slowest_rank == 1 && timing.handler_max_us >= 100000 && timing.handler_min_us < 100000);
    CHECK(timing.call > 0);
    rankcall_payload_free(item.payload);
    rankcall_pending_free(pending);
    options.handler = "fail";
    OK(rankcall_submit(runner, &options, NULL, &pending));
    CODE(rankcall_next(pending, 30, &item), RANKCALL_EWORKER);
    CODE(rankcall_pending_timing(pending, &timing), RANKCALL_ENOKEY);
    rankcall_pending_free(pending);
    rankcall_runner_free(runner);
}

static void test_next_waits(const char *job)
{
    struct rankcall_runner *runner = connect_to(job);
    struct rankcall_pending *pending = begin_wait(runner);
    struct rankcall_item item;
    CODE(rankcall_next(pending, 0, &item), RANKCALL_EAGAIN);
    double began = now();
    CODE(rankcall_next(pending, 0.05, &item), RANKCALL_EAGAIN);
    CHECK(now() - began >= 0.049);
    OK(rankcall_cancel(pending));
    CODE(rankcall_next(pending, -1, &item), RANKCALL_ECANCELLED);
    CODE(rankcall_next(pending, -1, &item), RANKCALL_EINVAL);
    rankcall_pending_free(pending);
    rankcall_runner_free(runner);
}

static void test_cancel(const char *job)
{
    struct rankcall_runner *runner = connect_to(job);
    struct rankcall_pending *running = begin_wait(runner), *queued = submit(runner, "sum", "{\"value\":1}", false);
    struct rankcall_item item;
    OK(rankcall_cancel(queued));
    CODE(rankcall_next(queued, 30, &item), RANKCALL_ECANCELLED); /* before the one that runs */
    OK(rankcall_cancel(running));
    OK(rankcall_cancel(running));
    CODE(rankcall_next(running, 30, &item), RANKCALL_ECANCELLED);
    OK(rankcall_cancel(running)); /* too late, harmless */
    rankcall_pending_free(queued);
    rankcall_pending_free(running);
    expect_well(runner);
    rankcall_runner_free(runner);
}

static void test_forget(const char *job)
{
    struct rankcall_runner *runner = connect_to(job);
    struct rankcall_pending *running = begin_wait(runner), *queued = submit(runner, "wait", NULL, true);
    rankcall_pending_free(queued);
    rankcall_pending_free(running); /* cancels: else the next call would wait for two minutes */
    expect_well(runner);
    struct burst burst = burst_of(1, 100000, 64, 2);
    burst.check = 100;
    struct rankcall_pending *pending;
    burst_submit(&burst, runner, &pending);
    while (burst.events < 10)
        CHECK(burst_step(&burst, pending));
    rankcall_pending_free(pending);
    burst = burst_of(2, 50, 64, 2); /* none of the other's events may show here */
    burst_run(&burst, runner);
    rankcall_runner_free(runner);
}

static void test_free_runner_in_mid_call(const char *job)
{
    struct rankcall_runner *runner = connect_to(job), *other = connect_to(job);
    begin_wait(runner);
    submit(runner, "wait", NULL, true);
    submit(runner, "sum", "{\"value\":1}", false);
    rankcall_runner_free(runner); /* the pendings with it */
    expect_well(other);
    rankcall_runner_free(other);
}

static void count_release(void *data, void *context)
{
    CHECK(data);
    ++*(int *)context;
}

static void test_release(const char *job)
{
    static char bytes[100000];
    int released = 0;
    struct rankcall_runner *runner = connect_to(job);
    struct rankcall_payload *args = rankcall_payload_new(), *result;
    struct rankcall_attachment attachment = {.name = "a", .data = bytes, .size = sizeof bytes}, got;
    OK(rankcall_attach(args, &attachment, count_release, &released));
    OK(rankcall_invoke(runner, "echo", args, &result));
    CHECK(released == 1);
    OK(rankcall_attachment(result, "a", &got));
    CHECK(got.size == sizeof bytes && (uintptr_t)got.data % 64 == 0);
    rankcall_payload_free(result);
    args = rankcall_payload_new();
    OK(rankcall_attach(args, &attachment, count_release, &released));
    CODE(rankcall_invoke(runner, "no such", args, &result), RANKCALL_ENOHANDLER);
    CHECK(released == 2);
    args = rankcall_payload_new();
    attachment.name = "";
    CODE(rankcall_attach(args, &attachment, count_release, &released), RANKCALL_EPAYLOAD);
    CHECK(released == 3);
    rankcall_payload_free(args);
    rankcall_runner_free(runner);
}

/* The job of this case was started with a cap of 1 MiB. */
static void test_too_large(const char *job)
{
    struct rankcall_runner *runner = connect_to(job);
    CHECK(rankcall_runner_payload_cap(runner) == 1u << 20);
    struct rankcall_payload *args = rankcall_payload_new(), *result;
    struct rankcall_call_options options = {.handler = "echo"};
    struct rankcall_pending *pending;
    struct rankcall_attachment attachment = {.name = "a", .data = calloc(2, 1 << 20), .size = 2u << 20};
    OK(rankcall_attach_take(args, &attachment));
    CODE(rankcall_submit(runner, &options, args, &pending), RANKCALL_ETOOLARGE);
    expect_well(runner);
    CODE(rankcall_invoke(runner, "make", json_payload("{\"size\": 2000000}"), &result), RANKCALL_EWORKER);
    expect_well(runner);
    rankcall_runner_free(runner);
}

static void test_status(const char *job)
{
    struct rankcall_runner *runner = connect_to(job);
    struct rankcall_payload *status;
    const char *text;
    int64_t number;
    OK(rankcall_status(runner, &status));
    OK(rankcall_get_string(status, "job", &text));
    SAME(text, job);
    OK(rankcall_get_string(status, "worker", &text));
    SAME(text, "test_worker");
    OK(rankcall_get_int(status, "world_size", &number));
    CHECK(number == 2);
    OK(rankcall_get_int(status, "/ranks/1/rank", &number));
    CHECK(number == 1);
    OK(rankcall_get_string(status, "/handlers/0/name", &text));
    SAME(text, "empty");
    rankcall_payload_free(status);
    rankcall_runner_free(runner);
}

static void test_status_in_mid_call(const char *job)
{
    struct rankcall_runner *runner = connect_to(job);
    struct rankcall_payload *status;
    struct rankcall_item item;
    const char *text;
    struct rankcall_pending *pending = begin_wait(runner);
    OK(rankcall_status(runner, &status));
    OK(rankcall_get_string(status, "/running/handler", &text));
    SAME(text, "wait");
    rankcall_payload_free(status);
    CHECK(rankcall_is_alive(runner));
    OK(rankcall_cancel(pending));
    CODE(rankcall_next(pending, 30, &item), RANKCALL_ECANCELLED);
    rankcall_pending_free(pending);
    rankcall_runner_free(runner);
}

const struct runner_case runner_call_cases[] = {
    {"connect", test_connect},
    {"connect_refused", test_connect_refused},
    {"invoke", test_invoke},
    {"invoke_errors", test_invoke_errors},
    {"stream", test_stream},
    {"outstanding", test_outstanding},
    {"timing", test_timing},
    {"next_waits", test_next_waits},
    {"cancel", test_cancel},
    {"forget", test_forget},
    {"free_runner_in_mid_call", test_free_runner_in_mid_call},
    {"release", test_release},
    {"too_large", test_too_large},
    {"status", test_status},
    {"status_in_mid_call", test_status_in_mid_call},
    {0},
};
