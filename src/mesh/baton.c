/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

#include "mesh/baton.h"

#include "mesh/internal.h"

_Atomic uint32_t *rk_baton_holder(const struct rk_mesh *mesh)
{
    return &mesh->segment->holder;
}

void rk_baton_show_single(struct rk_mesh *mesh, bool single)
{
    if (atomic_load_explicit(&mesh->segment->single, memory_order_relaxed) != single)
        atomic_store_explicit(&mesh->segment->single, single, memory_order_relaxed);
}

bool rk_baton_is_single(const struct rk_mesh *mesh)
{
    uint32_t holds = atomic_load_explicit(&mesh->segment->holder, memory_order_relaxed);
    return mesh->nodes == 1 && (holds == RK_HOLDER_MAIN || holds == RK_HOLDER_NONE) &&
           atomic_load_explicit(&mesh->segment->single, memory_order_relaxed);
}

bool rk_baton_take(_Atomic uint32_t *holder, enum rk_holder from, enum rk_holder to)
{
    uint32_t expected = from;
    return atomic_load(holder) == from && atomic_compare_exchange_strong(holder, &expected, to);
}

void rk_baton_sleep(_Atomic uint32_t *holder, uint32_t holds, int64_t limit_us)
{
    rk_futex_wait(holder, holds, limit_us);
}

void rk_baton_wake(_Atomic uint32_t *holder)
{
    rk_futex_wake_all(holder);
}

void rk_baton_claim(struct rk_mesh *mesh)
{
    if (mesh->segment && rk_baton_take(&mesh->segment->holder, RK_HOLDER_NONE, RK_HOLDER_IO))
        rk_baton_wake(&mesh->segment->holder);
}
