/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The runner library against a job without ranks. */

#include "unit.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <rankcall/runner.h>

#include "base/fd.h"
#include "client/runner.h"
#include "fake_job.h"
#include "wire/frame.h"

#define LARGE (24u << 20) /* bytes: far more than sockets hold */

struct fixture {
    struct fake_job *job;
    struct rankcall_runner *runner;
};

static void begin(struct fixture *fixture, uint64_t cap)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    rk_fd_prepare(pair[1]);
    fixture->job = fake_job_start(pair[1], cap);
    assert_ok(rk_runner_attach(pair[0], &fixture->runner));
    assert_ok(rk_runner_greet(fixture->runner, rk_now_us() + 5000000));
}

static int set_up(void **state)
{
    static struct fixture fixture;
    begin(&fixture, RK_PAYLOAD_CAP_DEFAULT);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    rankcall_runner_free(fixture->runner);
    fake_job_end(fixture->job);
    return 0;
}

static struct rankcall_payload *json(const char *text)
{
    struct rankcall_payload *payload;
    assert_ok(rankcall_payload_from_json(text, SIZE_MAX, &payload));
    return payload;
}

static struct rankcall_pending *submit(struct fixture *fixture, const char *handler, struct rankcall_payload *args)
{
    const struct rankcall_call_options options = {.handler = handler, .streaming = true};
    struct rankcall_pending *pending;
    assert_ok(rankcall_submit(fixture->runner, &options, args, &pending));
    return pending;
}

static void check_json(struct rankcall_payload *payload, const char *expected)
{
    assert_string_equal(rankcall_payload_json(payload, NULL), expected);
    rankcall_payload_free(payload);
}

static void a_runner_knows_what_the_job_said_when_it_greeted(void **state)
{
    struct fixture *fixture = *state;
    assert_string_equal(rankcall_runner_job_name(fixture->runner), "fake");
    assert_string_equal(rankcall_runner_path(fixture->runner), "/nowhere");
    assert_int_equal(rankcall_runner_world_size(fixture->runner), 4);
    assert_int_equal(rankcall_runner_payload_cap(fixture->runner), RK_PAYLOAD_CAP_DEFAULT);
}

static void an_invoke_gives_the_result(void **state)
{
    struct fixture *fixture = *state;
    struct rankcall_payload *result;
    for (int i = 0; i < 1000; i++) {
        assert_ok(rankcall_invoke(fixture->runner, "echo", json("{\"a\": [1,  2.50]}"), &result));
        check_json(result, "{\"a\": [1,  2.50]}");
    }
    assert_ok(rankcall_invoke(fixture->runner, NULL, NULL, &result));
    check_json(result, "{}");
    assert_ok(rankcall_invoke(fixture->runner, "echo", json("{\"nobody\": \"wants it\"}"), NULL));
}

static void an_error_keeps_its_rank_host_and_traceback(void **state)
{
    struct fixture *fixture = *state;
    struct rankcall_payload *result;
    assert_fails(rankcall_invoke(fixture->runner, "fail", NULL, &result), RANKCALL_EWORKER, "no such picture");
    assert_null(result);
    assert_int_equal(rankcall_last_error()->rank, 3);
    assert_string_equal(rankcall_last_error()->host, "node7");
    assert_string_equal(rankcall_last_error()->traceback, "line 1\nline 2");
    assert_ok(rankcall_invoke(fixture->runner, "echo", NULL, &result));
    rankcall_payload_free(result);
}

static void events_come_in_order_per_rank_and_before_the_result(void **state)
{
    struct fixture *fixture = *state;
    struct rankcall_item item;
    uint64_t next[2] = {0, 0};
    struct rankcall_pending *pending = submit(fixture, "events", json("{\"count\": 5000}"));
    for (int i = 0; i < 10000; i++) {
        int64_t number;
        assert_ok(rankcall_next(pending, -1, &item));
        assert_int_equal(item.kind, RANKCALL_ITEM_EVENT);
        assert_in_range(item.rank, 0, 1);
        assert_int_equal(item.sequence, next[item.rank]++);
        assert_ok(rankcall_get_int(item.payload, "i", &number));
        assert_int_equal(number, item.sequence);
        rankcall_payload_free(item.payload);
    }
    assert_ok(rankcall_next(pending, -1, &item));
    assert_int_equal(item.kind, RANKCALL_ITEM_RESULT);
    check_json(item.payload, "{\"done\": true}");
    assert_fails(rankcall_next(pending, -1, &item), RANKCALL_EINVAL, "has ended");
    rankcall_pending_free(pending);
}

