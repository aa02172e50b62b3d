/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Stopping: no new calls, a time for the running one to finish, then a time for the ranks to come back, then force. */

#include "base/error.h"
#include "base/log.h"
#include "core/inside.h"

static void arm(struct event *timer, uint64_t us)
{
    struct timeval limit = {.tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000)};
    if (timer)
        event_add(timer, &limit);
}

/* The ranks did not come back: nothing orderly is left to do. */
static void grace_over(evutil_socket_t fd, short events, void *context)
{
    struct rk_frontend *frontend = context;
    (void)fd, (void)events;
    const struct rankcall_error wedged = {RANKCALL_EWEDGED, -1, "", "ranks did not come back and were killed", ""};
    if (!frontend->doomed)
        rk_resume_refuse(frontend); /* before it hears of the end: it must not start the job again */
    if (!frontend->doomed && !frontend->setup_error)
        rk_clients_tell_launcher(frontend, &wedged);
    if (frontend->doomed)
        rk_clients_farewell(frontend);
    rk_clients_flush(frontend);
    if (frontend->doomed)
        rk_log(RK_LOG_ERROR, "ending the job");
    else if (frontend->running)
        rk_log(RK_LOG_ERROR, "call %llu has not come back from all ranks: ending them",
               (unsigned long long)frontend->running->number);
    else
        rk_log(RK_LOG_ERROR, "the ranks are still in setup: ending them");
    rk_listener_close(frontend);
    rk_mesh_abort(frontend->context->mesh,
                  rankcall_code_exit_status(frontend->doomed        ? RANKCALL_ERANKDIED
                                            : frontend->setup_error ? frontend->setup_error->code
                                                                    : RANKCALL_EWEDGED));
}

static void drain_over(evutil_socket_t fd, short events, void *context)
{
    struct rk_frontend *frontend = context;
    (void)fd, (void)events;
    frontend->activity++;
    if (frontend->running && !frontend->running->ended) {
        struct rankcall_error error = {RANKCALL_ECANCELLED, -1, "", "the job is stopping and its drain time is over",
                                       ""};
        rk_walltime_cut(frontend, &error);
        rk_call_end_error(frontend, frontend->running, &error);
    }
    if (frontend->state == RK_JOB_DRAINING || frontend->state == RK_JOB_FAILED)
        arm(frontend->grace_timer, (uint64_t)frontend->grace_us);
}

void rk_stop_begin(struct rk_frontend *frontend, uint64_t drain_us, int64_t grace_us)
{
    const uint64_t longest = UINT64_C(1) << 50;
    if (frontend->state == RK_JOB_STOPPING)
        return;
    if (frontend->state != RK_JOB_FAILED)
        frontend->state = RK_JOB_DRAINING;
    if (!frontend->drain_timer)
        frontend->drain_timer = evtimer_new(frontend->base, drain_over, frontend);
    if (!frontend->grace_timer)
        frontend->grace_timer = evtimer_new(frontend->base, grace_over, frontend);
    frontend->grace_us = grace_us;
    rk_calls_refuse_queued(frontend);
    arm(frontend->drain_timer, drain_us < longest ? drain_us : longest);
    rk_stop_check(frontend);
}

void rk_stop_check(struct rk_frontend *frontend)
{
    bool stopping = frontend->state == RK_JOB_DRAINING || frontend->state == RK_JOB_FAILED;
    if (!stopping || frontend->running || !frontend->main_serves || rk_mesh_broken(frontend->context->mesh))
        return; /* a death is looked at first */
    frontend->state = RK_JOB_STOPPING;
    rk_stop_cleanup(frontend);
    rk_frontend_announce(frontend, &(struct rk_announcement){.operation = RK_OPERATION_STOP}, NULL);
}

void rk_stop_cleanup(struct rk_frontend *frontend)
{
    if (frontend->drain_timer)
        event_free(frontend->drain_timer);
    if (frontend->grace_timer)
        event_free(frontend->grace_timer);
    frontend->drain_timer = frontend->grace_timer = NULL;
}
