/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Which of rank 0's two threads does the frontend's work.
 *
 * The IO thread does, so that clients are served while a handler computes. But where it has no CPU of its own it costs
 * every call turns at one. So while short calls follow closely on one another it passes the work on to the main
 * thread, which would only wait for the next of them, and sleeps. The main thread lets go of it around each handler:
 * then whoever has a message for the frontend gives it to the IO thread, which also looks by itself now and then
 * whether a handler takes long. Whoever has it owns what belongs to the IO thread otherwise. */

#include "mesh/baton.h"
#include "base/fd.h"
#include "core/inside.h"
#include "device/device.h"

#define BRISK_CALLS 8    /* in a row, before the main thread takes over */
#define BRISK_US    1000 /* what such a call takes at most */
#define LOOK_US     1000 /* between two looks of the resting IO thread */

static _Atomic uint32_t *holder_of(const struct rk_frontend *frontend)
{
    return rk_baton_holder(frontend->context->mesh);
}

void rk_baton_open(struct rk_frontend *frontend)
{
    frontend->baton.allowed =
        rk_mesh_nodes(frontend->context->mesh) == 1 && rk_device_io_shares(frontend->context->device);
}

/* ---- Whoever has it ---- */

static void begin_anew(struct rk_baton *baton)
{
    baton->brisk = 0;
    atomic_store(&baton->wanted, false);
}

void rk_baton_count(struct rk_frontend *frontend, const struct rk_job_call *call, int64_t now_us)
{
    struct rk_baton *baton = &frontend->baton;
    bool closely = call->started_us - baton->returned_us <= RK_SPIN_US;
    bool brisk = closely && !frontend->tally.messages && now_us - call->started_us <= BRISK_US;
    baton->returned_us = now_us;
    baton->single = brisk && !frontend->queue.length ? baton->single + 1 : 0;
    rk_baton_show_single(frontend->context->mesh, baton->single >= BRISK_CALLS);
    if (!brisk)
        begin_anew(baton);
    else if (++baton->brisk == BRISK_CALLS)
        atomic_store(&baton->wanted, baton->allowed);
}

/* ---- The IO thread ---- */

/* Sleeps until it has the work again; takes it if the main thread is in the same handler as at the look before. */
static void rest(struct rk_frontend *frontend)
{
    _Atomic uint32_t *holder = holder_of(frontend);
    uint32_t holds, turns, turns_before = atomic_load(&frontend->baton.turns) - 1;
    while ((holds = atomic_load(holder)) == RK_HOLDER_MAIN || holds == RK_HOLDER_NONE) {
        turns = atomic_load(&frontend->baton.turns);
        if (holds == RK_HOLDER_NONE && turns == turns_before && rk_baton_take(holder, RK_HOLDER_NONE, RK_HOLDER_IO))
            return;
        turns_before = turns;
        rk_baton_sleep(holder, holds, LOOK_US);
    }
}

bool rk_baton_pass(struct rk_frontend *frontend)
{
    if (!atomic_load_explicit(&frontend->baton.wanted, memory_order_relaxed) || frontend->away ||
        !rk_baton_take(holder_of(frontend), RK_HOLDER_WANTED, RK_HOLDER_MAIN))
        return false;
    rest(frontend);
    begin_anew(&frontend->baton);
    return true;
}

/* ---- The main thread ---- */

static void give_back(struct rk_frontend *frontend)
{
    rk_baton_take(holder_of(frontend), RK_HOLDER_MAIN, RK_HOLDER_IO);
    rk_baton_wake(holder_of(frontend));
}

static bool called(const struct rk_frontend *frontend)
{
    return rk_mesh_announced(frontend->context->mesh) || rk_mesh_broken(frontend->context->mesh);
}

/* Until it has the work (true), has something else to do, or it has taken too long. */
static bool await_work(struct rk_frontend *frontend)
{
    _Atomic uint32_t *holder = holder_of(frontend);
    int64_t until_us = rk_now_us() + RK_SPIN_US;
    if (!rk_baton_take(holder, RK_HOLDER_IO, RK_HOLDER_WANTED))
        return false;
    for (int looks = 0; looks < RK_SPIN_LOOKS || rk_now_us() < until_us; looks++)
        if (atomic_load(holder) != RK_HOLDER_WANTED || called(frontend) || rk_give_way())
            break;
    return !rk_baton_take(holder, RK_HOLDER_WANTED, RK_HOLDER_IO);
}

/* Until something is announced, or nothing has come for a while. */
static void work(struct rk_frontend *frontend)
{
    struct rk_spin spin = {0};
    frontend->baton.main = true;
    if (frontend->running)
        rk_mesh_look_for_reports(frontend->context->mesh);
    while (!called(frontend) && rk_frontend_spin(frontend, &spin, rk_frontend_work(frontend)))
        continue;
    frontend->baton.main = false;
    if (!rk_mesh_announced(frontend->context->mesh) || rk_mesh_broken(frontend->context->mesh))
        give_back(frontend);
}

void rk_baton_await(struct rk_frontend *frontend)
{
    bool has_it = atomic_load(holder_of(frontend)) == RK_HOLDER_MAIN || rk_baton_resume(frontend);
    if (!has_it && !atomic_load(&frontend->baton.wanted))
        return;
    rk_rest_idle(true);
    if (has_it || await_work(frontend))
        work(frontend);
    rk_rest_idle(false);
}

bool rk_baton_hurries(const struct rk_frontend *frontend)
{
    return frontend->baton.main && rk_mesh_announced(frontend->context->mesh);
}

void rk_baton_leave(struct rk_frontend *frontend, const struct rk_announcement *announcement)
{
    if (atomic_load(holder_of(frontend)) != RK_HOLDER_MAIN)
        return;
    if (announcement->operation != RK_OPERATION_CALL || !rk_mesh_announced_whole(announcement)) {
        give_back(frontend); /* a large payload is still coming, perhaps */
        return;
    }
    atomic_fetch_add(&frontend->baton.turns, 1);
    atomic_store(holder_of(frontend), RK_HOLDER_NONE);
}

bool rk_baton_resume(struct rk_frontend *frontend)
{
    return rk_baton_take(holder_of(frontend), RK_HOLDER_NONE, RK_HOLDER_MAIN);
}