static void events_that_nobody_took_are_freed(void **state)
{
    struct fixture *fixture = *state;
    struct rankcall_item item;
    struct rankcall_pending *pending = submit(fixture, "events", json("{\"count\": 50}"));
    assert_ok(rankcall_next(pending, -1, &item));
    rankcall_payload_free(item.payload);
    rankcall_pending_free(pending);
    submit(fixture, "events", json("{\"count\": 50}")); /* freed with the runner */
    assert_true(rankcall_is_alive(fixture->runner));
}

static void answers_find_their_calls_in_any_order(void **state)
{
    struct fixture *fixture = *state;
    struct rankcall_item item;
    struct rankcall_pending *first = submit(fixture, "late", json("{\"n\": 1}"));
    struct rankcall_pending *second = submit(fixture, "late", json("{\"n\": 2}"));
    assert_int_not_equal(rankcall_pending_id(first), rankcall_pending_id(second));
    assert_ok(rankcall_next(first, -1, &item));
    check_json(item.payload, "{\"n\": 1}");
    assert_ok(rankcall_next(second, 0, &item));
    check_json(item.payload, "{\"n\": 2}");
    rankcall_pending_free(first);
    rankcall_pending_free(second);
}

static void a_thousand_calls_may_be_outstanding(void **state)
{
    struct fixture *fixture = *state;
    struct rankcall_pending *pendings[1000];
    for (int i = 0; i < 1000; i++) {
        struct rankcall_payload *args = rankcall_payload_new();
        assert_ok(rankcall_set_int(args, "n", i));
        pendings[i] = submit(fixture, "echo", args);
    }
    for (int i = 999; i >= 0; i--) {
        struct rankcall_item item;
        int64_t number;
        assert_ok(rankcall_next(pendings[i], -1, &item));
        assert_ok(rankcall_get_int(item.payload, "n", &number));
        assert_int_equal(number, i);
        rankcall_payload_free(item.payload);
        rankcall_pending_free(pendings[i]);
    }
}

static void waiting_ends_at_the_timeout_and_the_call_goes_on(void **state)
{
    struct fixture *fixture = *state;
    struct rankcall_item item;
    struct rankcall_pending *pending = submit(fixture, "wait", NULL);
    int64_t before = rk_now_us();
    assert_int_equal(rankcall_next(pending, 0, &item), RANKCALL_EAGAIN);
    assert_int_equal(rankcall_next(pending, 0.02, &item), RANKCALL_EAGAIN);
    assert_true(rk_now_us() - before >= 20000);
    assert_ok(rankcall_cancel(pending));
    assert_fails(rankcall_next(pending, -1, &item), RANKCALL_ECANCELLED, "cancelled");
    assert_ok(rankcall_cancel(pending));
    rankcall_pending_free(pending);
}

static void a_forgotten_call_is_cancelled(void **state)
{
    struct fixture *fixture = *state;
    rankcall_pending_free(submit(fixture, "wait", NULL));
    assert_true(rankcall_is_alive(fixture->runner)); /* the job has read what came before */
    assert_int_equal(fake_job_cancels(fixture->job), 1);
}

