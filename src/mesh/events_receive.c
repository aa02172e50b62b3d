/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Rank 0's end of the funnel: messages in, credit and verdicts out. Belongs to the IO thread; never blocks. */

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "mesh/internal.h"

/* Sends what a rank is owed, unless the answer before has not left yet: then it stays unpaid. */
static void pay(struct rk_mesh *mesh, int rank)
{
    struct rk_debt *debt = &mesh->receiver.debts[rank];
    int left = 1;
    if (debt->request != MPI_REQUEST_NULL)
        MPI_Test(&debt->request, &left, MPI_STATUS_IGNORE);
    if (left) {
        debt->credit = (struct rk_credit){.bytes = debt->bytes, .verdict = debt->verdict, .where = debt->where};
        debt->credit.granted = debt->by_grant;
        debt->credit.number = mesh->receiver.granting;
        memcpy(debt->credit.ahead, debt->ahead, sizeof debt->ahead);
        memset(debt->ahead, 0, sizeof debt->ahead);
        debt->bytes = 0;
        debt->verdict = RK_VERDICT_NONE;
        debt->where = (struct rk_room_name){0};
        debt->by_grant = false;
        MPI_Isend(&debt->credit, sizeof debt->credit, MPI_BYTE, rank, RK_TAG_CREDIT, mesh->events, &debt->request);
    } else {
        mesh->receiver.unpaid = true;
    }
    rk_mesh_ring(mesh, rank);
}

static void settle(struct rk_mesh *mesh, int rank)
{
    const struct rk_debt *debt = &mesh->receiver.debts[rank];
    bool grants = false;
    for (int i = 0; i < RK_AHEAD; i++)
        grants |= debt->ahead[i].id != 0;
    if (debt->bytes >= mesh->sender.window / 4 || debt->verdict != RK_VERDICT_NONE || grants)
        pay(mesh, rank);
}

static void answer(struct rk_mesh *mesh, int rank, enum rk_verdict verdict, struct rk_room_name where)
{
    mesh->receiver.debts[rank].verdict = verdict;
    mesh->receiver.debts[rank].where = where;
    pay(mesh, rank);
}

void rk_events_credit(struct rk_mesh *mesh, const struct rk_envelope *envelope, bool hold)
{
    mesh->receiver.debts[envelope->rank].bytes += rk_events_cost(mesh, envelope->size);
    if (!hold)
        settle(mesh, (int)envelope->rank);
}

void rk_events_settle(struct rk_mesh *mesh)
{
    mesh->receiver.unpaid = false;
    for (int rank = 1; rank < mesh->size; rank++)
        settle(mesh, rank);
}

bool rk_events_unpaid(const struct rk_mesh *mesh)
{
    return mesh->receiver.unpaid;
}

/* ---- Rooms that ranks may write into unasked ---- */

/* One more for that rank. */
static bool grant_room(struct rk_mesh *mesh, struct rk_debt *debt, int i, uint64_t size)
{
    struct rk_receiver *receiver = &mesh->receiver;
    const struct rk_payload_memory *rooms = rk_mesh_payload_memory(mesh);
    if (!rooms || receiver->ahead_rooms == RK_AHEAD_ROOMS)
        return false;
    uint8_t *bytes = rooms->take(rooms->context, size);
    if (!bytes)
        return false;
    struct rk_granted granted = {bytes, rk_room_of(bytes)};
    if (receiver->ahead_bytes + granted.name.size > RK_AHEAD_BYTES) {
        rooms->give(rooms->context, bytes);
        return false;
    }
    receiver->ahead_rooms++;
    receiver->ahead_bytes += granted.name.size;
    debt->granted[i] = granted;
    debt->ahead[i] = granted.name;
    return true;
}

/* So that it has as many, if there are. Whether these are more. */
static bool grant_rooms(struct rk_mesh *mesh, const struct rk_envelope *envelope, int count)
{
    struct rk_debt *debt = &mesh->receiver.debts[envelope->rank];
    bool more = false;
    mesh->receiver.granting = envelope->number;
    for (int i = 0; i < count; i++)
        more |= !debt->granted[i].bytes && grant_room(mesh, debt, i, RK_ENVELOPE_SIZE + envelope->size);
    return more;
}

static bool has_grant(const struct rk_debt *debt, uint64_t size)
{
    for (int i = 0; i < RK_AHEAD; i++)
        if (debt->granted[i].bytes && debt->granted[i].name.size >= size)
            return true;
    return false;
}

