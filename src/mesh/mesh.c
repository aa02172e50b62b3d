/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Opening and closing the mesh: MPI, its communicators, and who the ranks are. */

#include "mesh/mesh.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/defaults.h"
#include "base/error.h"
#include "mesh/collect.h"
#include "mesh/comm.h"
#include "mesh/internal.h"
#include "mesh/links.h"

#define EVENT_BUFFER "16384"

/* The ranks of this node as the launch method tells them before MPI is up; 1 when it doesn't. */
static int local_ranks_expected(void)
{
    static const char *const variables[] = {"OMPI_COMM_WORLD_LOCAL_SIZE", "SLURM_NTASKS_PER_NODE",
                                            "SLURM_STEP_TASKS_PER_NODE"};
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        const char *value = getenv(variables[i]);
        if (value && atoi(value) > 0)
            return atoi(value);
    }
    return 1;
}

void rk_mesh_prepare_environment(int cpus)
{
    const char *no_epoll = getenv(RK_NO_EPOLL);
    if (no_epoll && !strcmp(no_epoll, RK_NO_EPOLL_OURS))
        unsetenv(RK_NO_EPOLL);
    /* Rank 0 has a second thread, so one CPU a rank is not enough for spinning. */
    if (local_ranks_expected() + 1 > cpus)
        setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
    /* A rank's events to rank 0 come through a buffer of Open MPI's shared memory, 4 KiB as it is: where the two share
     * a CPU they change places whenever it is full. Both ends must take it for as large, which all ranks do. */
    setenv("OMPI_MCA_btl_vader_fbox_size", EVENT_BUFFER, 0);
    setenv("OMPI_MCA_btl_sm_fbox_size", EVENT_BUFFER, 0);
    /* Ranks that were not started together meet by TCP, for which Open MPI leaves the loopback aside. */
    char name[RK_INTERFACE];
    if (!getenv(RK_TCP_EXCLUDE) && rk_contact_is_alone(name))
        setenv(RK_TCP_INCLUDE, name, 0);
}

bool rk_mesh_is_set(const char *variable)
{
    const char *value = getenv(variable);
    return value && strcmp(value, "0") && strcmp(value, "false");
}

static int initialise_mpi(struct rk_mesh *mesh)
{
    int level = MPI_THREAD_SINGLE, initialised = 0, code = rk_mpirun_check_line();
    if (code)
        return code;
    MPI_Initialized(&initialised);
    if (initialised) {
        MPI_Query_thread(&level);
    } else {
        rk_stuck_begin();
        MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &level);
        rk_stuck_end();
        mesh->initialised_mpi = true;
    }
    if (level < MPI_THREAD_MULTIPLE)
        return rk_error(RANKCALL_ELAUNCH, "MPI gives thread level %d, but rankcall needs MPI_THREAD_MULTIPLE (%d)",
                        level, MPI_THREAD_MULTIPLE);
    mesh->mpi_yields = rk_mesh_is_set("OMPI_MCA_mpi_yield_when_idle") || rk_mesh_is_set("OMPI_MCA_mpi_oversubscribe");
    /* A rank that dies must not take the others with it: they are told by other means. */
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN);
    mesh->replacement = rk_mesh_join_survivors(&mesh->world);
    if (!mesh->replacement)
        mesh->world = MPI_COMM_WORLD;
    MPI_Comm_rank(mesh->world, &mesh->rank);
    MPI_Comm_size(mesh->world, &mesh->size);
    return mesh->replacement ? RANKCALL_OK : rk_mpirun_check_size(mesh->size);
}

static void copy_world(struct rk_mesh *mesh)
{
    MPI_Comm_dup(mesh->world, &mesh->control);
    MPI_Comm_dup(mesh->world, &mesh->events);
    MPI_Comm_dup(mesh->world, &mesh->user);
}

/* After a regroup: Open MPI 4.1 does not know of every process that another one has started where it is, and ranks
 * would disagree about who is on the node. But everybody is where the one was whose number it has, as the living know.
 */
