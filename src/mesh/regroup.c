/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Regrouping: the living leave the broken communicators, start a process for every dead rank and connect with them
 * under the old numbers. What the living hold in memory stays. Stock MPI is enough for it, where the launch method lets
 * a job live on without one of its processes and starts new ones.
 *
 * The living first gather in the node's memory: creating a communicator without the dead waits for everybody, so all
 * must have left whatever they were in. That memory also tells who dies meanwhile, and how the attempt has ended: all
 * have joined, or it is given up and they gather for the next one. */

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "mesh/links.h"
#include "mesh/regroup.h"

#define TAG_BASE     64      /* of attempts: above all tags of messages (enum rk_tag), which may lie around */
#define REAP_US      1000000 /* for mpirun to notice the deaths: a new process that comes up meanwhile may be forgotten */
#define SETTLE_US    10000   /* without anything new, before the living set out */
#define LIMIT_US     10000000 /* for an attempt */
#define LIMIT_FAR_US 20000000 /* the same on several nodes */
#define RETRY_US     5000000  /* for a further one on Open MPI 5, which may hang in the one before */
#define WAY_US       300000   /* until those who were left in MPI are to make way again; they may get there late */
#define LOOK_US      5000     /* between two looks whether all are still there */
#define ATTEMPTS_MAX 6        /* in a row */

void rk_regroup_give_up(struct rk_mesh *mesh, const char *what)
{
    rk_log(RK_LOG_ERROR, "rank %d: cannot regroup: %s", mesh->rank, what);
    rk_mesh_abort(mesh, rankcall_code_exit_status(RANKCALL_ERANKDIED));
}

bool rk_mesh_outlives(const struct rk_mesh *mesh)
{
    if (mesh->nodes > 1 && (!mesh->linked || rk_mpi_hears_deaths()))
        return false;
    return mesh->size > 1 && (rk_mesh_is_set("OMPI_MCA_orte_enable_recovery") || rk_mpi_hears_deaths());
}

/* Nor does mpirun start anything any more when one of its nodes is gone. */
bool rk_mesh_lost_node(const struct rk_mesh *mesh)
{
    for (int rank = 0; mesh->nodes > 1 && mesh->segment && rank < mesh->size; rank++) {
        int status = atomic_load(&rk_far(mesh->segment, mesh->local_size)[rank].wait_status);
        if (status == RK_STATUS_LOST)
            return true;
    }
    return false;
}

bool rk_mesh_can_regroup(const struct rk_mesh *mesh)
{
    return rk_mesh_outlives(mesh) && !(mesh->segment && atomic_load(&mesh->segment->unheard)) &&
           !rk_mesh_lost_node(mesh);
}

bool rk_regroup_is_dead(const struct rk_regroup *regroup, int rank)
{
    if (!rk_mesh_is_far(regroup->mesh, rank))
        return atomic_load(&regroup->segment->rank[regroup->mesh->ranks[rank].local_rank].dead);
    return atomic_load(&rk_far(regroup->segment, regroup->ranks)[rank].dead);
}

bool rk_regroup_left_out(const struct rk_regroup *regroup, int rank)
{
    if (!rk_mesh_is_far(regroup->mesh, rank))
        return atomic_load(&regroup->segment->rank[regroup->mesh->ranks[rank].local_rank].left_out);
    return atomic_load(&rk_far(regroup->segment, regroup->ranks)[rank].left_out);
}

/* ---- Gathering ---- */

static int lowest_living(const struct rk_segment *segment)
{
    int rank = 0;
    while (atomic_load(&segment->rank[rank].dead))
        rank++;
    return rank;
}

/* One living rank decides for all; the next one when it dies. */
static bool leads(const struct rk_regroup *regroup)
{
    return lowest_living(regroup->segment) == regroup->local_rank;
}

static bool all_arrived(const struct rk_regroup *regroup)
{
    for (int i = 0; i < regroup->ranks; i++) {
        struct rk_place *place = &regroup->segment->rank[i];
        if (!atomic_load(&place->dead) && atomic_load(&place->arrived) < regroup->number)
            return false;
    }
    return true;
}

