/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Collectives in which ranks read each other's memory: one copy instead of two.
 *
 * A rank tells its address in a box and stays until all who read have read. An interrupt lets it go at once: who is
 * still reading then finds out afterwards, and throws away what it read. Nobody writes into the memory of another. */

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "base/error.h"
#include "mesh/collect_internal.h"

#define PULL_MAX (1u << 20) /* bytes between two looks for an interrupt */

static int pull_failed(struct rk_mesh *mesh, int rank)
{
    int interrupted = rk_must_leave(mesh);
    if (interrupted)
        return interrupted;
    if (errno == ESRCH)
        return rk_error(RANKCALL_ERANKDIED, "rank %d has died", rank);
    return rk_error_system("cannot read the memory of rank %d", rank);
}

int rk_pull(struct rk_mesh *mesh, int rank, void *to, uint64_t from, size_t size)
{
    uint8_t *bytes = to;
    while (size) {
        size_t piece = size < PULL_MAX ? size : PULL_MAX;
        struct iovec here = {bytes, piece}, there = {(void *)(uintptr_t)from, piece}; // NOLINT
        ssize_t pulled = process_vm_readv((pid_t)mesh->ranks[rank].pid, &here, 1, &there, 1, 0);
        if (pulled <= 0)
            return pull_failed(mesh, rank);
        int code = rk_must_leave(mesh);
        if (code)
            return code;
        bytes += pulled;
        from += (uint64_t)pulled;
        size -= (size_t)pulled;
    }
    return 0;
}

/* Tells this rank's address in a round; a small part goes along. */
static int offer(struct rk_mesh *mesh, const struct rk_collective *collective, bool inlined)
{
    struct rk_box *box;
    int code = rk_round_claim(mesh, collective, &box);
    if (code)
        return code;
    box->address = (uint64_t)(uintptr_t)collective->send;
    if (inlined)
        rk_copy(box->bytes, collective->send, collective->size);
    rk_round_post(mesh);
    return 0;
}

static int pull_from(struct rk_mesh *mesh, const struct rk_collective *collective, int rank, void *to, size_t offset,
                     size_t size)
{
    const struct rk_box *box;
    int code = rk_round_await(mesh, collective, rank, &box);
    return code ? code : rk_pull(mesh, rank, to, box->address + offset, size);
}

/* Broadcast and scatter: all pull from the root. */
static int from_root(struct rk_mesh *mesh, const struct rk_collective *collective, size_t stride)
{
    size_t offset = (size_t)mesh->rank * stride;
    int code;
    if (mesh->rank == collective->root) {
        code = offer(mesh, collective, false);
        if (!code && stride)
            rk_copy(collective->receive, (const uint8_t *)collective->send + offset, collective->size);
        rk_round_done(mesh);
        if (!code)
            code = rk_round_all_done(mesh);
    } else {
        code = pull_from(mesh, collective, collective->root, collective->receive, offset, collective->size);
        rk_round_done(mesh);
    }
    rk_round_next(mesh);
    return code;
}

static int take_part(struct rk_mesh *mesh, const struct rk_collective *collective, int rank)
{
    size_t size, inline_max = mesh->collect->box_size < RK_DIRECT_MIN ? mesh->collect->box_size : RK_DIRECT_MIN;
    const struct rk_box *box;
    void *part = rk_part(collective, rank, &size);
    int code = rk_round_await(mesh, collective, rank, &box);
    if (!code && size > inline_max)
        return rk_pull(mesh, rank, part, box->address, size);
    if (!code)
        rk_copy(part, box->bytes, size);
    return code;
}

static int to_root(struct rk_mesh *mesh, const struct rk_collective *collective)
{
    size_t size, inline_max = mesh->collect->box_size < RK_DIRECT_MIN ? mesh->collect->box_size : RK_DIRECT_MIN;
    bool inlined = collective->size <= inline_max;
    int code = 0;
    if (mesh->rank != collective->root) {
        code = offer(mesh, collective, inlined);
        rk_round_done(mesh);
        if (!code && !inlined)
            code = rk_round_done_by(mesh, collective->root);
    } else {
        void *part = rk_part(collective, mesh->rank, &size);
        for (int rank = 0; rank < mesh->size && !code; rank++)
            if (rank != mesh->rank)
                code = take_part(mesh, collective, rank);
        rk_round_done(mesh); /* the others need not wait for the root's own part */
        if (!code)
            rk_copy(part, collective->send, size);
    }
    rk_round_next(mesh);
    return code;
}

