/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Regrouping: the living leave the broken communicators, start a process for every dead rank and connect with them
 * under the old numbers. What the living hold in memory stays. Stock MPI is enough for it, where the launch method lets
 * a job live on without one of its processes and starts new ones.
 *
 * The living first gather in the node's memory: creating a communicator without the dead waits for everybody, so all
 * must have left whatever they were in. */

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "mesh/internal.h"

#define GROUP_TAG 1
#define RANKS_MAX 1024
#define REAP_US   1000000 /* for mpirun to notice the deaths: a new process that comes up meanwhile may be forgotten */
#define SETTLE_US 20000   /* without anything new, before the living set out */
#define ARGS_MAX  65536   /* bytes of a command line */

_Noreturn static void give_up(struct rk_mesh *mesh, const char *what)
{
    rk_log(RK_LOG_ERROR, "rank %d: cannot regroup: %s", mesh->rank, what);
    rk_mesh_abort(mesh, rankcall_code_exit_status(RANKCALL_ERANKDIED));
}

static bool is_on(const char *variable)
{
    const char *value = getenv(variable);
    return value && strcmp(value, "0") && strcmp(value, "false");
}

bool rk_mesh_can_regroup(const struct rk_mesh *mesh)
{
    return mesh->nodes == 1 && mesh->size > 1 && mesh->size <= RANKS_MAX &&
           (is_on("OMPI_MCA_orte_enable_recovery") || is_on("OMPI_MCA_mpi_ft_enable"));
}

/* ---- Gathering ---- */

struct gathering {
    struct rk_mesh *mesh;
    int64_t deadline_us, settled_us, reaped_us;
    uint32_t deaths;
};

static int lowest_living(const struct rk_mesh *mesh)
{
    int rank = 0;
    while (atomic_load(&mesh->segment->rank[rank].dead))
        rank++;
    return rank;
}

static bool all_arrived(const struct rk_mesh *mesh)
{
    for (int i = 0; i < mesh->local_size; i++)
        if (!atomic_load(&mesh->segment->rank[i].dead) && !atomic_load(&mesh->segment->rank[i].arrived))
            return false;
    return true;
}

/* Those who do not come back are ended, this process last; their watchers then count them among the dead. */
void rk_mesh_kill_missing(const struct rk_mesh *mesh)
{
    for (int n = 1; n <= mesh->local_size; n++) {
        int i = (mesh->local_rank + n) % mesh->local_size;
        struct rk_place *place = &mesh->segment->rank[i];
        if (atomic_load(&place->dead) || atomic_load(&place->arrived))
            continue;
        rk_log(RK_LOG_ERROR, "rank %d (pid %d) has not come back from its handler: killing it", i,
               atomic_load(&place->pid));
        kill(atomic_load(&place->pid), SIGKILL);
    }
}

static bool all_reaped(const struct rk_mesh *mesh)
{
    for (int i = 0; i < mesh->local_size; i++) {
        struct rk_place *place = &mesh->segment->rank[i];
        if (atomic_load(&place->dead) && !kill(atomic_load(&place->pid), 0))
            return false;
    }
    return true;
}

/* What kills one rank often kills others in the same moment; once the living have set out, one more is too many. */
static bool has_settled(struct gathering *gathering)
{
    uint32_t deaths = atomic_load(&gathering->mesh->segment->deaths);
    if (deaths != gathering->deaths || (rk_now_us() < gathering->reaped_us && !all_reaped(gathering->mesh))) {
        gathering->deaths = deaths;
        gathering->settled_us = rk_now_us() + SETTLE_US;
    }
    return rk_now_us() >= gathering->settled_us;
}

static bool gathered(void *context)
{
    struct gathering *gathering = context;
    struct rk_segment *segment = gathering->mesh->segment;
    if (atomic_load(&segment->ordered))
        return true;
    if (rk_now_us() > gathering->deadline_us) {
        gathering->deadline_us = INT64_MAX;
        rk_mesh_kill_missing(gathering->mesh);
    }
    if (lowest_living(gathering->mesh) != gathering->mesh->rank || !all_arrived(gathering->mesh) ||
        !has_settled(gathering))
        return false;
    atomic_store(&segment->ordered, 1);
    for (int i = 0; i < gathering->mesh->local_size; i++)
        rk_bell_ring(&segment->rank[i].bell);
    return true;
}

static void gather_living(struct rk_mesh *mesh, int64_t grace_us)
{
    struct gathering gathering = {
        .mesh = mesh, .deadline_us = rk_now_us() + grace_us, .reaped_us = rk_now_us() + REAP_US};
    struct rk_patience patience = {.nap_max_us = SETTLE_US / 5};
    atomic_store(&mesh->segment->rank[mesh->local_rank].arrived, 1);
    for (int i = 0; i < mesh->local_size; i++)
        rk_bell_ring(&mesh->segment->rank[i].bell);
    rk_bell_wait(&mesh->segment->rank[mesh->local_rank].bell, &patience, gathered, &gathering);
}

/* ---- Replacements ---- */

/* This process's own command line, which is theirs too. argv[0] is not passed on: MPI adds it. */
static char **own_arguments(char *bytes, size_t room)
{
    FILE *file = fopen("/proc/self/cmdline", "re");
    size_t size = file ? fread(bytes, 1, room - 1, file) : 0, count = 0;
    if (file)
        fclose(file);
    bytes[size] = '\0';
    char **arguments = calloc(size + 2, sizeof *arguments);
    for (size_t at = strlen(bytes) + 1; arguments && at < size; at += strlen(bytes + at) + 1)
        arguments[count++] = bytes + at;
    return arguments;
}

