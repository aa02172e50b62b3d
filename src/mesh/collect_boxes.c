/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Collectives through the boxes: what a rank gives is copied into shared memory, a box a round. For parts that are
 * small, and for all where ranks may not read each other's memory. */

#include <string.h>

#include "mesh/collect_internal.h"

#define FOLD_ALL_MAX 4096 /* up to so many bytes every rank reduces the whole rather than its share */
#define COPY_PIECE   (128u << 10)

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* In pieces for which glibc lets the processor move strings: above its limit for that it takes its own loop, which on
 * AMD's EPYC takes a third longer. */
void rk_copy(void *to, const void *from, size_t size)
{
    for (size_t at = 0; at < size && to != from; at += COPY_PIECE)
        memcpy((uint8_t *)to + at, (const uint8_t *)from + at, smaller(size - at, COPY_PIECE));
}

void *rk_part(const struct rk_collective *collective, int rank, size_t *size)
{
    *size = collective->uneven ? collective->sizes[rank] : collective->size;
    size_t offset = collective->uneven ? collective->offsets[rank] : (size_t)rank * collective->size;
    return (uint8_t *)collective->receive + offset;
}

/* This rank's piece into its box of this round. */
static int give(struct rk_mesh *mesh, const struct rk_collective *collective, const void *piece, size_t size)
{
    struct rk_box *box;
    int code = rk_round_claim(mesh, collective, &box);
    if (code)
        return code;
    rk_copy(box->bytes, piece, size);
    rk_round_post(mesh);
    return 0;
}

static void end_round(struct rk_mesh *mesh)
{
    rk_round_done(mesh);
    rk_round_next(mesh);
}

static const uint8_t *at(const void *bytes, size_t offset)
{
    return bytes ? (const uint8_t *)bytes + offset : NULL;
}

static int barrier(struct rk_mesh *mesh, const struct rk_collective *collective)
{
    const struct rk_box *box;
    int code = give(mesh, collective, NULL, 0);
    for (int rank = 0; rank < mesh->size && !code; rank++)
        if (rank != mesh->rank)
            code = rk_round_await(mesh, collective, rank, &box);
    if (!code)
        end_round(mesh);
    return code;
}

static int broadcast(struct rk_mesh *mesh, const struct rk_collective *collective)
{
    const struct rk_box *box;
    int code = 0;
    for (size_t offset = 0, piece; offset < collective->size && !code; offset += piece) {
        piece = smaller(collective->size - offset, mesh->collect->box_size);
        if (mesh->rank == collective->root)
            code = give(mesh, collective, at(collective->send, offset), piece);
        else
            code = rk_round_await(mesh, collective, collective->root, &box);
        if (!code && mesh->rank != collective->root)
            memcpy((uint8_t *)collective->receive + offset, box->bytes, piece);
        if (!code)
            end_round(mesh);
    }
    return code;
}

/* The ranks of an uneven gather don't know how long it takes: the root tells. */
static int agree_on_longest(struct rk_mesh *mesh, const struct rk_collective *collective, size_t *longest)
{
    const struct rk_box *box;
    int code = 0;
    *longest = collective->size;
    if (!collective->uneven)
        return 0;
    if (mesh->rank == collective->root) {
        for (int rank = 0; rank < mesh->size; rank++)
            *longest = collective->sizes[rank] > *longest ? collective->sizes[rank] : *longest;
        code = give(mesh, collective, longest, sizeof *longest);
    } else {
        code = rk_round_await(mesh, collective, collective->root, &box);
        if (!code)
            memcpy(longest, box->bytes, sizeof *longest);
    }
    if (!code)
        end_round(mesh);
    return code;
}

/* One round's piece of every part. */
static int collect_pieces(struct rk_mesh *mesh, const struct rk_collective *collective, size_t offset)
{
    const struct rk_box *box;
    int code = 0;
    for (int rank = 0; rank < mesh->size && !code; rank++) {
        size_t size, limit = mesh->collect->box_size;
        uint8_t *part = rk_part(collective, rank, &size);
        if (rank == mesh->rank)
            rk_copy(part + offset, at(collective->send, offset), offset < size ? smaller(size - offset, limit) : 0);
        else if (!(code = rk_round_await(mesh, collective, rank, &box)) && offset < size)
            memcpy(part + offset, box->bytes, smaller(size - offset, limit));
    }
    return code;
}

static int gather(struct rk_mesh *mesh, const struct rk_collective *collective)
{
    size_t longest, limit = mesh->collect->box_size;
    int code = agree_on_longest(mesh, collective, &longest);
    for (size_t offset = 0; offset < longest && !code; offset += limit) {
        bool gives = mesh->rank != collective->root || collective->kind == RK_ALL_GATHER;
        size_t left = offset < collective->size ? smaller(collective->size - offset, limit) : 0;
        if (gives)
            code = give(mesh, collective, at(collective->send, offset), left);
        if (!code && (mesh->rank == collective->root || collective->kind == RK_ALL_GATHER))
            code = collect_pieces(mesh, collective, offset);
        if (!code)
            end_round(mesh);
    }
    return code;
}

