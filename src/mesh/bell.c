/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Doorbells: how a waiter sleeps without burning a core, and how it is woken.
 *
 * A ringer makes its work visible, then counts `rung` up, then looks for sleepers. A sleeper reads `rung`, looks for
 * work, and sleeps only while `rung` is still what it read: so a ring between the look and the sleep is never lost. */

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "mesh/internal.h"

static void futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t timeout_us)
{
    struct timespec limit = {.tv_sec = timeout_us / 1000000, .tv_nsec = timeout_us % 1000000 * 1000};
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAIT, expected, timeout_us < 0 ? NULL : &limit, NULL, 0);
}

static void futex_wake_all(_Atomic uint32_t *word)
{
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void rk_bell_ring(struct rk_bell *bell)
{
    atomic_fetch_add(&bell->rung, 1);
    if (atomic_load(&bell->sleepers))
        futex_wake_all(&bell->rung);
}

void rk_bell_wait(struct rk_bell *bell, int64_t poll_us, bool (*ready)(void *), void *context)
{
    int64_t spin_until = 0;
    for (;;) {
        uint32_t rung = atomic_load(&bell->rung);
        if (ready(context))
            return;
        int64_t now = rk_now_us();
        if (!spin_until)
            spin_until = now + RK_SPIN_US;
        if (now < spin_until) {
            sched_yield();
            continue;
        }
        atomic_fetch_add(&bell->sleepers, 1);
        if (atomic_load(&bell->rung) == rung)
            futex_wait(&bell->rung, rung, poll_us);
        atomic_fetch_sub(&bell->sleepers, 1);
    }
}

int64_t rk_mesh_poll_us(const struct rk_mesh *mesh)
{
    return mesh->nodes > 1 ? RK_REMOTE_POLL_US : -1;
}

void rk_mesh_wait(struct rk_mesh *mesh, bool (*ready)(void *context), void *context)
{
    rk_bell_wait(&mesh->segment->rank[mesh->local_rank], rk_mesh_poll_us(mesh), ready, context);
}

void rk_mesh_ring(struct rk_mesh *mesh, int rank)
{
    const struct rk_rank_info *info = &mesh->ranks[rank];
    if (info->node == mesh->ranks[mesh->rank].node)
        rk_bell_ring(&mesh->segment->rank[info->local_rank]);
}