/* Those who do not come back are ended, this process last; their watchers then count them among the dead. */
static void kill_missing(struct rk_segment *segment, int ranks, int local_rank, uint32_t number)
{
    for (int n = 1; n <= ranks; n++) {
        int i = (local_rank + n) % ranks;
        struct rk_place *place = &segment->rank[i];
        if (atomic_load(&place->dead) || atomic_load(&place->arrived) >= number)
            continue;
        rk_log(RK_LOG_ERROR, "rank %d (pid %d) has not come back from its handler: killing it", i,
               atomic_load(&place->pid));
        kill(atomic_load(&place->pid), SIGKILL);
    }
}

void rk_mesh_kill_missing(const struct rk_mesh *mesh)
{
    kill_missing(mesh->segment, mesh->local_size, mesh->local_rank, 1);
}

static bool all_reaped(const struct rk_regroup *regroup)
{
    for (int i = 0; i < regroup->ranks; i++) {
        struct rk_place *place = &regroup->segment->rank[i];
        if (atomic_load(&place->dead) && !kill(atomic_load(&place->pid), 0))
            return false;
    }
    return true;
}

/* What kills one rank often kills others in the same moment; it is quicker to replace them together. */
static bool has_settled(struct rk_regroup *regroup)
{
    uint32_t deaths = atomic_load(&regroup->segment->deaths);
    int64_t now = rk_now_us();
    if (deaths != regroup->deaths || (now < regroup->reaped_us && !all_reaped(regroup))) {
        regroup->deaths = deaths;
        regroup->settled_us = now + SETTLE_US;
    }
    return now >= regroup->settled_us && now >= atomic_load(&regroup->segment->not_before_us);
}

/* The attempt begins: who is dead now is left out. */
static void order(struct rk_regroup *regroup)
{
    for (int i = 0; i < regroup->ranks; i++) {
        struct rk_place *place = &regroup->segment->rank[i];
        atomic_store(&place->left_out, atomic_load(&place->dead));
    }
    atomic_store(&regroup->segment->ordered, regroup->number);
    rk_bell_ring_all(regroup->segment, regroup->ranks);
}

static bool gathered(void *context)
{
    struct rk_regroup *regroup = context;
    if (atomic_load(&regroup->segment->ordered) >= regroup->number)
        return true;
    if (rk_now_us() > regroup->grace_over_us) {
        regroup->grace_over_us = INT64_MAX;
        kill_missing(regroup->segment, regroup->ranks, regroup->local_rank, regroup->number);
    }
    if (!leads(regroup) || !all_arrived(regroup) || !has_settled(regroup))
        return false;
    if (regroup->mesh->nodes > 1 && !rk_nodes_ordered(regroup))
        return false;
    order(regroup);
    return true;
}

/* Nobody sets out before all are content. */
static void wish(struct rk_segment *segment, int64_t pause_us)
{
    int64_t until = rk_now_us() + pause_us, before = atomic_load(&segment->not_before_us);
    while (pause_us && before < until && !atomic_compare_exchange_weak(&segment->not_before_us, &before, until))
        continue;
}

static void gather_living(struct rk_regroup *regroup, int64_t grace_us, int64_t pause_us)
{
    struct rk_patience patience = {.nap_max_us = SETTLE_US / 5};
    struct rk_place *place = &regroup->segment->rank[regroup->local_rank];
    regroup->grace_over_us = rk_now_us() + grace_us;
    regroup->reaped_us = rk_now_us() + REAP_US;
    regroup->deaths = 0;
    wish(regroup->segment, pause_us);
    atomic_store(&place->arrived, regroup->number);
    rk_bell_ring_all(regroup->segment, regroup->ranks);
    rk_bell_wait(&place->bell, &patience, gathered, regroup);
}

/* ---- An attempt ---- */

