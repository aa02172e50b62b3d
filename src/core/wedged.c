/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Calls from which ranks do not come back.
 *
 * The grace of a rank begins when the call is to be left (it was cancelled, has timed out, failed or lost its client),
 * or when the first rank is back and this one is not; then every sign of life begins it anew, and so does a client that
 * reads too slowly for the ranks. At its end the client hears who is missing and where. Those who still don't leave are
 * killed, which is a death like any other, or where the dead can't be replaced the job ends. */

#include <stdlib.h>

#include "base/ended.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/inside.h"
#include "mesh/collect.h"

#define ASLEEP_US 1000000 /* between two looks: this process was stopped, and the others may have been, too */

int rk_wedge_open(struct rk_frontend *frontend)
{
    frontend->wedge.suspects = calloc((size_t)rk_mesh_size(frontend->context->mesh), sizeof *frontend->wedge.suspects);
    return frontend->wedge.suspects ? RANKCALL_OK : rk_error(RANKCALL_EINTERNAL, "out of memory");
}

static bool is_near(const struct rk_mesh *mesh, int rank)
{
    return rk_mesh_info(mesh, rank)->node == rk_mesh_info(mesh, 0)->node;
}

static bool must_leave(const struct rk_job_call *call)
{
    return call->ended || call->cancelled;
}

/* Whether some ranks are back and others are not. Of other nodes only their sums are known. */
static bool some_are_back(const struct rk_frontend *frontend)
{
    const struct rk_mesh *mesh = frontend->context->mesh;
    return rk_mesh_nodes(mesh) == 1 && (!(frontend->awaited & RK_RANK_0) || rk_mesh_some_reported(mesh));
}

static void begin(struct rk_frontend *frontend, int64_t now)
{
    struct rk_wedge *wedge = &frontend->wedge;
    const struct rk_mesh *mesh = frontend->context->mesh;
    wedge->phase = RK_WATCHING;
    wedge->number = frontend->running->number;
    wedge->left = must_leave(frontend->running);
    wedge->begun_us = wedge->looked_us = now;
    for (int rank = 0; rank < rk_mesh_size(mesh); rank++) {
        wedge->suspects[rank] = (struct rk_suspect){.since_us = now};
        if (is_near(mesh, rank))
            rk_mesh_is_back(mesh, rank, wedge->number, &wedge->suspects[rank].signs);
    }
}

/* The client reads slowly, or much is on its way to it: ranks may wait for that. */
static bool client_delays(const struct rk_frontend *frontend)
{
    return frontend->held || frontend->offered || frontend->moving || frontend->notes;
}

/* Whether a rank's grace is over; else when it will be counts for the next look. */
static bool is_wedged(struct rk_frontend *frontend, int rank, int64_t now)
{
    struct rk_wedge *wedge = &frontend->wedge;
    struct rk_suspect *suspect = &wedge->suspects[rank];
    int64_t grace_us = frontend->context->options->grace_us;
    uint64_t signs;
    if (!is_near(frontend->context->mesh, rank) ||
        rk_mesh_is_back(frontend->context->mesh, rank, wedge->number, &signs))
        return false;
    if (!wedge->left && (signs != suspect->signs || client_delays(frontend)))
        suspect->since_us = now;
    suspect->signs = signs;
    if (suspect->since_us + grace_us <= now)
        return true;
    if (suspect->since_us + grace_us < wedge->due_us)
        wedge->due_us = suspect->since_us + grace_us;
    return false;
}

/* Those whose grace is all but over, too: who stay together are named, killed and replaced together. */
static void count_the_nearly_wedged(struct rk_frontend *frontend, int64_t now)
{
    const struct rk_mesh *mesh = frontend->context->mesh;
    int64_t most_us = frontend->context->options->grace_us / 10 * 9;
    uint64_t signs;
    for (int rank = 0; rank < rk_mesh_size(mesh); rank++) {
        struct rk_suspect *suspect = &frontend->wedge.suspects[rank];
        suspect->wedged |= is_near(mesh, rank) && suspect->since_us + most_us <= now &&
                           !rk_mesh_is_back(mesh, rank, frontend->wedge.number, &signs);
    }
}

