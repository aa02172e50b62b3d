/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Rounds: what a rank gives lies in its box of the round until all ranks are done with that round. */

#include <stdio.h>

#include "base/error.h"
#include "mesh/collect_internal.h"

static struct rk_box *box_of(const struct rk_mesh *mesh, int rank, uint64_t round)
{
    const struct rk_collect *collect = mesh->collect;
    size_t index = (size_t)rank * RK_BOXES + round % RK_BOXES;
    return (struct rk_box *)(collect->boxes + index * (sizeof(struct rk_box) + collect->box_size));
}

/* Waits until every rank is done with the rounds before the stamp. */
static int await_freed(struct rk_mesh *mesh, uint64_t stamp)
{
    struct rk_collect *collect = mesh->collect;
    uint64_t freed = collect->round;
    for (int rank = 0; rank < mesh->size; rank++) {
        const _Atomic uint64_t *done = &rk_seat(mesh, rank)->done;
        int code = rank == mesh->rank ? 0 : rk_await(mesh, done, stamp);
        uint64_t here = rank == mesh->rank ? freed : atomic_load_explicit(done, memory_order_acquire);
        if (code)
            return code;
        if (rk_stamp_reached(freed, here))
            freed = here;
    }
    collect->freed = freed;
    return 0;
}

int rk_round_claim(struct rk_mesh *mesh, const struct rk_collective *collective, struct rk_box **box)
{
    struct rk_collect *collect = mesh->collect;
    uint64_t taken = collect->round - RK_BOXES + 1; /* by the round that used this box before */
    if (collect->round - collect->base >= RK_BOXES && !rk_stamp_reached(collect->freed, taken)) {
        int code = await_freed(mesh, taken);
        if (code)
            return code;
    }
    *box = box_of(mesh, mesh->rank, collect->round);
    (*box)->kind = collective->kind;
    (*box)->root = collective->root;
    (*box)->size = collective->size;
    return 0;
}

void rk_round_post(struct rk_mesh *mesh)
{
    rk_publish(mesh, &rk_seat(mesh, mesh->rank)->posted, mesh->collect->round + 1);
}

static int mismatch(const struct rk_mesh *mesh, const struct rk_collective *collective, int rank,
                    const struct rk_box *box)
{
    return rk_error(RANKCALL_EINVAL,
                    "rank %d called %s (root %d, %llu bytes) and rank %d called %s (root %d, %llu bytes): all ranks "
                    "must call the same collectives in the same order",
                    mesh->rank, rk_collective_name(collective->kind), collective->root,
                    (unsigned long long)collective->size, rank, rk_collective_name(box->kind), box->root,
                    (unsigned long long)box->size);
}

int rk_round_await(struct rk_mesh *mesh, const struct rk_collective *collective, int rank, const struct rk_box **box)
{
    const struct rk_collect *collect = mesh->collect;
    int code = rk_await(mesh, &rk_seat(mesh, rank)->posted, collect->round + 1);
    if (code)
        return code;
    *box = box_of(mesh, rank, collect->round);
    bool same = (*box)->kind == collective->kind && (*box)->root == collective->root;
    if (collective->uneven && mesh->rank == collective->root)
        same = same && (*box)->size == collective->sizes[rank];
    else if (!collective->uneven)
        same = same && (*box)->size == collective->size;
    return same ? 0 : mismatch(mesh, collective, rank, *box);
}

void rk_round_done(struct rk_mesh *mesh)
{
    rk_publish(mesh, &rk_seat(mesh, mesh->rank)->done, mesh->collect->round + 1);
}

int rk_round_done_by(struct rk_mesh *mesh, int rank)
{
    return rk_await(mesh, &rk_seat(mesh, rank)->done, mesh->collect->round + 1);
}

int rk_round_all_done(struct rk_mesh *mesh)
{
    int code = 0;
    for (int rank = 0; rank < mesh->size && !code; rank++)
        if (rank != mesh->rank)
            code = rk_round_done_by(mesh, rank);
    return code;
}
