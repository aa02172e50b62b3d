/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The funnel's transport: opening and closing both ends, and what a message takes of its rank's window. */

#include "mesh/internal.h"

uint64_t rk_events_size(uint64_t payload_size)
{
    return RK_ENVELOPE_SIZE + payload_size <= RK_INLINE_MAX ? RK_ENVELOPE_SIZE + payload_size : RK_ENVELOPE_SIZE;
}

uint64_t rk_events_cost(const struct rk_mesh *mesh, uint64_t payload_size)
{
    uint64_t size = rk_events_size(payload_size), least = mesh->sender.window / RK_UNDER_WAY;
    return size > least ? size : least;
}

static uint64_t window_of(int ranks)
{
    uint64_t window = RK_WINDOW_ALL / (uint64_t)ranks;
    return window > RK_WINDOW_MAX ? RK_WINDOW_MAX : window < RK_WINDOW_MIN ? RK_WINDOW_MIN : window;
}

uint64_t rk_events_window(const struct rk_mesh *mesh)
{
    return mesh->sender.window;
}

int rk_events_open(struct rk_mesh *mesh)
{
    mesh->sender = (struct rk_sender){.window = window_of(mesh->size)};
    mesh->receiver = (struct rk_receiver){0};
    mesh->sender.request = mesh->receiver.request = MPI_REQUEST_NULL;
    if (mesh->rank == 0)
        return rk_receiver_open(mesh);
    rk_sender_await(mesh);
    return RANKCALL_OK;
}

void rk_events_close(struct rk_mesh *mesh)
{
    if (mesh->sender.window && mesh->rank && mesh->sender.request != MPI_REQUEST_NULL) {
        MPI_Cancel(&mesh->sender.request);
        MPI_Wait(&mesh->sender.request, MPI_STATUS_IGNORE);
    }
    rk_receiver_close(mesh);
}
