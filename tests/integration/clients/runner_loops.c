/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The runner API under the caller's own event loop, and from several threads. */

#include <poll.h>
#include <pthread.h>
#include <signal.h>

#include "burst.h"
#include "check.h"
#include "runner_cases.h"

/* Takes every item that is ready. Returns whether the call goes on. */
static bool take(struct rankcall_pending *pending, uint64_t *events)
{
    struct rankcall_item item;
    int code;
    while ((code = rankcall_next(pending, 0, &item)) == RANKCALL_OK) {
        rankcall_payload_free(item.payload);
        if (item.kind == RANKCALL_ITEM_RESULT)
            return false;
        CHECK(item.sequence == *events);
        ++*events;
    }
    CODE(code, RANKCALL_EAGAIN);
    return true;
}

static void wait_and_process(struct rankcall_runner *runner)
{
    struct pollfd one = {.fd = rankcall_runner_fd(runner), .events = rankcall_runner_poll_events(runner)};
    CHECK(one.fd >= 0 && one.events & POLLIN);
    CHECK(poll(&one, 1, 30000) == 1);
    OK(rankcall_process(runner));
}

static void test_own_loop(const char *job)
{
    enum { CALLS = 3, EVENTS = 2000 };
    struct rankcall_runner *runner;
    struct rankcall_pending *pending[CALLS];
    uint64_t events[CALLS] = {0};
    bool runs[CALLS];
    OK(rankcall_connect(job, &runner));
    for (int i = 0; i < CALLS; i++) {
        OK(rankcall_stream(runner, "burst", json_payload("{\"count\": 2000, \"ranks\": [1]}"), &pending[i]));
        runs[i] = true;
    }
    while (runs[0] || runs[1] || runs[2]) {
        wait_and_process(runner);
        for (int i = 0; i < CALLS; i++)
            runs[i] = runs[i] && take(pending[i], &events[i]);
    }
    for (int i = 0; i < CALLS; i++) {
        CHECK(events[i] == EVENTS);
        rankcall_pending_free(pending[i]);
    }
    rankcall_runner_free(runner);
}

/* A large call under way asks for POLLOUT, and then for it no more. */
static void test_own_loop_writes(const char *job)
{
    enum { SIZE = 64 << 20 };
    struct rankcall_runner *runner;
    struct rankcall_pending *pending;
    struct rankcall_payload *args = rankcall_payload_new();
    struct rankcall_attachment attachment = {.name = "a", .data = calloc(SIZE, 1), .size = SIZE};
    struct rankcall_call_options options = {.handler = "checksum"};
    uint64_t events = 0;
    OK(rankcall_connect(job, &runner));
    OK(rankcall_attach_take(args, &attachment));
    OK(rankcall_submit(runner, &options, args, &pending));
    CHECK(rankcall_runner_poll_events(runner) & POLLOUT);
    while (take(pending, &events))
        wait_and_process(runner);
    CHECK(!(rankcall_runner_poll_events(runner) & POLLOUT));
    rankcall_pending_free(pending);
    rankcall_runner_free(runner);
}

static void *call_from_thread(void *argument)
{
    struct rankcall_runner *runner;
    OK(rankcall_connect(argument, &runner));
    for (uint32_t i = 0; i < 20; i++) {
        struct burst burst = burst_of((uint32_t)(uintptr_t)&burst + i, 20, 64, 2);
        burst_run(&burst, runner);
        struct rankcall_payload *result;
        CODE(rankcall_invoke(runner, "no such", NULL, &result), RANKCALL_ENOHANDLER);
    }
    rankcall_runner_free(runner);
    return NULL;
}

static void test_threads(const char *job)
{
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
        CHECK(pthread_create(&threads[i], NULL, call_from_thread, (void *)job) == 0);
    for (int i = 0; i < 8; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

static bool says_gone(int code)
{
    return code == RANKCALL_EJOBDIED || code == RANKCALL_ERANKDIED || code == RANKCALL_ECLOSED ||
           code == RANKCALL_ENOJOB;
}

/* The job's rank 1 is killed under a call: this ends with an error, and so does everything after. */
static void test_dead_job(const char *job)
{
    struct rankcall_runner *runner;
    struct rankcall_pending *pending;
    struct rankcall_payload *status;
    struct rankcall_item item;
    int64_t pid;
    OK(rankcall_connect(job, &runner));
    OK(rankcall_status(runner, &status));
    OK(rankcall_get_int(status, "/ranks/1/pid", &pid));
    rankcall_payload_free(status);
    OK(rankcall_stream(runner, "wait", NULL, &pending));
    OK(rankcall_next(pending, 30, &item));
    rankcall_payload_free(item.payload);
    CHECK(kill((pid_t)pid, SIGKILL) == 0);
    int code = rankcall_next(pending, 30, &item);
    CHECK(says_gone(code) && code != RANKCALL_ENOJOB);
    for (int tries = 0; rankcall_is_alive(runner); tries++)
        CHECK(tries < 100000); /* rank 0 may still answer while it ends */
    code = rankcall_status(runner, &status);
    CHECK(says_gone(code));
    code = rankcall_process(runner);
    CHECK(says_gone(code));
    rankcall_pending_free(pending);
    rankcall_runner_free(runner);
}

const struct runner_case runner_loop_cases[] = {
    {"own_loop", test_own_loop},
    {"own_loop_writes", test_own_loop_writes},
    {"threads", test_threads},
    {"dead_job", test_dead_job},
    {0},
};
