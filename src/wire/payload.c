/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A payload's life, and its JSON text. */

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/error.h"
#include "wire/payload_internal.h"

#define AT_HAND 1024                /* bytes up to which glibc's malloc() keeps memory at hand for the thread */
#define HUGE    ((uint64_t)2 << 20) /* bytes of a huge page, where there are such */

/* The last large memory that was freed: it has its pages already, which the kernel may take when it needs some. */
#define SPARE_MIN ((uint64_t)1 << 20)
static struct {
    pthread_mutex_t lock;
    void *memory;
    uint64_t size;
} spare = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Puts other memory, or NULL, in place of the spare one, if that has at least `min` and at most `max` bytes. Returns
 * what is not the spare one then. */
static void *change_spare(uint64_t min, uint64_t max, void *memory, uint64_t size)
{
    void *before = memory;

    pthread_mutex_lock(&spare.lock);
    if (spare.size >= min && spare.size <= max) {
        before = spare.memory;
        spare.memory = memory;
        spare.size = memory ? size : 0;
    }
    pthread_mutex_unlock(&spare.lock);
    return before;
}

/* A sanitizer wants to see it go. */
void rk_payload_give(void *memory, uint64_t size)
{
#ifndef __SANITIZE_ADDRESS__
    if (size >= SPARE_MIN && (uintptr_t)memory % RK_PAYLOAD_ALIGN == 0) {
        if (size >= 2 * HUGE)
            madvise(memory, size & ~(HUGE - 1), MADV_FREE);
        memory = change_spare(0, UINT64_MAX, memory, size);
    }
#else
    (void)size;
#endif
    free(memory);
}

static void *alloc_large(uint64_t size)
{
    void *memory = change_spare(size, 2 * size, NULL, 0);

    if (memory)
        return memory;
    if (size < 2 * HUGE)
        return aligned_alloc(RK_PAYLOAD_ALIGN, size);
    size = rk_align(size, HUGE);
    if (!(memory = aligned_alloc(HUGE, size))) {
        free(change_spare(0, UINT64_MAX, NULL, 0));
        memory = aligned_alloc(HUGE, size);
    }
    if (memory)
        madvise(memory, size, MADV_HUGEPAGE); /* or taking the pages costs as much as filling them */
    return memory;
}

/* aligned_alloc() always searches; malloc() gives what is at hand, which is the last small payload's memory more often
 * than not, and so aligned. */
void *rk_payload_alloc(uint64_t size)
{
    uint64_t rounded = rk_align(size ? size : 1, RK_PAYLOAD_ALIGN);

    if (rounded < size || rounded > PTRDIFF_MAX)
        return NULL;
    if (rounded <= AT_HAND) {
        void *memory = malloc(rounded);

        if ((uintptr_t)memory % RK_PAYLOAD_ALIGN == 0)
            return memory;
        free(memory);
    }
    return rounded < SPARE_MIN ? aligned_alloc(RK_PAYLOAD_ALIGN, rounded) : alloc_large(rounded);
}

struct rankcall_payload *rankcall_payload_new(void)
{
    struct rankcall_payload *payload = malloc(sizeof *payload); /* faster than calloc(): see rk_calls_add */

    if (!payload) {
        rk_error(RANKCALL_EINTERNAL, "payload: memory is out");
        return NULL;
    }
    *payload = (struct rankcall_payload){.references = 1};
    return payload;
}

static int too_large(size_t size)
{
    return rk_error(RANKCALL_ETOOLARGE,
                    "payload: the JSON text has %zu bytes, over the cap of %u: send bulk data as attachments", size,
                    RK_JSON_CAP);
}

static int from_checked(const char *json, size_t size, struct rankcall_payload **out)
{
    struct rankcall_payload *payload = rankcall_payload_new();
    char *text = payload ? cJSON_malloc(size + 1) : NULL;

    if (!text) {
        rankcall_payload_free(payload);
        return rk_error(RANKCALL_EINTERNAL, "payload: no memory for %zu bytes of JSON", size);
    }
    memcpy(text, json, size);
    text[size] = '\0';
    payload->text = text;
    payload->text_size = size;
    payload->text_owned = true;
    *out = payload;
    return RANKCALL_OK;
}