/* Answers an offer by a room that its rank has then. From the second in a call on more are likely to follow. */
static bool accept_by_grant(struct rk_mesh *mesh, const struct rk_envelope *envelope)
{
    struct rk_debt *debt = &mesh->receiver.debts[envelope->rank];
    int count = debt->offered == envelope->number ? RK_AHEAD : 1;
    debt->offered = envelope->number;
    if (envelope->bulk == RK_BULK_FOREIGN || !envelope->number)
        return false;
    grant_rooms(mesh, envelope, count);
    if (!has_grant(debt, RK_ENVELOPE_SIZE + envelope->size))
        return false;
    debt->by_grant = true;
    answer(mesh, (int)envelope->rank, RK_VERDICT_GO, (struct rk_room_name){0});
    return true;
}

void rk_events_grant(struct rk_mesh *mesh, const struct rk_envelope *envelope)
{
    if (grant_rooms(mesh, envelope, RK_AHEAD))
        pay(mesh, (int)envelope->rank);
}

/* It is not granted any more. */
static uint8_t *take_back(struct rk_mesh *mesh, struct rk_granted *granted)
{
    uint8_t *bytes = granted->bytes;
    mesh->receiver.ahead_rooms--;
    mesh->receiver.ahead_bytes -= granted->name.size;
    granted->bytes = NULL;
    return bytes;
}

/* What the rank has written lies there. */
static uint8_t *find_written(struct rk_mesh *mesh, const struct rk_envelope *envelope)
{
    struct rk_debt *debt = &mesh->receiver.debts[envelope->rank];
    for (int i = 0; i < RK_AHEAD; i++)
        if (debt->granted[i].bytes && debt->granted[i].name.id == envelope->room)
            return take_back(mesh, &debt->granted[i]);
    rk_log(RK_LOG_ERROR, "defect: rank %u wrote into a room that it did not have", envelope->rank);
    rk_mesh_abort(mesh, 1);
    return NULL;
}

static void end_grants(struct rk_mesh *mesh, void (*end)(uint8_t *bytes))
{
    for (int rank = 1; mesh->receiver.debts && rank < mesh->size; rank++) {
        struct rk_debt *debt = &mesh->receiver.debts[rank];
        memset(debt->ahead, 0, sizeof debt->ahead);
        for (int i = 0; i < RK_AHEAD; i++)
            if (debt->granted[i].bytes)
                end(take_back(mesh, &debt->granted[i]));
    }
    mesh->receiver.granting = 0;
}

static void give_back(uint8_t *bytes)
{
    rk_room_give(NULL, bytes);
}

void rk_events_end_grants(struct rk_mesh *mesh)
{
    if (mesh->receiver.granting)
        end_grants(mesh, give_back);
}

/* Posts the receive of the next piece; its sender decides how large it is. */
static void await_piece(struct rk_mesh *mesh)
{
    struct rk_receiver *receiver = &mesh->receiver;
    uint64_t left = receiver->envelope.size - receiver->received;
    MPI_Irecv(receiver->bulk + RK_ENVELOPE_SIZE + receiver->received,
              left < RK_BULK_CHUNK ? (int)left : (int)RK_BULK_CHUNK, MPI_BYTE, (int)receiver->envelope.rank,
              RK_TAG_BULK, mesh->events, &receiver->request);
}

bool rk_events_accept(struct rk_mesh *mesh, const struct rk_envelope *envelope)
{
    struct rk_receiver *receiver = &mesh->receiver;
    uint64_t size = RK_ENVELOPE_SIZE + envelope->size;
    if (accept_by_grant(mesh, envelope))
        return true;
    receiver->lender = rk_mesh_payload_memory(mesh);
    receiver->bulk = receiver->lender ? receiver->lender->take(receiver->lender->context, size) : NULL;
    if (!receiver->bulk) {
        receiver->lender = NULL;
        receiver->bulk = malloc(size);
    }
    if (!receiver->bulk) {
        rk_events_refuse(mesh, envelope);
        return false;
    }
    receiver->envelope = *envelope;
    receiver->received = 0;
    await_piece(mesh);
    answer(mesh, (int)envelope->rank, RK_VERDICT_GO, rk_room_of(receiver->bulk)); /* none, where it was malloc()ed */
    return true;
}

void rk_events_refuse(struct rk_mesh *mesh, const struct rk_envelope *envelope)
{
    answer(mesh, (int)envelope->rank, RK_VERDICT_SKIP, (struct rk_room_name){0});
}

