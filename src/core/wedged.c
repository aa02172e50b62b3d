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
    struct rk_wedge *wedge = &frontend->wedge;
    size_t size = (size_t)rk_mesh_size(frontend->context->mesh);
    wedge->suspects = calloc(size, sizeof *wedge->suspects);
    wedge->named = calloc(size, sizeof *wedge->named);
    return wedge->suspects && wedge->named ? RANKCALL_OK : rk_error(RANKCALL_EINTERNAL, "out of memory");
}

void rk_wedge_close(struct rk_frontend *frontend)
{
    free(frontend->wedge.suspects);
    free(frontend->wedge.named);
}

/* There are ranks on other nodes, and no way to ask what they do. */
static bool is_blind(const struct rk_mesh *mesh)
{
    return rk_mesh_nodes(mesh) > 1 && !rk_mesh_may_ask(mesh);
}

/* Whether a rank is back, with its signs of life, as this node sees now or the rank's has told last. */
static bool is_back(const struct rk_frontend *frontend, int rank, uint64_t *signs, int64_t *seen_us)
{
    const struct rk_mesh *mesh = frontend->context->mesh;
    if (rk_mesh_is_far(mesh, rank))
        return rk_mesh_far_is_back(mesh, rank, frontend->wedge.number, signs, seen_us);
    *seen_us = frontend->wedge.looked_us;
    return rk_mesh_is_back(mesh, rank, frontend->wedge.number, signs);
}

static bool must_leave(const struct rk_job_call *call)
{
    return call->ended || call->cancelled;
}

/* Whether some ranks are back and others are not. */
static bool some_are_back(const struct rk_frontend *frontend)
{
    const struct rk_mesh *mesh = frontend->context->mesh;
    if (is_blind(mesh))
        return false;
    return !(frontend->awaited & RK_RANK_0) || rk_mesh_some_reported(mesh) ||
           (rk_mesh_may_ask(mesh) && rk_mesh_far_some_back(mesh, frontend->running->number));
}

/* Other nodes are asked now and then when a call takes long. */
static void ask(struct rk_frontend *frontend)
{
    struct rk_mesh *mesh = frontend->context->mesh;
    int64_t every_us = frontend->context->options->grace_us / 10, now = rk_now_us();
    if (every_us > RK_ASK_US_MAX)
        every_us = RK_ASK_US_MAX;
    if (every_us < RK_ASK_US_MIN || (frontend->wedge.phase != RK_WATCHING && every_us > RK_LEAVE_US / 5))
        every_us = every_us < RK_ASK_US_MIN ? RK_ASK_US_MIN : RK_LEAVE_US / 5;
    if (now - frontend->running->started_us >= every_us && now - rk_mesh_asked_us(mesh) >= every_us)
        rk_mesh_ask(mesh, now);
}

