/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Announcements: waking the ranks, and the broadcast of what they do next. */

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "mesh/internal.h"

/* The announcement and a small payload go in one broadcast of this size. */
#define BLOCK_SIZE 1024
#define BLOCK_ROOM (BLOCK_SIZE - sizeof(struct rk_announcement))

#define RK_DRIVE_EVERY 16           /* looks */
#define CHUNK_SIZE     (256u << 20) /* MPI counts are ints */

static void ring_remote_nodes(struct rk_mesh *mesh)
{
    int node = 0;
    for (int rank = 1; rank < mesh->size; rank++)
        if (mesh->ranks[rank].node > node) { /* its first rank: nodes are numbered by their lowest rank */
            node = mesh->ranks[rank].node;
            MPI_Send(NULL, 0, MPI_BYTE, rank, RK_TAG_RING, mesh->control);
        }
}

void rk_mesh_ring_all(struct rk_mesh *mesh)
{
    rk_bell_ring(&mesh->segment->all);
    if (mesh->nodes > 1)
        ring_remote_nodes(mesh);
}

/* Looking drives MPI's progress. On other nodes than rank 0's the first rank passes a ring on to its node. */
static void look_for_remote_ring(struct rk_mesh *mesh)
{
    int arrived = 0;
    MPI_Iprobe(0, RK_TAG_RING, mesh->control, &arrived, MPI_STATUS_IGNORE);
    if (!arrived || mesh->local_rank != 0)
        return;
    MPI_Recv(NULL, 0, MPI_BYTE, 0, RK_TAG_RING, mesh->control, MPI_STATUS_IGNORE);
    rk_bell_ring(&mesh->segment->all);
}

static bool rung(void *context)
{
    struct rk_mesh *mesh = context;
    if (atomic_load(&mesh->segment->all.rung) != mesh->rings_seen)
        return true;
    /* MPI is asked by few of the many looks of a spinning waiter, and by each of one that naps or has remote peers. */
    if (mesh->nodes > 1 || mesh->looks++ >= RK_SPIN_LOOKS || mesh->looks % RK_DRIVE_EVERY == 0)
        look_for_remote_ring(mesh);
    return false;
}

void rk_mesh_await_ring(struct rk_mesh *mesh)
{
    struct rk_patience patience = rk_mesh_patience(mesh, false);
    mesh->looks = 0;
    rk_bell_wait(&mesh->segment->all, &patience, rung, mesh);
    mesh->rings_seen++;
}

void rk_mesh_drive(struct rk_mesh *mesh)
{
    int arrived = 0;
    MPI_Iprobe(0, RK_TAG_RING, mesh->control, &arrived, MPI_STATUS_IGNORE);
}

static void broadcast_bytes(struct rk_mesh *mesh, uint8_t *bytes, uint64_t size)
{
    while (size) {
        int chunk = size < CHUNK_SIZE ? (int)size : (int)CHUNK_SIZE;
        MPI_Bcast(bytes, chunk, MPI_BYTE, 0, mesh->control);
        bytes += chunk;
        size -= (uint64_t)chunk;
    }
}

static void send_announcement(struct rk_mesh *mesh, struct rk_announcement *announcement,
                              struct rankcall_payload *payload)
{
    uint8_t block[BLOCK_SIZE] = {0};
    const uint8_t *bytes = NULL;
    announcement->payload_size = 0;
    if (payload) {
        bytes = rk_payload_bytes(payload);
        announcement->payload_size = rk_payload_size(payload);
    }
    bool small = announcement->payload_size <= BLOCK_ROOM;
    memcpy(block, announcement, sizeof *announcement);
    if (small && announcement->payload_size)
        memcpy(block + sizeof *announcement, bytes, announcement->payload_size);
    MPI_Bcast(block, BLOCK_SIZE, MPI_BYTE, 0, mesh->control);
    if (!small)
        broadcast_bytes(mesh, (uint8_t *)bytes, announcement->payload_size); /* MPI_Bcast's root only reads */
}

static struct rankcall_payload *receive_payload(struct rk_mesh *mesh, const uint8_t *room, uint64_t size)
{
    struct rankcall_payload *payload = NULL;
    uint8_t *bytes = size ? rk_payload_alloc(size) : NULL;
    if (size && !bytes) {
        rk_log(RK_LOG_ERROR, "rank %d: no memory for a payload of %llu bytes", mesh->rank, (unsigned long long)size);
        rk_mesh_abort(mesh, 1);
    }
    if (size && size <= BLOCK_ROOM)
        memcpy(bytes, room, size);
    else
        broadcast_bytes(mesh, bytes, size);
    if (rk_payload_decode(bytes, size, &payload)) {
        rk_log(RK_LOG_ERROR, "rank %d: broadcast payload: %s", mesh->rank, rankcall_last_error()->message);
        rk_mesh_abort(mesh, 1);
    }
    return payload;
}

void rk_mesh_broadcast(struct rk_mesh *mesh, struct rk_announcement *announcement, struct rankcall_payload **payload)
{
    if (mesh->rank == 0) {
        send_announcement(mesh, announcement, *payload);
        return;
    }
    uint8_t block[BLOCK_SIZE];
    MPI_Bcast(block, BLOCK_SIZE, MPI_BYTE, 0, mesh->control);
    memcpy(announcement, block, sizeof *announcement);
    *payload = NULL;
    if (announcement->operation == RK_OPERATION_CALL)
        *payload = receive_payload(mesh, block + sizeof *announcement, announcement->payload_size);
}