static MPI_Info where_to_start(void)
{
    char folder[PATH_MAX];
    MPI_Info info;
    MPI_Info_create(&info);
    MPI_Info_set(info, "map_by", ":OVERSUBSCRIBE");
    MPI_Info_set(info, "bind_to", "none");
    if (getcwd(folder, sizeof folder))
        MPI_Info_set(info, "wdir", folder);
    return info;
}

/* One process: with several at once mpirun 4.1 sometimes forgets one that is coming up. Only the root's arguments
 * count. */
static int spawn(MPI_Comm members, MPI_Comm *between)
{
    char program[PATH_MAX] = "", bytes[ARGS_MAX];
    int rank, code, failure = MPI_ERR_OTHER;
    char **arguments = own_arguments(bytes, sizeof bytes);
    MPI_Info info = where_to_start();
    MPI_Comm_rank(members, &rank);
    if (rank != 0 || (arguments && readlink("/proc/self/exe", program, sizeof program - 1) > 0))
        failure = MPI_Comm_spawn(program, arguments, 1, info, 0, members, between, &code);
    MPI_Info_free(&info);
    free(arguments);
    return failure;
}

static MPI_Comm without(MPI_Comm world, const int *dead, int count)
{
    MPI_Group all, rest;
    MPI_Comm living = MPI_COMM_NULL;
    MPI_Comm_group(world, &all);
    MPI_Group_excl(all, count, dead, &rest);
    if (MPI_Comm_create_group(world, rest, GROUP_TAG, &living))
        living = MPI_COMM_NULL;
    MPI_Group_free(&all);
    MPI_Group_free(&rest);
    return living;
}

/* Who is missing, and how many of them are here already. */
struct roll {
    int count, back;
    int dead[RANKS_MAX];
};

/* Both sides: takes in the process at the other end. The lowest living rank tells it what it has to know. */
static MPI_Comm take_in(MPI_Comm between, bool replacement, struct roll *roll)
{
    MPI_Comm members;
    MPI_Comm_set_errhandler(between, MPI_ERRORS_RETURN);
    MPI_Intercomm_merge(between, replacement, &members);
    MPI_Comm_set_errhandler(members, MPI_ERRORS_RETURN);
    roll->back++;
    MPI_Bcast(roll, sizeof *roll / sizeof(int), MPI_INT, 0, members);
    return members;
}

/* The others that are still missing, then all in the order of the old numbers. MPI_COMM_NULL: no process could be
 * started.
 */
static MPI_Comm complete(MPI_Comm members, int rank, struct roll *roll, struct rk_guard *guard)
{
    MPI_Comm between, world = MPI_COMM_NULL;
    while (roll->back < roll->count) {
        MPI_Comm before = members;
        if (spawn(members, &between))
            return MPI_COMM_NULL;
        members = take_in(between, false, roll);
        MPI_Comm_free(&before);
        rk_guard_step(guard);
    }
    MPI_Comm_split(members, 0, rank, &world);
    MPI_Comm_set_errhandler(world, MPI_ERRORS_RETURN);
    MPI_Comm_free(&members);
    return world;
}

bool rk_mesh_join_survivors(MPI_Comm *world)
{
    MPI_Comm parent = MPI_COMM_NULL;
    struct roll roll = {0};
    MPI_Comm_get_parent(&parent);
    if (parent == MPI_COMM_NULL)
        return false;
    MPI_Comm members = take_in(parent, true, &roll);
    *world = complete(members, roll.dead[roll.back - 1], &roll, NULL);
    if (*world == MPI_COMM_NULL)
        MPI_Abort(MPI_COMM_WORLD, 1);
    return true;
}

static void call_roll(const struct rk_mesh *mesh, struct roll *roll)
{
    for (int i = 0; i < mesh->local_size && roll->count < RANKS_MAX; i++)
        if (atomic_load(&mesh->segment->rank[i].dead))
            roll->dead[roll->count++] = i; /* all ranks are on one node */
}

/* The broken communicators are kept until the next regroup. A message on one of them may still be on its way, and would
 * be taken for one of the communicator that got its number. */
static void leave_behind(struct rk_mesh *mesh)
{
    const MPI_Comm left[RK_LEFT] = {mesh->control, mesh->events, mesh->user, mesh->local, mesh->world};
    for (int i = 0; i < RK_LEFT; i++)
        rk_comm_free(&mesh->left[i]);
    memcpy(mesh->left, left, sizeof left);
}

/* ---- All together ---- */

void rk_mesh_regroup(struct rk_mesh *mesh, int64_t grace_us)
{
    struct roll roll = {0};
    gather_living(mesh, grace_us);
    mesh->guard = rk_guard_begin(mesh, lowest_living(mesh) == mesh->rank, give_up);
    call_roll(mesh, &roll);
    struct rk_watch *watch = mesh->watch;
    rk_watch_last(watch);
    mesh->watch = NULL;
    mesh->regrouped = true;
    rk_mesh_detach(mesh);
    leave_behind(mesh);
    MPI_Comm living = without(mesh->world, roll.dead, roll.count);
    if (living == MPI_COMM_NULL)
        give_up(mesh, "MPI_Comm_create_group failed");
    MPI_Comm_set_errhandler(living, MPI_ERRORS_RETURN);
    mesh->world = complete(living, mesh->rank, &roll, mesh->guard);
    if (mesh->world == MPI_COMM_NULL)
        give_up(mesh, "MPI_Comm_spawn failed");
    if (rk_mesh_attach(mesh))
        give_up(mesh, rankcall_last_error()->message);
    rk_watch_end(watch);
    rk_guard_end(mesh->guard);
    mesh->guard = NULL;
}

bool rk_mesh_is_replacement(const struct rk_mesh *mesh)
{
    return mesh->replacement;
}
