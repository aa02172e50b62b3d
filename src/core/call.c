/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A call on this rank: the handler's functions, and running the handler. */

#include "core/call.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/fd.h"
#include "core/compute.h"
#include "core/frontend.h"
#include "mesh/collect.h"
#include "wire/payload.h"

struct rankcall_call {
    struct rankcall_context *context;
    const struct rankcall_handler *handler;
    const struct rankcall_payload *args;
    uint64_t number;
    bool streaming, private;
    struct rankcall_payload *result;
    bool failed;
    pthread_mutex_t emit_lock;
    uint64_t events;   /* emitted by this rank, under the lock */
    uint64_t messages; /* sent to the funnel, under the lock */
};

struct rankcall_context *rankcall_call_context(const struct rankcall_call *call)
{
    return call->context;
}

void *rankcall_call_state(const struct rankcall_call *call)
{
    return call->context->state;
}

int rankcall_call_rank(const struct rankcall_call *call)
{
    return rankcall_rank(call->context);
}

int rankcall_call_world_size(const struct rankcall_call *call)
{
    return rankcall_world_size(call->context);
}

uint64_t rankcall_call_number(const struct rankcall_call *call)
{
    return call->number;
}

const char *rankcall_call_handler(const struct rankcall_call *call)
{
    return call->handler->name;
}

const struct rankcall_payload *rankcall_args(const struct rankcall_call *call)
{
    return call->args;
}

bool rankcall_args_private(const struct rankcall_call *call)
{
    return call->private;
}

bool rankcall_streaming(const struct rankcall_call *call)
{
    return call->streaming;
}

/* Freezes what a handler gives away and holds it against the cap. */
static int check_outgoing(struct rankcall_call *call, const char *what, struct rankcall_payload *payload)
{
    if (!payload)
        return rk_error(RANKCALL_EINVAL, "the %s is NULL", what);
    /* Rank 0's go to the IO thread, which sends them when the handler may be gone; the other ranks' are sent before the
     * handler goes on. */
    int code = rankcall_call_rank(call) == 0 ? rk_payload_own(payload) : RANKCALL_OK;
    if (!code)
        code = rk_payload_freeze(payload);
    uint64_t cap = call->context->options->payload_cap;
    if (!code && rk_payload_size(payload) > cap)
        code = rk_error(RANKCALL_ETOOLARGE, "the %s has %llu bytes, the cap is %llu (see --payload-cap)", what,
                        (unsigned long long)rk_payload_size(payload), (unsigned long long)cap);
    return code;
}

int rankcall_result(struct rankcall_call *call, struct rankcall_payload *result)
{
    int code = check_outgoing(call, "result", result);
    if (code || rankcall_call_rank(call) != 0) {
        rankcall_payload_free(result);
        return code;
    }
    rankcall_payload_free(call->result);
    call->result = result;
    return RANKCALL_OK;
}

/* A payload from a format. */
static int format_payload(const char *format, va_list arguments, struct rankcall_payload **out)
{
    char *json = NULL;
    int size = vasprintf(&json, format, arguments);
    if (size < 0)
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    int code = rankcall_payload_from_json(json, (size_t)size, out);
    free(json);
    return code;
}

int rankcall_result_json(struct rankcall_call *call, const char *format, ...)
{
    struct rankcall_payload *result = NULL;
    va_list arguments;
    va_start(arguments, format);
    int code = format_payload(format, arguments, &result);
    va_end(arguments);
    return code ? code : rankcall_result(call, result);
}

static void send_event(struct rankcall_call *call, struct rankcall_payload *event)
{
    pthread_mutex_lock(&call->emit_lock);
    rk_context_send(call->context, RK_MESSAGE_EVENT, call->number, call->events++, event);
    call->messages++;
    rk_mesh_step(call->context->mesh);
    pthread_mutex_unlock(&call->emit_lock);
}

int rankcall_emit(struct rankcall_call *call, struct rankcall_payload *event)
{
    int code = check_outgoing(call, "event", event);
    if (!code && call->streaming)
        send_event(call, event);
    rankcall_payload_free(event);
    return code;
}

int rankcall_emit_json(struct rankcall_call *call, const char *format, ...)
{
    struct rankcall_payload *event = NULL;
    va_list arguments;
    va_start(arguments, format);
    int code = format_payload(format, arguments, &event);
    va_end(arguments);
    return code ? code : rankcall_emit(call, event);
}