static void make_way(struct rk_regroup *regroup)
{
    if (rk_now_us() < regroup->way_us)
        return;
    rk_attempt_make_way();
    regroup->way_us = rk_now_us() + WAY_US;
}

/* How it has ended; the first word counts. */
static void decide(const struct rk_regroup *regroup, bool joined)
{
    uint32_t before = atomic_load(&regroup->segment->verdict), verdict = regroup->number << 1 | joined;
    if (before >> 1 >= regroup->number || !atomic_compare_exchange_strong(&regroup->segment->verdict, &before, verdict))
        return;
    rk_bell_ring_all(regroup->segment, regroup->ranks);
}

static bool all_joined(const struct rk_regroup *regroup)
{
    for (int i = 0; i < regroup->ranks; i++) {
        struct rk_place *place = &regroup->segment->rank[i];
        if (!atomic_load(&place->left_out) && atomic_load(&place->joined) < regroup->number)
            return false;
    }
    return true;
}

static bool one_more_is_dead(const struct rk_regroup *regroup)
{
    for (int rank = 0; rank < regroup->mesh->size; rank++)
        if (rk_regroup_is_dead(regroup, rank) && !rk_regroup_left_out(regroup, rank))
            return true;
    return false;
}

/* Several nodes could not agree that there is another attempt: then the job is started again. */
static void abandon(const struct rk_regroup *regroup, const char *why)
{
    if (regroup->mesh->nodes > 1)
        rk_regroup_give_up(regroup->mesh, why);
    rk_log(RK_LOG_WARNING, "attempt %u to regroup: %s", regroup->number, why);
    decide(regroup, false);
}

static bool decided(void *context)
{
    struct rk_regroup *regroup = context;
    struct rk_segment *segment = regroup->segment;
    bool stuck = false;
    if (atomic_load(&segment->verdict) >> 1 >= regroup->number)
        return true;
    enum rk_attempt_state state = rk_attempt_state(regroup->attempt);
    if (one_more_is_dead(regroup) && leads(regroup))
        abandon(regroup, "one more rank has died");
    else if (state == RK_ATTEMPT_FAILED)
        abandon(regroup, rk_attempt_why(regroup->attempt));
    else if (leads(regroup) && rk_vigil_lost_one(regroup->vigil, &stuck) && !(stuck && regroup->got_stuck))
        abandon(regroup, stuck ? "a replacement was stuck" : "a replacement has died before it was up");
    else if (stuck || rk_now_us() > regroup->deadline_us)
        rk_regroup_give_up(regroup->mesh, "no replacement has come up in time"); /* nor would the next */
    regroup->got_stuck |= stuck;
    make_way(regroup);
    if (state == RK_ATTEMPT_DONE && !regroup->joined) {
        regroup->joined = true;
        atomic_store(&segment->rank[regroup->local_rank].joined, regroup->number);
    }
    if (state == RK_ATTEMPT_DONE && all_joined(regroup) && (regroup->mesh->nodes == 1 || rk_nodes_joined(regroup)))
        decide(regroup, true);
    return atomic_load(&segment->verdict) >> 1 >= regroup->number;
}

static int list_left_out(const struct rk_regroup *regroup, int *dead)
{
    int count = 0;
    for (int rank = 0; rank < regroup->mesh->size; rank++)
        if (rk_regroup_left_out(regroup, rank))
            dead[count++] = rank;
    return count;
}