static int node_before(const struct rk_mesh *mesh)
{
    const struct rk_rank_info *ranks = mesh->ranks;
    bool fresh = ranks[mesh->rank].pid == 0;
    int knows = fresh ? mesh->size : mesh->rank, root = 0, *nodes = calloc((size_t)mesh->size, sizeof *nodes);
    if (!nodes)
        rk_mesh_abort((struct rk_mesh *)mesh, 1);
    for (int rank = 0; rank < mesh->size; rank++)
        nodes[rank] = ranks[rank].node;
    MPI_Allreduce(&knows, &root, 1, MPI_INT, MPI_MIN, mesh->world);
    MPI_Bcast(nodes, mesh->size, MPI_INT, root, mesh->world);
    int node = nodes[mesh->rank];
    free(nodes);
    return node;
}

/* The ranks that share memory. For tests RANKCALL_TEST_NODES makes so many nodes of one. */
static void split_by_node(struct rk_mesh *mesh)
{
    const char *pretend = getenv("RANKCALL_TEST_NODES");
    MPI_Comm node;
    if (mesh->world != MPI_COMM_WORLD) {
        MPI_Comm_split(mesh->world, node_before(mesh), mesh->rank, &mesh->local);
        return;
    }
    MPI_Comm_split_type(mesh->world, MPI_COMM_TYPE_SHARED, mesh->rank, MPI_INFO_NULL, &node);
    int part = pretend && atoi(pretend) > 0 ? mesh->rank * atoi(pretend) / mesh->size : 0;
    MPI_Comm_split(node, part, mesh->rank, &mesh->local);
    MPI_Comm_free(&node);
}

/* Nodes are numbered by their lowest rank, so that rank 0 is on node 0. */
static void find_nodes(struct rk_mesh *mesh)
{
    int leader = mesh->rank, is_leader, before = 0;
    split_by_node(mesh);
    MPI_Comm_rank(mesh->local, &mesh->local_rank);
    MPI_Comm_size(mesh->local, &mesh->local_size);
    is_leader = mesh->local_rank == 0;
    MPI_Exscan(&is_leader, &before, 1, MPI_INT, MPI_SUM, mesh->control);
    if (mesh->rank == 0)
        before = 0; /* MPI_Exscan leaves rank 0's result undefined */
    MPI_Allreduce(&is_leader, &mesh->nodes, 1, MPI_INT, MPI_SUM, mesh->control);
    leader = before;
    MPI_Bcast(&leader, 1, MPI_INT, 0, mesh->local);
    mesh->ranks[mesh->rank].node = leader;
}

/* Which of mpirun's processes this is, by its own count: its output bears those numbers. Open MPI 4 has the group in
 * the lower half of a number, Open MPI 5 behind an '@'. */
static void tell_seat(struct rk_rank_info *info)
{
    const char *space = getenv("PMIX_NAMESPACE"), *member = getenv("PMIX_RANK");
    const char *at = space ? strrchr(space, '@') : NULL;
    info->group = at ? atoi(at + 1) : space ? (int)(strtoul(space, NULL, 10) & 0xffff) : 0;
    info->member = member ? atoi(member) : 0;
}

/* Who takes the place of a dead rank brings what that one did: a survivor tells it. `before`: of a survivor, what it
 * knew of all. */
static void inherit_offers(struct rk_mesh *mesh, struct rk_rank_info *before)
{
    int root = 0, fresh = 0;
    for (int i = 0; i < mesh->size; i++)
        fresh += mesh->ranks[i].fresh;
    if (!fresh || fresh == mesh->size)
        return;
    while (mesh->ranks[root].fresh)
        root++;
    MPI_Bcast(before, (int)(sizeof *before * (size_t)mesh->size), MPI_BYTE, root, mesh->control);
    for (int i = 0; i < mesh->size; i++)
        if (mesh->ranks[i].fresh)
            memcpy(mesh->ranks[i].offer, before[i].offer, sizeof before[i].offer);
    memcpy(mesh->info.offer, mesh->ranks[mesh->rank].offer, sizeof mesh->info.offer);
}

