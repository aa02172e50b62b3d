/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Attachments to the device and back.
 *
 * What goes back goes into pinned memory that the payload then has: one copy. To pin memory takes longer than to copy
 * into it, so what payloads have given back is used again. They do so on any thread; what is too much is freed on the
 * handler's, since CUDA waits for the GPU then. */

#include <stdlib.h>

#include "base/error.h"
#include "core/compute.h"

#define ROUND_UP (64u << 10)

int rankcall_attachment_to_device(struct rankcall_call *call, const char *name, int dtype,
                                  struct rankcall_attachment *out)
{
    struct rankcall_device *device;
    struct rankcall_attachment found;
    void *memory = NULL;
    int code = rankcall_device_open(rankcall_call_context(call), &device);
    if (!code)
        code = rankcall_attachment_of(rankcall_args(call), name, RANKCALL_NDARRAY, dtype, &found);
    if (!code && found.size)
        code = rankcall_device_alloc(device, found.size, &memory);
    if (!code)
        code = rankcall_device_copy(device, memory, found.data, found.size);
    if (code) {
        if (memory)
            rankcall_device_free(device, memory);
        return code;
    }
    *out = found;
    out->data = memory;
    return RANKCALL_OK;
}

/* Takes the first that fits out of the free ones, or one too many of them. */
static struct rk_lent *find_free(struct rankcall_device *device, size_t size, bool any)
{
    struct rk_lent *found = NULL;
    pthread_mutex_lock(&device->lock);
    for (struct rk_lent **link = &device->free; *link && !found; link = &(*link)->next)
        if (any || ((*link)->size >= size && (*link)->size / 2 <= size)) {
            found = *link;
            *link = found->next;
            device->free_count--;
            break;
        }
    pthread_mutex_unlock(&device->lock);
    return found;
}

static void give_back(void *data, void *context)
{
    struct rk_lent *lent = context;
    struct rankcall_device *device = lent->device;
    (void)data;
    pthread_mutex_lock(&device->lock);
    lent->next = device->free;
    device->free = lent;
    device->free_count++;
    pthread_mutex_unlock(&device->lock);
}

static void trim(struct rankcall_device *device, unsigned kept)
{
    char text[RK_CUDA_TEXT];
    for (;;) {
        pthread_mutex_lock(&device->lock);
        bool many = device->free_count > kept;
        pthread_mutex_unlock(&device->lock);
        struct rk_lent *lent = many ? find_free(device, 0, true) : NULL;
        if (!lent)
            return;
        device->module->give(device->cuda, RK_CUDA_PINNED, lent->memory, text);
        free(lent);
    }
}

void rk_compute_attach_close(struct rankcall_device *device)
{
    trim(device, 0);
}

static int lend(struct rankcall_device *device, size_t size, struct rk_lent **out)
{
    size = (size + ROUND_UP - 1) / ROUND_UP * ROUND_UP;
    if ((*out = find_free(device, size, false)))
        return RANKCALL_OK;
    trim(device, RK_RESULTS_KEPT);
    struct rk_lent *lent = calloc(1, sizeof *lent);
    if (!lent)
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    lent->device = device;
    lent->size = size;
    int code = rankcall_pinned_alloc(device, size, &lent->memory);
    if (code)
        free(lent);
    else
        *out = lent;
    return code;
}

int rankcall_attach_from_device(struct rankcall_call *call, struct rankcall_payload *payload,
                                const struct rankcall_attachment *attachment)
{
    struct rankcall_device *device = rankcall_call_context(call)->gpu;
    struct rankcall_attachment made = *attachment;
    struct rk_lent *lent;
    if (!device || !attachment->size)
        return rankcall_attach_copy(payload, attachment);
    int code = lend(device, attachment->size, &lent);
    if (code)
        return code;
    code = rankcall_device_copy(device, lent->memory, attachment->data, attachment->size);
    if (!code)
        code = rk_compute_wait(device, NULL, "rankcall_attach_from_device");
    if (code) {
        give_back(NULL, lent);
        return code;
    }
    made.data = lent->memory;
    return rankcall_attach(payload, &made, give_back, lent);
}
