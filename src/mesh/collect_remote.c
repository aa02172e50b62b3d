/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Collectives of a job on several nodes, over messages between ranks. Correct first: reductions and all-gathers go by
 * rank 0, only broadcasts by a tree. */

#include <string.h>

#include "mesh/collect_internal.h"

#define PIECE (64u << 10) /* bytes that go through a tree or a reduction at a time */

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* A binomial tree over the ranks, counted from the root on. */
static int broadcast_piece(struct rk_mesh *mesh, int root, uint8_t *bytes, size_t size)
{
    int place = (mesh->rank - root + mesh->size) % mesh->size, code = 0, bit = 1;
    if (place)
        code = rk_packets_take(mesh, ((place & (place - 1)) + root) % mesh->size, bytes, size);
    for (; !code && !(place & bit) && place + bit < mesh->size; bit <<= 1)
        code = rk_packets_put(mesh, (place + bit + root) % mesh->size, bytes, size);
    return code;
}

static int broadcast(struct rk_mesh *mesh, int root, uint8_t *bytes, size_t size)
{
    int code = 0;
    for (size_t offset = 0; offset < size && !code; offset += PIECE)
        code = broadcast_piece(mesh, root, bytes + offset, smaller(size - offset, PIECE));
    return code;
}

static int gather(struct rk_mesh *mesh, const struct rk_collective *collective, int root)
{
    int code = 0;
    if (mesh->rank != root)
        return collective->size ? rk_packets_put(mesh, root, collective->send, collective->size) : 0;
    for (int rank = 0; rank < mesh->size && !code; rank++) {
        size_t size;
        void *part = rk_part(collective, rank, &size);
        if (rank == root)
            rk_copy(part, collective->send, size);
        else if (size)
            code = rk_packets_take(mesh, rank, part, size);
    }
    return code;
}

static int scatter(struct rk_mesh *mesh, const struct rk_collective *collective)
{
    size_t size = collective->size;
    int code = 0;
    if (mesh->rank != collective->root)
        return rk_packets_take(mesh, collective->root, collective->receive, size);
    for (int rank = 0; rank < mesh->size && !code; rank++) {
        const uint8_t *part = (const uint8_t *)collective->send + (size_t)rank * size;
        if (rank == collective->root)
            rk_copy(collective->receive, part, size);
        else
            code = rk_packets_put(mesh, rank, part, size);
    }
    return code;
}

/* One piece of every rank at the root, in the order of ranks. The root's own must outlive the result in its place. */
static int reduce_piece(struct rk_mesh *mesh, const struct rk_collective *collective, size_t offset, size_t size)
{
    _Alignas(64) uint8_t own[PIECE], other[PIECE];
    uint8_t *to = (uint8_t *)collective->receive + offset;
    const void *left = own;
    int code = 0;
    memcpy(own, (const uint8_t *)collective->send + offset, size);
    for (int rank = 0; rank < mesh->size && !code; rank++) {
        const uint8_t *right = own;
        if (rank != mesh->rank) {
            right = rank == 0 ? to : other;
            code = rk_packets_take(mesh, rank, rank == 0 ? to : other, size);
        }
        if (!code && rank)
            collective->fold(to, left, right, size / collective->element);
        left = rank || right == to ? to : own;
    }
    return code;
}

static int reduce(struct rk_mesh *mesh, const struct rk_collective *collective, int root)
{
    int code = 0;
    for (size_t offset = 0; offset < collective->size && !code; offset += PIECE) {
        size_t size = smaller(collective->size - offset, PIECE);
        if (mesh->rank == root)
            code = reduce_piece(mesh, collective, offset, size);
        else
            code = rk_packets_put(mesh, root, (const uint8_t *)collective->send + offset, size);
    }
    return code;
}

static int barrier(struct rk_mesh *mesh)
{
    uint8_t word = 0;
    int code = 0;
    for (int rank = 1; rank < mesh->size && mesh->rank == 0 && !code; rank++)
        code = rk_packets_take(mesh, rank, &word, 1);
    if (mesh->rank)
        code = rk_packets_put(mesh, 0, &word, 1);
    return code ? code : broadcast(mesh, 0, &word, 1);
}

static int all_gather(struct rk_mesh *mesh, const struct rk_collective *collective)
{
    int code = gather(mesh, collective, 0);
    return code ? code : broadcast(mesh, 0, collective->receive, (size_t)mesh->size * collective->size);
}

static int all_reduce(struct rk_mesh *mesh, const struct rk_collective *collective)
{
    int code = reduce(mesh, collective, 0);
    return code ? code : broadcast(mesh, 0, collective->receive, collective->size);
}

int rk_collect_remote(struct rk_mesh *mesh, const struct rk_collective *collective)
{
    rk_tidings_look(mesh);
    if (!collective->size && !collective->uneven && collective->kind != RK_BARRIER)
        return 0;
    switch (collective->kind) {
    case RK_BARRIER: return barrier(mesh);
    case RK_BROADCAST: return broadcast(mesh, collective->root, collective->receive, collective->size);
    case RK_GATHER: return gather(mesh, collective, collective->root);
    case RK_ALL_GATHER: return all_gather(mesh, collective);
    case RK_SCATTER: return scatter(mesh, collective);
    case RK_REDUCE: return reduce(mesh, collective, collective->root);
    case RK_ALL_REDUCE: return all_reduce(mesh, collective);
    case RK_NO_COLLECTIVE: break;
    }
    return RANKCALL_EINVAL;
}