static void watch(struct rk_frontend *frontend, int64_t now)
{
    struct rk_wedge *wedge = &frontend->wedge;
    const struct rk_mesh *mesh = frontend->context->mesh;
    bool any = false;
    if (wedge->left != must_leave(frontend->running) || now - wedge->looked_us > ASLEEP_US)
        begin(frontend, now);
    wedge->looked_us = now;
    wedge->due_us = INT64_MAX;
    for (int rank = 0; rank < rk_mesh_size(mesh); rank++)
        any |= wedge->suspects[rank].wedged = is_wedged(frontend, rank, now);
    /* Nothing is known of the ranks of other nodes, but that not all are back. */
    bool far = rk_mesh_nodes(mesh) > 1 && frontend->awaited & RK_OTHERS &&
               now - wedge->begun_us >= frontend->context->options->grace_us;
    if (!any && !far)
        return;
    if (any)
        count_the_nearly_wedged(frontend, now);
    for (int rank = 0; rank < rk_mesh_size(mesh); rank++)
        if (wedge->suspects[rank].wedged)
            rk_mesh_ask_stack(mesh, rank);
    wedge->phase = RK_ASKED;
    wedge->due_us = now + RK_STACK_WAIT_US;
}

static bool all_have_answered(const struct rk_frontend *frontend)
{
    const struct rk_mesh *mesh = frontend->context->mesh;
    uint64_t frames[RK_STACK_DEPTH];
    for (int rank = 0; rank < rk_mesh_size(mesh); rank++)
        if (frontend->wedge.suspects[rank].wedged && !rk_mesh_stack(mesh, rank, frames))
            return false;
    return true;
}

static int first_wedged(const struct rk_frontend *frontend)
{
    for (int rank = 0; rank < rk_mesh_size(frontend->context->mesh); rank++)
        if (frontend->wedge.suspects[rank].wedged)
            return rank;
    return -1;
}

static void tell(struct rk_frontend *frontend, int64_t now)
{
    struct rk_wedge *wedge = &frontend->wedge;
    int rank = first_wedged(frontend);
    char *message = rk_wedge_message(frontend), *stacks = rk_wedge_stacks(frontend);
    struct rankcall_error error = {RANKCALL_EWEDGED, rank, "", message ? message : "out of memory",
                                   stacks ? stacks : ""};
    if (rank >= 0)
        error.host = rk_mesh_info(frontend->context->mesh, rank)->host;
    rk_log(RK_LOG_ERROR, "%s", error.message);
    if (frontend->running->ended) /* nobody else hears it */
        rk_log(RK_LOG_ERROR, "where they stand:\n%s", error.traceback);
    else
        rk_call_end_error(frontend, frontend->running, &error);
    free(message);
    free(stacks);
    wedge->phase = RK_TOLD;
    wedge->due_us = now + (wedge->left ? 0 : RK_LEAVE_US); /* it is only now that they hear of it */
}

static bool answers_are_under_way(const struct rk_frontend *frontend)
{
    for (const struct rk_client *client = frontend->clients; client; client = client->next)
        if (client->state == RK_OPEN && rk_conn_queued(client->conn))
            return true;
    return false;
}

/* Whether it only waits, in a wait of ours, for one who is wedged: a death sets it free. */
static bool only_waits(const struct rk_mesh *mesh, int rank)
{
    struct rk_whereabouts where;
    char state = rk_process_state(rk_mesh_info(mesh, rank)->pid);
    rk_mesh_whereabouts(mesh, rank, &where);
    bool waits = where.activity == RK_AT_CHECKPOINT || where.activity == RK_TAKING_PAYLOAD;
    return waits && state != 'T' && state != 't' && state != 'D';
}

static bool has_wedged(const struct rk_frontend *frontend, bool spare)
{
    const struct rk_mesh *mesh = frontend->context->mesh;
    for (int rank = 0; rank < rk_mesh_size(mesh); rank++)
        if (frontend->wedge.suspects[rank].wedged && !(spare && only_waits(mesh, rank)))
            return true;
    return false;
}