/* All-gather: each begins with its neighbour, so that not all read from the same rank. */
static int from_all(struct rk_mesh *mesh, const struct rk_collective *collective)
{
    size_t size;
    int code = offer(mesh, collective, false);
    for (int i = 1; i < mesh->size && !code; i++) {
        int rank = (mesh->rank + i) % mesh->size;
        code = pull_from(mesh, collective, rank, rk_part(collective, rank, &size), 0, collective->size);
    }
    rk_round_done(mesh);
    if (!code) {
        rk_copy(rk_part(collective, mesh->rank, &size), collective->send, collective->size);
        code = rk_round_all_done(mesh);
    }
    rk_round_next(mesh);
    return code;
}

/* ---- Reductions: in each round every rank reduces its share of a block into its box, and who wants the result reads
 * the boxes. A rank's own memory is overwritten, in place, only where all have read it: its reducer has posted. ---- */

static int learn_addresses(struct rk_mesh *mesh, const struct rk_collective *collective)
{
    const struct rk_box *box;
    int code = offer(mesh, collective, false);
    for (int rank = 0; rank < mesh->size && !code; rank++)
        if (!(code = rk_round_await(mesh, collective, rank, &box)))
            mesh->collect->addresses[rank] = box->address;
    rk_round_done(mesh);
    rk_round_next(mesh);
    return code;
}

/* One rank's data for the share: its own where they lie, the others' in `scratch`. */
static int share_of(struct rk_mesh *mesh, const struct rk_collective *collective, int rank, size_t offset, size_t size,
                    uint8_t *scratch, const void **data)
{
    *data = scratch;
    if (rank != mesh->rank)
        return rk_pull(mesh, rank, scratch, mesh->collect->addresses[rank] + offset, size);
    *data = (const uint8_t *)collective->send + offset;
    return 0;
}

static int fold_share(struct rk_mesh *mesh, const struct rk_collective *collective, size_t offset, size_t size)
{
    const void *left, *right;
    struct rk_box *box;
    int code = rk_round_claim(mesh, collective, &box);
    if (!code && size)
        code = share_of(mesh, collective, 0, offset, size, box->bytes, &left);
    for (int rank = 1; rank < mesh->size && size && !code; rank++) {
        code = share_of(mesh, collective, rank, offset, size, mesh->collect->scratch, &right);
        if (!code)
            collective->fold(box->bytes, left, right, size / collective->element);
        left = box->bytes;
    }
    if (!code)
        rk_round_post(mesh);
    return code;
}

static int take_shares(struct rk_mesh *mesh, const struct rk_collective *collective, size_t block, size_t share)
{
    const struct rk_box *box;
    bool wants = collective->kind == RK_ALL_REDUCE || mesh->rank == collective->root;
    int code = 0;
    for (int i = 0; i < mesh->size && wants && !code; i++) {
        int rank = (mesh->rank + i) % mesh->size;
        size_t offset = block + (size_t)rank * share;
        size_t left = offset < collective->size ? collective->size - offset : 0;
        code = rk_round_await(mesh, collective, rank, &box);
        if (!code && left)
            memcpy((uint8_t *)collective->receive + offset, box->bytes, left < share ? left : share);
    }
    rk_round_done(mesh);
    return code;
}

/* Nobody reads from this rank's memory any more. */
static int await_last_round(struct rk_mesh *mesh)
{
    int code = 0;
    for (int rank = 0; rank < mesh->size && !code; rank++)
        code = rk_await(mesh, &rk_seat(mesh, rank)->posted, mesh->collect->round);
    return code;
}

static int reduce(struct rk_mesh *mesh, const struct rk_collective *collective)
{
    size_t ranks = (size_t)mesh->size, limit = mesh->collect->box_size;
    size_t share = ((collective->size + ranks - 1) / ranks + 63) / 64 * 64;
    if (share > limit)
        share = limit;
    int code = learn_addresses(mesh, collective);
    for (size_t block = 0; block < collective->size && !code; block += ranks * share) {
        size_t offset = block + (size_t)mesh->rank * share;
        size_t left = offset < collective->size ? collective->size - offset : 0;
        code = fold_share(mesh, collective, offset, left < share ? left : share);
        if (!code)
            code = take_shares(mesh, collective, block, share);
        rk_round_next(mesh);
    }
    return code ? code : await_last_round(mesh);
}

int rk_collect_direct(struct rk_mesh *mesh, const struct rk_collective *collective)
{
    switch (collective->kind) {
    case RK_BROADCAST: return from_root(mesh, collective, 0);
    case RK_SCATTER: return from_root(mesh, collective, collective->size);
    case RK_GATHER: return to_root(mesh, collective);
    case RK_ALL_GATHER: return from_all(mesh, collective);
    case RK_REDUCE:
    case RK_ALL_REDUCE: return reduce(mesh, collective);
    case RK_BARRIER:
    case RK_NO_COLLECTIVE: break;
    }
    return RANKCALL_EINVAL;
}
