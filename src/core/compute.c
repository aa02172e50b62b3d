/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A rank's device: opening it, memory, copies, errors. */

#include "core/compute.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "device/device.h"

int rk_compute_fail(struct rankcall_device *device, enum rk_cuda_end end, const char *what, const char *text)
{
    const struct rankcall_context *context = device->context;
    if (end == RK_CUDA_LOST && !*device->lost)
        snprintf(device->lost, sizeof device->lost, "%s", text);
    return rk_error(end == RK_CUDA_POINTER ? RANKCALL_EINVAL : RANKCALL_ESYSTEM, "%s: rank %d (%s): %s%s", what,
                    rankcall_rank(context), rankcall_host(context), text,
                    end == RK_CUDA_LOST ? "; this GPU does not recover in this process, which ends" : "");
}

/* ---- Opening ---- */

static bool has_cuda(const struct rk_rank_info *info)
{
    struct rk_offer offer;
    memcpy(&offer, info->offer, sizeof offer);
    return offer.cuda && !strncmp(info->device, "gpu", 3);
}

/* All ranks come to the same answer, since all know what each has. */
static bool all_have_cuda(const struct rankcall_context *context)
{
    int with = 0, without = -1, ranks = rankcall_world_size(context);
    for (int rank = 0; rank < ranks; rank++)
        if (has_cuda(rk_mesh_info(context->mesh, rank)))
            with++;
        else if (without < 0)
            without = rank;
    if (with && without >= 0 && rankcall_rank(context) == 0)
        rk_log(RK_LOG_WARNING, "all ranks compute on the host: rank %d (%s) has no GPU that can be used", without,
               rk_mesh_info(context->mesh, without)->host);
    return with == ranks;
}

static void tell_why_not(const struct rankcall_context *context)
{
    const struct rk_rank_info *mine = rk_mesh_info(context->mesh, rankcall_rank(context));
    const char *why;
    if (!rk_device_cuda(context->device, &why) && !strncmp(mine->device, "gpu", 3))
        rk_log(RK_LOG_WARNING, "rank %d (%s) has a GPU and no use for it: %s", rankcall_rank(context), mine->host, why);
}

static int open_gpu(struct rankcall_device *device)
{
    const struct rankcall_context *context = device->context;
    const char *why, *uuid = rankcall_gpu_uuid(context);
    char text[RK_CUDA_TEXT] = "";
    device->module = rk_device_cuda(context->device, &why);
    if (!device->module)
        return rk_compute_fail(device, RK_CUDA_ABSENT, "rankcall_device_open", why);
    /* A slice is none of the addresses. */
    const char *address = strncmp(uuid, "MIG-", 4) ? rankcall_gpu(context) : "";
    enum rk_cuda_end end = device->module->open(address, uuid, &device->cuda, text);
    return end ? rk_compute_fail(device, end, "rankcall_device_open", text) : RANKCALL_OK;
}

int rankcall_device_open(struct rankcall_context *context, struct rankcall_device **out)
{
    if (!context || !out)
        return rk_error(RANKCALL_EINVAL, "rankcall_device_open: the context or the result is NULL");
    if (!context->computer) {
        struct rankcall_device *device = calloc(1, sizeof *device);
        if (!device)
            return rk_error(RANKCALL_EINTERNAL, "out of memory");
        device->context = context;
        pthread_mutex_init(&device->lock, NULL);
        int code = RANKCALL_OK;
        if (all_have_cuda(context))
            code = open_gpu(device);
        else
            tell_why_not(context);
        if (code) {
            free(device);
            return code;
        }
        context->computer = device;
        context->gpu = device->cuda ? device : NULL;
    }
    *out = context->computer;
    return RANKCALL_OK;
}

