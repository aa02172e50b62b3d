/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Doorbells: how a waiter sleeps without burning a core, and how it is woken.
 *
 * A ringer makes its work visible, then counts `rung` up, then looks for sleepers. A sleeper reads `rung`, looks for
 * work, and sleeps only while `rung` is still what it read: so a ring between the look and the sleep is never lost.
 *
 * A ring says that a message was given to MPI, not that MPI could pass it on: when a peer's mailbox is full, Open MPI
 * keeps the message and needs the sender's hand again, and a blocking send waits for the receiver. So every look drives
 * MPI's progress, sleepers look again by themselves, seldom and ever more seldom, and no send blocks while its receiver
 * may sleep (rk_mesh_send). */

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/defaults.h"
#include "base/fd.h"
#include "mesh/internal.h"

void rk_futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t timeout_us)
{
    struct timespec limit = {.tv_sec = timeout_us / 1000000, .tv_nsec = timeout_us % 1000000 * 1000};
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAIT, expected, &limit, NULL, 0);
}

void rk_futex_wake_all(_Atomic uint32_t *word)
{
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void rk_bell_ring(struct rk_bell *bell)
{
    atomic_fetch_add(&bell->rung, 1);
    if (atomic_load(&bell->sleepers))
        rk_futex_wake_all(&bell->rung);
}

void rk_bell_ring_all(struct rk_segment *segment, int local_size)
{
    for (int i = 0; i < local_size; i++)
        rk_bell_ring(&segment->rank[i].bell);
    rk_bell_ring(&segment->checkpoints);
}

static void nudge(struct rk_bell *bell)
{
    if (atomic_load(&bell->sleepers))
        rk_futex_wake_all(&bell->rung);
}

void rk_nudge_node(struct rk_segment *segment, int local_size)
{
    nudge(&segment->all);
    nudge(&segment->checkpoints);
    for (int i = 0; i < local_size; i++)
        nudge(&segment->rank[i].bell);
}

void rk_rouse_node(struct rk_segment *segment)
{
    atomic_fetch_add(&segment->roused, 1);
    rk_bell_ring(&segment->rank[0].bell);
    rk_futex_wake_all(&segment->all.rung);
}

static int64_t longer_nap(const struct rk_patience *patience, int64_t nap_us, int64_t waited_us)
{
    int64_t limit_us = patience->nap_max_us;
    if (patience->nap_part && waited_us / patience->nap_part < limit_us)
        limit_us = waited_us / patience->nap_part;
    nap_us = nap_us * 2 < limit_us ? nap_us * 2 : limit_us;
    return nap_us > RK_NAP_MIN_US ? nap_us : RK_NAP_MIN_US;
}

bool rk_bell_wait(struct rk_bell *bell, const struct rk_patience *patience, bool (*ready)(void *), void *context)
{
    int64_t spin_until = 0, nap_us = RK_NAP_MIN_US, begun_us = 0;
    uint32_t roused = patience->roused ? atomic_load(patience->roused) : 0, heard = atomic_load(&bell->rung);
    for (int looks = 1;; looks++) {
        uint32_t rung = atomic_load(&bell->rung);
        if (ready(context))
            return true;
        if (patience->broken && atomic_load_explicit(patience->broken, memory_order_relaxed))
            return false;
        int64_t now = rk_now_us();
        if (!spin_until)
            spin_until = (begun_us = now) + RK_SPIN_US;
        if (patience->roused && atomic_load(patience->roused) != roused) {
            roused = atomic_load(patience->roused);
            spin_until = now + RK_ROUSED_US;
            nap_us = RK_NAP_MIN_US;
        } else if (patience->rings_early && rung != heard) {
            spin_until = now + RK_SPIN_US;
            nap_us = RK_NAP_MIN_US;
        }
        heard = rung;
        if (now < spin_until || looks < RK_SPIN_LOOKS) {
            for (int i = 0; looks > 1 && i < patience->linger && atomic_load(&bell->rung) == rung; i++)
                rk_cpu_pause();
            if (!patience->looks_yield && atomic_load(&bell->rung) == rung)
                sched_yield();
            continue;
        }
        atomic_fetch_add(&bell->sleepers, 1);
        if (atomic_load(&bell->rung) == rung)
            rk_futex_wait(&bell->rung, rung, nap_us);
        atomic_fetch_sub(&bell->sleepers, 1);
        nap_us = longer_nap(patience, nap_us, now - begun_us);
    }
}

struct rk_patience rk_mesh_patience(const struct rk_mesh *mesh, bool looks_ask_mpi)
{
    return (struct rk_patience){.nap_max_us = mesh->nodes > 1 ? RK_REMOTE_NAP_US : RK_NAP_MAX_US,
                                .nap_part = mesh->nodes > 1 ? RK_REMOTE_NAP_PART : 0,
                                .looks_yield = looks_ask_mpi && mesh->mpi_yields,
                                .rings_early = mesh->nodes > 1 && mesh->local_rank == 0,
                                .broken = &mesh->segment->deaths};
}

bool rk_mesh_wait(struct rk_mesh *mesh, bool (*ready)(void *context), void *context)
{
    struct rk_patience patience = rk_mesh_patience(mesh, true);
    return rk_bell_wait(&mesh->segment->rank[mesh->local_rank].bell, &patience, ready, context);
}

void rk_mesh_ring(struct rk_mesh *mesh, int rank)
{
    if (!rk_mesh_is_far(mesh, rank))
        rk_bell_ring(&mesh->segment->rank[mesh->ranks[rank].local_rank].bell);
}

struct sending {
    struct rk_mesh *mesh;
    MPI_Request request;
    int rank;
    bool funnel;
};

static void ring_receiver(const struct sending *sending)
{
    if (sending->funnel)
        rk_io_ring(sending->mesh);
    else
        rk_mesh_ring(sending->mesh, sending->rank);
}

/* Whether MPI has taken the message off our hands; if not, its receiver may have to wake up for that. */
static bool sent(void *context)
{
    struct sending *sending = context;
    int done = 0;
    MPI_Test(&sending->request, &done, MPI_STATUS_IGNORE);
    if (!done)
        ring_receiver(sending);
    return done;
}

bool rk_mesh_send(struct rk_mesh *mesh, int rank, enum rk_tag tag, const void *bytes, int size)
{
    struct sending sending = {.mesh = mesh, .rank = rank, .funnel = tag == RK_TAG_EVENT || tag == RK_TAG_BULK};
    MPI_Comm comm = sending.funnel ? mesh->events : mesh->control;
    MPI_Isend(bytes, size, MPI_BYTE, rank, tag, comm, &sending.request);
    if (tag == RK_TAG_EVENT)
        atomic_fetch_add(&mesh->segment->sent, 1);
    ring_receiver(&sending);
    if (sent(&sending))
        return true;
    if (!rk_mesh_wait(mesh, sent, &sending)) {
        MPI_Request_free(&sending.request);
        return false;
    }
    ring_receiver(&sending); /* only now it is surely there to be found */
    return true;
}
