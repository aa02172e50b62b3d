/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Collectives that can be interrupted: which way they go, and why they end early.
 *
 * On one node small parts go through boxes in shared memory and large ones are read from the other rank's memory;
 * between nodes they go by non-blocking MPI. */

#include "mesh/collect.h"

#include <stdlib.h>

#include "base/error.h"
#include "mesh/collect_internal.h"

static const char *const names[] = {"no collective", "barrier", "broadcast", "gather",
                                    "all_gather",    "scatter", "reduce",    "all_reduce"};

const char *rk_collective_name(enum rk_collective_kind kind)
{
    return (size_t)kind < sizeof names / sizeof *names ? names[kind] : "unknown";
}

int rk_collect_open(struct rk_mesh *mesh)
{
    struct rk_collect *collect = mesh->collect = calloc(1, sizeof *collect);
    if (!collect)
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    collect->comm = MPI_COMM_NULL;
    int code = rk_arena_open(mesh);
    if (!code)
        code = rk_aware_open(mesh);
    if (code || mesh->nodes == 1)
        return code;
    MPI_Comm_dup(mesh->world, &collect->comm);
    code = rk_packets_open(mesh);
    return code ? code : rk_tidings_open(mesh);
}

void rk_collect_close(struct rk_mesh *mesh)
{
    struct rk_collect *collect = mesh->collect;
    if (!collect)
        return;
    rk_tidings_close(mesh);
    rk_packets_close(mesh);
    rk_aware_close(mesh);
    rk_arena_close(mesh);
    if (rk_mesh_broken(mesh))
        mesh->collected = collect->comm; /* messages may still be on their way */
    else if (collect->comm != MPI_COMM_NULL)
        MPI_Comm_free(&collect->comm);
    free(collect);
    mesh->collect = NULL;
}

void rk_mesh_enter(struct rk_mesh *mesh, uint64_t number, int64_t now_us)
{
    struct rk_collect *collect = mesh->collect;
    struct rk_seat *seat = rk_seat(mesh, mesh->local_rank);
    collect->number = number;
    collect->base = collect->round = collect->freed = number << 48;
    collect->sequence = 0;
    atomic_store_explicit(&seat->posted, collect->base, memory_order_release);
    atomic_store_explicit(&seat->done, collect->base, memory_order_release);
    rk_checkpoint_enter(mesh);
    rk_place_enter(mesh, number, now_us);
    if (collect->packets)
        rk_packets_enter(mesh);
}

void rk_mesh_exit(struct rk_mesh *mesh)
{
    if (mesh->collect->packets)
        rk_packets_leave(mesh);
    rk_place_exit(mesh);
}

static bool goes_direct(const struct rk_mesh *mesh, const struct rk_collective *collective)
{
    if (!mesh->collect->direct || collective->kind == RK_BARRIER)
        return false;
    return collective->uneven || collective->size > RK_DIRECT_MIN;
}

/* A rank alone has only its own part to put where it belongs. */
static void collect_alone(const struct rk_collective *collective)
{
    size_t size = collective->size;
    void *to = collective->receive;
    if (collective->uneven)
        to = rk_part(collective, 0, &size);
    if (collective->kind != RK_BARRIER && collective->kind != RK_BROADCAST)
        rk_copy(to, collective->send, size);
}

static int go(struct rk_mesh *mesh, const struct rk_collective *collective)
{
    int code = rk_mesh_interrupted(mesh, mesh->collect->number);
    if (code)
        return code;
    if (mesh->nodes > 1)
        return rk_collect_remote(mesh, collective);
    if (mesh->size > 1 && goes_direct(mesh, collective))
        return rk_collect_direct(mesh, collective);
    if (mesh->size > 1)
        return rk_collect_boxes(mesh, collective);
    collect_alone(collective);
    return 0;
}

static int explain(const struct rk_mesh *mesh, const char *what, int code)
{
    if (code != rk_mesh_interrupted(mesh, mesh->collect->number))
        return code;
    return rk_error(code, "rank %d left %s, collective %llu of call %llu: %s", mesh->rank, what,
                    (unsigned long long)mesh->collect->sequence, (unsigned long long)mesh->collect->number,
                    rankcall_code_text(code));
}

void rk_mesh_count(struct rk_mesh *mesh, enum rk_collective_kind kind)
{
    rk_place_set(mesh, RK_IN_HANDLER, kind, ++mesh->collect->sequence);
}

void rk_mesh_sits(struct rk_mesh *mesh, bool sits)
{
    rk_place_change(mesh, sits ? RK_IN_COLLECTIVE : RK_IN_HANDLER);
}

int rk_mesh_heed(struct rk_mesh *mesh, const char *what)
{
    if (mesh->nodes > 1) {
        rk_mesh_drive(mesh);
        rk_tidings_look(mesh);
    }
    int code = rk_mesh_interrupted(mesh, mesh->collect->number);
    return code ? explain(mesh, what, code) : RANKCALL_OK;
}

int rk_mesh_collect(struct rk_mesh *mesh, const struct rk_collective *collective)
{
    uint64_t sequence = ++mesh->collect->sequence;
    uint64_t copy_us = collective->size / RK_COPY_RATE;
    mesh->collect->copy_us = copy_us < RK_COPY_US_MAX ? (int64_t)copy_us : RK_COPY_US_MAX;
    rk_place_set(mesh, RK_IN_COLLECTIVE, collective->kind, sequence);
    int code = go(mesh, collective);
    mesh->collect->copy_us = 0; /* checkpoints wait too */
    rk_place_set(mesh, RK_IN_HANDLER, collective->kind, sequence);
    return code ? explain(mesh, rk_collective_name(collective->kind), code) : RANKCALL_OK;
}
