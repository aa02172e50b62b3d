/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The death of ranks, as the frontend sees it: the running call ends with it at once. Then either the living regroup,
 * and the frontend keeps off the mesh until rank 0's main thread has put it together again, or the job ends. */

#include <stdio.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/inside.h"

#define HOUR_US INT64_C(3600000000)

/* Whether one more regroup is allowed: so many in an hour. */
static bool may_restart(struct rk_frontend *frontend)
{
    int64_t now = rk_now_us();
    unsigned allowed = frontend->context->options->restarts;
    if (now - frontend->hour_begun_us > HOUR_US) {
        frontend->hour_begun_us = now;
        frontend->restarts = 0;
    }
    if (!allowed || !rk_mesh_can_regroup(frontend->context->mesh))
        return false;
    if (frontend->restarts++ < allowed)
        return true;
    rk_log(RK_LOG_ERROR, "ranks have died %u times within an hour: giving up (see --restarts)", frontend->restarts);
    return false;
}

/* Rank 0's main thread has not come back: it sits in MPI, perhaps for ever, and maybe others do. */
static void regroup_late(evutil_socket_t fd, short events, void *context)
{
    struct rk_frontend *frontend = context;
    (void)fd, (void)events;
    if (!frontend->away || atomic_load(&frontend->desk.taken))
        return;
    rk_mesh_kill_missing(frontend->context->mesh);
}

static void watch_regroup(struct rk_frontend *frontend)
{
    const struct timeval limit = {.tv_sec = RK_REGROUP_GRACE_S};
    if (!frontend->regroup_timer)
        frontend->regroup_timer = evtimer_new(frontend->base, regroup_late, frontend);
    if (frontend->regroup_timer)
        event_add(frontend->regroup_timer, &limit);
}

/* What the dead leave behind is dropped; what waits stays. */
static void step_aside(struct rk_frontend *frontend)
{
    rk_call_lost(frontend);
    rk_funnel_drop(frontend);
    event_free(frontend->bell); /* its descriptor is about to be closed */
    frontend->bell = NULL;
    if (frontend->state == RK_JOB_READY)
        frontend->state = RK_JOB_STARTING;
    frontend->main_serves = false;
    frontend->away = true;
    rk_ledger_begin(frontend->ledger, 0);
    watch_regroup(frontend);
    atomic_store(&frontend->desk.away, true);
}

/* It knows only what mpirun makes of all this. */
static void tell_launcher(struct rk_frontend *frontend, const struct rankcall_error *death)
{
    struct rankcall_error error = *death;
    error.code = RANKCALL_EJOBDIED;
    for (struct rk_client *client = frontend->clients; client; client = client->next)
        if (client->launcher)
            rk_client_error(client, 0, &error);
}

static void end_job(struct rk_frontend *frontend, const struct rankcall_error *error)
{
    frontend->doomed = true;
    if (frontend->state == RK_JOB_STARTING && !frontend->setup_error) {
        frontend->setup_error = rk_error_clone(error);
        rk_clients_announce_state(frontend);
    }
    tell_launcher(frontend, error);
    rk_stop_begin(frontend, 0, 0);
}

void rk_deaths_take(struct rk_frontend *frontend)
{
    char text[256], first[256] = "";
    int rank = -1, dead = -1;
    if (frontend->doomed)
        return; /* it is known, and the job on its way out */
    while ((rank = rk_mesh_death(frontend->context->mesh, rank, text, sizeof text)) >= 0) {
        rk_log(RK_LOG_ERROR, "%s", text);
        if (dead < 0) {
            dead = rank;
            snprintf(first, sizeof first, "%s", text);
        }
    }
    const char *host = dead < 0 ? "" : rk_mesh_info(frontend->context->mesh, dead)->host;
    const struct rankcall_error error = {RANKCALL_ERANKDIED, dead, host, first, ""};
    if (frontend->running)
        rk_call_end_error(frontend, frontend->running, &error);
    bool serving = frontend->main_serves && frontend->state <= RK_JOB_READY;
    if (serving && may_restart(frontend))
        step_aside(frontend);
    else
        end_job(frontend, &error);
}
