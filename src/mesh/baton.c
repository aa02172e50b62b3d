/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

#include "mesh/baton.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "mesh/internal.h"

_Atomic uint32_t *rk_baton_holder(const struct rk_mesh *mesh)
{
    return &mesh->segment->holder;
}

bool rk_baton_take(_Atomic uint32_t *holder, enum rk_holder from, enum rk_holder to)
{
    uint32_t expected = from;
    return atomic_load(holder) == from && atomic_compare_exchange_strong(holder, &expected, to);
}

void rk_baton_sleep(_Atomic uint32_t *holder, uint32_t holds, int64_t limit_us)
{
    const struct timespec limit = {.tv_sec = limit_us / 1000000, .tv_nsec = limit_us % 1000000 * 1000};
    syscall(SYS_futex, (uint32_t *)holder, FUTEX_WAIT, holds, &limit, NULL, 0);
}

void rk_baton_wake(_Atomic uint32_t *holder)
{
    syscall(SYS_futex, (uint32_t *)holder, FUTEX_WAKE, 1, NULL, NULL, 0);
}

void rk_baton_claim(struct rk_mesh *mesh)
{
    if (mesh->segment && rk_baton_take(&mesh->segment->holder, RK_HOLDER_NONE, RK_HOLDER_IO))
        rk_baton_wake(&mesh->segment->holder);
}

bool rk_mesh_announced(const struct rk_mesh *mesh)
{
    return atomic_load(&mesh->segment->all.rung) != mesh->rings_seen;
}

bool rk_mesh_announced_whole(const struct rk_announcement *announcement)
{
    return rk_notice_holds(announcement->payload_size);
}
