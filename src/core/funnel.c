/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The funnel: the ranks' messages, from rank 0's own desk and by MPI from the others, to the client of the running
 * call.
 *
 * While the client reads slowly, credit is held back and so its producers wait; nobody else does. Messages of a call
 * that has ended for its client are taken and dropped, so that the ranks come back. */

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/inside.h"

#define BATCH 256 /* messages between two looks at the sockets */

/* The call that the messages belong to if its client still wants them. */
static struct rk_job_call *audience(const struct rk_frontend *frontend)
{
    struct rk_job_call *call = frontend->running;
    return call && !call->cancelled ? call : NULL;
}

static bool client_is_slow(const struct rk_frontend *frontend)
{
    const struct rk_job_call *call = audience(frontend);
    return call && rk_conn_queued(call->client->conn) > RK_QUEUED_HIGH;
}

/* Writes an event's frame header and head; together they have RK_ENVELOPE_SIZE bytes. */
static void write_heads(const struct rk_job_call *call, const struct rk_envelope *envelope, uint8_t *bytes)
{
    struct rk_header header = {.version = RK_VERSION, .type = RK_EVENT, .id = call->id};
    header.head_size = RK_EVENT_HEAD_SIZE;
    header.payload_size = envelope->size;
    rk_header_encode(&header, bytes);
    rk_event_encode(&(struct rk_event_head){envelope->rank, envelope->sequence}, bytes + RK_HEADER_SIZE);
}

_Static_assert(RK_HEADER_SIZE + RK_EVENT_HEAD_SIZE == RK_ENVELOPE_SIZE,
               "an envelope is overwritten by an event's heads");

/* Books a message. Returns the call whose client gets it, or NULL. */
static struct rk_job_call *book(struct rk_frontend *frontend, const struct rk_envelope *envelope)
{
    struct rk_job_call *call = audience(frontend);
    enum rk_ledger_verdict verdict =
        envelope->kind == RK_MESSAGE_EVENT
            ? rk_ledger_event(frontend->ledger, envelope->number, envelope->rank, envelope->sequence)
            : rk_ledger_message(frontend->ledger, envelope->number);
    if (verdict != RK_LEDGER_NEXT) {
        rk_log(RK_LOG_ERROR, "defect: message %llu of rank %u belongs to call %llu or came out of order",
               (unsigned long long)envelope->sequence, envelope->rank, (unsigned long long)envelope->number);
        rk_mesh_abort(frontend->context->mesh, 1);
    }
    if (call)
        call->heard = true;
    if (call && call->streaming_timeout_us)
        call->last_event_us = rk_now_us();
    return call;
}

/* An error of a rank: it ends the running call at once, or it is why setup failed. */
static void take_error(struct rk_frontend *frontend, const struct rk_envelope *envelope,
                       const struct rankcall_payload *payload)
{
    struct rk_error_head head = {RANKCALL_EWORKER, (int32_t)envelope->rank};
    rk_error_from_payload(&head, payload);
    struct rankcall_error *error = rk_error_clone(rankcall_last_error());
    if (error && envelope->number == 0 && !frontend->setup_error) {
        frontend->setup_error = error;
        if (rk_resume_expected(frontend))
            rk_resume_leave(frontend, error);
        /* At once: other ranks may sit in a collective of setup, or load for minutes what nobody will use. */
        rk_clients_announce_state(frontend);
        rk_stop_begin(frontend, 0, RK_SETUP_GRACE_US);
        return;
    }
    if (error && envelope->number && audience(frontend))
        rk_call_end_error(frontend, frontend->running, error);
    rk_error_free(error);
}

static void take_error_bytes(struct rk_frontend *frontend, const struct rk_envelope *envelope, const uint8_t *bytes)
{
    struct rankcall_payload *payload = NULL;
    uint8_t *copy = rk_payload_alloc(envelope->size);
    if (!copy)
        return;
    memcpy(copy, bytes, envelope->size);
    if (rk_payload_decode(copy, envelope->size, &payload))
        free(copy);
    else
        take_error(frontend, envelope, payload);
    rankcall_payload_free(payload);
}

/* ---- Rank 0's own messages ---- */

static void send_note(struct rk_frontend *frontend, struct rk_note *note)
{
    struct rk_job_call *call = book(frontend, &note->envelope);
    uint8_t head[RK_EVENT_HEAD_SIZE];
    if (note->envelope.kind == RK_MESSAGE_ERROR) {
        take_error(frontend, &note->envelope, note->payload);
    } else if (call) {
        struct rk_event_head event = {note->envelope.rank, note->envelope.sequence};
        if (rk_conn_send(call->client->conn, RK_EVENT, call->id, head, rk_event_encode(&event, head), note->payload))
            rk_client_doom(call->client);
        rk_client_dirty(call->client);
    }
}

static bool take_note(struct rk_frontend *frontend)
{
    if (!frontend->notes || client_is_slow(frontend))
        return false;
    struct rk_note *note = rk_notes_next(frontend);
    send_note(frontend, note);
    rk_note_spent(frontend, note);
    return true;
}

static bool take_notes(struct rk_frontend *frontend)
{
    int taken = 0;
    while (taken < BATCH && take_note(frontend))
        taken++;
    if (taken)
        rk_mesh_ring(frontend->context->mesh, 0);
    return taken;
}

/* ---- The other ranks' ---- */

