/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A call's life at the frontend: admitted, queued, running, ended for its client, back from the ranks. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fd.h"
#include "core/inside.h"
#include "mesh/collect.h"

static void call_free(struct rk_job_call *call)
{
    if (call->timer)
        event_free(call->timer);
    rk_error_free(call->reason);
    rankcall_payload_free(call->args);
    free(call);
}

static void forget_client(struct rk_job_call *call)
{
    struct rk_job_call **link = call->client ? &call->client->calls : NULL;
    while (link && *link != call)
        link = &(*link)->next;
    if (link)
        *link = call->next;
    call->client = NULL;
}

static struct rk_job_call *find(const struct rk_client *client, uint64_t id)
{
    struct rk_job_call *call = client->calls;
    while (call && call->id != id)
        call = call->next;
    return call;
}

/* ---- Ends ---- */

static void leave_queue(struct rk_frontend *frontend, struct rk_job_call *call)
{
    rk_queue_remove(&frontend->queue, &call->node);
    rk_queue_release(&frontend->queue, call->bytes);
    call->waiting = false;
}

/* The ranks are to leave the running call. */
static void call_off(struct rk_frontend *frontend, int code)
{
    atomic_store(&frontend->desk.cancelled, true);
    rk_mesh_interrupt(frontend->context->mesh, frontend->running->number, code);
}

/* The same, and nobody wants its events any more. */
static void leave(struct rk_frontend *frontend, struct rk_job_call *call, int code)
{
    call->cancelled = true;
    call_off(frontend, code);
    rk_funnel_release(frontend);
}

/* What was measured of a call. Of one that has not come back from all ranks only how long it was queued. */
static void measure(const struct rk_frontend *frontend, const struct rk_job_call *call, int64_t now_us,
                    struct rk_result_head *out)
{
    const struct rk_spans *spans = &frontend->tally.spans;
    int64_t begun_us = call->number ? call->started_us : now_us;
    *out = (struct rk_result_head){.call = call->serial, .slowest_rank = -1};
    if (call->arrived_us)
        out->queued_us = (uint64_t)(begun_us - call->arrived_us);
    if (call != frontend->running || frontend->awaited)
        return;
    uint64_t ran_us = (uint64_t)(now_us - call->started_us);
    out->broadcast_us = spans->payload_us;
    out->handler_min_us = spans->handler_min;
    out->handler_max_us = spans->handler_max;
    out->slowest_rank = spans->slowest;
    out->reply_us = ran_us > spans->ended_us ? ran_us - spans->ended_us : 0;
}

/* The end of a call in every respect. */
static void retire(struct rk_frontend *frontend, struct rk_job_call *call, const struct rk_result_head *timing)
{
    if (frontend->log) {
        struct rk_call_record record = {.number = call->number, .bytes = call->bytes, .code = call->code};
        record.over_us = rk_now_us();
        record.handler = frontend->context->worker->handlers[call->handler].name;
        record.pid = call->pid;
        record.streaming = call->streaming;
        record.gone = call->gone;
        if (call->ended && call == frontend->running)
            record.leaving_us = (uint64_t)(record.over_us - call->ended_us);
        if (timing)
            record.timing = *timing;
        else
            measure(frontend, call, record.over_us, &record.timing);
        rk_call_log_add(frontend->log, &record);
    }
    call_free(call);
}

/* The client has its outcome or is gone: a waiting call vanishes, a running one is to be left by the ranks. */
static void abandon(struct rk_frontend *frontend, struct rk_job_call *call, int code)
{
    call->ended = true;
    call->ended_us = rk_now_us();
    call->code = code;
    forget_client(call);
    if (call == frontend->running) {
        leave(frontend, call, code);
        if (call->timer)
            event_del(call->timer);
        return;
    }
    if (call->waiting)
        leave_queue(frontend, call);
    retire(frontend, call, NULL);
}

void rk_call_end_error(struct rk_frontend *frontend, struct rk_job_call *call, const struct rankcall_error *error)
{
    if (call->ended)
        return;
    if (error->code == RANKCALL_ECANCELLED)
        frontend->counters.cancelled++;
    else
        frontend->counters.failed++;
    rk_client_error(call->client, call->id, error);
    abandon(frontend, call, error->code);
}

static void end_with_last_error(struct rk_frontend *frontend, struct rk_job_call *call)
{
    struct rankcall_error *error = rk_error_clone(rankcall_last_error());
    if (error)
        rk_call_end_error(frontend, call, error);
    rk_error_free(error);
}