/* The root's round: a piece for each rank, side by side. */
static int give_pieces(struct rk_mesh *mesh, const struct rk_collective *collective, size_t offset, size_t piece)
{
    struct rk_box *box;
    int code = rk_round_claim(mesh, collective, &box);
    for (int rank = 0; rank < mesh->size && !code; rank++)
        memcpy(box->bytes + (size_t)rank * piece, at(collective->send, (size_t)rank * collective->size + offset),
               piece);
    if (!code)
        rk_round_post(mesh);
    return code;
}

static int scatter(struct rk_mesh *mesh, const struct rk_collective *collective)
{
    const struct rk_box *box;
    size_t limit = mesh->collect->box_size / (size_t)mesh->size;
    int code = 0;
    for (size_t offset = 0, piece; offset < collective->size && !code; offset += piece) {
        piece = smaller(collective->size - offset, limit);
        if (mesh->rank == collective->root)
            code = give_pieces(mesh, collective, offset, piece);
        else if (!(code = rk_round_await(mesh, collective, collective->root, &box)))
            memcpy((uint8_t *)collective->receive + offset, box->bytes + (size_t)mesh->rank * piece, piece);
        if (!code)
            end_round(mesh);
    }
    if (!code && mesh->rank == collective->root)
        rk_copy(collective->receive, at(collective->send, (size_t)mesh->rank * collective->size), collective->size);
    return code;
}

/* Reduces what lies in all ranks' boxes from `offset` on, in the order of ranks. */
static int fold_boxes(struct rk_mesh *mesh, const struct rk_collective *collective, void *to, size_t offset,
                      size_t size)
{
    const struct rk_box *first, *box;
    int code = rk_round_await(mesh, collective, 0, &first);
    for (int rank = 1; rank < mesh->size && !code; rank++) {
        code = rk_round_await(mesh, collective, rank, &box);
        const void *left = rank == 1 ? first->bytes + offset : to;
        if (!code)
            collective->fold(to, left, box->bytes + offset, size / collective->element);
    }
    return code;
}

/* Each rank reduces its share into its next box, and takes the others' shares from theirs. */
static int fold_shares(struct rk_mesh *mesh, const struct rk_collective *collective, uint8_t *to, size_t size)
{
    size_t elements = size / collective->element, ranks = (size_t)mesh->size, mine = (size_t)mesh->rank;
    size_t from = elements * mine / ranks * collective->element;
    size_t until = elements * (mine + 1) / ranks * collective->element;
    const struct rk_box *box;
    struct rk_box *own;
    int code = fold_boxes(mesh, collective, mesh->collect->scratch, from, until - from);
    if (code)
        return code;
    end_round(mesh);
    code = rk_round_claim(mesh, collective, &own);
    if (code)
        return code;
    memcpy(own->bytes, mesh->collect->scratch, until - from);
    rk_round_post(mesh);
    for (size_t rank = 0; rank < ranks && !code; rank++) {
        from = elements * rank / ranks * collective->element;
        until = elements * (rank + 1) / ranks * collective->element;
        if (!(code = rk_round_await(mesh, collective, (int)rank, &box)))
            memcpy(to + from, box->bytes, until - from);
    }
    return code;
}

static int reduce(struct rk_mesh *mesh, const struct rk_collective *collective)
{
    size_t limit = mesh->collect->box_size;
    int code = 0;
    for (size_t offset = 0, piece; offset < collective->size && !code; offset += piece) {
        piece = smaller(collective->size - offset, limit);
        code = give(mesh, collective, at(collective->send, offset), piece);
        uint8_t *to = (uint8_t *)collective->receive + offset;
        if (!code && collective->kind == RK_ALL_REDUCE && piece > FOLD_ALL_MAX)
            code = fold_shares(mesh, collective, to, piece);
        else if (!code && (collective->kind == RK_ALL_REDUCE || mesh->rank == collective->root))
            code = fold_boxes(mesh, collective, to, 0, piece);
        if (!code)
            end_round(mesh);
    }
    return code;
}

int rk_collect_boxes(struct rk_mesh *mesh, const struct rk_collective *collective)
{
    switch (collective->kind) {
    case RK_BARRIER: return barrier(mesh, collective);
    case RK_BROADCAST: return broadcast(mesh, collective);
    case RK_GATHER:
    case RK_ALL_GATHER: return gather(mesh, collective);
    case RK_SCATTER: return scatter(mesh, collective);
    case RK_REDUCE:
    case RK_ALL_REDUCE: return reduce(mesh, collective);
    case RK_NO_COLLECTIVE: break;
    }
    return RANKCALL_EINVAL;
}