static int exchange_infos(struct rk_mesh *mesh)
{
    bool fresh = mesh->replacement && !mesh->ranks;
    if (!mesh->ranks)
        mesh->ranks = calloc((size_t)mesh->size, sizeof *mesh->ranks);
    struct rk_rank_info *before = mesh->ranks ? calloc((size_t)mesh->size, sizeof *before) : NULL;
    if (!before)
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    memcpy(before, mesh->ranks, (size_t)mesh->size * sizeof *before);
    find_nodes(mesh);
    struct rk_rank_info mine = mesh->info;
    mine.rank = mesh->rank;
    mine.local_rank = mesh->local_rank;
    tell_seat(&mine);
    mine.node = mesh->ranks[mesh->rank].node;
    mine.pid = (int32_t)getpid();
    mine.fresh = fresh;
    mine.aware = mesh->info.aware && rk_mpi_is_aware();
    gethostname(mine.host, sizeof mine.host - 1);
    snprintf(mine.place, sizeof mine.place, "%s", getenv("PMIX_HOSTNAME") ? getenv("PMIX_HOSTNAME") : mine.host);
    MPI_Allgather(&mine, sizeof mine, MPI_BYTE, mesh->ranks, sizeof mine, MPI_BYTE, mesh->control);
    inherit_offers(mesh, before);
    free(before);
    memcpy(mine.offer, mesh->info.offer, sizeof mine.offer);
    mesh->agree(mesh->agree_context, mesh->ranks, mesh->size, &mine);
    MPI_Allgather(&mine, sizeof mine, MPI_BYTE, mesh->ranks, sizeof mine, MPI_BYTE, mesh->control);
    return RANKCALL_OK;
}

int rk_mesh_attach(struct rk_mesh *mesh)
{
    copy_world(mesh);
    int code = exchange_infos(mesh);
    if (!code)
        code = rk_segment_open(mesh);
    if (code)
        return code;
    rk_span_open(mesh);
    if ((code = rk_links_open(mesh)))
        return code;
    rk_rooms_open(mesh);
    return rk_collect_open(mesh);
}

int rk_mesh_settle(struct rk_mesh *mesh)
{
    rk_liveness_begin(mesh);
    int code = rk_events_open(mesh);
    if (!code)
        code = rk_liveness_watch(mesh);
    return code ? code : rk_links_begin(mesh);
}

void rk_comm_free(MPI_Comm *comm)
{
    if (*comm != MPI_COMM_NULL && *comm && *comm != MPI_COMM_WORLD)
        MPI_Comm_free(comm);
}

void rk_mesh_detach(struct rk_mesh *mesh)
{
    rk_collect_close(mesh);
    rk_span_close(mesh);
    rk_events_close(mesh);
    rk_segment_close(mesh);
    mesh->rings_seen = 0;
}

int rk_mesh_open(const struct rk_rank_info *info, rk_agree_fn *agree, void *context, struct rk_mesh **out)
{
    struct rk_mesh *mesh = calloc(1, sizeof *mesh);
    if (!mesh)
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    mesh->io_fifo = mesh->link_fifo = -1;
    mesh->info = *info;
    mesh->agree = agree;
    mesh->agree_context = context;
    int code = initialise_mpi(mesh);
    if (!code)
        code = rk_mesh_attach(mesh);
    if (!code)
        code = rk_mesh_settle(mesh);
    if (code) {
        rk_mesh_close(mesh);
        return code;
    }
    *out = mesh;
    return RANKCALL_OK;
}

static void finalise(struct rk_mesh *mesh)
{
    rk_comm_free(&mesh->control);
    rk_comm_free(&mesh->events);
    rk_comm_free(&mesh->user);
    rk_comm_free(&mesh->local);
    if (mesh->initialised_mpi)
        MPI_Finalize();
}