int rankcall_payload_from_json(const char *json, size_t size, struct rankcall_payload **out)
{
    int code;

    if (!json || !out)
        return rk_error(RANKCALL_EINVAL, "rankcall_payload_from_json: %s is NULL", json ? "out" : "json");
    if (size == SIZE_MAX)
        size = strlen(json);
    if (size > RK_JSON_CAP)
        return too_large(size);
    if ((code = rk_json_check(json, size)))
        return code;
    return from_checked(json, size, out);
}

struct rankcall_payload *rankcall_payload_ref(const struct rankcall_payload *payload)
{
    return rk_payload_ref((struct rankcall_payload *)payload);
}

struct rankcall_payload *rk_payload_ref(struct rankcall_payload *payload)
{
    atomic_fetch_add_explicit(&payload->references, 1, memory_order_relaxed);
    return payload;
}

void rk_payload_drop_text(struct rankcall_payload *payload)
{
    if (payload->text_owned)
        cJSON_free(payload->text);
    payload->text = NULL;
    payload->text_owned = false;
}

void rk_payload_drop_view(struct rankcall_payload *payload)
{
    if (payload->view)
        cJSON_Delete(payload->view);
    payload->view = NULL;
    for (struct rk_doubles *one = payload->doubles; one; one = one->next)
        one->source = NULL;
}

static void free_attached(struct rankcall_payload *payload)
{
    for (size_t i = 0; i < payload->attached_count; i++) {
        struct rk_attached *one = &payload->attached[i];

        if (one->release)
            one->release((void *)one->attachment.data, one->context);
        free((char *)one->attachment.name);
    }
    free(payload->attached);
}

void rankcall_payload_free(struct rankcall_payload *payload)
{
    int kept = errno;

    if (!payload || atomic_fetch_sub_explicit(&payload->references, 1, memory_order_acq_rel) > 1)
        return;
    free_attached(payload);
    rk_payload_drop_text(payload);
    rk_payload_drop_view(payload);
    if (payload->members)
        cJSON_Delete(payload->members);
    for (struct rk_doubles *next, *one = payload->doubles; one; one = next) {
        next = one->next;
        free(one);
    }
    if (payload->pieces != &payload->one_piece)
        free(payload->pieces);
    if (payload->lender)
        payload->lender->give(payload->lender->context, payload->wire);
    else
        rk_payload_give(payload->wire, payload->wire_size);
    free(payload);
    errno = kept;
}

int rk_payload_make_text(struct rankcall_payload *payload)
{
    char *text;

    if (payload->text)
        return RANKCALL_OK;
    if (!payload->members) {
        payload->text = "{}"; /* never written to */
        payload->text_size = 2;
        return RANKCALL_OK;
    }
    text = cJSON_PrintUnformatted(payload->members);
    if (!text)
        return rk_error(RANKCALL_EINTERNAL, "payload: no memory for the JSON text");
    payload->text = text;
    payload->text_size = strlen(text);
    payload->text_owned = true;
    return RANKCALL_OK;
}

/* Look-ups take const payloads; what they learn is a cache, which one thread at a time uses. */
int rk_payload_make_view(const struct rankcall_payload *constant)
{
    struct rankcall_payload *payload = (struct rankcall_payload *)constant;
    int code;

    if (payload->view)
        return RANKCALL_OK;
    if ((code = rk_payload_make_text(payload)))
        return code;
    payload->view = cJSON_ParseWithLength(payload->text, payload->text_size);
    if (!payload->view)
        return rk_error(RANKCALL_EINTERNAL, "payload: cJSON could not parse %zu bytes of JSON (is memory out?)",
                        payload->text_size);
    return RANKCALL_OK;
}

const char *rankcall_payload_json(const struct rankcall_payload *payload, size_t *size)
{
    if (rk_payload_make_text((struct rankcall_payload *)payload))
        return NULL;
    if (size)
        *size = payload->text_size;
    return payload->text;
}
