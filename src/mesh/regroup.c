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

#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "mesh/internal.h"

#include <mpi-ext.h> /* needs mpi.h before it */

#define GROUP_TAG 1
#define REAP_US   1000000 /* for mpirun to notice the deaths: a new process that comes up meanwhile may be forgotten */
#define SETTLE_US 20000   /* without anything new, before the living set out */
#define ARGS_MAX  65536   /* bytes of a command line */

_Noreturn static void give_up(struct rk_mesh *mesh, const char *what)
{
    rk_log(RK_LOG_ERROR, "rank %d: cannot regroup: %s", mesh->rank, what);
    rk_mesh_abort(mesh, rankcall_code_exit_status(RANKCALL_ERANKDIED));
}

bool rk_mpi_hears_deaths(void)
{
    return rk_mesh_is_set("OMPI_MCA_mpi_ft_enable");
}

bool rk_mesh_can_regroup(const struct rk_mesh *mesh)
{
    return mesh->nodes == 1 && mesh->size > 1 &&
           (rk_mesh_is_set("OMPI_MCA_orte_enable_recovery") || rk_mpi_hears_deaths());
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
    rk_bell_ring_all(segment, gathering->mesh->local_size);
    return true;
}

static void gather_living(struct rk_mesh *mesh, int64_t grace_us)
{
    struct gathering gathering = {
        .mesh = mesh, .deadline_us = rk_now_us() + grace_us, .reaped_us = rk_now_us() + REAP_US};
    struct rk_patience patience = {.nap_max_us = SETTLE_US / 5};
    atomic_store(&mesh->segment->rank[mesh->local_rank].arrived, 1);
    rk_bell_ring_all(mesh->segment, mesh->local_size);
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

/* This process's program, by the absolute name under which it was started, if that still leads to it: an interpreter
 * may find its libraries by it. */
static bool own_program(const char *name, char path[PATH_MAX])
{
    char found[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", path, PATH_MAX - 1);
    if (size <= 0)
        return false;
    path[size] = '\0';
    if (*name == '/' && strlen(name) < PATH_MAX && realpath(name, found) && !strcmp(found, path))
        strcpy(path, name);
    return true;
}

static MPI_Info where_to_start(void)
{
    char folder[PATH_MAX];
    MPI_Info info;
    MPI_Info_create(&info);
#if OMPI_MAJOR_VERSION >= 5
    /* Else the job's own policy is inherited, limits and all. */
    MPI_Info_set(info, "map_by", "slot:OVERSUBSCRIBE");
    MPI_Info_set(info, "rank_by", "slot");
#else
    MPI_Info_set(info, "map_by", ":OVERSUBSCRIBE");
#endif
    MPI_Info_set(info, "bind_to", "none");
    if (getcwd(folder, sizeof folder))
        MPI_Info_set(info, "wdir", folder);
    return info;
}

/* As many processes as have died. Only the root's arguments count. */
static int spawn(MPI_Comm living, int count, MPI_Comm *between)
{
    char program[PATH_MAX] = "", bytes[ARGS_MAX];
    int rank, failure = MPI_ERR_OTHER;
    int *codes = calloc((size_t)count, sizeof *codes);
    char **arguments = own_arguments(bytes, sizeof bytes);
    MPI_Info info = where_to_start();
    MPI_Comm_rank(living, &rank);
    if (codes && (rank != 0 || (arguments && own_program(bytes, program))))
        failure = MPI_Comm_spawn(program, arguments, count, info, 0, living, between, codes);
    MPI_Info_free(&info);
    free(arguments);
    free(codes);
    return failure;
}

/* Where MPI hears of deaths, it refuses every other way of leaving a communicator as soon as it has heard, which each
 * rank does at a moment of its own. This one waits until all have. */
static MPI_Comm shrunk(MPI_Comm world, int wanted)
{
    MPI_Comm living = MPI_COMM_NULL;
    int size = 0;
#ifdef OMPI_HAVE_MPI_EXT_FTMPI
    if (MPIX_Comm_shrink(world, &living))
        return MPI_COMM_NULL;
    MPI_Comm_size(living, &size);
#else
    (void)world;
#endif
    return size == wanted ? living : MPI_COMM_NULL;
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

/* Both sides: all in the order of the old numbers. The lowest living rank tells who is missing. */
static MPI_Comm restore_order(MPI_Comm between, bool replacement, int rank, int *dead, int count)
{
    MPI_Comm members, world;
    int index = 0;
    MPI_Comm_set_errhandler(between, MPI_ERRORS_RETURN);
    MPI_Intercomm_merge(between, replacement, &members);
    MPI_Comm_set_errhandler(members, MPI_ERRORS_RETURN);
    MPI_Bcast(dead, count, MPI_INT, 0, members);
    if (replacement)
        MPI_Comm_rank(MPI_COMM_WORLD, &index);
    MPI_Comm_split(members, 0, replacement ? dead[index] : rank, &world);
    MPI_Comm_set_errhandler(world, MPI_ERRORS_RETURN);
    MPI_Comm_free(&members);
    return world;
}

bool rk_mesh_join_survivors(MPI_Comm *world)
{
    MPI_Comm parent = MPI_COMM_NULL;
    int count = 0;
    MPI_Comm_get_parent(&parent);
    if (parent == MPI_COMM_NULL)
        return false;
    MPI_Comm_size(MPI_COMM_WORLD, &count); /* those who were started together */
    int *dead = calloc((size_t)count, sizeof *dead);
    if (!dead)
        MPI_Abort(MPI_COMM_WORLD, 1);
    *world = restore_order(parent, true, -1, dead, count);
    free(dead);
    return true;
}

static int list_dead(const struct rk_mesh *mesh, int *dead)
{
    int count = 0;
    for (int i = 0; i < mesh->local_size; i++)
        if (atomic_load(&mesh->segment->rank[i].dead))
            dead[count++] = i; /* all ranks are on one node */
    return count;
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
    MPI_Comm between;
    int *dead = calloc((size_t)mesh->size, sizeof *dead);
    if (!dead)
        give_up(mesh, "out of memory");
    gather_living(mesh, grace_us);
    mesh->vigil = rk_vigil_begin(mesh, lowest_living(mesh) == mesh->rank, give_up);
    int count = list_dead(mesh, dead);
    struct rk_watch *watch = mesh->watch;
    rk_watch_last(watch);
    mesh->watch = NULL;
    rk_mesh_detach(mesh);
    leave_behind(mesh);
    MPI_Comm living =
        rk_mpi_hears_deaths() ? shrunk(mesh->world, mesh->size - count) : without(mesh->world, dead, count);
    if (living == MPI_COMM_NULL)
        give_up(mesh, "no communicator without the dead");
    MPI_Comm_set_errhandler(living, MPI_ERRORS_RETURN);
    if (spawn(living, count, &between))
        give_up(mesh, "MPI_Comm_spawn failed");
    mesh->world = restore_order(between, false, mesh->rank, dead, count);
    free(dead);
    MPI_Comm_free(&living);
    rk_vigil_step(mesh->vigil);
    if (rk_mesh_attach(mesh))
        give_up(mesh, rankcall_last_error()->message);
    rk_watch_end(watch);
    rk_vigil_end(mesh->vigil);
    mesh->vigil = NULL;
}

bool rk_mesh_is_replacement(const struct rk_mesh *mesh)
{
    return mesh->replacement;
}
