/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Where each rank was last seen: plain stores into its seat. A marker's version is odd while it is written. */

#include <string.h>

#include "base/ended.h"
#include "mesh/collect_internal.h"

#define SEQUENCE_BITS 48

static uint64_t pack(enum rk_activity activity, enum rk_collective_kind kind, uint64_t sequence)
{
    return (uint64_t)kind << 56 | (uint64_t)activity << SEQUENCE_BITS |
           (sequence & ((UINT64_C(1) << SEQUENCE_BITS) - 1));
}

void rk_place_set(struct rk_mesh *mesh, enum rk_activity activity, enum rk_collective_kind kind, uint64_t sequence)
{
    atomic_store_explicit(&rk_seat(mesh, mesh->local_rank)->place, pack(activity, kind, sequence),
                          memory_order_relaxed);
}

static void write_mark(struct rk_seat *seat, const uint64_t words[RK_MARK_SIZE / 8])
{
    uint64_t version = atomic_load_explicit(&seat->mark_version, memory_order_relaxed);
    atomic_store_explicit(&seat->mark_version, version + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    for (int i = 0; i < RK_MARK_SIZE / 8; i++)
        atomic_store_explicit(&seat->mark[i], words[i], memory_order_relaxed);
    atomic_store_explicit(&seat->mark_version, version + 2, memory_order_release);
}

void rk_mesh_mark(struct rk_mesh *mesh, const char *text)
{
    uint64_t words[RK_MARK_SIZE / 8] = {0};
    memcpy(words, text, strnlen(text, RK_MARK_SIZE - 1));
    write_mark(rk_seat(mesh, mesh->local_rank), words);
}

void rk_place_enter(struct rk_mesh *mesh, uint64_t number, int64_t now_us)
{
    struct rk_seat *seat = rk_seat(mesh, mesh->local_rank);
    if (atomic_load_explicit(&seat->mark[0], memory_order_relaxed))
        write_mark(seat, (const uint64_t[RK_MARK_SIZE / 8]){0});
    atomic_store_explicit(&seat->since_us, now_us, memory_order_relaxed);
    rk_place_set(mesh, RK_IN_HANDLER, RK_NO_COLLECTIVE, 0);
    atomic_store_explicit(&seat->number, number, memory_order_release); /* last: who sees it sees no older place */
}

void rk_place_change(struct rk_mesh *mesh, enum rk_activity activity)
{
    struct rk_seat *seat = rk_seat(mesh, mesh->local_rank);
    uint64_t last = atomic_load_explicit(&seat->place, memory_order_relaxed) & ~(UINT64_C(0xff) << SEQUENCE_BITS);
    atomic_store_explicit(&seat->place, last | (uint64_t)activity << SEQUENCE_BITS, memory_order_relaxed);
}

void rk_place_exit(struct rk_mesh *mesh)
{
    rk_place_change(mesh, RK_IDLE);
}

/* Two threads at once may count as one. */
void rk_mesh_step(struct rk_mesh *mesh)
{
    struct rk_seat *seat = rk_seat(mesh, mesh->local_rank);
    uint64_t steps = atomic_load_explicit(&seat->steps, memory_order_relaxed);
    atomic_store_explicit(&seat->steps, steps + 1, memory_order_relaxed);
}

static enum rk_activity activity_of(uint64_t place)
{
    return (enum rk_activity)(place >> SEQUENCE_BITS & 0xff);
}

uint64_t rk_seat_signs(const struct rk_seat *seat)
{
    uint64_t place = atomic_load_explicit(&seat->place, memory_order_relaxed);
    return atomic_load_explicit(&seat->number, memory_order_acquire) + (place & ((UINT64_C(1) << SEQUENCE_BITS) - 1)) +
           atomic_load_explicit(&seat->steps, memory_order_relaxed) +
           atomic_load_explicit(&seat->mark_version, memory_order_relaxed);
}

bool rk_seat_is_back(const struct rk_seat *seat, uint64_t number)
{
    return atomic_load_explicit(&seat->number, memory_order_acquire) == number &&
           activity_of(atomic_load_explicit(&seat->place, memory_order_relaxed)) == RK_IDLE;
}

bool rk_mesh_is_back(const struct rk_mesh *mesh, int rank, uint64_t number, uint64_t *signs)
{
    const struct rk_seat *seat = rk_seat(mesh, mesh->ranks[rank].local_rank);
    *signs = rk_seat_signs(seat);
    return rk_seat_is_back(seat, number);
}

static void read_mark(const struct rk_seat *seat, char text[RK_MARK_SIZE])
{
    uint64_t words[RK_MARK_SIZE / 8], before, after;
    int tries = 0;
    do {
        before = atomic_load_explicit(&seat->mark_version, memory_order_acquire);
        for (int i = 0; i < RK_MARK_SIZE / 8; i++)
            words[i] = atomic_load_explicit(&seat->mark[i], memory_order_relaxed);
        atomic_thread_fence(memory_order_acquire);
        after = atomic_load_explicit(&seat->mark_version, memory_order_relaxed);
    } while ((before != after || before % 2) && ++tries < 1000); /* its writer may have died in the middle */
    memcpy(text, words, RK_MARK_SIZE);
    text[RK_MARK_SIZE - 1] = '\0';
}

void rk_seat_read(const struct rk_seat *seat, struct rk_whereabouts *out)
{
    out->number = atomic_load_explicit(&seat->number, memory_order_acquire);
    out->since_us = atomic_load_explicit(&seat->since_us, memory_order_relaxed);
    uint64_t place = atomic_load_explicit(&seat->place, memory_order_relaxed);
    out->activity = activity_of(place);
    out->kind = (enum rk_collective_kind)(place >> 56);
    out->sequence = place & ((UINT64_C(1) << SEQUENCE_BITS) - 1);
    read_mark(seat, out->mark);
}

void rk_mesh_whereabouts(const struct rk_mesh *mesh, int rank, struct rk_whereabouts *out)
{
    memset(out, 0, sizeof *out);
    if (rk_mesh_is_far(mesh, rank)) {
        rk_far_whereabouts(mesh, rank, out);
        return;
    }
    out->known = true;
    rk_seat_read(rk_seat(mesh, mesh->ranks[rank].local_rank), out);
}

char rk_mesh_process(const struct rk_mesh *mesh, int rank)
{
    struct rk_whereabouts where;
    if (!rk_mesh_is_far(mesh, rank))
        return rk_process_state(mesh->ranks[rank].pid);
    rk_mesh_whereabouts(mesh, rank, &where);
    return where.process;
}
