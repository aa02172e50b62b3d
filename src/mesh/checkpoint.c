/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Checkpoints: rank 0 publishes how many it has passed and at which one the call was first to be left; the others wait
 * for that. Rank 0 waits for nobody. Other nodes get both by their links, where they are said anew in the memory of the
 * node; they are stamps, so what was said of an earlier call is older than what the next one waits for. */

#include "mesh/collect_internal.h"
#include "mesh/links.h"

#define NEVER UINT64_MAX

void rk_checkpoint_enter(struct rk_mesh *mesh)
{
    mesh->collect->checkpoints = mesh->collect->base;
    if (mesh->rank == 0)
        atomic_store_explicit(&mesh->collect->arena->left, NEVER, memory_order_relaxed);
    if (mesh->rank == 0)
        atomic_store_explicit(&mesh->collect->arena->checked, mesh->collect->base, memory_order_release);
}

/* The call is to be left at this checkpoint of rank 0's, and at all that follow. */
static void decide(struct rk_arena *arena, uint64_t checkpoint)
{
    if (atomic_load_explicit(&arena->left, memory_order_relaxed) == NEVER)
        atomic_store_explicit(&arena->left, checkpoint, memory_order_relaxed);
}

static void publish(struct rk_mesh *mesh, uint64_t checked)
{
    atomic_store(&mesh->collect->arena->checked, checked);
    rk_bell_ring(&mesh->segment->checkpoints);
    if (mesh->links)
        rk_links_want(mesh->segment, mesh->link_fifo, RK_WANT_CHECK);
}

/* Returns 0 unless a rank has died. */
static int await_rank_0(struct rk_mesh *mesh, uint64_t checkpoint)
{
    mesh->collect->stubborn = true;
    rk_place_change(mesh, RK_AT_CHECKPOINT);
    int code = rk_await_checkpoint(mesh, checkpoint + 1);
    rk_place_change(mesh, RK_IN_HANDLER);
    mesh->collect->stubborn = false;
    return code;
}

bool rk_checkpoint_shared(struct rk_mesh *mesh, bool answer)
{
    struct rk_arena *arena = mesh->collect->arena;
    uint64_t checkpoint = mesh->collect->checkpoints++;
    rk_mesh_step(mesh);
    if (mesh->rank == 0 && answer)
        decide(arena, checkpoint);
    if (mesh->rank == 0)
        publish(mesh, checkpoint + 1);
    else if (await_rank_0(mesh, checkpoint))
        return true;
    uint64_t left = atomic_load_explicit(&arena->left, memory_order_relaxed);
    return left != NEVER && rk_stamp_reached(checkpoint, left);
}

void rk_checkpoint_leave(struct rk_mesh *mesh)
{
    struct rk_arena *arena = mesh->collect->arena;
    if (mesh->rank != 0)
        return;
    decide(arena, mesh->collect->checkpoints);
    publish(mesh, mesh->collect->base + (UINT64_C(1) << 47));
}
