/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Bringing a call's payload from rank 0 to all, such that a death in the middle lets everybody go.
 *
 * On one node the ranks read it where it lies in a room (rooms.h), or from rank 0's own memory; rank 0 keeps it until
 * all have reported on the call: so nobody waits for rank 0's main thread, nor it for them. Where reading is forbidden
 * it goes through the boxes. Between
 * nodes it goes by MPI. An interrupt is not looked at: all ranks come to the handler, and leave the call there. */

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "mesh/collect_internal.h"

#define PIECE_MAX   (256u << 20) /* MPI counts are ints */
#define PATIENCE_US 1000000      /* after rank 0's memory could not be read: for its death to become known */

_Noreturn static void give_up(struct rk_mesh *mesh, const char *why)
{
    rk_log(RK_LOG_ERROR, "rank %d: the call's payload: %s", mesh->rank, why);
    rk_mesh_abort(mesh, 1);
}

/* Where the others can go on without this rank, it alone ends. */
_Noreturn static void end_alone(struct rk_mesh *mesh)
{
    if (rk_mesh_outlives(mesh))
        rk_liveness_leave(1);
    rk_mesh_abort(mesh, 1);
}

_Noreturn static void no_memory(struct rk_mesh *mesh, uint64_t size)
{
    rk_log(RK_LOG_ERROR, "rank %d: no memory for a payload of %llu bytes", mesh->rank, (unsigned long long)size);
    end_alone(mesh);
}

static bool lies_in_room(const struct rk_mesh *mesh, uint64_t size)
{
    return mesh->rooms_work && !rk_notice_holds(size) && mesh->segment->notice.where.id;
}

static int spread_in_node(struct rk_mesh *mesh, uint8_t *bytes, uint64_t size)
{
    struct rk_collective collective = {.kind = RK_BROADCAST, .size = size, .send = bytes, .receive = bytes};
    if (!mesh->collect->direct || size <= RK_DIRECT_MIN)
        return rk_collect_boxes(mesh, &collective);
    return mesh->rank ? rk_pull(mesh, 0, bytes, mesh->segment->notice.address, size) : 0;
}

struct piece {
    MPI_Request request;
};

static bool has_come(void *context)
{
    struct piece *piece = context;
    int done = 0;
    MPI_Test(&piece->request, &done, MPI_STATUS_IGNORE);
    return done;
}

/* A piece that a death interrupts is left to MPI. */
static int spread_between_nodes(struct rk_mesh *mesh, uint8_t *bytes, uint64_t size)
{
    for (uint64_t offset = 0, length; offset < size; offset += length) {
        struct piece piece;
        length = size - offset < PIECE_MAX ? size - offset : PIECE_MAX;
        MPI_Ibcast(bytes + offset, (int)length, MPI_BYTE, 0, mesh->control, &piece.request);
        if (!rk_mesh_wait(mesh, has_come, &piece))
            return RANKCALL_ERANKDIED;
    }
    return 0;
}

/* Rank 0 may have died without anybody knowing yet. */
static bool await_death(const struct rk_mesh *mesh)
{
    const struct timespec nap = {.tv_nsec = 1000000};
    for (int naps = 0; naps < PATIENCE_US / 1000 && !rk_mesh_broken(mesh); naps++)
        nanosleep(&nap, NULL);
    return rk_mesh_broken(mesh);
}

/* False: a rank has died. */
static bool spread(struct rk_mesh *mesh, uint8_t *bytes, uint64_t size)
{
    uint64_t copy_us = size / RK_COPY_RATE;
    mesh->collect->copy_us = copy_us < RK_COPY_US_MAX ? (int64_t)copy_us : RK_COPY_US_MAX;
    mesh->collect->stubborn = true;
    rk_place_change(mesh, RK_TAKING_PAYLOAD);
    int code = mesh->nodes == 1 ? spread_in_node(mesh, bytes, size) : spread_between_nodes(mesh, bytes, size);
    rk_place_change(mesh, RK_IN_HANDLER);
    mesh->collect->stubborn = false;
    mesh->collect->copy_us = 0;
    if (code && code != RANKCALL_ERANKDIED && !await_death(mesh))
        give_up(mesh, rankcall_last_error()->message);
    return !code;
}

/* Rank 0 lets go of a room only when all have reported or a rank has died: whoever has entered and knows of no death
 * may stay. False: a rank has died. */
static bool look_into_room(struct rk_mesh *mesh, uint64_t size, struct rankcall_payload **payload)
{
    static const struct rk_payload_memory views = {NULL, rk_room_leave, NULL};
    const struct rk_room_name *where = &mesh->segment->notice.where;
    uint8_t *bytes = rk_room_enter(mesh, where);
    bool lent = bytes != NULL;
    if (!lent && !(bytes = rk_payload_alloc(size)))
        no_memory(mesh, size);
    if (lent)
        rk_room_look_up(bytes, size);
    else if (!rk_room_copy(mesh, where, bytes, size) && !await_death(mesh))
        give_up(mesh, rankcall_last_error()->message);
    if (rk_mesh_broken(mesh)) {
        lent ? rk_room_leave(NULL, bytes) : free(bytes);
        return false;
    }
    if (rk_payload_decode(bytes, size, payload))
        give_up(mesh, rankcall_last_error()->message);
    if (lent)
        rk_payload_lend(*payload, &views);
    return true;
}

static struct rankcall_payload *receive(struct rk_mesh *mesh, uint64_t size)
{
    struct rankcall_payload *payload = NULL;
    if (lies_in_room(mesh, size))
        return look_into_room(mesh, size, &payload) ? payload : NULL;
    uint8_t *bytes = size ? rk_payload_alloc(size) : NULL;
    if (size && !bytes)
        no_memory(mesh, size);
    if (size && rk_notice_holds(size)) {
        memcpy(bytes, mesh->segment->notice.room, size);
    } else if (!spread(mesh, bytes, size)) {
        if (mesh->nodes == 1) /* else MPI still has it */
            free(bytes);
        return NULL;
    }
    if (rk_payload_decode(bytes, size, &payload))
        give_up(mesh, rankcall_last_error()->message);
    return payload;
}

bool rk_mesh_payload_is_private(const struct rk_mesh *mesh, uint64_t size)
{
    return mesh->rank != 0 || mesh->size == 1 || rk_notice_holds(size) ||
           (lies_in_room(mesh, size) && size >= RK_ROOM_OWN_VIEW);
}

bool rk_mesh_payload_is_lent(const struct rk_mesh *mesh, uint64_t size)
{
    return mesh->size > 1 && lies_in_room(mesh, size);
}

bool rk_mesh_broadcast(struct rk_mesh *mesh, const struct rk_announcement *announcement,
                       struct rankcall_payload **payload)
{
    uint64_t size = announcement->payload_size;
    struct rankcall_payload *view;
    if (mesh->rank != 0)
        return (*payload = receive(mesh, size)) != NULL;
    if (rk_notice_holds(size) || mesh->size == 1)
        return true;
    if (lies_in_room(mesh, size) && size < RK_ROOM_OWN_VIEW)
        return true;
    if (lies_in_room(mesh, size)) { /* what the IO thread has is what the others see */
        if (!look_into_room(mesh, size, &view))
            return false;
        rankcall_payload_free(*payload);
        *payload = view;
        return true;
    }
    bool spread_out = spread(mesh, (uint8_t *)rk_payload_bytes(*payload), size); /* only read at the root */
    if (!spread_out && mesh->nodes > 1)
        rk_payload_ref(*payload); /* for good: MPI may still read it */
    return spread_out;
}
