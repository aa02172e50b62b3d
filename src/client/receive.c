/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The frames that a job sends: each is handed to the call or question that it belongs to. */

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "client/internal.h"

/* The open call or question of a frame; NULL when nobody waits for it any more. */
static struct rankcall_pending *addressee(struct rankcall_runner *runner, uint64_t id)
{
    struct rankcall_pending *pending = rk_calls_find(&runner->calls, id);
    return pending && pending->state == RK_PENDING_OPEN ? pending : NULL;
}

/* Ends the connection from within a callback: rk_runner_pump sees it when the read returns. */
static void refuse(struct rankcall_runner *runner, const struct rk_header *header)
{
    rk_error(RANKCALL_EPROTOCOL, "the job sent a frame of type %u that does not belong here (id %llu)", header->type,
             (unsigned long long)header->id);
    rk_runner_break(runner, RANKCALL_EPROTOCOL);
}

static void on_welcome(struct rankcall_runner *runner, const struct rk_header *header, const uint8_t *head,
                       const struct rankcall_payload *payload)
{
    const char *job = "", *path = "";
    runner->pid_before = runner->pid;
    int code = rk_welcome_decode(head, header->head_size, &runner->welcome);
    if (!code && runner->greeted && !runner->resuming)
        code = rk_error(RANKCALL_EPROTOCOL, "the job greeted twice");
    if (!code && payload &&
        (rankcall_opt_string(payload, "job", &job) || rankcall_opt_string(payload, "socket", &path) ||
         rankcall_opt_int(payload, "pid", &runner->pid)))
        code = rankcall_last_error()->code;
    if (code) {
        rk_runner_break(runner, code);
        return;
    }
    runner->greeted = true;
    if (runner->stopping) { /* another job of that name */
        rk_error(RANKCALL_ESHUTTINGDOWN, "the job has stopped");
        rk_runner_break(runner, RANKCALL_ESHUTTINGDOWN);
        return;
    }
    free(runner->job);
    runner->job = strdup(job);
    if (!runner->path)
        runner->path = strdup(path);
    if (runner->welcome.payload_cap > RK_PAYLOAD_CAP_DEFAULT)
        rk_conn_set_payload_cap(runner->conn, runner->welcome.payload_cap);
    if (runner->resuming)
        rk_resume_finish(runner);
}

/* The launcher speaks for a rank 0 that is gone, until another one greets. */
static void on_away(struct rankcall_runner *runner, const struct rk_header *header, const uint8_t *head,
                    const struct rankcall_payload *payload)
{
    struct rk_away_head away;
    if (rk_away_decode(head, header->head_size, &away)) {
        rk_runner_break(runner, RANKCALL_EPROTOCOL);
        return;
    }
    rk_error_from_payload(&(struct rk_error_head){RANKCALL_ERANKDIED, 0}, payload);
    rk_error_free(runner->away);
    runner->away = rk_error_clone(rankcall_last_error());
    runner->resumes = 0;
    if (runner->resuming && runner->away)
        rk_resume_settle(runner, away.begun, away.times, runner->away);
}

static void on_event(struct rankcall_runner *runner, const struct rk_header *header, const uint8_t *head,
                     struct rankcall_payload *payload)
{
    struct rankcall_pending *pending = addressee(runner, header->id);
    struct rk_event_head event;
    if (rk_event_decode(head, header->head_size, &event)) {
        rankcall_payload_free(payload);
        rk_runner_break(runner, rankcall_last_error()->code);
    } else if (!pending) {
        rankcall_payload_free(payload);
    } else {
        if (!payload)
            payload = rankcall_payload_new();
        rk_pending_add_event(pending, event.rank, event.sequence, payload);
    }
}

static void on_answer(struct rankcall_runner *runner, const struct rk_header *header, const uint8_t *head,
                      struct rankcall_payload *payload)
{
    struct rankcall_pending *pending = addressee(runner, header->id);
    bool timed = header->type == RK_RESULT && header->head_size;
    if (pending && timed && rk_result_decode(head, header->head_size, &pending->timing)) {
        rankcall_payload_free(payload);
        rk_runner_break(runner, rankcall_last_error()->code);
        return;
    }
    if (!pending) {
        rankcall_payload_free(payload);
        return;
    }
    if (!payload && header->type != RK_PONG)
        payload = rankcall_payload_new();
    pending->timed = timed;
    rk_pending_finish(pending, payload);
}

static void on_cancelled(struct rankcall_runner *runner, const struct rk_header *header, const uint8_t *head)
{
    struct rankcall_pending *pending = addressee(runner, header->id);
    struct rk_cancelled_head cancelled;
    if (rk_cancelled_decode(head, header->head_size, &cancelled)) {
        rk_runner_break(runner, rankcall_last_error()->code);
    } else if (pending) {
        struct rankcall_payload *answer = rankcall_payload_new();
        if (answer)
            rankcall_set_int(answer, "cancelled", (int64_t)cancelled.calls);
        rk_pending_finish(pending, answer);
    }
}

static void on_error(struct rankcall_runner *runner, const struct rk_header *header, const uint8_t *head,
                     struct rankcall_payload *payload)
{
    struct rk_error_head error;
    int code = rk_error_decode(head, header->head_size, &error);
    if (!code)
        code = rk_error_from_payload(&error, payload);
    struct rankcall_pending *pending = addressee(runner, header->id);
    if (!header->id)
        rk_runner_break(runner, code);
    else if (pending)
        rk_pending_fail(pending);
    rankcall_payload_free(payload);
}

static enum rk_admission on_header(void *context, const struct rk_header *header, const uint8_t *head)
{
    struct rankcall_runner *runner = context;
    (void)head;
    bool addressed = header->type == RK_EVENT || header->type == RK_RESULT || header->type == RK_STATUS_REPLY;
    return addressed && !addressee(runner, header->id) ? RK_DISCARD : RK_ADMIT;
}

static void on_frame(void *context, const struct rk_header *header, const uint8_t *head,
                     struct rankcall_payload *payload)
{
    struct rankcall_runner *runner = context;
    runner->frames++;
    switch (header->type) {
    case RK_EVENT: on_event(runner, header, head, payload); return;
    case RK_RESULT:
    case RK_STATUS_REPLY:
    case RK_PONG: on_answer(runner, header, head, payload); return;
    case RK_ERROR: on_error(runner, header, head, payload); return;
    case RK_WELCOME: on_welcome(runner, header, head, payload); break;
    case RK_CANCELLED: on_cancelled(runner, header, head); break;
    case RK_STOPPING: runner->stopping = true; break;
    case RK_AWAY: on_away(runner, header, head, payload); break;
    default: refuse(runner, header);
    }
    rankcall_payload_free(payload);
}

/* A payload that fails its checks ends the call that it belongs to; the connection stays usable. */
static void on_bad_payload(void *context, const struct rk_header *header, const uint8_t *head)
{
    struct rankcall_runner *runner = context;
    struct rankcall_pending *pending = addressee(runner, header->id);
    (void)head;
    runner->frames++;
    if (pending)
        rk_pending_fail(pending);
    else if (header->type == RK_WELCOME)
        rk_runner_break(runner, rankcall_last_error()->code);
}

const struct rk_conn_callbacks rk_receive_callbacks = {
    .admit = on_header,
    .frame = on_frame,
    .bad_payload = on_bad_payload,
};