/* Fills a large attachment of the caller's memory. */
static struct rankcall_payload *large(uint8_t *bytes, void (*release)(void *, void *), void *context)
{
    struct rankcall_payload *payload = rankcall_payload_new();
    const struct rankcall_attachment attachment = {.name = "x", .data = bytes, .size = LARGE};
    for (size_t i = 0; i < LARGE; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    assert_ok(rankcall_attach(payload, &attachment, release, context));
    return payload;
}

static void large_payloads_pass_both_ways_at_once(void **state)
{
    struct fixture *fixture = *state;
    uint8_t *bytes = malloc(LARGE);
    struct rankcall_pending *pendings[3];
    struct rankcall_item item;
    struct rankcall_attachment back;
    for (int i = 0; i < 3; i++)
        pendings[i] = submit(fixture, "echo", large(bytes, NULL, NULL));
    for (int i = 0; i < 3; i++) {
        assert_ok(rankcall_next(pendings[i], -1, &item));
        assert_ok(rankcall_attachment(item.payload, "x", &back));
        assert_int_equal(back.size, LARGE);
        assert_memory_equal(back.data, bytes, LARGE);
        rankcall_payload_free(item.payload);
        rankcall_pending_free(pendings[i]);
    }
    free(bytes);
}

static void count_release(void *data, void *context)
{
    (void)data;
    ++*(int *)context;
}

static void the_callers_memory_is_given_back_before_the_outcome(void **state)
{
    struct fixture *fixture = *state;
    uint8_t *bytes = malloc(LARGE);
    struct rankcall_payload *result;
    int released = 0;
    /* The refusal comes while the payload is still being written. */
    assert_fails(rankcall_invoke(fixture->runner, "busy", large(bytes, count_release, &released), &result),
                 RANKCALL_EBUSY, "full");
    assert_int_equal(released, 1);
    free(bytes);
    assert_true(rankcall_is_alive(fixture->runner));
}

static void arguments_are_taken_also_on_failure(void **state)
{
    struct fixture *fixture = *state;
    uint8_t *bytes = malloc(LARGE);
    const struct rankcall_call_options options = {.handler = "echo"};
    struct rankcall_pending *pending;
    int released = 0;
    tear_down(state);
    begin(fixture, 1 << 20);
    assert_fails(rankcall_submit(fixture->runner, &options, large(bytes, count_release, &released), &pending),
                 RANKCALL_ETOOLARGE, "--payload-cap");
    assert_null(pending);
    assert_int_equal(released, 1);
    free(bytes);
}

static void a_handlers_name_has_a_limit(void **state)
{
    struct fixture *fixture = *state;
    struct rankcall_payload *result;
    char name[RANKCALL_MAX_NAME + 2];
    memset(name, 'h', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_fails(rankcall_invoke(fixture->runner, name, NULL, &result), RANKCALL_EINVAL, "255");
}

static void a_closed_connection_ends_every_call(void **state)
{
    struct fixture *fixture = *state;
    struct rankcall_item item;
    struct rankcall_pending *waiting = submit(fixture, "wait", NULL);
    struct rankcall_pending *closing = submit(fixture, "close", NULL);
    assert_fails(rankcall_next(closing, -1, &item), RANKCALL_ECLOSED, "closed");
    assert_fails(rankcall_next(waiting, -1, &item), RANKCALL_ECLOSED, "closed");
    assert_fails(rankcall_next(waiting, -1, &item), RANKCALL_EINVAL, "has ended");
    assert_false(rankcall_is_alive(fixture->runner));
    assert_fails(rankcall_invoke(fixture->runner, "echo", NULL, &item.payload), RANKCALL_ECLOSED, "closed");
    assert_fails(rankcall_process(fixture->runner), RANKCALL_ECLOSED, "closed");
    rankcall_pending_free(waiting);
    rankcall_pending_free(closing);
}

static void bytes_that_are_no_frame_end_the_connection(void **state)
{
    struct fixture *fixture = *state;
    struct rankcall_payload *result;
    assert_fails(rankcall_invoke(fixture->runner, "garbage", NULL, &result), RANKCALL_EPROTOCOL, "magic");
    assert_fails(rankcall_invoke(fixture->runner, "echo", NULL, &result), RANKCALL_EPROTOCOL, "magic");
}

static void a_result_that_is_not_json_ends_only_its_call(void **state)
{
    struct fixture *fixture = *state;
    struct rankcall_payload *result;
    assert_fails(rankcall_invoke(fixture->runner, "bad_json", NULL, &result), RANKCALL_EPAYLOAD, "JSON byte 1");
    assert_ok(rankcall_invoke(fixture->runner, "echo", NULL, &result));
    rankcall_payload_free(result);
}

static void a_status_has_its_deadline(void **state)
{
    struct fixture *fixture = *state;
    struct rankcall_payload *status;
    assert_ok(rankcall_status(fixture->runner, &status));
    check_json(status, "{\"state\": \"ready\"}");
    fake_job_freeze(fixture->job, true);
    assert_fails(rk_runner_status_by(fixture->runner, rk_now_us() + 20000, &status), RANKCALL_ETIMEOUT, "in time");
    assert_null(status);
    fake_job_freeze(fixture->job, false);
    assert_true(rankcall_is_alive(fixture->runner));
}

static void after_a_stop_calls_say_that_the_job_has_stopped(void **state)
{
    struct fixture *fixture = *state;
    struct rankcall_payload *result;
    assert_ok(rankcall_stop(fixture->runner, 1));
    assert_true(rk_runner_stopping(fixture->runner));
    assert_fails(rankcall_invoke(fixture->runner, "echo", NULL, &result), RANKCALL_ESHUTTINGDOWN, "stopped");
    assert_ok(rankcall_stop(fixture->runner, 1));
}

static void an_event_loop_of_ones_own_works(void **state)
{
    struct fixture *fixture = *state;
    uint8_t *bytes = malloc(LARGE);
    struct rankcall_item item;
    struct rankcall_pending *pending = submit(fixture, "echo", large(bytes, NULL, NULL));
    int code;
    while ((code = rankcall_next(pending, 0, &item)) == RANKCALL_EAGAIN) {
        struct pollfd fd = {rankcall_runner_fd(fixture->runner), rankcall_runner_poll_events(fixture->runner), 0};
        assert_int_equal(poll(&fd, 1, 5000), 1);
        assert_ok(rankcall_process(fixture->runner));
    }
    assert_ok(code);
    rankcall_payload_free(item.payload);
    rankcall_pending_free(pending);
    free(bytes);
}

/* ---- By name and path ---- */

static char folder[] = "/tmp/rankcall-test-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder + sizeof folder - 7, "XXXXXX");
    unsetenv("RANKCALL_JOB");
    return !mkdtemp(folder) || setenv("RANKCALL_RUNTIME_DIR", folder, 1);
}

static int remove_folder(void **state)
{
    char command[64];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static struct fake_job *listen_as(const char *name)
{
    char path[RK_PATH_MAX];
    assert_ok(rk_path_socket(name, path));
    struct fake_job *job = fake_job_listen(path);
    assert_non_null(job);
    return job;
}

static void a_job_is_found_by_name_path_environment_or_alone(void **state)
{
    char path[RK_PATH_MAX];
    const char *ways[] = {"one", path, NULL, NULL};
    struct fake_job *job = listen_as("one");
    (void)state;
    assert_ok(rk_path_socket("one", path));
    for (size_t i = 0; i < COUNT(ways); i++) {
        struct rankcall_runner *runner;
        if (i == 3)
            setenv("RANKCALL_JOB", "one", 1);
        assert_ok(rankcall_connect(ways[i], &runner));
        assert_string_equal(rankcall_runner_path(runner), path);
        rankcall_runner_free(runner);
    }
    fake_job_end(job);
}

static void no_job_and_several_jobs_are_told_apart(void **state)
{
    struct rankcall_runner *runner;
    (void)state;
    assert_fails(rankcall_connect(NULL, &runner), RANKCALL_ENOJOB, "no job runs");
    assert_fails(rankcall_connect("one", &runner), RANKCALL_ENOJOB, "one.sock");
    assert_fails(rankcall_connect("/nowhere/x", &runner), RANKCALL_ENOJOB, "/nowhere/x");
    struct fake_job *one = listen_as("one"), *two = listen_as("two");
    assert_fails(rankcall_connect(NULL, &runner), RANKCALL_EINVAL, "one, two");
    assert_null(runner);
    fake_job_end(one);
    fake_job_end(two);
}

static void sockets_are_listed_by_name_and_other_files_are_not(void **state)
{
    struct rk_job_entry *jobs;
    size_t count;
    char path[128];
    (void)state;
    assert_ok(rk_jobs_list(&jobs, &count));
    assert_int_equal(count, 0);
    struct fake_job *two = listen_as("two"), *one = listen_as("one");
    snprintf(path, sizeof path, "%s/.123.launcher", folder);
    fclose(fopen(path, "w"));
    assert_ok(rk_jobs_list(&jobs, &count));
    assert_int_equal(count, 2);
    assert_string_equal(jobs[0].name, "one");
    assert_string_equal(jobs[1].name, "two");
    free(jobs);
    fake_job_end(one);
    fake_job_end(two);
}

static void a_job_that_dies_is_told_from_one_that_hangs_up(void **state)
{
    struct rankcall_runner *runner;
    struct rankcall_payload *result;
    struct fake_job *job = listen_as("one");
    (void)state;
    assert_ok(rankcall_connect("one", &runner));
    assert_fails(rankcall_invoke(runner, "close", NULL, &result), RANKCALL_ECLOSED, "closed");
    rankcall_runner_free(runner);
    assert_ok(rankcall_connect("one", &runner));
    fake_job_end(job);
    assert_fails(rankcall_invoke(runner, "echo", NULL, &result), RANKCALL_EJOBDIED, "one.sock");
    rankcall_runner_free(runner);
}

static void a_start_without_the_command_fails_and_says_so(void **state)
{
    const char *const program[] = {"worker", NULL};
    const struct rankcall_start_options options = {.program = program};
    struct rankcall_runner *runner;
    (void)state;
    setenv("RANKCALL_COMMAND", "/nowhere/rankcall", 1);
    assert_fails(rankcall_start(&options, &runner), RANKCALL_ELAUNCH, "/nowhere/rankcall");
    setenv("RANKCALL_COMMAND", "/bin/false", 1);
    assert_fails(rankcall_start(&options, &runner), RANKCALL_ELAUNCH, "status 1");
    assert_null(runner);
    unsetenv("RANKCALL_COMMAND");
}

#define WITH_JOB(test)    cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

UNIT_MAIN(WITH_JOB(a_runner_knows_what_the_job_said_when_it_greeted), WITH_JOB(an_invoke_gives_the_result),
          WITH_JOB(an_error_keeps_its_rank_host_and_traceback),
          WITH_JOB(events_come_in_order_per_rank_and_before_the_result), WITH_JOB(events_that_nobody_took_are_freed),
          WITH_JOB(answers_find_their_calls_in_any_order), WITH_JOB(a_thousand_calls_may_be_outstanding),
          WITH_JOB(waiting_ends_at_the_timeout_and_the_call_goes_on), WITH_JOB(a_forgotten_call_is_cancelled),
          WITH_JOB(large_payloads_pass_both_ways_at_once),
          WITH_JOB(the_callers_memory_is_given_back_before_the_outcome), WITH_JOB(arguments_are_taken_also_on_failure),
          WITH_JOB(a_handlers_name_has_a_limit), WITH_JOB(a_closed_connection_ends_every_call),
          WITH_JOB(bytes_that_are_no_frame_end_the_connection), WITH_JOB(a_result_that_is_not_json_ends_only_its_call),
          WITH_JOB(a_status_has_its_deadline), WITH_JOB(after_a_stop_calls_say_that_the_job_has_stopped),
          WITH_JOB(an_event_loop_of_ones_own_works), WITH_FOLDER(a_job_is_found_by_name_path_environment_or_alone),
          WITH_FOLDER(no_job_and_several_jobs_are_told_apart),
          WITH_FOLDER(sockets_are_listed_by_name_and_other_files_are_not),
          WITH_FOLDER(a_job_that_dies_is_told_from_one_that_hangs_up),
          WITH_FOLDER(a_start_without_the_command_fails_and_says_so))