static void send_result(struct rk_frontend *frontend, struct rk_job_call *call, const struct rk_result_head *timing)
{
    struct rk_client *client = call->client;
    uint8_t head[RK_RESULT_HEAD_SIZE];
    frontend->counters.completed++;
    if (rk_conn_send(client->conn, RK_RESULT, call->id, head, rk_result_encode(timing, head), frontend->result))
        rk_client_doom(client);
    rk_client_dirty(client);
}

/* The ranks are done with the call that ran. */
static void finish(struct rk_frontend *frontend, const struct rk_result_head *timing)
{
    struct rk_job_call *call = frontend->running;
    rankcall_payload_free(frontend->result);
    frontend->result = NULL;
    forget_client(call);
    rk_queue_release(&frontend->queue, call->bytes);
    retire(frontend, call, timing);
    frontend->running = NULL;
}

bool rk_call_may_run_again(const struct rk_job_call *call)
{
    return call->idempotent && !call->ended && !call->cancelled && !call->heard && call->begun < RK_BEGINNINGS_MAX;
}

void rk_call_run_again(struct rk_frontend *frontend)
{
    struct rk_job_call *call = frontend->running;
    call_off(frontend, RANKCALL_ERANKDIED);
    frontend->running = NULL;
    rankcall_payload_free(frontend->result);
    frontend->result = NULL;
    call->number = 0;
    call->waiting = true;
    rk_queue_return(&frontend->queue, &call->node);
}

void rk_call_lost(struct rk_frontend *frontend)
{
    if (frontend->running)
        finish(frontend, NULL);
}

void rk_call_cancel_it(struct rk_frontend *frontend, struct rk_job_call *call)
{
    if (call != frontend->running) {
        end_with_last_error(frontend, call);
    } else if (!call->cancelled) {
        call->reason = rk_error_clone(rankcall_last_error());
        leave(frontend, call, RANKCALL_ECANCELLED);
    }
}

static void end_cancelled(struct rk_frontend *frontend, struct rk_job_call *call)
{
    const struct rankcall_error error = {RANKCALL_ECANCELLED, -1, "", "the call was cancelled", ""};
    rk_call_end_error(frontend, call, call->reason ? call->reason : &error);
}

void rk_call_end_by_death(struct rk_frontend *frontend, struct rk_job_call *call, const struct rankcall_error *error)
{
    if (call->cancelled && !call->ended)
        end_cancelled(frontend, call);
    else
        rk_call_end_error(frontend, call, error);
}

void rk_call_returned(struct rk_frontend *frontend)
{
    struct rk_job_call *call = frontend->running;
    struct rk_result_head timing;
    int64_t now_us = rk_now_us();
    measure(frontend, call, now_us, &timing);
    rk_baton_count(frontend, call, now_us);
    rk_events_end_grants(frontend->context->mesh);
    if (!call->ended && call->cancelled) {
        end_cancelled(frontend, call);
    } else if (!call->ended) {
        send_result(frontend, call, &timing);
        rk_journal_succeeded(frontend->journal);
    }
    finish(frontend, &timing);
    rk_stop_check(frontend);
    rk_calls_dispatch(frontend);
}

void rk_calls_forget(struct rk_client *client)
{
    struct rk_frontend *frontend = client->frontend;
    if (client->arriving) {
        client->arriving->code = RANKCALL_ECANCELLED;
        client->arriving->gone = true;
        rk_queue_unreserve(&frontend->queue, client->arriving->bytes);
        retire(frontend, client->arriving, NULL);
        client->arriving = NULL;
    }
    while (client->calls) {
        frontend->counters.cancelled++;
        client->calls->gone = true;
        abandon(frontend, client->calls, RANKCALL_ECANCELLED);
    }
}

void rk_call_cancel(struct rk_client *client, uint64_t id)
{
    struct rk_job_call *call = find(client, id);
    if (!call) /* it has ended already: its outcome is on the way */
        return;
    rk_error(RANKCALL_ECANCELLED, "the client cancelled the call");
    rk_call_cancel_it(client->frontend, call);
}

void rk_calls_refuse_queued(struct rk_frontend *frontend)
{
    struct rk_queue_node *node;
    while ((node = rk_queue_oldest(&frontend->queue))) {
        if (frontend->setup_error) {
            rk_call_end_error(frontend, rk_call_of_node(node), frontend->setup_error);
            continue;
        }
        rk_walltime_stopping(frontend, "the job is stopping; the call had not begun");
        end_with_last_error(frontend, rk_call_of_node(node));
    }
}

void rk_calls_fail_queued(struct rk_frontend *frontend, const struct rankcall_error *error)
{
    struct rk_queue_node *node;
    while ((node = rk_queue_oldest(&frontend->queue)))
        rk_call_end_error(frontend, rk_call_of_node(node), error);
}

/* ---- Deadlines ---- */