void rk_mesh_close(struct rk_mesh *mesh)
{
    if (!mesh)
        return;
    rk_links_leave(mesh->links);
    rk_mesh_detach(mesh);
    rk_liveness_end();
    atomic_store(&mesh->linked_segment, NULL);
    rk_watch_unlink(mesh->watch);
    rk_links_end(mesh->links);
    rk_watch_end(mesh->watch);
    /* MPI_Finalize waits for all processes that have begun together, the dead among them. Who has regrouped leaves
     * without it, which a launch method that lets jobs live on without a rank takes for an end like any other. */
    if (mesh->world == MPI_COMM_WORLD)
        finalise(mesh);
    free(mesh->ranks);
    free(mesh->ranks_before);
    free(mesh);
}

#define END_NAPS 50
#define ABORT_S  3 /* how long mpirun may take to answer MPI_Abort */

/* The thread of this node's links tells them, if its process is there. */
static void end_other_nodes(const struct rk_mesh *mesh)
{
    const struct timespec nap = {.tv_nsec = 1000000};
    struct rk_segment *segment = atomic_load(&mesh->linked_segment);
    if (!segment || atomic_load(&segment->rank[0].dead))
        return;
    rk_links_want(segment, mesh->linked_fifo, RK_WANT_ABORT);
    for (int naps = 0; naps < END_NAPS && !atomic_load(&segment->link_ended); naps++)
        nanosleep(&nap, NULL);
}

static void *end_anyway(void *status)
{
    sleep(ABORT_S);
    _exit((int)(intptr_t)status);
}

/* MPI_Abort waits for mpirun's answer, for ever where mpirun hangs. */
static _Noreturn void abort_mpi(int status)
{
    pthread_t thread;
    int up = 0, down = 0;
    MPI_Initialized(&up);
    MPI_Finalized(&down);
    if (up && !down) {
        (void)pthread_create(&thread, NULL, end_anyway, (void *)(intptr_t)status);
        MPI_Abort(MPI_COMM_WORLD, status);
    }
    _exit(status); /* MPI_Abort may return where a job lives on without a rank */
}

void rk_mesh_abort(struct rk_mesh *mesh, int status)
{
    bool outlived = mesh && mesh->ranks && rk_mesh_outlives(mesh);
    rk_liveness_end(); /* the status is the job's */
    if (mesh && !outlived)
        rk_liveness_give_up(mesh, status);
    /* Where a job may live on without a rank, MPI_Abort ends this one alone. Replacements that are not yet ranks go
     * first: ranks may do the same to each other. */
    if (mesh)
        rk_vigil_kill_newcomers(mesh->vigil);
    if (outlived && mesh->nodes > 1)
        end_other_nodes(mesh);
    /* mpirun is out of reach: nobody else would end the ranks of a node that is cut off. */
    if (mesh && mesh->ranks && rk_mesh_lost_node(mesh) && mesh->ranks[mesh->rank].node != 0)
        rk_liveness_end_node(mesh->segment, mesh->local_size, status);
    for (int rank = 0; outlived && rank < mesh->size; rank++)
        if (rank != mesh->rank && !rk_mesh_is_far(mesh, rank) && mesh->ranks[rank].pid > 0)
            kill(mesh->ranks[rank].pid, SIGKILL);
    abort_mpi(status);
}

int rk_mesh_rank(const struct rk_mesh *mesh)
{
    return mesh->rank;
}

int rk_mesh_size(const struct rk_mesh *mesh)
{
    return mesh->size;
}

int rk_mesh_nodes(const struct rk_mesh *mesh)
{
    return mesh->nodes;
}

bool rk_mesh_is_far(const struct rk_mesh *mesh, int rank)
{
    return mesh->ranks[rank].node != mesh->ranks[mesh->rank].node;
}

bool rk_mesh_linked(const struct rk_mesh *mesh)
{
    return mesh->linked;
}

const struct rk_rank_info *rk_mesh_info(const struct rk_mesh *mesh, int rank)
{
    return &mesh->ranks[rank];
}

MPI_Comm rk_mesh_user_comm(const struct rk_mesh *mesh)
{
    return mesh->user;
}