static void begin(struct rk_frontend *frontend, int64_t now)
{
    struct rk_wedge *wedge = &frontend->wedge;
    const struct rk_mesh *mesh = frontend->context->mesh;
    wedge->phase = RK_WATCHING;
    wedge->number = frontend->running->number;
    wedge->left = must_leave(frontend->running);
    wedge->begun_us = wedge->looked_us = now;
    wedge->sounded_us = wedge->in_vain_us = 0;
    for (int rank = 0; rank < rk_mesh_size(mesh); rank++) {
        int64_t seen_us;
        wedge->suspects[rank] = (struct rk_suspect){.since_us = now};
        is_back(frontend, rank, &wedge->suspects[rank].signs, &seen_us);
        wedge->suspects[rank].seen = seen_us >= frontend->running->started_us;
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
    int64_t seen_us;
    if (is_back(frontend, rank, &signs, &seen_us))
        return false;
    if (!wedge->left && client_delays(frontend))
        suspect->since_us = now;
    else if (!wedge->left && suspect->seen && signs != suspect->signs && seen_us > suspect->since_us)
        suspect->since_us = seen_us;
    suspect->signs = signs;
    suspect->seen |= seen_us >= frontend->running->started_us;
    if (suspect->since_us + grace_us <= now)
        return true;
    if (suspect->since_us + grace_us < wedge->due_us)
        wedge->due_us = suspect->since_us + grace_us;
    return false;
}

/* Those whose grace is all but over, too: who stay together are named, killed and replaced together. Of other nodes'
 * ranks it is known a tenth later. */
static void count_the_nearly_wedged(struct rk_frontend *frontend, int64_t now)
{
    const struct rk_mesh *mesh = frontend->context->mesh;
    struct rk_wedge *wedge = &frontend->wedge;
    int64_t tenth_us = frontend->context->options->grace_us / 10, seen_us;
    uint64_t signs;
    for (int rank = 0; rank < rk_mesh_size(mesh); rank++) {
        struct rk_suspect *suspect = &wedge->suspects[rank];
        int64_t most_us = tenth_us * (rk_mesh_is_far(mesh, rank) ? 8 : 9);
        suspect->wedged |= suspect->since_us + most_us <= now && !is_back(frontend, rank, &signs, &seen_us) &&
                           !(is_blind(mesh) && rk_mesh_is_far(mesh, rank));
        suspect->silent = suspect->wedged && rk_mesh_is_far(mesh, rank) && seen_us < wedge->sounded_us;
    }
}

/* Whether other nodes have told how it is now, or will not. */
static bool is_sounded(struct rk_frontend *frontend, int64_t now)
{
    struct rk_wedge *wedge = &frontend->wedge;
    struct rk_mesh *mesh = frontend->context->mesh;
    if (!rk_mesh_may_ask(mesh))
        return true;
    if (!wedge->sounded_us) {
        rk_mesh_ask(mesh, now);
        wedge->sounded_us = now;
    }
    wedge->due_us = now + RK_NAP_MIN_US * 10;
    return now >= wedge->sounded_us + RK_SOUND_US || rk_mesh_answered(mesh, wedge->sounded_us);
}

/* The named are asked for their stacks. */
static void ask_stacks(struct rk_frontend *frontend, int64_t now)
{
    struct rk_wedge *wedge = &frontend->wedge;
    struct rk_mesh *mesh = frontend->context->mesh;
    bool far = false;
    for (int rank = 0; rank < rk_mesh_size(mesh); rank++) {
        bool is_far = rk_mesh_is_far(mesh, rank);
        wedge->named[rank] = wedge->suspects[rank].wedged && is_far && !wedge->suspects[rank].silent;
        far |= wedge->named[rank];
        if (wedge->suspects[rank].wedged && !is_far)
            rk_mesh_ask_stack(mesh, rank);
    }
    if (far)
        rk_mesh_ask_far_stacks(mesh, wedge->named);
    wedge->phase = RK_ASKED;
    wedge->due_us = now + (far ? RK_SOUND_US : RK_STACK_WAIT_US);
}

static bool find_wedged(struct rk_frontend *frontend, int64_t now)
{
    const struct rk_mesh *mesh = frontend->context->mesh;
    bool any = false;
    for (int rank = 0; rank < rk_mesh_size(mesh); rank++)
        if (!is_blind(mesh) || !rk_mesh_is_far(mesh, rank))
            any |= frontend->wedge.suspects[rank].wedged = is_wedged(frontend, rank, now);
    return any;
}

static void watch(struct rk_frontend *frontend, int64_t now)
{
    struct rk_wedge *wedge = &frontend->wedge;
    const struct rk_mesh *mesh = frontend->context->mesh;
    if (wedge->left != must_leave(frontend->running) || now - wedge->looked_us > ASLEEP_US)
        begin(frontend, now);
    wedge->looked_us = now;
    wedge->due_us = INT64_MAX;
    bool any = find_wedged(frontend, now);
    /* Nothing is known of the ranks of other nodes, but that not all are back. */
    bool unseen = is_blind(mesh) && frontend->awaited & RK_OTHERS &&
                  now - wedge->begun_us >= frontend->context->options->grace_us;
    if (!any && !unseen) {
        wedge->sounded_us = 0;
        return;
    }
    if (!is_sounded(frontend, now))
        return;
    if (find_wedged(frontend, now)) /* by what is known now */
        count_the_nearly_wedged(frontend, now);
    else if (!unseen)
        return;
    ask_stacks(frontend, now);
}

static bool all_have_answered(const struct rk_frontend *frontend)
{
    const struct rk_mesh *mesh = frontend->context->mesh;
    uint64_t frames[RK_STACK_DEPTH];
    for (int rank = 0; rank < rk_mesh_size(mesh); rank++) {
        const struct rk_suspect *suspect = &frontend->wedge.suspects[rank];
        if (!suspect->wedged || suspect->silent)
            continue;
        if (rk_mesh_is_far(mesh, rank) ? !rk_mesh_has_far_stack(mesh, rank) : !rk_mesh_stack(mesh, rank, frames))
            return false;
    }
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
    rk_mesh_whereabouts(mesh, rank, &where);
    char state = rk_mesh_process(mesh, rank);
    bool waits = where.activity == RK_AT_CHECKPOINT || where.activity == RK_TAKING_PAYLOAD;
    return waits && !rk_is_stopped(state) && state != 'D';
}

static bool has_wedged(const struct rk_frontend *frontend, bool spare)
{
    const struct rk_mesh *mesh = frontend->context->mesh;
    for (int rank = 0; rank < rk_mesh_size(mesh); rank++)
        if (frontend->wedge.suspects[rank].wedged && !(spare && only_waits(mesh, rank)))
            return true;
    return false;
}

/* Another rank of its node, which ends a first one that is stopped. */
static bool has_neighbour(const struct rk_mesh *mesh, int rank)
{
    for (int other = 0; other < rk_mesh_size(mesh); other++)
        if (other != rank && rk_mesh_info(mesh, other)->node == rk_mesh_info(mesh, rank)->node)
            return true;
    return false;
}

/* Those of other nodes first: rank 0's process is this one, and the last. */
static void kill_wedged(struct rk_frontend *frontend, int64_t now)
{
    struct rk_wedge *wedge = &frontend->wedge;
    struct rk_mesh *mesh = frontend->context->mesh;
    bool spare = has_wedged(frontend, true), far = false, heard = false, watched = false;
    for (int rank = 0; rank < rk_mesh_size(mesh); rank++) {
        wedge->named[rank] = wedge->suspects[rank].wedged && !(spare && only_waits(mesh, rank));
        bool there = wedge->named[rank] && rk_mesh_is_far(mesh, rank);
        far |= there;
        heard |= there && !wedge->suspects[rank].silent;
        watched |= there && has_neighbour(mesh, rank);
        if (wedge->named[rank])
            rk_log(RK_LOG_ERROR, "killing rank %d (pid %d on %s), which has not come back from call %llu", rank,
                   rk_mesh_info(mesh, rank)->pid, rk_mesh_info(mesh, rank)->host, (unsigned long long)wedge->number);
    }
    if (far) {
        rk_mesh_kill_far(mesh, wedge->number, wedge->named);
        wedge->in_vain_us = now + (heard ? RK_KILL_US : watched ? RK_SILENT_US : RK_LEAVE_US);
    }
    for (int rank = rk_mesh_size(mesh) - 1; rank >= 0; rank--)
        if (wedge->named[rank] && !rk_mesh_is_far(mesh, rank))
            rk_mesh_kill(mesh, rank);
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
    int64_t seen_us;
    for (int rank = 0; rank < rk_mesh_size(mesh); rank++)
        if (wedge->suspects[rank].wedged && is_back(frontend, rank, &signs, &seen_us))
            wedge->suspects[rank].wedged = false;
    bool unseen = is_blind(mesh) && frontend->awaited & RK_OTHERS;
    return !unseen && !has_wedged(frontend, false);
}

static void finish_off(struct rk_frontend *frontend, int64_t now)
{
    struct rk_wedge *wedge = &frontend->wedge;
    if (wedge->phase == RK_TOLD && are_back(frontend)) {
        begin(frontend, now); /* others may still have time */
        return;
    }
    if (wedge->phase == RK_KILLED || (wedge->phase == RK_TOLD && !rk_deaths_recoverable(frontend)))
        begin_end(frontend);
    rk_clients_flush(frontend);
    if (answers_are_under_way(frontend) && now < wedge->due_us + RK_LEAVE_US)
        return;
    if (wedge->phase == RK_ENDING)
        rk_mesh_abort(frontend->context->mesh, rankcall_code_exit_status(RANKCALL_EWEDGED));
    wedge->phase = RK_KILLED;
    wedge->due_us = INT64_MAX;
    kill_wedged(frontend, now);
}

/* Nobody has died of it on other nodes: they do not hear. */
static bool kill_was_in_vain(const struct rk_wedge *wedge, int64_t now)
{
    return wedge->phase == RK_KILLED && wedge->in_vain_us && now >= wedge->in_vain_us;
}

void rk_wedge_look(struct rk_frontend *frontend)
{
    struct rk_wedge *wedge = &frontend->wedge;
    struct rk_job_call *call = frontend->running;
    if (!call || !frontend->context->options->grace_us || frontend->away || frontend->doomed)
        return;
    if (rk_mesh_may_ask(frontend->context->mesh))
        ask(frontend);
    if (wedge->number != call->number && !must_leave(call) && !some_are_back(frontend))
        return;
    int64_t now = rk_now_us();
    if (wedge->number != call->number)
        begin(frontend, now);
    if (wedge->phase == RK_WATCHING)
        watch(frontend, now);
    else if (wedge->phase == RK_ASKED && (now >= wedge->due_us || all_have_answered(frontend)))
        tell(frontend, now);
    else if (((wedge->phase == RK_TOLD || wedge->phase == RK_ENDING) && now >= wedge->due_us) ||
             kill_was_in_vain(wedge, now))
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
