/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* One call from beginning to end, with Ctrl-C and deadlines watched. */

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "client/runner.h"
#include "launcher/attach.h"
#include "launcher/call.h"
#include "launcher/say.h"

#define LATE_US 2000000 /* how much later than the job this side gives up */
#define LEAST_S 0.001   /* of a timeout that has passed before the call could be submitted */

struct call {
    const struct rk_call_values *values;
    const struct rk_call_view *view;
    struct rankcall_runner *runner;
    struct rankcall_pending *pending;
    int interrupted; /* the signal that asked to cancel; 0 */
    int64_t begun_us, event_us;
    bool done, heard; /* heard: an event has come */
    int code;
};

static int signal_fd = -1;
static volatile sig_atomic_t signal_seen;

/* The second signal leaves at once, also out of a write that blocks. */
static void on_signal(int number)
{
    const uint64_t one = 1;
    int saved = errno;
    if (signal_seen)
        _exit(128 + number);
    signal_seen = number;
    if (write(signal_fd, &one, sizeof(one)) < 0)
        _exit(128 + number);
    errno = saved;
}

static int prepare_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    signal_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (signal_fd < 0)
        return rk_error_system("cannot watch for signals");
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    return RANKCALL_OK;
}

static int make_arguments(const struct rk_call_values *values, const char *json, struct rankcall_payload **args)
{
    int code = rk_attach_json(json, args);
    if (code)
        return code;
    code = rk_attach_files(*args, &values->attachments);
    if (code) {
        rankcall_payload_free(*args);
        *args = NULL;
    }
    return code;
}

static int begin(struct call *call, const char *json)
{
    const struct rk_call_values *values = call->values;
    struct rankcall_call_options options = {.handler = values->handler,
                                            .streaming = call->view->streaming,
                                            .timeout = values->timeout,
                                            .streaming_timeout = values->streaming_timeout,
                                            .duration = values->duration,
                                            .idempotent = values->idempotent};
    struct rankcall_payload *args;
    int code = make_arguments(values, json, &args);
    if (code)
        return code;
    int64_t begun = rk_now_us();
    code = rk_reach_connect(&values->reach, rk_deadline(values->timeout > 0 ? values->timeout : -1), &call->runner);
    if (values->timeout > 0) /* what a restart has taken of it is gone */
        options.timeout = fmax(values->timeout - (double)(rk_now_us() - begun) / 1e6, LEAST_S);
    if (!code)
        code = prepare_signals();
    if (code) {
        rankcall_payload_free(args);
        return code;
    }
    call->begun_us = call->event_us = rk_now_us();
    return rankcall_submit(call->runner, &options, args, &call->pending);
}

static int take_result(const struct call *call, const struct rankcall_payload *result)
{
    struct rankcall_timing timing;
    bool timed = call->values->timing && !rankcall_pending_timing(call->pending, &timing);
    return call->view->result(call->view->context, result, timed ? &timing : NULL);
}

/* Takes all that has come. */
static void take(struct call *call)
{
    struct rankcall_item item = {0};
    int code;
    while (!call->done && (code = rankcall_next(call->pending, 0, &item)) != RANKCALL_EAGAIN) {
        call->event_us = rk_now_us();
        if (code)
            item.payload = NULL;
        call->heard = call->heard || (!code && item.kind == RANKCALL_ITEM_EVENT);
        call->done = code || item.kind == RANKCALL_ITEM_RESULT;
        if (!code && item.kind == RANKCALL_ITEM_RESULT)
            code = take_result(call, item.payload);
        else if (!code && call->view->event)
            code = call->view->event(call->view->context, &item);
        rankcall_payload_free(item.payload);
        if (code) {
            call->code = code;
            call->done = true;
        }
    }
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* When this side gives up waiting; -1: never. The job watches the timeouts itself: this is for one that hangs. */
static int64_t give_up_us(const struct call *call)
{
    int64_t deadline = -1;
    if (call->values->timeout > 0)
        deadline = sooner(deadline, call->begun_us + (int64_t)(call->values->timeout * 1e6) + LATE_US);
    if (call->view->streaming && call->values->streaming_timeout > 0)
        deadline = sooner(deadline, call->event_us + (int64_t)(call->values->streaming_timeout * 1e6) + LATE_US);
    return deadline;
}

static void interrupt(struct call *call)
{
    uint64_t count;
    if (read(signal_fd, &count, sizeof(count)) != sizeof(count))
        return;
    call->interrupted = signal_seen;
    rankcall_cancel(call->pending);
    rk_say("cancelling the call; once more to leave at once");
}

static void wait_for_more(struct call *call)
{
    struct pollfd fds[] = {
        {.fd = rankcall_runner_fd(call->runner), .events = rankcall_runner_poll_events(call->runner)},
        {.fd = signal_fd, .events = POLLIN},
    };
    int64_t deadline = give_up_us(call), now = rk_now_us();
    int wait = deadline < 0 ? -1 : deadline <= now ? 0 : (int)((deadline - now) / 1000 + 1);
    poll(fds, 2, wait);
    if (fds[1].revents)
        interrupt(call);
    if (!call->done && deadline >= 0 && rk_now_us() >= deadline) {
        call->done = true;
        call->code = rk_error(RANKCALL_ETIMEOUT, "the job did not answer in time: the connection is given up");
    }
}

/* The exit status of a call that has ended, whose error is the thread's last. */
static int finish(const struct call *call)
{
    int status = 0;
    if (call->code && !(call->interrupted && call->code == RANKCALL_ECANCELLED)) {
        if (call->view->failed)
            call->view->failed(call->view->context);
        status = rk_say_error();
    }
    return call->interrupted ? 128 + call->interrupted : status;
}

/* Whether all that the call was made of can be had once more: standard input can't. */
static bool repeatable(const struct call *call, const char *json)
{
    const struct rk_list *attachments = &call->values->attachments;
    for (size_t i = 0; i < attachments->count; i++)
        if (strstr(attachments->items[i], "=-"))
            return false;
    return call->values->reach.wait > 0 && (!json || strcmp(json, "-") != 0);
}

/* The call from beginning to end. */
static void once(struct call *call, const char *json)
{
    rankcall_runner_free(call->runner);
    rk_fd_close(&signal_fd);
    call->runner = NULL;
    call->code = begin(call, json);
    call->done = call->code != RANKCALL_OK;
    while (!call->done) {
        take(call);
        if (call->done)
            break;
        if (call->view->idle)
            call->view->idle(call->view->context);
        wait_for_more(call);
        if (!call->done)
            rankcall_process(call->runner);
    }
}

int rk_call(const struct rk_call_values *values, const char *json, const struct rk_call_view *view)
{
    const int64_t until_us = rk_now_us() + (int64_t)(values->reach.wait * 1e6);
    struct call call = {.values = values, .view = view};
    do
        once(&call, json);
    while (!call.interrupted && !call.heard && repeatable(&call, json) && rk_reach_again(call.code, until_us));
    int status = finish(&call);
    /* Closing the connection cancels what has not ended; nothing is waited for. */
    rankcall_runner_free(call.runner);
    rk_fd_close(&signal_fd);
    return status;
}
