/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Announcements: waking the ranks and telling them what they do next.
 *
 * On a node the announcement lies in the shared memory and the doorbell says that it is there, so rank 0's IO thread
 * needs neither MPI nor rank 0's main thread to spread it. Between nodes it goes by MPI down a binomial tree of their
 * first ranks, each of which lays it down for its own node. */

#include <stdatomic.h>

#include "base/fd.h"
#include "mesh/internal.h"

#define RK_DRIVE_EVERY 16 /* looks */
#define LINGER_LOOKS   50 /* of a pause each: 1 to 2 us */

static int notice_size(const struct rk_notice *notice)
{
    uint64_t size = notice->announcement.payload_size;
    return (int)(offsetof(struct rk_notice, room) + (rk_notice_holds(size) ? size : 0));
}

static void note_stop(struct rk_mesh *mesh)
{
    if (mesh->segment->notice.announcement.operation == RK_OPERATION_STOP)
        atomic_store(&mesh->segment->stopping, 1);
}

/* ---- Rank 0's IO thread ---- */

void rk_mesh_announce(struct rk_mesh *mesh, struct rk_announcement *announcement,
                      const struct rankcall_payload *payload)
{
    struct rk_notice *notice = &mesh->segment->notice;
    announcement->payload_size = payload ? rk_payload_size(payload) : 0;
    notice->announcement = *announcement;
    if (payload && rk_notice_holds(announcement->payload_size)) {
        rk_payload_copy(payload, notice->room);
    } else if (payload) {
        notice->address = (uint64_t)(uintptr_t)rk_payload_bytes(payload);
        notice->where = rk_room_of(rk_payload_bytes(payload));
    }
    rk_mesh_rouse(mesh);
    rk_reports_await(mesh, announcement->operation);
    note_stop(mesh);
    rk_io_wake(mesh); /* it looks for the reports before it sleeps: nobody needs to ring it for them */
    rk_bell_ring(&mesh->segment->all);
}

/* ---- Main threads ---- */

/* The first rank of another node than rank 0's hears it by MPI. */
static bool hears_from_above(const struct rk_mesh *mesh)
{
    return mesh->local_rank == 0 && mesh->span.parent >= 0;
}

/* ... passes it on and lays it down for its own node. */
static void look_for_notice(struct rk_mesh *mesh)
{
    struct rk_notice *notice = &mesh->segment->notice;
    int arrived = 0;
    MPI_Iprobe(mesh->span.parent, RK_TAG_ANNOUNCE, mesh->control, &arrived, MPI_STATUS_IGNORE);
    if (!arrived)
        return;
    MPI_Recv(notice, sizeof *notice, MPI_BYTE, mesh->span.parent, RK_TAG_ANNOUNCE, mesh->control, MPI_STATUS_IGNORE);
    notice->announcement.announced_us = rk_now_us(); /* clocks of nodes differ */
    atomic_store(&mesh->segment->reported, 0);
    note_stop(mesh);
    rk_bell_ring(&mesh->segment->all);
    for (int i = mesh->span.child_count - 1; i >= 0; i--)
        rk_mesh_send(mesh, mesh->span.children[i], RK_TAG_ANNOUNCE, notice, notice_size(notice));
}

bool rk_mesh_announced(const struct rk_mesh *mesh)
{
    return atomic_load(&mesh->segment->all.rung) != mesh->rings_seen;
}

bool rk_mesh_announced_whole(const struct rk_announcement *announcement)
{
    return rk_notice_holds(announcement->payload_size);
}

static bool rung(void *context)
{
    struct rk_mesh *mesh = context;
    if (rk_mesh_announced(mesh))
        return true;
    /* MPI is asked by few of the many looks of a spinning waiter, and by each of one that naps or has it from MPI. */
    if (hears_from_above(mesh))
        look_for_notice(mesh);
    else if (mesh->looks++ >= RK_SPIN_LOOKS || mesh->looks % RK_DRIVE_EVERY == 0)
        rk_mesh_drive(mesh);
    return rk_mesh_announced(mesh); /* it may have rung itself: nobody else would */
}

void rk_mesh_linger(struct rk_mesh *mesh, bool lingers)
{
    mesh->lingers = lingers;
}

void rk_mesh_await(struct rk_mesh *mesh, struct rk_announcement *announcement)
{
    struct rk_patience patience = rk_mesh_patience(mesh, hears_from_above(mesh));
    struct rk_bell *bell = &mesh->segment->all;
    patience.nap_part = 0;
    patience.nap_max_us = mesh->nodes == 1 ? RK_IDLE_NAP_US : mesh->linked ? RK_NAP_MAX_US : RK_REMOTE_POLL_US;
    if (mesh->linked)
        patience.roused = &mesh->segment->roused;
    if (mesh->linked && hears_from_above(mesh))
        bell = &mesh->segment->rank[0].bell; /* it rings the other one itself */
    patience.linger = mesh->lingers ? LINGER_LOOKS : 0;
    mesh->looks = 0;
    rk_rest_idle(true);
    rk_bell_wait(bell, &patience, rung, mesh);
    rk_rest_idle(false);
    mesh->rings_seen++;
    if (!rk_mesh_broken(mesh)) /* else a death may have rung, and rank 0 may be writing there */
        *announcement = mesh->segment->notice.announcement;
    if (rk_mesh_broken(mesh)) /* also when a call was announced: it can't be run any more */
        announcement->operation = atomic_load(&mesh->segment->stopping) ? RK_OPERATION_STOP : RK_OPERATION_REGROUP;
}

void rk_mesh_drive(struct rk_mesh *mesh)
{
    int arrived = 0;
    MPI_Iprobe(0, RK_TAG_ANNOUNCE, mesh->control, &arrived, MPI_STATUS_IGNORE);
}
