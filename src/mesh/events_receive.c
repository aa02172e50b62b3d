/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Rank 0's end of the funnel: messages in, credit and verdicts out. Belongs to the IO thread; never blocks. */

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "mesh/internal.h"

int rk_receiver_open(struct rk_mesh *mesh)
{
    mesh->receiver.owed = calloc((size_t)mesh->size, sizeof *mesh->receiver.owed);
    return mesh->receiver.owed ? RANKCALL_OK : rk_error(RANKCALL_EINTERNAL, "out of memory");
}

void rk_receiver_close(struct rk_mesh *mesh)
{
    free(mesh->receiver.owed);
    free(mesh->receiver.bulk);
    mesh->receiver.owed = NULL;
    mesh->receiver.bulk = NULL;
}

static void answer(struct rk_mesh *mesh, int rank, enum rk_verdict verdict)
{
    struct rk_credit credit = {mesh->receiver.owed[rank], verdict};
    mesh->receiver.owed[rank] = 0;
    MPI_Send(&credit, sizeof credit, MPI_BYTE, rank, RK_TAG_CREDIT, mesh->events);
    rk_mesh_ring(mesh, rank);
}

static void settle(struct rk_mesh *mesh, int rank)
{
    if (mesh->receiver.owed[rank] >= mesh->sender.window / 4)
        answer(mesh, rank, RK_VERDICT_NONE);
}

void rk_events_credit(struct rk_mesh *mesh, const struct rk_envelope *envelope, bool hold)
{
    mesh->receiver.owed[envelope->rank] += rk_events_cost(envelope->size);
    if (!hold)
        settle(mesh, (int)envelope->rank);
}

void rk_events_settle(struct rk_mesh *mesh)
{
    for (int rank = 1; rank < mesh->size; rank++)
        settle(mesh, rank);
}

bool rk_events_accept(struct rk_mesh *mesh, const struct rk_envelope *envelope)
{
    struct rk_receiver *receiver = &mesh->receiver;
    receiver->bulk = malloc(RK_ENVELOPE_SIZE + envelope->size);
    if (!receiver->bulk) {
        rk_events_refuse(mesh, envelope);
        return false;
    }
    receiver->envelope = *envelope;
    receiver->received = 0;
    answer(mesh, (int)envelope->rank, RK_VERDICT_GO);
    return true;
}

void rk_events_refuse(struct rk_mesh *mesh, const struct rk_envelope *envelope)
{
    answer(mesh, (int)envelope->rank, RK_VERDICT_SKIP);
}

/* Begins to receive the next piece of the bulk message, if it is there. */
static void begin_piece(struct rk_mesh *mesh)
{
    struct rk_receiver *receiver = &mesh->receiver;
    int arrived = 0;
    MPI_Message message;
    MPI_Status status;
    MPI_Improbe((int)receiver->envelope.rank, RK_TAG_BULK, mesh->events, &arrived, &message, &status);
    if (!arrived)
        return;
    MPI_Get_count(&status, MPI_BYTE, &receiver->request_size);
    MPI_Imrecv(receiver->bulk + RK_ENVELOPE_SIZE + receiver->received, receiver->request_size, MPI_BYTE, &message,
               &receiver->request);
}

static enum rk_poll poll_bulk(struct rk_mesh *mesh, struct rk_arrival *arrival)
{
    struct rk_receiver *receiver = &mesh->receiver;
    int done = 0;
    if (receiver->request == MPI_REQUEST_NULL)
        begin_piece(mesh);
    if (receiver->request == MPI_REQUEST_NULL)
        return RK_POLL_MOVING;
    MPI_Test(&receiver->request, &done, MPI_STATUS_IGNORE);
    if (!done)
        return RK_POLL_MOVING;
    receiver->received += (uint64_t)receiver->request_size;
    if (receiver->received < receiver->envelope.size)
        return RK_POLL_MOVING;
    arrival->envelope = receiver->envelope;
    arrival->bulk = receiver->bulk;
    receiver->bulk = NULL;
    return RK_POLL_MESSAGE;
}

enum rk_poll rk_events_poll(struct rk_mesh *mesh, uint8_t *buffer, struct rk_arrival *arrival)
{
    /* While a bulk message moves nothing else is taken: the next message of its rank must not overtake it. */
    if (mesh->receiver.bulk)
        return poll_bulk(mesh, arrival);
    int arrived = 0;
    MPI_Message message;
    MPI_Improbe(MPI_ANY_SOURCE, RK_TAG_EVENT, mesh->events, &arrived, &message, MPI_STATUS_IGNORE);
    if (!arrived)
        return RK_POLL_NOTHING;
    MPI_Mrecv(buffer, RK_INLINE_MAX, MPI_BYTE, &message, MPI_STATUS_IGNORE); /* small: it is here already */
    memcpy(&arrival->envelope, buffer, sizeof arrival->envelope);
    arrival->bulk = NULL;
    return arrival->envelope.bulk ? RK_POLL_OFFER : RK_POLL_MESSAGE;
}
