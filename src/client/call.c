/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Calls: sent, read event by event, cancelled, forgotten. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/defaults.h"
#include "base/error.h"
#include "base/fd.h"
#include "client/internal.h"

#define FORGET_US 10000000 /* how long a forgotten call's payload may take to leave */

static uint64_t timeout_us(double seconds)
{
    if (!(seconds > 0) || seconds > 1e12)
        return RK_TIME_NONE;
    double us = ceil(seconds * 1e6);
    return (uint64_t)us;
}

static int fill_head(const struct rankcall_call_options *options, struct rk_call_head *head)
{
    const char *handler = options->handler ? options->handler : "";
    size_t size = strlen(handler);
    if (size > RANKCALL_MAX_NAME)
        return rk_error(RANKCALL_EINVAL, "a handler's name has at most %d bytes, this one %zu", RANKCALL_MAX_NAME,
                        size);
    head->kind = options->streaming ? RK_STREAM : RK_INVOKE;
    head->flags = (options->idempotent ? RK_CALL_IDEMPOTENT : 0) | (options->duration > 0 ? RK_CALL_DURATION : 0);
    head->begun = 0;
    head->timeout_us = timeout_us(options->timeout);
    head->streaming_timeout_us = timeout_us(options->streaming_timeout);
    head->duration_us = timeout_us(options->duration);
    memcpy(head->handler, handler, size + 1);
    return RANKCALL_OK;
}

static int check_size(const struct rankcall_runner *runner, struct rankcall_payload *args)
{
    int code = args ? rk_payload_freeze(args) : RANKCALL_OK;
    uint64_t cap = runner->welcome.payload_cap;
    if (!code && args && runner->greeted && rk_payload_size(args) > cap)
        code =
            rk_error(RANKCALL_ETOOLARGE,
                     "the payload has %llu bytes and the job takes %llu at most: start it with a larger --payload-cap",
                     (unsigned long long)rk_payload_size(args), (unsigned long long)cap);
    return code;
}

/* Takes `args`. */
static int send_call(struct rankcall_runner *runner, const struct rk_call_head *call, struct rankcall_payload *args,
                     struct rankcall_pending **out)
{
    uint8_t head[RK_HEAD_CAP];
    struct rankcall_pending *pending = rk_calls_add(runner, RK_CALL);
    if (!pending) {
        rankcall_payload_free(args);
        return rk_error(RANKCALL_EINTERNAL, "no memory for a call");
    }
    pending->args = args;
    pending->submitted_us = rk_now_us();
    runner->spin_until_us = pending->submitted_us + RK_COLD_SPIN_US;
    runner->just_called = true;
    if (runner->welcome.token)
        memcpy(&pending->head, call, offsetof(struct rk_call_head, handler) + strlen(call->handler) + 1);
    int code = rk_runner_send_pending(pending, head, rk_call_encode(call, head), args);
    if (code) {
        rk_calls_remove(&runner->calls, pending);
        return code;
    }
    *out = pending;
    return RANKCALL_OK;
}

int rankcall_submit(struct rankcall_runner *runner, const struct rankcall_call_options *options,
                    struct rankcall_payload *args, struct rankcall_pending **out)
{
    static const struct rankcall_call_options defaults;
    struct rk_call_head head;
    *out = NULL;
    int code = fill_head(options ? options : &defaults, &head);
    if (!code)
        code = check_size(runner, args);
    if (!code)
        return send_call(runner, &head, args, out);
    rankcall_payload_free(args);
    return code;
}

/* The outcome waits until the call's own bytes are written: they may lie in the caller's memory, which is the caller's
 * again from the outcome on. */
static bool outcome_ready(const struct rankcall_pending *pending)
{
    return pending->state != RK_PENDING_OPEN &&
           (pending->runner->unwritable || rk_runner_written(pending->runner) >= pending->written_at);
}

static int take_outcome(struct rankcall_pending *pending, struct rankcall_item *item)
{
    enum rk_pending_state state = pending->state;
    pending->state = RK_PENDING_TAKEN;
    if (state == RK_PENDING_FAILED)
        return pending->error ? rk_error_copy(pending->error) : rk_error(RANKCALL_EINTERNAL, "out of memory");
    *item = (struct rankcall_item){.kind = RANKCALL_ITEM_RESULT, .payload = pending->result};
    pending->result = NULL;
    return RANKCALL_OK;
}

/* What is there already; RANKCALL_EAGAIN when nothing is. */
static int take(struct rankcall_pending *pending, struct rankcall_item *item)
{
    if (pending->count) {
        *item = pending->events[pending->first];
        pending->first = (pending->first + 1) % pending->capacity;
        pending->count--;
        return RANKCALL_OK;
    }
    if (pending->state == RK_PENDING_TAKEN)
        return rk_error(RANKCALL_EINVAL, "the call has ended: its outcome was given before");
    if (outcome_ready(pending))
        return take_outcome(pending, item);
    if (!pending->runner->code)
        return RANKCALL_EAGAIN;
    if (pending->state != RK_PENDING_OPEN)
        return take_outcome(pending, item);
    pending->state = RK_PENDING_TAKEN;
    return rk_runner_end(pending->runner);
}

