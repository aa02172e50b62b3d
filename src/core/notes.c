/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Rank 0's own messages on their way to the IO thread, and back to be freed.
 *
 * Memory that one thread takes and another frees costs both a lock in malloc, and where it is held a wake-up. So small
 * messages go back to those who made them, who free them when they make the next one or when the handler returns. */

#include <stdlib.h>

#include "base/log.h"
#include "core/inside.h"

#define SPENT_MAX (16u << 10) /* bytes of a payload that may wait for that */

/* ---- The handler's threads ---- */

static bool have_room(void *context)
{
    struct rk_frontend *frontend = context;
    return atomic_load(&frontend->desk.notes_bytes) <= rk_events_window(frontend->context->mesh);
}

void rk_notes_free_spent(struct rk_frontend *frontend)
{
    struct rk_note *note = atomic_load(&frontend->desk.notes_spent);
    if (note)
        note = atomic_exchange(&frontend->desk.notes_spent, NULL);
    while (note) {
        struct rk_note *next = note->next;
        rankcall_payload_free(note->payload);
        free(note);
        note = next;
    }
}

void rk_frontend_message(struct rk_frontend *frontend, enum rk_message_kind kind, uint64_t number, uint64_t sequence,
                         struct rankcall_payload *payload)
{
    struct rk_desk *desk = &frontend->desk;
    if (rk_mesh_broken(frontend->context->mesh))
        return;
    rk_notes_free_spent(frontend);
    struct rk_note *note = calloc(1, sizeof *note);
    if (!note) {
        rk_log(RK_LOG_ERROR, "out of memory for an event");
        rk_mesh_abort(frontend->context->mesh, 1);
    }
    note->envelope = (struct rk_envelope){.kind = kind, .number = number, .sequence = sequence};
    note->envelope.size = rk_payload_size(payload);
    note->payload = rk_payload_ref(payload);
    rk_mesh_wait(frontend->context->mesh, have_room, frontend); /* in a broken mesh it will be dropped */
    pthread_mutex_lock(&desk->lock);
    *desk->notes_end = note;
    desk->notes_end = &note->next;
    atomic_fetch_add(&desk->notes_bytes, note->envelope.size + sizeof *note);
    atomic_store(&desk->filled, true);
    pthread_mutex_unlock(&desk->lock);
    rk_io_ring(frontend->context->mesh);
}

/* ---- The IO thread ---- */

struct rk_note *rk_notes_next(struct rk_frontend *frontend)
{
    struct rk_note *note = frontend->notes;
    frontend->notes = note->next;
    if (!frontend->notes)
        frontend->notes_end = &frontend->notes;
    return note;
}

void rk_note_spent(struct rk_frontend *frontend, struct rk_note *note)
{
    struct rk_desk *desk = &frontend->desk;
    atomic_fetch_sub(&desk->notes_bytes, note->envelope.size + sizeof *note);
    /* Of what is attached somebody may wait for the release. */
    if (note->envelope.size > SPENT_MAX || rankcall_attachment_count(note->payload)) {
        rankcall_payload_free(note->payload);
        note->payload = NULL;
    }
    note->next = atomic_load(&desk->notes_spent);
    while (!atomic_compare_exchange_weak(&desk->notes_spent, &note->next, note))
        continue;
}
