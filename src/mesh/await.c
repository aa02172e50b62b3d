/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Publishing a stamp, and waiting for one.
 *
 * Who publishes looks whether anybody sleeps, and rings only then. Who is about to sleep says so first and then looks
 * once more: so one of the two sees the other. */

#include <sched.h>

#include "base/fd.h"
#include "mesh/collect_internal.h"

#define LOOKS       16 /* before a waiter says that it waits */
#define PAUSES      20 /* between two looks that give the CPU away */
#define DRIVE_EVERY 16 /* looks of one that waits long */

void rk_wake_waiters(struct rk_mesh *mesh)
{
    for (int i = 0; i < mesh->local_size; i++)
        if (atomic_load(&rk_seat(mesh, i)->waiting))
            rk_bell_ring(&mesh->segment->rank[i].bell);
}

void rk_publish(struct rk_mesh *mesh, _Atomic uint64_t *word, uint64_t stamp)
{
    atomic_store(word, stamp);
    if (atomic_load(&mesh->collect->arena->waiters))
        rk_wake_waiters(mesh);
}

struct awaiting {
    struct rk_mesh *mesh;
    const _Atomic uint64_t *word;
    uint64_t stamp;
    unsigned looks;
    int code;
};

static bool reached(const struct awaiting *awaiting)
{
    return rk_stamp_reached(atomic_load_explicit(awaiting->word, memory_order_acquire), awaiting->stamp);
}

static bool is_over(struct awaiting *awaiting)
{
    if (reached(awaiting))
        return true;
    awaiting->code = rk_must_leave(awaiting->mesh);
    return awaiting->code;
}

/* What this rank gave to MPI before may still need its hand. */
static bool look_long(void *context)
{
    struct awaiting *awaiting = context;
    if (awaiting->looks++ % DRIVE_EVERY == 0 || awaiting->looks > RK_SPIN_LOOKS)
        rk_mesh_drive(awaiting->mesh);
    return is_over(awaiting);
}

/* For who is rung one by one. */
static void wait_long(struct awaiting *awaiting)
{
    struct rk_mesh *mesh = awaiting->mesh;
    struct rk_patience patience = rk_mesh_patience(mesh, false);
    struct rk_seat *seat = rk_seat(mesh, mesh->local_rank);
    atomic_store(&seat->waiting, 1);
    atomic_fetch_add(&mesh->collect->arena->waiters, 1);
    rk_bell_wait(&mesh->segment->rank[mesh->local_rank].bell, &patience, look_long, awaiting);
    atomic_fetch_sub(&mesh->collect->arena->waiters, 1);
    atomic_store(&seat->waiting, 0);
}

/* Waking up takes longer than looking: who waits for a large copy looks for about as long as that should take. */
static bool goes_on_looking(const struct rk_mesh *mesh, int looks, int64_t *until)
{
    if (looks < LOOKS)
        return true;
    if (!*until)
        *until = rk_now_us() + mesh->collect->copy_us;
    return rk_now_us() < *until;
}

/* False: it takes longer. */
static bool look_briefly(struct awaiting *awaiting)
{
    int64_t until = 0;
    for (int looks = 0; goes_on_looking(awaiting->mesh, looks, &until); looks++) {
        for (int pauses = 0; pauses < PAUSES; pauses++) {
            if (reached(awaiting))
                return true;
            rk_cpu_pause();
        }
        if (is_over(awaiting))
            return true;
        sched_yield();
    }
    return false;
}

int rk_await(struct rk_mesh *mesh, const _Atomic uint64_t *word, uint64_t stamp)
{
    struct awaiting awaiting = {.mesh = mesh, .word = word, .stamp = stamp};
    if (!look_briefly(&awaiting))
        wait_long(&awaiting);
    return awaiting.code;
}

int rk_await_checkpoint(struct rk_mesh *mesh, uint64_t stamp)
{
    struct awaiting awaiting = {.mesh = mesh, .word = &mesh->collect->arena->checked, .stamp = stamp};
    struct rk_patience patience = rk_mesh_patience(mesh, false);
    if (!look_briefly(&awaiting))
        rk_bell_wait(&mesh->segment->checkpoints, &patience, look_long, &awaiting);
    return awaiting.code;
}