/* When the call's next deadline is, 0: never. */
static int64_t next_deadline(const struct rk_job_call *call)
{
    int64_t next = call->deadline_us;
    if (call->streaming_timeout_us && call->number) { /* silence counts while it runs */
        int64_t silence = call->last_event_us + call->streaming_timeout_us;
        if (!next || silence < next)
            next = silence;
    }
    return next;
}

static void arm(struct rk_job_call *call)
{
    int64_t next = next_deadline(call);
    if (!next)
        return;
    int64_t left = next - rk_now_us();
    struct timeval limit = {.tv_sec = left > 0 ? left / 1000000 : 0, .tv_usec = left > 0 ? left % 1000000 : 0};
    event_add(call->timer, &limit);
}

static void deadline(evutil_socket_t fd, short events, void *context)
{
    struct rk_job_call *call = context;
    struct rk_frontend *frontend = call->client->frontend; /* the timer of an abandoned call is off */
    (void)fd, (void)events;
    frontend->activity++;
    int64_t now = rk_now_us();
    if (now < next_deadline(call)) {
        arm(call);
        return;
    }
    if (call->deadline_us && now >= call->deadline_us)
        rk_error(RANKCALL_ETIMEOUT, "the call's timeout passed while it was %s", call->number ? "running" : "queued");
    else
        rk_error(RANKCALL_ETIMEOUT, "no event came for the call's streaming timeout of %.3g s",
                 (double)call->streaming_timeout_us / 1e6);
    end_with_last_error(frontend, call);
}

static int set_deadlines(struct rk_frontend *frontend, struct rk_job_call *call, const struct rk_call_head *head)
{
    const uint64_t longest = UINT64_C(1) << 60; /* 36,000 years: as good as none, and sums don't overflow */
    if (head->timeout_us && head->timeout_us < longest)
        call->deadline_us = rk_now_us() + (int64_t)head->timeout_us;
    if (head->kind == RK_STREAM && head->streaming_timeout_us && head->streaming_timeout_us < longest)
        call->streaming_timeout_us = (int64_t)head->streaming_timeout_us;
    if (!call->deadline_us && !call->streaming_timeout_us)
        return RANKCALL_OK;
    call->timer = evtimer_new(frontend->base, deadline, call);
    return call->timer ? RANKCALL_OK : rk_error(RANKCALL_EINTERNAL, "out of memory");
}

/* ---- Beginnings ---- */

static int check_admission(struct rk_frontend *frontend, const struct rk_header *header,
                           const struct rk_call_head *request)
{
    bool again = request->flags & RK_CALL_WAITED, place;
    if (frontend->state == RK_JOB_FAILED && frontend->setup_error)
        return rk_error_copy(frontend->setup_error);
    if (frontend->state > RK_JOB_READY)
        return rk_walltime_stopping(frontend, "the job is stopping and takes no more calls");
    if (rk_walltime_admit(frontend, request))
        return RANKCALL_EWALLTIME;
    place = again ? rk_queue_reserve_again(&frontend->queue, header->payload_size)
                  : rk_queue_reserve(&frontend->queue, header->payload_size);
    if (!place)
        return rk_error(RANKCALL_EBUSY, "the queue is full: %u calls wait, which hold %llu bytes (see --queue)",
                        frontend->queue.length + frontend->queue.reserved, (unsigned long long)frontend->queue.bytes);
    return RANKCALL_OK;
}

static enum rk_admission refuse(struct rk_client *client, uint64_t id)
{
    client->frontend->counters.refused++;
    rk_client_last_error(client, id);
    return RK_DISCARD;
}

enum rk_admission rk_call_admit(struct rk_client *client, const struct rk_header *header, const uint8_t *head)
{
    struct rk_frontend *frontend = client->frontend;
    struct rk_call_head request;
    unsigned handler = 0;
    if (rk_call_decode(head, header->head_size, &request)) {
        rk_client_refuse(client, header->id);
        return RK_DISCARD;
    }
    if (!header->id || find(client, header->id)) {
        rk_error(RANKCALL_EINVAL, "call id %llu (bytes 8 to 15) %s", (unsigned long long)header->id,
                 header->id ? "is that of a call that has not ended" : "is not allowed");
        rk_client_refuse(client, header->id);
        return RK_DISCARD;
    }
    if (rk_handler_find(frontend->context->worker->handlers, request.handler, &handler) ||
        check_admission(frontend, header, &request))
        return refuse(client, header->id);
    if (!frontend->running && !frontend->away)
        rk_mesh_rouse(frontend->context->mesh);
    struct rk_job_call *call = calloc(1, sizeof *call);
    if (!call || set_deadlines(frontend, call, &request)) {
        free(call);
        rk_queue_unreserve(&frontend->queue, header->payload_size);
        rk_error(RANKCALL_EINTERNAL, "out of memory");
        return refuse(client, header->id);
    }
    call->client = client;
    call->id = header->id;
    call->pid = client->pid;
    call->serial = ++frontend->next_serial;
    call->bytes = header->payload_size;
    call->handler = handler;
    call->streaming = request.kind == RK_STREAM;
    call->idempotent = request.flags & RK_CALL_IDEMPOTENT;
    call->begun = request.begun;
    call->duration_us = request.duration_us;
    call->waited = request.flags & RK_CALL_WAITED;
    call->submitted_us = call->waited ? (int64_t)(request.submitted_us & INT64_MAX) : rk_now_us();
    if (call->submitted_us < client->newest_us) /* its calls keep their order, whatever it says */
        call->submitted_us = client->newest_us;
    client->newest_us = call->submitted_us;
    client->arriving = call;
    return RK_ADMIT;
}