/* A whole message in `buffer`, which is the end of the client's queue where there is a client. */
static void take_inline(struct rk_frontend *frontend, const struct rk_envelope *envelope, uint8_t *buffer)
{
    struct rk_job_call *call = book(frontend, envelope);
    rk_events_credit(frontend->context->mesh, envelope, frontend->held);
    if (envelope->kind == RK_MESSAGE_ERROR) {
        uint8_t copy[RK_INLINE_MAX]; /* the answer goes to the same queue */
        memcpy(copy, buffer, sizeof copy);
        take_error_bytes(frontend, envelope, copy + RK_ENVELOPE_SIZE);
    } else if (call) {
        write_heads(call, envelope, buffer);
        rk_conn_commit(call->client->conn, RK_ENVELOPE_SIZE + envelope->size);
        rk_client_dirty(call->client);
    }
}

static void take_bulk(struct rk_frontend *frontend, const struct rk_arrival *arrival)
{
    const struct rk_envelope *envelope = &arrival->envelope;
    struct rk_job_call *call = book(frontend, envelope);
    if (arrival->lender)
        rk_frontend_rest(frontend);
    if (envelope->bulk == RK_BULK_WRITTEN) /* else that is done with the answer to the offer */
        rk_events_credit(frontend->context->mesh, envelope, frontend->held);
    if (envelope->kind == RK_MESSAGE_ERROR) {
        take_error_bytes(frontend, envelope, arrival->bulk + RK_ENVELOPE_SIZE);
        rk_payload_memory_give(arrival->lender, arrival->bulk);
    } else if (call) {
        write_heads(call, envelope, arrival->bulk);
        if (rk_conn_send_take(call->client->conn, arrival->bulk, RK_ENVELOPE_SIZE + envelope->size, arrival->lender))
            rk_client_doom(call->client);
        rk_client_dirty(call->client);
        if (envelope->bulk == RK_BULK_WRITTEN && !client_is_slow(frontend))
            rk_events_grant(frontend->context->mesh, envelope);
    } else {
        rk_payload_memory_give(arrival->lender, arrival->bulk);
    }
}

/* An offer waits while the client is slow; what nobody wants is refused, and booked as come. */
static bool answer_offer(struct rk_frontend *frontend)
{
    struct rk_mesh *mesh = frontend->context->mesh;
    const struct rk_envelope *offer = &frontend->offer;
    bool wanted = audience(frontend) || offer->number == 0;
    if (!frontend->offered || (wanted && client_is_slow(frontend)))
        return false;
    frontend->offered = false;
    rk_events_credit(mesh, offer, true); /* paid together with the answer */
    if (wanted && rk_events_accept(mesh, offer))
        return true;
    if (!wanted)
        rk_events_refuse(mesh, offer);
    book(frontend, offer);
    if (wanted && audience(frontend)) {
        struct rankcall_error error = {RANKCALL_EINTERNAL, 0, rankcall_host(frontend->context),
                                       "rank 0 has no memory for an event", ""};
        rk_call_end_error(frontend, frontend->running, &error);
    }
    return true;
}

static bool poll_once(struct rk_frontend *frontend)
{
    uint8_t scratch[RK_INLINE_MAX], *buffer = NULL;
    struct rk_arrival arrival;
    struct rk_job_call *call = audience(frontend);
    if (call)
        buffer = rk_conn_reserve(call->client->conn, RK_INLINE_MAX);
    if (call && !buffer)
        rk_client_doom(call->client); /* out of memory for its queue */
    if (call && !buffer)
        return false;
    if (!buffer)
        buffer = scratch;
    frontend->moving = false;
    switch (rk_events_poll(frontend->context->mesh, buffer, &arrival)) {
    case RK_POLL_NOTHING: return false;
    case RK_POLL_MOVING: frontend->moving = true; return false;
    case RK_POLL_OFFER:
        frontend->offer = arrival.envelope;
        frontend->offered = true;
        return answer_offer(frontend);
    case RK_POLL_MESSAGE:
        if (arrival.bulk)
            take_bulk(frontend, &arrival);
        else
            take_inline(frontend, &arrival.envelope, buffer);
        return true;
    }
    return false;
}

static bool poll_ranks(struct rk_frontend *frontend)
{
    const struct rk_mesh *mesh = frontend->context->mesh;
    int taken = 0;
    bool expecting = frontend->running || !frontend->main_serves; /* calls or setup */
    if (!expecting || rk_mesh_size(mesh) == 1)
        return false;
    while (taken < BATCH && !frontend->offered && rk_events_expected(mesh) && poll_once(frontend))
        taken++;
    return taken;
}

/* Credit is held back from the high mark until the client has read down to the low one. */
static void hold_or_release(struct rk_frontend *frontend)
{
    const struct rk_job_call *call = audience(frontend);
    uint64_t queued = call ? rk_conn_queued(call->client->conn) : 0;
    if (queued > RK_QUEUED_HIGH)
        frontend->held = true;
    else if (queued < RK_QUEUED_LOW)
        rk_funnel_release(frontend);
}

bool rk_funnel_work(struct rk_frontend *frontend)
{
    hold_or_release(frontend);
    if (rk_events_unpaid(frontend->context->mesh))
        rk_events_settle(frontend->context->mesh);
    bool progress = answer_offer(frontend);
    progress |= take_notes(frontend);
    progress |= poll_ranks(frontend);
    return progress;
}

bool rk_funnel_yields(const struct rk_frontend *frontend)
{
    return frontend->running && !frontend->offered && rk_events_poll_yields(frontend->context->mesh);
}

bool rk_funnel_moving(const struct rk_frontend *frontend)
{
    return frontend->moving;
}

void rk_funnel_release(struct rk_frontend *frontend)
{
    if (!frontend->held)
        return;
    frontend->held = false;
    rk_events_settle(frontend->context->mesh);
}

void rk_funnel_drop(struct rk_frontend *frontend)
{
    while (frontend->notes)
        rk_note_spent(frontend, rk_notes_next(frontend));
    frontend->offered = frontend->moving = frontend->held = false;
}
