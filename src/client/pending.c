/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The table of calls under way, by id, and what has arrived for each. */

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "client/internal.h"

#define FIRST_BUCKETS 16
#define FIRST_EVENTS  4

static struct rankcall_pending **bucket_of(const struct rk_calls *calls, uint64_t id)
{
    return &calls->buckets[id & (calls->size - 1)];
}

static int grow(struct rk_calls *calls)
{
    struct rk_calls wider = {.size = calls->size ? 2 * calls->size : FIRST_BUCKETS};
    wider.buckets = calloc(wider.size, sizeof(*wider.buckets));
    if (!wider.buckets)
        return -1;
    for (size_t i = 0; i < calls->size; i++) {
        struct rankcall_pending *next;
        for (struct rankcall_pending *pending = calls->buckets[i]; pending; pending = next) {
            struct rankcall_pending **bucket = bucket_of(&wider, pending->id);
            next = pending->next;
            pending->next = *bucket;
            *bucket = pending;
        }
    }
    free(calls->buckets);
    calls->buckets = wider.buckets;
    calls->size = wider.size;
    return 0;
}

struct rankcall_pending *rk_calls_add(struct rankcall_runner *runner, uint8_t type)
{
    struct rk_calls *calls = &runner->calls;
    if (calls->count >= calls->size && grow(calls))
        return NULL;
    /* Before version 2.41, glibc's calloc() goes past what malloc() keeps at hand for the thread. */
    struct rankcall_pending *pending = malloc(sizeof(*pending));
    if (!pending)
        return NULL;
    memset(pending, 0, offsetof(struct rankcall_pending, head.handler));
    pending->runner = runner;
    pending->id = ++runner->last_id;
    pending->type = type;
    struct rankcall_pending **bucket = bucket_of(calls, pending->id);
    pending->next = *bucket;
    *bucket = pending;
    calls->count++;
    calls->last = pending;
    return pending;
}

struct rankcall_pending *rk_calls_find(struct rk_calls *calls, uint64_t id)
{
    if (calls->last && calls->last->id == id)
        return calls->last;
    if (!calls->size)
        return NULL;
    struct rankcall_pending *pending = *bucket_of(calls, id);
    while (pending && pending->id != id)
        pending = pending->next;
    if (pending)
        calls->last = pending;
    return pending;
}

static void free_pending(struct rankcall_pending *pending)
{
    for (size_t i = 0; i < pending->count; i++)
        rankcall_payload_free(pending->events[(pending->first + i) % pending->capacity].payload);
    free(pending->events);
    rankcall_payload_free(pending->args);
    rankcall_payload_free(pending->result);
    rk_error_free(pending->error);
    free(pending);
}

void rk_calls_remove(struct rk_calls *calls, struct rankcall_pending *pending)
{
    struct rankcall_pending **at = bucket_of(calls, pending->id);
    while (*at != pending)
        at = &(*at)->next;
    *at = pending->next;
    calls->count--;
    if (calls->last == pending)
        calls->last = NULL;
    free_pending(pending);
}

void rk_calls_free(struct rk_calls *calls)
{
    for (size_t i = 0; i < calls->size; i++) {
        struct rankcall_pending *next;
        for (struct rankcall_pending *pending = calls->buckets[i]; pending; pending = next) {
            next = pending->next;
            free_pending(pending);
        }
    }
    free(calls->buckets);
    *calls = (struct rk_calls){0};
}

static int grow_events(struct rankcall_pending *pending)
{
    size_t capacity = pending->capacity ? 2 * pending->capacity : FIRST_EVENTS;
    struct rankcall_item *events = calloc(capacity, sizeof(*events));
    if (!events)
        return -1;
    for (size_t i = 0; i < pending->count; i++)
        events[i] = pending->events[(pending->first + i) % pending->capacity];
    free(pending->events);
    pending->events = events;
    pending->capacity = capacity;
    pending->first = 0;
    return 0;
}

void rk_pending_add_event(struct rankcall_pending *pending, uint32_t rank, uint64_t sequence,
                          struct rankcall_payload *payload)
{
    if (pending->count == pending->capacity && grow_events(pending)) {
        /* An event must not get lost in silence. */
        rankcall_payload_free(payload);
        rk_error(RANKCALL_EINTERNAL, "no memory for an event of rank %u", rank);
        rk_pending_fail(pending);
        return;
    }
    pending->heard = true;
    pending->events[(pending->first + pending->count++) % pending->capacity] = (struct rankcall_item){
        .kind = RANKCALL_ITEM_EVENT, .rank = (int)rank, .sequence = sequence, .payload = payload};
}

/* It will not be sent again. */
static void release_args(struct rankcall_pending *pending)
{
    rankcall_payload_free(pending->args);
    pending->args = NULL;
}

void rk_pending_finish(struct rankcall_pending *pending, struct rankcall_payload *result)
{
    pending->result = result;
    pending->state = RK_PENDING_RESULT;
    release_args(pending);
}

void rk_pending_fail(struct rankcall_pending *pending)
{
    pending->error = rk_error_clone(rankcall_last_error());
    pending->state = RK_PENDING_FAILED;
    release_args(pending);
}
