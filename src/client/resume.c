/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Coming back after rank 0's death: the launcher keeps the socket, so the connection is made anew and tells which calls
 * had begun. Those have failed, unless they may run again; the others are sent again, in their order. */

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/journal.h"
#include "client/internal.h"

#define RESUMES_MAX 20 /* connections in a row on which nothing came */

static bool is_open(const struct rankcall_pending *pending)
{
    return pending->state == RK_PENDING_OPEN;
}

static int by_id(const void *a, const void *b)
{
    const struct rankcall_pending *const *first = a, *const *second = b;
    return ((*first)->id > (*second)->id) - ((*first)->id < (*second)->id);
}

/* What has not ended, in its order. NULL: none, or no memory. */
static struct rankcall_pending **list_open(const struct rk_calls *calls, size_t *count)
{
    struct rankcall_pending **list = calls->count ? calloc(calls->count, sizeof(struct rankcall_pending *)) : NULL;
    *count = 0;
    for (size_t i = 0; list && i < calls->size; i++)
        for (struct rankcall_pending *pending = calls->buckets[i]; pending; pending = pending->next)
            if (is_open(pending))
                list[(*count)++] = pending;
    if (*count)
        qsort(list, *count, sizeof(struct rankcall_pending *), by_id);
    return list;
}

static void forget_writing(struct rankcall_runner *runner)
{
    for (size_t i = 0; i < runner->calls.size; i++)
        for (struct rankcall_pending *pending = runner->calls.buckets[i]; pending; pending = pending->next)
            pending->written_at = 0;
    runner->queued = 0;
    runner->unwritable = runner->more = false;
}

bool rk_resume_begin(struct rankcall_runner *runner)
{
    int fd;
    if ((!runner->dialled && !runner->dial) || !runner->welcome.token || runner->resumes >= RESUMES_MAX)
        return false;
    if (runner->dial && runner->stopping) /* what lies between would only say that there is nobody */
        return false;
    if (runner->dial ? runner->dial(runner->dial_context, &fd) : rk_jobs_dial(runner->path, &fd))
        return false;
    struct rk_conn *conn = rk_conn_new(fd, &rk_receive_callbacks, runner);
    if (!conn)
        return false;
    if (runner->welcome.payload_cap > RK_PAYLOAD_CAP_DEFAULT)
        rk_conn_set_payload_cap(conn, runner->welcome.payload_cap);
    rk_conn_free(runner->conn);
    runner->conn = conn;
    runner->resuming = true;
    runner->resumes++;
    runner->generation++;
    forget_writing(runner);
    if (rk_runner_hello(runner))
        return false;
    if (runner->stop_asked) /* whoever is there now is to hear it */
        rk_runner_stop_begin(runner, runner->drain);
    return true;
}

/* A call that had begun when rank 0 died. */
static void settle_one(struct rankcall_pending *pending, uint32_t times, const struct rankcall_error *error)
{
    pending->head.begun = times > pending->head.begun ? times : pending->head.begun + 1;
    if (pending->head.flags & RK_CALL_IDEMPOTENT && !pending->heard && pending->head.begun < RK_BEGINNINGS_MAX) {
        pending->sent = false;
        return;
    }
    rk_error_copy(error);
    rk_pending_fail(pending);
}

void rk_resume_settle(struct rankcall_runner *runner, uint64_t begun, uint32_t times,
                      const struct rankcall_error *error)
{
    size_t count;
    struct rankcall_pending **list = list_open(&runner->calls, &count);
    for (size_t i = 0; i < count; i++)
        if (list[i]->type == RK_CALL && list[i]->sent && list[i]->id <= begun)
            settle_one(list[i], list[i]->id == begun ? times : 0, error);
    free(list);
}

void rk_resume_expire(struct rankcall_pending *pending)
{
    if (!is_open(pending) || !pending->runner->resuming)
        return;
    if (pending->cancelled) {
        rk_error(RANKCALL_ECANCELLED, "the client cancelled the call, and the job was restarted");
        rk_pending_fail(pending);
        return;
    }
    if (!pending->head.timeout_us || (uint64_t)(rk_now_us() - pending->submitted_us) < pending->head.timeout_us)
        return;
    rk_error(RANKCALL_ETIMEOUT, "the call's timeout passed while the job was being restarted");
    rk_pending_fail(pending);
}

/* The job's clock is this process's where it read, when the job greeted, a time between this one's HELLO and the
 * WELCOME's arrival. That of another host is known as far as the WELCOME was not under way. */
static int64_t by_the_jobs_clock(const struct rankcall_runner *runner, int64_t time_us)
{
    int64_t clock_us = (int64_t)runner->welcome.clock_us;
    bool same = runner->hello_us <= clock_us && clock_us <= runner->welcomed_us;
    return same ? time_us : time_us + clock_us - runner->welcomed_us;
}

static int send_again(struct rankcall_runner *runner, struct rankcall_pending *pending)
{
    struct rk_call_head head = pending->head;
    uint8_t bytes[RK_HEAD_CAP];
    head.flags |= RK_CALL_WAITED;
    head.submitted_us = (uint64_t)by_the_jobs_clock(runner, pending->submitted_us);
    if (head.timeout_us)
        head.timeout_us -= (uint64_t)(rk_now_us() - pending->submitted_us); /* see rk_resume_expire */
    return rk_runner_queue(runner, RK_CALL, pending->id, bytes, rk_call_encode(&head, bytes), pending->args);
}

/* Should the connection have ended already, the next one is tried with all that is not sent. */
static void send_one(struct rankcall_runner *runner, struct rankcall_pending *pending)
{
    int code;
    if (!is_open(pending))
        return;
    if (pending->type == RK_CALL)
        code = send_again(runner, pending);
    else
        code = rk_runner_queue(runner, pending->type, pending->id, pending->question, pending->question_size, NULL);
    if (code && code != RANKCALL_ECLOSED)
        rk_pending_fail(pending);
    pending->written_at = runner->queued;
    pending->sent = !code;
}

void rk_resume_finish(struct rankcall_runner *runner)
{
    const struct rankcall_error lost = {RANKCALL_ERANKDIED, 0, "", "rank 0 is gone; the call had begun", ""};
    const struct rankcall_error cut = {RANKCALL_ECLOSED, -1, "", "the connection was lost; the call had begun", ""};
    bool same = runner->pid && runner->pid == runner->pid_before;
    size_t count;
    rk_resume_settle(runner, runner->welcome.begun, runner->welcome.times,
                     runner->away ? runner->away
                     : same       ? &cut
                                  : &lost);
    runner->welcomed_us = rk_now_us();
    struct rankcall_pending **list = list_open(&runner->calls, &count);
    for (size_t i = 0; i < count; i++)
        rk_resume_expire(list[i]);
    runner->resuming = false;
    runner->resumes = 0;
    for (size_t i = 0; i < count && !runner->unwritable; i++)
        send_one(runner, list[i]);
    free(list);
    rk_runner_queue(runner, RK_RESUMED, 0, NULL, 0, NULL);
    rk_error_free(runner->away);
    runner->away = NULL;
}