/* True: all have joined. */
static bool try_it(struct rk_regroup *regroup)
{
    struct rk_mesh *mesh = regroup->mesh;
    struct rk_patience patience = {.nap_max_us = LOOK_US};
    struct rk_bell *bell = &regroup->segment->rank[regroup->local_rank].bell;
    int *dead = calloc((size_t)mesh->size, sizeof *dead);
    int count = dead ? list_left_out(regroup, dead) : 0;
    regroup->joined = false;
    regroup->way_us = rk_now_us() + WAY_US;
    int64_t limit_us = regroup->number > 1 && rk_mpi_hears_deaths() ? RETRY_US : LIMIT_US;
    regroup->deadline_us = rk_now_us() + (mesh->nodes > 1 ? LIMIT_FAR_US : limit_us);
    regroup->attempt = dead ? rk_attempt_begin(mesh, dead, count, TAG_BASE + (int)regroup->number, bell) : NULL;
    free(dead);
    if (!regroup->attempt)
        rk_regroup_give_up(mesh, "out of memory");
    rk_bell_wait(bell, &patience, decided, regroup);
    if (atomic_load(&regroup->segment->verdict) & 1) {
        rk_attempt_take(regroup->attempt, mesh);
        return true;
    }
    rk_attempt_abandon(regroup->attempt);
    if (leads(regroup))
        rk_vigil_clear(regroup->vigil, (size_t)count);
    return false;
}

/* ---- All together ---- */

/* The broken communicators are kept until the next regroup. A message on one of them may still be on its way, and would
 * be taken for one of the communicator that got its number. */
static void leave_behind(struct rk_mesh *mesh)
{
    const MPI_Comm left[RK_LEFT] = {mesh->control, mesh->events,    mesh->user,  mesh->local,
                                    mesh->world,   mesh->collected, mesh->passed};
    mesh->collected = mesh->passed = MPI_COMM_NULL;
    for (int i = 0; i < RK_LEFT; i++)
        rk_comm_free(&mesh->left[i]);
    for (int i = 0; i < RK_LEFT; i++)
        mesh->left[i] = left[i];
}

static struct rk_regroup *begin(struct rk_mesh *mesh)
{
    struct rk_regroup *regroup = calloc(1, sizeof *regroup);
    if (!regroup)
        rk_regroup_give_up(mesh, "out of memory");
    regroup->mesh = mesh;
    regroup->segment = mesh->segment;
    regroup->watch = mesh->watch;
    regroup->links = mesh->links;
    regroup->comm = mesh->control;
    regroup->ranks = mesh->local_size;
    regroup->local_rank = mesh->local_rank;
    regroup->number = 1;
    if (mesh->nodes > 1 && !rk_nodes_open(regroup))
        rk_regroup_give_up(mesh, "out of memory");
    return regroup;
}

/* After the living have gathered for the first time. */
static void leave_mesh(struct rk_mesh *mesh)
{
    struct rk_regroup *regroup = mesh->regroup;
    regroup->vigil = rk_vigil_begin();
    atomic_store(&mesh->vigil, regroup->vigil);
    rk_watch_leave(regroup->watch);
    rk_links_leave(regroup->links);
    mesh->watch = NULL;
    mesh->links = NULL;
    mesh->link_fifo = -1; /* the watch closes it */
    rk_mesh_detach(mesh);
    leave_behind(mesh);
}

static void finish(struct rk_mesh *mesh)
{
    struct rk_regroup *regroup = mesh->regroup;
    if (rk_mesh_settle(mesh))
        rk_regroup_give_up(mesh, rankcall_last_error()->message);
    rk_watch_unlink(regroup->watch);
    rk_links_end(regroup->links);
    rk_watch_end(regroup->watch);
    rk_nodes_close(regroup);
    atomic_store(&mesh->vigil, NULL);
    rk_vigil_end(regroup->vigil);
    free(regroup);
    mesh->regroup = NULL;
}

bool rk_mesh_regroup(struct rk_mesh *mesh, int64_t grace_us, int64_t pause_us)
{
    if (!mesh->regroup)
        mesh->regroup = begin(mesh);
    struct rk_regroup *regroup = mesh->regroup;
    gather_living(regroup, grace_us, pause_us);
    if (regroup->number == 1)
        leave_mesh(mesh);
    if (try_it(regroup)) {
        finish(mesh);
        return true;
    }
    if (regroup->number++ == ATTEMPTS_MAX)
        rk_regroup_give_up(mesh, "too many attempts");
    return false;
}

bool rk_mesh_is_replacement(const struct rk_mesh *mesh)
{
    return mesh->replacement;
}