void rk_compute_close(struct rankcall_device *device)
{
    if (!device)
        return;
    if (device->cuda) {
        char text[RK_CUDA_TEXT];
        rk_mesh_pass_forget(device->context->mesh);
        device->module->nccl_leave(device->nccl);
        device->module->give(device->cuda, RK_CUDA_DEVICE, device->token, text);
        rk_compute_stage_close(device);
        rk_compute_attach_close(device);
        device->module->close(device->cuda);
    }
    pthread_mutex_destroy(&device->lock);
    free(device);
}

enum rankcall_device_type rankcall_device_kind(const struct rankcall_device *device)
{
    return device->cuda ? RANKCALL_CUDA : RANKCALL_HOST;
}

int rankcall_device_index(const struct rankcall_device *device)
{
    return device->cuda ? device->module->facts(device->cuda)->ordinal : -1;
}

void *rankcall_device_stream(const struct rankcall_device *device)
{
    return device->cuda ? device->module->stream(device->cuda) : NULL;
}

/* ---- Memory ---- */

static int take(struct rankcall_device *device, enum rk_cuda_kind kind, size_t size, void **out, const char *what)
{
    char text[RK_CUDA_TEXT] = "";
    if (!size || size > SIZE_MAX - 64)
        return rk_error(RANKCALL_EINVAL, "%s: %zu bytes cannot be had", what, size);
    if (device->cuda) {
        enum rk_cuda_end end = device->module->take(device->cuda, kind, size, out, text);
        return end ? rk_compute_fail(device, end, what, text) : RANKCALL_OK;
    }
    *out = aligned_alloc(64, (size + 63) / 64 * 64);
    return *out ? RANKCALL_OK : rk_error(RANKCALL_ESYSTEM, "%s: no memory for %zu bytes", what, size);
}

static int give(struct rankcall_device *device, enum rk_cuda_kind kind, void *memory, const char *what)
{
    char text[RK_CUDA_TEXT] = "";
    if (!device->cuda) {
        free(memory);
        return RANKCALL_OK;
    }
    if (!memory)
        return RANKCALL_OK;
    rk_compute_wait(device, NULL, what); /* the module's own wait is not to be interrupted */
    enum rk_cuda_end end = device->module->give(device->cuda, kind, memory, text);
    return end ? rk_compute_fail(device, end, what, text) : RANKCALL_OK;
}

int rankcall_device_alloc(struct rankcall_device *device, size_t size, void **out)
{
    return take(device, RK_CUDA_DEVICE, size, out, "rankcall_device_alloc");
}

int rankcall_device_free(struct rankcall_device *device, void *memory)
{
    return give(device, RK_CUDA_DEVICE, memory, "rankcall_device_free");
}

int rankcall_pinned_alloc(struct rankcall_device *device, size_t size, void **out)
{
    return take(device, RK_CUDA_PINNED, size, out, "rankcall_pinned_alloc");
}

int rankcall_pinned_free(struct rankcall_device *device, void *memory)
{
    return give(device, RK_CUDA_PINNED, memory, "rankcall_pinned_free");
}

int rankcall_device_copy(struct rankcall_device *device, void *to, const void *from, size_t size)
{
    char text[RK_CUDA_TEXT] = "";
    if (!size)
        return RANKCALL_OK;
    if (!to || !from)
        return rk_error(RANKCALL_EINVAL, "rankcall_device_copy: a pointer is NULL");
    if (!device->cuda) {
        memmove(to, from, size);
        return RANKCALL_OK;
    }
    enum rk_cuda_end end = device->module->copy(device->cuda, to, from, size, text);
    return end ? rk_compute_fail(device, end, "rankcall_device_copy", text) : RANKCALL_OK;
}

int rankcall_device_error(struct rankcall_device *device, int error, const char *what)
{
    char text[RK_CUDA_TEXT] = "";
    if (!error)
        return RANKCALL_OK;
    if (!device->cuda)
        return rk_error(RANKCALL_EINVAL, "rankcall_device_error: %s: error %d of CUDA without CUDA", what, error);
    return rk_compute_fail(device, device->module->tell(device->cuda, error, what, text), "CUDA", text);
}