/* A frame without a payload means {}: rank 0's handler sees what the others see. */
static struct rankcall_payload *payload_or_empty(struct rankcall_payload *payload)
{
    if (!payload && (payload = rankcall_payload_new()) && rk_payload_freeze(payload)) {
        rankcall_payload_free(payload);
        payload = NULL;
    }
    return payload;
}

/* Calls run in the order in which they came; those that have waited at another rank 0 are older than they look. */
static void enqueue(struct rk_queue *queue, struct rk_job_call *call)
{
    struct rk_queue_node *node = rk_queue_oldest(queue);
    while (node && rk_call_of_node(node)->submitted_us <= call->submitted_us)
        node = rk_queue_behind(queue, node);
    if (node)
        rk_queue_insert(queue, &call->node, node);
    else
        rk_queue_push(queue, &call->node);
}

void rk_call_arrived(struct rk_client *client, struct rankcall_payload *payload)
{
    struct rk_job_call *call = client->arriving;
    client->arriving = NULL;
    call->args = payload_or_empty(payload);
    call->next = client->calls;
    client->calls = call;
    call->waiting = true;
    call->arrived_us = rk_now_us();
    if (call->bytes >= RK_ROOM_MIN)
        rk_frontend_rest(client->frontend);
    if (call->waited)
        enqueue(&client->frontend->queue, call);
    else
        rk_queue_push(&client->frontend->queue, &call->node);
    if (call->deadline_us)
        arm(call);
    if (client->frontend->state > RK_JOB_READY)
        rk_calls_refuse_queued(client->frontend); /* the stop began while the payload came */
    else
        rk_calls_dispatch(client->frontend);
}

void rk_call_unusable(struct rk_client *client)
{
    struct rk_job_call *call = client->arriving;
    if (!call)
        return;
    client->arriving = NULL;
    client->frontend->counters.refused++;
    rk_queue_unreserve(&client->frontend->queue, call->bytes);
    call->code = RANKCALL_EPAYLOAD;
    retire(client->frontend, call, NULL);
}

/* The oldest call whose client has read what it got before: answers must not pile up for one that doesn't read, and
 * the others need not wait for it. */
static struct rk_job_call *next_call(const struct rk_frontend *frontend)
{
    struct rk_queue_node *node = rk_queue_oldest(&frontend->queue);
    while (node && rk_conn_queued(rk_call_of_node(node)->client->conn) > RK_QUEUED_HIGH)
        node = rk_queue_behind(&frontend->queue, node);
    return node ? rk_call_of_node(node) : NULL;
}

void rk_calls_dispatch(struct rk_frontend *frontend)
{
    if (frontend->running || frontend->state != RK_JOB_READY || frontend->paused || frontend->returning)
        return;
    struct rk_job_call *call;
    while ((call = next_call(frontend)) && rk_walltime_check(frontend, call->duration_us))
        end_with_last_error(frontend, call);
    if (!call)
        return;
    rk_queue_remove(&frontend->queue, &call->node);
    call->waiting = false;
    call->number = ++frontend->next_number;
    call->begun++;
    if (call->client->token)
        rk_journal_begin(frontend->journal, call->client->token, call->id, call->begun);
    call->started_us = call->last_event_us = rk_now_us();
    if (call->timer)
        arm(call);
    frontend->running = call;
    rk_ledger_begin(frontend->ledger, call->number);
    atomic_store(&frontend->desk.cancelled, false);
    struct rk_announcement announcement = {.operation = RK_OPERATION_CALL, .number = call->number};
    announcement.handler = call->handler;
    announcement.streaming = call->streaming;
    announcement.announced_us = call->started_us;
    rk_frontend_announce(frontend, &announcement, call->args);
}