/* While rank 0 is gone nobody else keeps the call's timeout. */
static int64_t wake_up(const struct rankcall_pending *pending, int64_t deadline)
{
    const uint64_t longest = UINT64_C(1) << 60;
    if (!pending->runner->resuming || !pending->head.timeout_us || pending->head.timeout_us > longest)
        return deadline;
    int64_t timeout = pending->submitted_us + (int64_t)pending->head.timeout_us;
    return deadline < 0 || timeout < deadline ? timeout : deadline;
}

int rankcall_next(struct rankcall_pending *pending, double timeout, struct rankcall_item *item)
{
    int64_t deadline = rk_deadline(timeout);
    bool looked = false;
    for (;;) {
        int code = take(pending, item);
        if (code != RANKCALL_EAGAIN)
            return code;
        if (looked && timeout == 0)
            return rk_error(RANKCALL_EAGAIN, "nothing is ready");
        looked = true;
        rk_resume_expire(pending);
        code = timeout == 0 ? rankcall_process(pending->runner)
                            : rk_runner_wait(pending->runner, wake_up(pending, deadline));
        if (code == RANKCALL_EAGAIN && (deadline < 0 || rk_now_us() < deadline))
            continue; /* its own timeout has passed meanwhile */
        if (code == RANKCALL_EAGAIN)
            return code;
    }
}

int rankcall_cancel(struct rankcall_pending *pending)
{
    if (pending->state != RK_PENDING_OPEN)
        return RANKCALL_OK;
    pending->cancelled = true;
    if (pending->runner->resuming) {
        rk_resume_expire(pending);
        return RANKCALL_OK;
    }
    return rk_runner_send(pending->runner, RK_CANCEL, pending->id, NULL, 0, NULL);
}

int rankcall_pending_timing(const struct rankcall_pending *pending, struct rankcall_timing *timing)
{
    const struct rk_result_head *told = &pending->timing;
    if (pending->state == RK_PENDING_OPEN && !pending->runner->code)
        return rk_error(RANKCALL_EAGAIN, "the call has not ended");
    if (!pending->timed)
        return rk_error(RANKCALL_ENOKEY, "the job told no timing of this call");
    *timing = (struct rankcall_timing){.queued_us = told->queued_us,
                                       .broadcast_us = told->broadcast_us,
                                       .handler_min_us = told->handler_min_us,
                                       .handler_max_us = told->handler_max_us,
                                       .reply_us = told->reply_us,
                                       .slowest_rank = told->slowest_rank,
                                       .call = told->call};
    return RANKCALL_OK;
}

uint64_t rankcall_pending_id(const struct rankcall_pending *pending)
{
    return pending->id;
}

/* The caller's memory must not be read after this: what is left of the call's frame is written, or, when the job does
 * not read, the connection is given up. */
static void settle(struct rankcall_pending *pending)
{
    struct rankcall_runner *runner = pending->runner;
    if (rk_runner_written(runner) >= pending->written_at)
        return;
    int64_t deadline = rk_now_us() + FORGET_US;
    while (!runner->code && !runner->unwritable && rk_runner_written(runner) < pending->written_at)
        if (rk_runner_wait(runner, deadline) == RANKCALL_EAGAIN) {
            rk_error(RANKCALL_ETIMEOUT, "the job did not read a call's payload");
            rk_runner_break(runner, RANKCALL_ETIMEOUT);
        }
}

void rankcall_pending_free(struct rankcall_pending *pending)
{
    if (!pending)
        return;
    if (pending->state == RK_PENDING_OPEN && pending->type == RK_CALL)
        rankcall_cancel(pending);
    settle(pending);
    rk_calls_remove(&pending->runner->calls, pending);
}

int rankcall_invoke(struct rankcall_runner *runner, const char *handler, struct rankcall_payload *args,
                    struct rankcall_payload **result)
{
    const struct rankcall_call_options options = {.handler = handler};
    struct rankcall_pending *pending;
    struct rankcall_item item;
    if (result)
        *result = NULL;
    int code = rankcall_submit(runner, &options, args, &pending);
    if (code)
        return code;
    code = rankcall_next(pending, -1, &item);
    if (!code && result)
        *result = item.payload;
    else if (!code)
        rankcall_payload_free(item.payload);
    rankcall_pending_free(pending);
    return code;
}

int rankcall_stream(struct rankcall_runner *runner, const char *handler, struct rankcall_payload *args,
                    struct rankcall_pending **out)
{
    const struct rankcall_call_options options = {.handler = handler, .streaming = true};
    return rankcall_submit(runner, &options, args, out);
}
