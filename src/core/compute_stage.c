/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Collectives on device memory through pinned memory of the host, a piece at a time: while one piece is in a collective
 * of the host, the next is on its way from the GPU and the last on its way back. Where MPI is CUDA-aware the slots are
 * on the device, and MPI moves what is not to be reduced from one to the other: so an interrupt leaves them to MPI, and
 * not the handler's memory.
 *
 * There are two slots. The stream does its work in order; so when the copies of round k from the device are done, those
 * of round k - 2 to the device are, and the slot that both use is free. */

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "core/compute.h"

struct stage {
    struct rankcall_device *device;
    const struct rk_collective *collective;
    size_t piece;            /* bytes of a rank's part that go in one round */
    int ranks, rank;         /* of the job */
    int out, in;             /* parts that this rank sends, and receives */
    bool passes;             /* the slots are on the device, and MPI reads them */
    size_t longest;          /* bytes of the largest part */
    size_t *sizes, *offsets; /* of an uneven gather's round, at the root */
};

static struct rk_slot *slot_of(const struct stage *stage, size_t round)
{
    struct rankcall_device *device = stage->device;
    return &(stage->passes ? device->far_slot : device->slot)[round % RK_STAGE_SLOTS];
}

static int take_slots(struct stage *stage)
{
    struct rankcall_device *device = stage->device;
    int (*take)(struct rankcall_device *, size_t, void **) =
        stage->passes ? rankcall_device_alloc : rankcall_pinned_alloc;
    size_t least = (size_t)stage->ranks * RK_STAGE_PART;
    device->slot_size = least > RK_STAGE_SLOT ? least : RK_STAGE_SLOT;
    for (size_t i = 0; i < RK_STAGE_SLOTS; i++) {
        struct rk_slot *slot = slot_of(stage, i);
        int code = slot->send ? RANKCALL_OK : take(device, device->slot_size, (void **)&slot->send);
        if (!code && !slot->receive)
            code = take(device, device->slot_size, (void **)&slot->receive);
        if (code)
            return code;
    }
    return RANKCALL_OK;
}

void rk_compute_stage_close(struct rankcall_device *device)
{
    for (int i = 0; i < RK_STAGE_SLOTS; i++) {
        char text[RK_CUDA_TEXT];
        device->module->give(device->cuda, RK_CUDA_PINNED, device->slot[i].send, text);
        device->module->give(device->cuda, RK_CUDA_PINNED, device->slot[i].receive, text);
        device->module->unmark(device->cuda, device->slot[i].mark);
        device->module->give(device->cuda, RK_CUDA_DEVICE, device->far_slot[i].send, text);
        device->module->give(device->cuda, RK_CUDA_DEVICE, device->far_slot[i].receive, text);
        device->module->unmark(device->cuda, device->far_slot[i].mark);
    }
}

static void count_parts(struct stage *stage)
{
    const struct rk_collective *collective = stage->collective;
    bool root = stage->rank == collective->root;
    stage->out = stage->in = 1;
    switch (collective->kind) {
    case RK_BROADCAST:
        stage->out = root;
        stage->in = !root;
        break;
    case RK_GATHER: stage->in = root ? stage->ranks : 0; break;
    case RK_ALL_GATHER: stage->in = stage->ranks; break;
    case RK_SCATTER: stage->out = root ? stage->ranks : 0; break;
    case RK_REDUCE: stage->in = root; break;
    default: break;
    }
    bool wide = collective->kind == RK_GATHER || collective->kind == RK_ALL_GATHER || collective->kind == RK_SCATTER;
    stage->piece = stage->device->slot_size / (wide ? (size_t)stage->ranks : 1) / 64 * 64;
}

/* Every rank must count the same rounds, and only the root of an uneven gather knows all sizes. */
static int find_longest(struct stage *stage)
{
    uint64_t size = stage->collective->size;
    struct rk_collective ask = {.kind = RK_ALL_REDUCE, .size = sizeof size, .element = sizeof size};
    stage->longest = stage->collective->size;
    if (!stage->collective->uneven)
        return RANKCALL_OK;
    ask.fold = rk_fold_find(RANKCALL_UINT64, RK_OP_MAX);
    ask.send = ask.receive = &size;
    int code = rk_mesh_collect(stage->device->context->mesh, &ask);
    stage->longest = size;
    stage->sizes = calloc((size_t)stage->ranks, sizeof *stage->sizes);
    stage->offsets = calloc((size_t)stage->ranks, sizeof *stage->offsets);
    if (!code && (!stage->sizes || !stage->offsets))
        code = rk_error(RANKCALL_EINTERNAL, "out of memory");
    return code;
}

