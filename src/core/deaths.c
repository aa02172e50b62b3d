/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The death of ranks, as the frontend sees it: the running call ends with it at once. Then either the living regroup,
 * and the frontend keeps off the mesh until rank 0's main thread has put it together again, or the job ends. */

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/ended.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/inside.h"
#include "mesh/collect.h"

bool rk_deaths_recoverable(struct rk_frontend *frontend)
{
    return frontend->main_serves && frontend->state <= RK_JOB_READY &&
           rk_journal_may_mend(frontend->journal, frontend->context->options->restarts) &&
           rk_mesh_can_regroup(frontend->context->mesh);
}

bool rk_deaths_count(struct rk_frontend *frontend)
{
    if (rk_journal_mend(frontend->journal, frontend->context->options->restarts))
        return true;
    rk_log(RK_LOG_ERROR, "ranks have died %u times within an hour: giving up (see --restarts)",
           rk_journal_mended(frontend->journal) + 1);
    return false;
}

/* Whether one more regroup is allowed: so many in an hour. */
static bool may_restart(struct rk_frontend *frontend)
{
    return frontend->context->options->restarts && rk_mesh_can_regroup(frontend->context->mesh) &&
           rk_deaths_count(frontend);
}

/* Whether rank 0's main thread will come to regroup: from setup only as a replacement. */
static bool main_regroups(const struct rk_frontend *frontend)
{
    return frontend->state <= RK_JOB_READY &&
           (frontend->main_serves || rk_mesh_is_replacement(frontend->context->mesh));
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
    if (frontend->running && rk_call_may_run_again(frontend->running))
        rk_call_run_again(frontend);
    else
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

static void end_job(struct rk_frontend *frontend, const struct rankcall_error *error)
{
    frontend->doomed = true;
    if (rk_resume_expected(frontend))
        rk_resume_leave(frontend, error);
    if (frontend->state == RK_JOB_STARTING && !frontend->setup_error) {
        frontend->setup_error = rk_error_clone(error);
        rk_clients_announce_state(frontend);
    }
    rk_resume_tell_launcher(frontend, error);
    rk_calls_fail_queued(frontend, error);
    if (frontend->state == RK_JOB_STOPPING) { /* in teardown: the main thread ends the job, after a moment for others */
        rk_listener_close(frontend);
        rk_clients_refuse(frontend, error);
    }
    if (rk_mesh_can_regroup(frontend->context->mesh))
        frontend->main_serves = false; /* it waits to regroup, and hears of no stop */
    rk_stop_begin(frontend, 0, 0);
}

void rk_deaths_end(struct rk_frontend *frontend)
{
    const struct rankcall_error unknown = {RANKCALL_ERANKDIED, -1, "", "ranks died while others were replaced", ""};
    end_job(frontend, frontend->last_death ? frontend->last_death : &unknown);
}

/* What the launcher has seen of the rank's output, which takes a moment to come through, and longer when it is much. */
static void take_last_words(const struct rk_frontend *frontend, int rank, char *words)
{
    const struct timespec moment = {.tv_nsec = RK_WORDS_US * 1000};
    int mpirun = getppid(), launcher = rk_journal_launcher(frontend->journal);
    bool busy;
    int64_t deadline = rk_now_us() + RK_WORDS_LIMIT_US;
    uint64_t before;
    if (rank < 0 || !frontend->lent)
        return;
    if (!rk_mesh_can_regroup(frontend->context->mesh)) { /* then mpirun is about to kill this process as well */
        rk_journal_last_words(frontend->journal, rank, words);
        return;
    }
    do {
        before = rk_journal_written(frontend->journal, rank);
        nanosleep(&moment, NULL);
        busy = rk_process_busy(mpirun) || rk_process_busy(launcher); /* in the order that the words go */
    } while ((busy || rk_journal_written(frontend->journal, rank) != before) && rk_now_us() < deadline);
    rk_journal_last_words(frontend->journal, rank, words);
}

void rk_deaths_take(struct rk_frontend *frontend)
{
    char text[256], first[256] = "";
    int rank = -1, dead = -1;
    if (frontend->doomed)
        return; /* all is said */
    rk_mesh_hear_how(frontend->context->mesh);
    while ((rank = rk_mesh_death(frontend->context->mesh, rank, text, sizeof text)) >= 0) {
        rk_log(RK_LOG_ERROR, "%s", text);
        if (rk_mesh_is_lost(frontend->context->mesh, rank))
            rk_journal_lose(frontend->journal, rk_mesh_info(frontend->context->mesh, rank)->place);
        if (rk_mesh_is_far(frontend->context->mesh, rank)) /* the launcher would believe it alive */
            rk_journal_unseat(frontend->journal, rank);
        if (dead < 0) {
            dead = rank;
            snprintf(first, sizeof first, "%s", text);
        }
    }
    char words[RK_WORDS_SIZE + 1] = "";
    take_last_words(frontend, dead, words);
    const char *host = dead < 0 ? "" : rk_mesh_info(frontend->context->mesh, dead)->host;
    const struct rankcall_error error = {RANKCALL_ERANKDIED, dead, host, first, words};
    rk_error_free(frontend->last_death);
    frontend->last_death = rk_error_clone(&error);
    bool mend = main_regroups(frontend) && may_restart(frontend);
    bool again =
        (mend || rk_resume_expected(frontend)) && frontend->running && rk_call_may_run_again(frontend->running);
    if (frontend->running && !again)
        rk_call_end_by_death(frontend, frontend->running, &error);
    if (mend)
        step_aside(frontend);
    else
        end_job(frontend, &error);
}