static enum rk_poll poll_bulk(struct rk_mesh *mesh, struct rk_arrival *arrival)
{
    struct rk_receiver *receiver = &mesh->receiver;
    MPI_Status status;
    int done = 0, size = 0;
    MPI_Test(&receiver->request, &done, &status);
    if (!done)
        return RK_POLL_MOVING;
    MPI_Get_count(&status, MPI_BYTE, &size);
    if (size == 0) /* it has written all of it into the room */
        receiver->received = receiver->envelope.size;
    receiver->received += (uint64_t)size;
    if (receiver->received < receiver->envelope.size) {
        await_piece(mesh);
        return RK_POLL_MOVING;
    }
    arrival->envelope = receiver->envelope;
    arrival->bulk = receiver->bulk;
    arrival->lender = receiver->lender;
    receiver->bulk = NULL;
    return RK_POLL_MESSAGE;
}

static void await_message(struct rk_mesh *mesh, struct rk_slot *slot)
{
    MPI_Irecv(slot->bytes, sizeof slot->bytes, MPI_BYTE, MPI_ANY_SOURCE, RK_TAG_EVENT, mesh->events, &slot->request);
}

bool rk_events_expected(const struct rk_mesh *mesh)
{
    const struct rk_receiver *receiver = &mesh->receiver;
    return mesh->nodes > 1 || receiver->bulk || atomic_load(&mesh->segment->sent) != receiver->taken;
}

bool rk_events_poll_yields(const struct rk_mesh *mesh)
{
    return mesh->nodes > 1 && mesh->mpi_yields;
}

void rk_events_urge(struct rk_mesh *mesh)
{
    rk_mesh_drive(mesh);
    if (mesh->nodes == 1 && rk_events_expected(mesh))
        rk_nudge_node(mesh->segment, mesh->local_size);
}

enum rk_poll rk_events_poll(struct rk_mesh *mesh, uint8_t *buffer, struct rk_arrival *arrival)
{
    struct rk_receiver *receiver = &mesh->receiver;
    /* While a bulk message moves nothing else is taken: the next message of its rank must not overtake it. */
    if (receiver->bulk)
        return poll_bulk(mesh, arrival);
    /* Receives match in the order in which they were posted, so the oldest slot has the oldest message. */
    struct rk_slot *slot = &receiver->slots[receiver->oldest];
    int arrived = 0;
    MPI_Test(&slot->request, &arrived, MPI_STATUS_IGNORE);
    if (!arrived)
        return RK_POLL_NOTHING;
    receiver->taken++;
    memcpy(&arrival->envelope, slot->bytes, sizeof arrival->envelope);
    arrival->bulk = NULL;
    arrival->lender = NULL;
    if (arrival->envelope.bulk == RK_BULK_WRITTEN) {
        arrival->bulk = find_written(mesh, &arrival->envelope);
        arrival->lender = rk_mesh_payload_memory(mesh);
    }
    if (!arrival->envelope.bulk)
        memcpy(buffer, slot->bytes, RK_ENVELOPE_SIZE + arrival->envelope.size);
    await_message(mesh, slot);
    receiver->oldest = (receiver->oldest + 1) % RK_SLOTS;
    return arrival->envelope.bulk && !arrival->bulk ? RK_POLL_OFFER : RK_POLL_MESSAGE;
}

static void await_messages(struct rk_mesh *mesh)
{
    for (int i = 0; i < RK_SLOTS; i++)
        await_message(mesh, &mesh->receiver.slots[i]);
}

int rk_receiver_open(struct rk_mesh *mesh)
{
    struct rk_receiver *receiver = &mesh->receiver;
    receiver->debts = calloc((size_t)mesh->size, sizeof *receiver->debts);
    receiver->slots = calloc(RK_SLOTS, sizeof *receiver->slots);
    if (!receiver->debts || !receiver->slots)
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    for (int rank = 0; rank < mesh->size; rank++)
        receiver->debts[rank].request = MPI_REQUEST_NULL;
    await_messages(mesh);
    return RANKCALL_OK;
}

static void cancel(MPI_Request *request)
{
    if (*request == MPI_REQUEST_NULL)
        return;
    MPI_Cancel(request);
    MPI_Wait(request, MPI_STATUS_IGNORE);
}

void rk_receiver_close(struct rk_mesh *mesh)
{
    struct rk_receiver *receiver = &mesh->receiver;
    for (int rank = 0; receiver->debts && rank < mesh->size; rank++)
        if (receiver->debts[rank].request != MPI_REQUEST_NULL)
            MPI_Request_free(&receiver->debts[rank].request);
    end_grants(mesh, rk_room_forsake);
    for (int i = 0; receiver->slots && i < RK_SLOTS; i++)
        cancel(&receiver->slots[i].request);
    free(receiver->debts);
    free(receiver->slots);
    if (receiver->bulk && receiver->lender)
        rk_room_forsake(receiver->bulk);
    else if (mesh->nodes == 1) /* else MPI may still write there */
        free(receiver->bulk);
    receiver->debts = NULL;
    receiver->slots = NULL;
    receiver->bulk = NULL;
}
