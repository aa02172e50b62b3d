/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A rank's end of the funnel: messages to rank 0 under a window, so that a slow client slows the ranks instead of
 * filling rank 0's memory. Small messages go in one piece; a bulk message is offered first and follows when rank 0 has
 * room. */

#include <string.h>

#include "mesh/internal.h"

void rk_sender_await(struct rk_mesh *mesh)
{
    MPI_Irecv(&mesh->sender.credit, sizeof mesh->sender.credit, MPI_BYTE, 0, RK_TAG_CREDIT, mesh->events,
              &mesh->sender.request);
}

/* Those of earlier calls are rank 0's again. */
static void keep_grant(struct rk_sender *sender, uint64_t number, const struct rk_room_name *name)
{
    if (sender->number != number)
        memset(sender->ahead, 0, sizeof sender->ahead);
    sender->number = number;
    for (int i = 0; i < RK_AHEAD; i++)
        if (!sender->ahead[i].id) {
            sender->ahead[i] = *name;
            return;
        }
}

/* Takes what rank 0 has sent back, if anything. */
static bool take_credit(struct rk_mesh *mesh)
{
    struct rk_sender *sender = &mesh->sender;
    int arrived = 0;
    MPI_Test(&sender->request, &arrived, MPI_STATUS_IGNORE);
    if (!arrived)
        return false;
    sender->used -= sender->credit.bytes;
    if (sender->credit.verdict != RK_VERDICT_NONE) {
        sender->verdict = sender->credit.verdict;
        sender->where = sender->credit.where;
        sender->granted = sender->credit.granted;
    }
    for (int i = 0; i < RK_AHEAD; i++)
        if (sender->credit.ahead[i].id)
            keep_grant(sender, sender->credit.number, &sender->credit.ahead[i]);
    rk_sender_await(mesh);
    return true;
}

struct room {
    struct rk_mesh *mesh;
    uint64_t cost;
};

static bool has_room(void *context)
{
    struct room *room = context;
    if (room->mesh->sender.used + room->cost <= room->mesh->sender.window)
        return true;
    take_credit(room->mesh);
    return room->mesh->sender.used + room->cost <= room->mesh->sender.window;
}

static bool has_verdict(void *context)
{
    struct rk_mesh *mesh = context;
    take_credit(mesh);
    return mesh->sender.verdict != RK_VERDICT_NONE;
}

/* Writes the payload into a room that was granted in this call, if there is one. */
static void write_ahead(struct rk_mesh *mesh, struct rk_envelope *envelope, const struct rankcall_payload *payload)
{
    struct rk_sender *sender = &mesh->sender;
    const struct iovec *pieces;
    while (take_credit(mesh))
        ;
    for (int i = 0; sender->number == envelope->number && i < RK_AHEAD; i++) {
        struct rk_room_name room = sender->ahead[i];
        if (!room.id || room.size < RK_ENVELOPE_SIZE + envelope->size)
            continue;
        sender->ahead[i].id = 0;
        size_t count = rk_payload_pieces(payload, &pieces);
        if (rk_room_write(mesh, &room, RK_ENVELOPE_SIZE, pieces, count)) {
            envelope->bulk = RK_BULK_WRITTEN;
            envelope->room = room.id;
        }
        return;
    }
}

static void send_piece(struct rk_mesh *mesh, const uint8_t *bytes, uint64_t size)
{
    for (uint64_t offset = 0; offset < size; offset += RK_BULK_CHUNK) {
        uint64_t left = size - offset;
        rk_mesh_send(mesh, 0, RK_TAG_BULK, bytes + offset, left < RK_BULK_CHUNK ? (int)left : (int)RK_BULK_CHUNK);
    }
}

/* Whether rank 0 wants it. */
static bool await_verdict(struct rk_mesh *mesh)
{
    bool wanted = rk_mesh_wait(mesh, has_verdict, mesh) && mesh->sender.verdict == RK_VERDICT_GO;
    mesh->sender.verdict = RK_VERDICT_NONE;
    return wanted;
}

static void send_envelope(struct rk_mesh *mesh, const struct rk_envelope *envelope)
{
    mesh->sender.used += rk_events_cost(mesh, envelope->size);
    rk_mesh_send(mesh, 0, RK_TAG_EVENT, envelope, sizeof *envelope);
}

/* What was offered. Rank 0 waits for it to be written into a room that was granted, or for its bytes. */
static bool send_bulk(struct rk_mesh *mesh, struct rk_envelope *envelope, const struct rankcall_payload *payload)
{
    const struct iovec *pieces;
    bool wanted = await_verdict(mesh);
    if (wanted && mesh->sender.granted) {
        envelope->bulk = RK_BULK_FOREIGN;
        write_ahead(mesh, envelope, payload);
        send_envelope(mesh, envelope);
        if (envelope->bulk == RK_BULK_WRITTEN)
            return true;
        wanted = await_verdict(mesh);
    }
    size_t count = wanted ? rk_payload_pieces(payload, &pieces) : 0;
    if (wanted && mesh->sender.where.id && rk_room_write(mesh, &mesh->sender.where, RK_ENVELOPE_SIZE, pieces, count)) {
        rk_mesh_send(mesh, 0, RK_TAG_BULK, "", 0);
        return true;
    }
    for (size_t i = 0; i < count; i++)
        send_piece(mesh, pieces[i].iov_base, pieces[i].iov_len);
    return wanted;
}

bool rk_events_send(struct rk_mesh *mesh, enum rk_message_kind kind, uint64_t number, uint64_t sequence,
                    const struct rankcall_payload *payload)
{
    uint8_t message[RK_INLINE_MAX];
    if (rk_mesh_broken(mesh))
        return false;
    struct rk_envelope envelope = {.kind = kind, .rank = (uint32_t)mesh->rank, .number = number, .sequence = sequence};
    envelope.size = rk_payload_size(payload);
    envelope.bulk = RK_ENVELOPE_SIZE + envelope.size > RK_INLINE_MAX ? RK_BULK_OFFERED : RK_BULK_NONE;
    if (envelope.bulk)
        write_ahead(mesh, &envelope, payload);
    struct room room = {mesh, rk_events_cost(mesh, envelope.size)};
    if (!has_room(&room) && !rk_mesh_wait(mesh, has_room, &room))
        return false;
    mesh->sender.used += room.cost;
    memcpy(message, &envelope, sizeof envelope);
    if (!envelope.bulk)
        rk_payload_copy(payload, message + RK_ENVELOPE_SIZE);
    rk_mesh_send(mesh, 0, RK_TAG_EVENT, message, (int)rk_events_size(envelope.size));
    return envelope.bulk == RK_BULK_OFFERED ? send_bulk(mesh, &envelope, payload) : true;
}