/* Bytes of a part of that size in a round. */
static size_t bytes_in(const struct stage *stage, size_t size, size_t round)
{
    size_t at = round * stage->piece;
    return at >= size ? 0 : size - at < stage->piece ? size - at : stage->piece;
}

static int copy(struct stage *stage, void *to, const void *from, size_t size)
{
    return size ? rankcall_device_copy(stage->device, to, from, size) : RANKCALL_OK;
}

/* Begins the copies of a round from the user's memory. */
static int begin_out(struct stage *stage, size_t round)
{
    struct rankcall_device *device = stage->device;
    struct rk_slot *slot = slot_of(stage, round);
    size_t size = bytes_in(stage, stage->collective->size, round);
    const char *from = stage->collective->send;
    char text[RK_CUDA_TEXT] = "";
    int code = RANKCALL_OK;
    for (int part = 0; part < stage->out && !code; part++)
        code = copy(stage, slot->send + (size_t)part * size,
                    from + (size_t)part * stage->collective->size + round * stage->piece, size);
    if (code)
        return code;
    enum rk_cuda_end end = device->module->mark(device->cuda, &slot->mark, text);
    return end ? rk_compute_fail(device, end, "staging", text) : RANKCALL_OK;
}

static int exchange(struct stage *stage, size_t round)
{
    struct rk_slot *slot = slot_of(stage, round);
    struct rk_collective part = *stage->collective;
    part.size = bytes_in(stage, part.size, round);
    part.send = slot->send;
    part.receive = slot->receive;
    if (part.kind == RK_BROADCAST)
        part.send = part.receive = stage->out ? slot->send : slot->receive;
    for (int rank = 0; part.uneven && stage->in && rank < stage->ranks; rank++) {
        stage->sizes[rank] = bytes_in(stage, stage->collective->sizes[rank], round);
        stage->offsets[rank] = (size_t)rank * stage->piece;
    }
    part.sizes = stage->sizes;
    part.offsets = stage->offsets;
    return stage->passes ? rk_compute_pass(stage->device, slot, &part)
                         : rk_mesh_collect(stage->device->context->mesh, &part);
}

/* Where a part of a round lies: MPI leaves a rank's own where it is. */
static const uint8_t *received(const struct stage *stage, size_t round, int part, size_t size)
{
    const struct rk_slot *slot = slot_of(stage, round);
    bool wide = stage->in == stage->ranks, own = part == stage->rank;
    if (stage->passes && stage->collective->kind == RK_SCATTER && stage->out)
        return slot->send + (size_t)stage->rank * size;
    if (stage->passes && wide && own && stage->collective->kind != RK_SCATTER)
        return slot->send;
    return slot->receive + (size_t)part * (stage->collective->uneven ? stage->piece : size);
}

/* Begins the copies of a round to the user's memory. */
static int begin_in(struct stage *stage, size_t round)
{
    const struct rk_collective *collective = stage->collective;
    int code = RANKCALL_OK;
    for (int part = 0; part < stage->in && !code; part++) {
        size_t whole = collective->uneven ? collective->sizes[part] : collective->size;
        size_t size = bytes_in(stage, whole, round);
        size_t to = collective->uneven ? collective->offsets[part] : (size_t)part * collective->size;
        code = copy(stage, (char *)collective->receive + to + round * stage->piece, received(stage, round, part, size),
                    size);
    }
    return code;
}

static int go(struct stage *stage)
{
    size_t rounds = (stage->longest + stage->piece - 1) / stage->piece;
    int code = rounds ? begin_out(stage, 0) : RANKCALL_OK;
    for (size_t round = 0; round < rounds && !code; round++) {
        if (round + 1 < rounds)
            code = begin_out(stage, round + 1);
        if (!code)
            code = rk_compute_wait(stage->device, slot_of(stage, round)->mark, "staging");
        if (!code)
            code = exchange(stage, round);
        if (!code)
            code = begin_in(stage, round);
    }
    return code;
}

int rk_compute_stage(struct rankcall_device *device, const struct rk_collective *collective)
{
    struct stage stage = {.device = device, .collective = collective, .ranks = rankcall_world_size(device->context)};
    stage.rank = rankcall_rank(device->context);
    stage.passes = device->passes && collective->kind != RK_REDUCE && collective->kind != RK_ALL_REDUCE;
    int code = take_slots(&stage);
    if (!code) {
        count_parts(&stage);
        code = find_longest(&stage);
    }
    if (!code)
        code = go(&stage);
    free(stage.sizes);
    free(stage.offsets);
    return code;
}