static void send_failure(struct rankcall_call *call, const char *message, const char *traceback)
{
    struct rankcall_payload *error = rk_context_error(call->context, message, traceback);
    if (!error || rk_payload_freeze(error)) {
        rankcall_payload_free(error);
        return;
    }
    pthread_mutex_lock(&call->emit_lock);
    rk_context_send(call->context, RK_MESSAGE_ERROR, call->number, 0, error);
    call->messages++;
    pthread_mutex_unlock(&call->emit_lock);
    rankcall_payload_free(error);
}

int rankcall_fail_with(struct rankcall_call *call, const char *message, const char *traceback)
{
    if (call->failed)
        return -1;
    call->failed = true;
    /* Its client has an error already: this one may be its consequence. */
    if (rankcall_interrupted(call))
        return -1;
    send_failure(call, message ? message : "out of memory", traceback);
    rk_mesh_interrupt_node(call->context->mesh, call->number, RANKCALL_EWORKER); /* its message goes ahead of theirs */
    return -1;
}

int rankcall_fail(struct rankcall_call *call, const char *format, ...)
{
    char *message = NULL;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&message, format, arguments) < 0)
        message = NULL;
    va_end(arguments);
    rankcall_fail_with(call, message, NULL);
    free(message);
    return -1;
}

int rankcall_interrupted(const struct rankcall_call *call)
{
    return rk_mesh_interrupted(call->context->mesh, call->number);
}

bool rankcall_cancelled(struct rankcall_call *call)
{
    bool answer = call->context->frontend && rk_frontend_cancelled(call->context->frontend);
    return rk_mesh_checkpoint(call->context->mesh, call->number, answer);
}

/* A handler that returned a failure without rankcall_fail: the last rankcall error of this thread says why. */
static void fail_by_status(struct rankcall_call *call, int status)
{
    const struct rankcall_error *error = rankcall_last_error();
    if (call->failed)
        return;
    if (error->code)
        rankcall_fail(call, "%s", error->message);
    else
        rankcall_fail(call, "the handler \"%s\" returned %d without a message", call->handler->name, status);
}

/* What the handler has begun on its GPU ends before the call does. A GPU that is lost takes the rank along, so that
 * later calls find another. */
static void leave_gpu(struct rankcall_call *call)
{
    if (!rk_compute_leave(call->context->gpu))
        return;
    rankcall_fail(call, "%s", rankcall_last_error()->message);
    rk_compute_die(call->context->gpu);
}

static void run_handler(struct rankcall_call *call)
{
    rk_error_clear();
    call->context->running = call->number;
    int status = call->handler->run(call);
    if (status)
        fail_by_status(call, status);
    if (call->context->gpu)
        leave_gpu(call);
    call->context->running = 0;
    /* Who was interrupted in a collective may miss checkpoints that the others, who were through it, still come to. */
    if (call->failed || rk_mesh_interrupted(call->context->mesh, call->number))
        rk_mesh_leave(call->context->mesh, call->number);
}

/* What this rank has to say of the call when its handler has returned. */
static struct rk_tally tally_of(const struct rankcall_call *call, int64_t announced_us, int64_t begun_us)
{
    int64_t ended_us = rk_now_us();
    struct rk_tally tally = {.number = call->number, .messages = call->messages, .failed = call->failed};
    tally.spans.payload_us = (uint64_t)(begun_us - announced_us);
    tally.spans.ended_us = (uint64_t)(ended_us - announced_us);
    tally.spans.handler_min = tally.spans.handler_max = (uint64_t)(ended_us - begun_us);
    tally.spans.slowest = rankcall_rank(call->context);
    return tally;
}

void rk_call_run(struct rankcall_context *context, const struct rk_announcement *announcement,
                 struct rankcall_payload **args, struct rk_tally *tally, struct rankcall_payload **result)
{
    struct rankcall_call call = {.context = context, .args = *args, .number = announcement->number};
    call.handler = &context->worker->handlers[announcement->handler];
    call.streaming = announcement->streaming;
    call.private = rk_mesh_payload_is_private(context->mesh, announcement->payload_size);
    pthread_mutex_init(&call.emit_lock, NULL);
    rk_mesh_begin(context->mesh, call.number);
    int64_t begun_us = rk_now_us();
    run_handler(&call);
    rk_mesh_exit(context->mesh);
    *tally = tally_of(&call, announcement->announced_us, begun_us);
    if (announcement->payload_size >= RK_ROOM_MIN &&
        rk_mesh_payload_is_lent(context->mesh, announcement->payload_size)) {
        rankcall_payload_free(*args);
        *args = NULL;
    }
    if (rankcall_rank(context) != 0)
        rk_mesh_report(context->mesh, tally);
    *result = call.result;
    pthread_mutex_destroy(&call.emit_lock);
}
