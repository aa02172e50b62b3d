/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The end of the allocation: what can't be done before is refused, and the job ends in order, by its own clock or when
 * the scheduler warns. */

#include <signal.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/inside.h"

/* When the running call must have ended. */
static int64_t last_us(const struct rk_walltime *walltime)
{
    return walltime->end_us - rk_walltime_reserve_us(walltime->drain_us);
}

static double seconds_left(const struct rk_walltime *walltime)
{
    double left = (double)(walltime->end_us - rk_now_us()) / 1e6;
    return left > 0 ? left : 0;
}

static int ending_error(const struct rk_frontend *frontend, int code, const char *what)
{
    if (!frontend->walltime.end_us)
        return rk_error(code, "the scheduler ends the job's allocation; %s", what);
    return rk_error(code, "the job's allocation ends in %.0f s; %s", seconds_left(&frontend->walltime), what);
}

int rk_walltime_stopping(const struct rk_frontend *frontend, const char *message)
{
    if (!frontend->walltime.draining)
        return rk_error(RANKCALL_ESHUTTINGDOWN, "%s", message);
    return ending_error(frontend, RANKCALL_ESHUTTINGDOWN, message);
}

void rk_walltime_cut(const struct rk_frontend *frontend, struct rankcall_error *error)
{
    if (!frontend->walltime.draining)
        return;
    error->code = ending_error(frontend, RANKCALL_EWALLTIME, "the call was cut off");
    error->message = rankcall_last_error()->message;
}

int rk_walltime_check(const struct rk_frontend *frontend, uint64_t needed_us)
{
    const struct rk_walltime *walltime = &frontend->walltime;
    if (!walltime->end_us || !needed_us)
        return RANKCALL_OK;
    int64_t left = last_us(walltime) - rk_now_us();
    if (left > 0 && needed_us <= (uint64_t)left)
        return RANKCALL_OK;
    return rk_error(RANKCALL_EWALLTIME, "the call may take %.6g s, but %.0f s are left of the job's allocation",
                    (double)needed_us / 1e6, left > 0 ? (double)left / 1e6 : 0);
}

int rk_walltime_admit(const struct rk_frontend *frontend, const struct rk_call_head *request)
{
    bool patient = request->flags & RK_CALL_PATIENT;
    return rk_walltime_check(frontend, request->duration_us ? request->duration_us : patient ? 0 : request->timeout_us);
}

/* ---- The end ---- */

static void drain(struct rk_frontend *frontend, const char *why)
{
    struct rk_walltime *walltime = &frontend->walltime;
    int64_t left = walltime->end_us ? last_us(walltime) - rk_now_us() : walltime->drain_us;
    if (frontend->state > RK_JOB_READY)
        return;
    walltime->draining = true;
    left = left > 0 ? left : 0;
    rk_log(RK_LOG_WARNING, "%s: no further call begins%s", why,
           frontend->running ? "; the running one may finish in time" : "");
    rk_stop_begin(frontend, (uint64_t)left, RK_STOP_GRACE_S * 1000000);
}

static void due(evutil_socket_t fd, short events, void *context)
{
    struct rk_frontend *frontend = context;
    (void)fd, (void)events;
    frontend->activity++;
    drain(frontend, "the allocation is about to end");
}

static void warned(evutil_socket_t fd, short events, void *context)
{
    struct rk_frontend *frontend = context;
    (void)fd, (void)events;
    frontend->activity++;
    drain(frontend, "the scheduler warns of the allocation's end");
}

/* ---- When it is ---- */

static void learn(struct rk_frontend *frontend, int64_t end_us)
{
    struct rk_walltime *walltime = &frontend->walltime;
    int64_t now = rk_now_us(), left = end_us - now;
    walltime->drain_us = rk_walltime_drain_us(end_us ? left : INT64_MAX, frontend->context->options->walltime_drain_s);
    if (!end_us)
        return;
    walltime->end_us = end_us;
    left -= walltime->drain_us;
    const struct timeval wait = {.tv_sec = left > 0 ? left / 1000000 : 0, .tv_usec = left > 0 ? left % 1000000 : 0};
    event_add(walltime->due, &wait);
}

static void answered(evutil_socket_t fd, short events, void *context)
{
    struct rk_frontend *frontend = context;
    (void)fd, (void)events;
    frontend->activity++;
    event_free(frontend->walltime.answered);
    frontend->walltime.answered = NULL;
    learn(frontend, rk_walltime_answer(&frontend->walltime.question));
}

static int watch_signal(struct rk_frontend *frontend)
{
    struct sigaction now;
    if (!getenv("SLURM_JOB_ID") || sigaction(SIGUSR1, NULL, &now) || now.sa_handler != SIG_DFL)
        return RANKCALL_OK; /* the signal is somebody else's */
    frontend->walltime.warned = evsignal_new(frontend->base, SIGUSR1, warned, frontend);
    if (!frontend->walltime.warned || event_add(frontend->walltime.warned, NULL))
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    return RANKCALL_OK;
}

int rk_walltime_open(struct rk_frontend *frontend)
{
    struct rk_walltime *walltime = &frontend->walltime;
    walltime->due = evtimer_new(frontend->base, due, frontend);
    if (!walltime->due)
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    rk_walltime_ask(&walltime->question);
    learn(frontend, walltime->question.fd < 0 ? rk_walltime_answer(&walltime->question) : 0);
    if (walltime->question.fd >= 0) {
        walltime->answered = event_new(frontend->base, walltime->question.fd, EV_READ, answered, frontend);
        if (!walltime->answered || event_add(walltime->answered, NULL))
            return rk_error(RANKCALL_EINTERNAL, "out of memory");
    }
    return watch_signal(frontend);
}

void rk_walltime_close(struct rk_frontend *frontend)
{
    struct event *const events[] = {frontend->walltime.due, frontend->walltime.warned, frontend->walltime.answered};
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        if (events[i])
            event_free(events[i]);
    if (frontend->walltime.answered)
        rk_walltime_answer(&frontend->walltime.question);
    frontend->walltime = (struct rk_walltime){.question.fd = -1};
}

void rk_walltime_tell(const struct rk_frontend *frontend, struct rankcall_payload *status)
{
    const struct rk_walltime *walltime = &frontend->walltime;
    struct rankcall_payload *told = walltime->end_us ? rankcall_payload_new() : NULL;
    if (!told)
        return;
    rankcall_set_double(told, "left", seconds_left(walltime));
    rankcall_set_double(told, "drain", (double)walltime->drain_us / 1e6);
    rankcall_set_json(status, "walltime", rankcall_payload_json(told, NULL));
    rankcall_payload_free(told);
}