/* Rank 0's process is this one: the last. */
static void kill_wedged(struct rk_frontend *frontend)
{
    const struct rk_mesh *mesh = frontend->context->mesh;
    bool spare = has_wedged(frontend, true);
    for (int rank = rk_mesh_size(mesh) - 1; rank >= 0; rank--) {
        if (!frontend->wedge.suspects[rank].wedged || (spare && only_waits(mesh, rank)))
            continue;
        rk_log(RK_LOG_ERROR, "killing rank %d (pid %d), which has not come back from call %llu", rank,
               rk_mesh_info(mesh, rank)->pid, (unsigned long long)frontend->wedge.number);
        rk_mesh_kill(mesh, rank);
    }
}

/* Ranks can't be replaced here: who waits is told, then all are ended. */
static void begin_end(struct rk_frontend *frontend)
{
    int rank = first_wedged(frontend);
    const char *host = rank < 0 ? "" : rk_mesh_info(frontend->context->mesh, rank)->host;
    const struct rankcall_error error = {RANKCALL_EWEDGED, rank, host, "ranks did not come back and were killed", ""};
    rk_log(RK_LOG_ERROR, "ranks that do not come back cannot be replaced here: ending the job");
    if (rk_resume_expected(frontend) && frontend->state <= RK_JOB_READY)
        rk_resume_leave(frontend, &error);
    rk_calls_refuse_queued(frontend);
    rk_clients_tell_launcher(frontend, &error);
    rk_listener_close(frontend);
    frontend->wedge.phase = RK_ENDING;
}

/* They may have left the call meanwhile. */
static bool are_back(struct rk_frontend *frontend)
{
    struct rk_wedge *wedge = &frontend->wedge;
    const struct rk_mesh *mesh = frontend->context->mesh;
    uint64_t signs;
    for (int rank = 0; rank < rk_mesh_size(mesh); rank++)
        if (wedge->suspects[rank].wedged && rk_mesh_is_back(mesh, rank, wedge->number, &signs))
            wedge->suspects[rank].wedged = false;
    bool far = rk_mesh_nodes(mesh) > 1 && frontend->awaited & RK_OTHERS;
    return !far && !has_wedged(frontend, false);
}

static void finish_off(struct rk_frontend *frontend, int64_t now)
{
    struct rk_wedge *wedge = &frontend->wedge;
    if (wedge->phase == RK_TOLD && are_back(frontend)) {
        begin(frontend, now); /* others may still have time */
        return;
    }
    if (wedge->phase == RK_TOLD && !rk_deaths_recoverable(frontend))
        begin_end(frontend);
    rk_clients_flush(frontend);
    if (answers_are_under_way(frontend) && now < wedge->due_us + RK_LEAVE_US)
        return;
    if (wedge->phase == RK_ENDING)
        rk_mesh_abort(frontend->context->mesh, rankcall_code_exit_status(RANKCALL_EWEDGED));
    wedge->phase = RK_KILLED;
    wedge->due_us = INT64_MAX;
    kill_wedged(frontend);
}

void rk_wedge_look(struct rk_frontend *frontend)
{
    struct rk_wedge *wedge = &frontend->wedge;
    struct rk_job_call *call = frontend->running;
    if (!call || !frontend->context->options->grace_us || frontend->away || frontend->doomed)
        return;
    if (wedge->number != call->number && !must_leave(call) && !some_are_back(frontend))
        return;
    int64_t now = rk_now_us();
    if (wedge->number != call->number)
        begin(frontend, now);
    if (wedge->phase == RK_WATCHING)
        watch(frontend, now);
    else if (wedge->phase == RK_ASKED && (now >= wedge->due_us || all_have_answered(frontend)))
        tell(frontend, now);
    else if ((wedge->phase == RK_TOLD || wedge->phase == RK_ENDING) && now >= wedge->due_us)
        finish_off(frontend, now);
}

int64_t rk_wedge_nap(const struct rk_frontend *frontend, int64_t nap_us)
{
    const struct rk_wedge *wedge = &frontend->wedge;
    if (!frontend->running || wedge->number != frontend->running->number)
        return nap_us;
    if (wedge->phase != RK_WATCHING && wedge->phase != RK_KILLED)
        return nap_us < RK_NAP_MIN_US * 10 ? nap_us : RK_NAP_MIN_US * 10;
    int64_t left = wedge->due_us - rk_now_us();
    return left < nap_us ? left > RK_NAP_MIN_US ? left : RK_NAP_MIN_US : nap_us;
}
