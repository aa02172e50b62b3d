/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Collectives on device memory: by NCCL in the rank's stream, or staged. */

#include <rankcall/collectives.h>
#include <stdio.h>

#include "base/error.h"
#include "core/compute.h"

/* A side that this rank has: not what only the root needs. A gather's part may be empty and says where it is. */
static bool counts(const struct rankcall_device *device, const struct rk_collective *collective, bool receives)
{
    bool root = rankcall_rank(device->context) == collective->root;
    bool rooted =
        receives ? collective->kind == RK_GATHER || collective->kind == RK_REDUCE : collective->kind == RK_SCATTER;
    return (receives ? collective->receive : collective->send) && (!rooted || root);
}

static int side_of(struct rankcall_device *device, const char *what, const void *memory, bool *on_device)
{
    char text[RK_CUDA_TEXT] = "";
    enum rk_cuda_kind kind = RK_CUDA_PLAIN;
    enum rk_cuda_end end = device->module->kind(device->cuda, memory, &kind, text);
    *on_device = kind == RK_CUDA_DEVICE;
    return end ? rk_compute_fail(device, end, what, text) : RANKCALL_OK;
}

int rk_compute_side(struct rankcall_device *device, const struct rk_collective *collective, bool *on_device)
{
    const struct rankcall_context *context = device->context;
    const char *name = rk_collective_name(collective->kind);
    bool sends = counts(device, collective, false), receives = counts(device, collective, true), other;
    int code = RANKCALL_OK;
    if (collective->kind == RK_BARRIER || (!collective->size && !collective->uneven))
        return RANKCALL_OK;
    if (sends)
        code = side_of(device, name, collective->send, on_device);
    other = *on_device;
    if (!code && receives && collective->receive != collective->send)
        code = side_of(device, name, collective->receive, sends ? &other : on_device);
    if (!code && sends && receives && collective->receive != collective->send && other != *on_device)
        code = rk_error(RANKCALL_EINVAL,
                        "rankcall_%s: rank %d (%s): %s is in the memory of GPU %s, and %s in that of the host", name,
                        rankcall_rank(context), rankcall_host(context), other ? "receive" : "send",
                        device->module->facts(device->cuda)->uuid, other ? "send" : "receive");
    return code;
}

static struct rk_nccl_work work_of(const struct rk_collective *collective)
{
    static const enum rk_nccl_kind kinds[] = {
        [RK_BROADCAST] = RK_NCCL_BROADCAST, [RK_GATHER] = RK_NCCL_GATHER, [RK_ALL_GATHER] = RK_NCCL_ALL_GATHER,
        [RK_SCATTER] = RK_NCCL_SCATTER,     [RK_REDUCE] = RK_NCCL_REDUCE, [RK_ALL_REDUCE] = RK_NCCL_ALL_REDUCE};
    return (struct rk_nccl_work){
        .kind = kinds[collective->kind],
        .root = collective->root,
        .size = collective->size,
        .send = collective->send,
        .receive = collective->receive,
        .sizes = collective->sizes,
        .offsets = collective->offsets,
        .uneven = collective->uneven,
        .type = (enum rankcall_dtype)collective->type,
        .element = collective->element,
        .op = (enum rankcall_op)collective->op,
    };
}

static enum rk_cuda_end has_begun(struct rankcall_device *device, char *text)
{
    return device->module->nccl_look(device->nccl, text);
}

static int by_nccl(struct rankcall_device *device, const struct rk_collective *collective, const char *what)
{
    char text[RK_CUDA_TEXT] = "";
    struct rk_nccl_work work = work_of(collective);
    device->begun++;
    enum rk_cuda_end end = device->module->nccl_begin(device->nccl, &work, text);
    if (!end)
        return RANKCALL_OK;
    if (end == RK_CUDA_BUSY)
        return rk_compute_poll(device, has_begun, what);
    if (end != RK_CUDA_LOST)
        rk_compute_forget(device); /* the others meet no more of it */
    return rk_compute_fail(device, end, what, text);
}

int rk_compute_collect(struct rankcall_device *device, const struct rk_collective *collective)
{
    struct rankcall_context *context = device->context;
    char what[32];
    snprintf(what, sizeof what, "rankcall_%s", rk_collective_name(collective->kind));
    int code = rk_mesh_heed(context->mesh, rk_collective_name(collective->kind));
    if (!code && !device->agreed)
        code = rk_compute_agree(device, what);
    if (code)
        return code;
    bool reduces = collective->kind == RK_REDUCE || collective->kind == RK_ALL_REDUCE;
    if (!device->nccl || (reduces && !device->module->nccl_reduces((enum rankcall_dtype)collective->type)))
        return rk_compute_stage(device, collective);
    rk_mesh_count(context->mesh, collective->kind);
    return by_nccl(device, collective, what);
}

int rankcall_device_barrier(struct rankcall_call *call)
{
    struct rankcall_device *device = rankcall_call_context(call)->gpu;
    if (!device)
        return rankcall_barrier(call);
    if (!device->token) {
        const int32_t zero = 0;
        int code = rankcall_device_alloc(device, sizeof zero, &device->token);
        if (!code)
            code = rankcall_device_copy(device, device->token, &zero, sizeof zero);
        if (!code)
            code = rk_compute_wait(device, NULL, "rankcall_device_barrier");
        if (code)
            return code;
    }
    return rankcall_all_reduce(call, device->token, device->token, 1, RANKCALL_INT32, RANKCALL_MAX);
}
