/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Messages from one device's memory into another's, by an MPI that is CUDA-aware. */

#include <stdlib.h>

#include "base/error.h"
#include "core/compute.h"

/* A slot that MPI still uses. */
struct left {
    struct rankcall_device *device;
    void *send, *receive;
};

static enum rk_cuda_end step(struct rankcall_device *device, char *text)
{
    bool done = false;
    (void)text;
    device->pass_code = rk_mesh_pass_step(device->context->mesh, &done);
    return done || device->pass_code ? RK_CUDA_OK : RK_CUDA_BUSY;
}

/* To free memory waits for the GPU, so it is used again where it can be. */
static void settled(void *context)
{
    struct left *left = context;
    struct rankcall_device *device = left->device;
    char text[RK_CUDA_TEXT];
    for (int i = 0; i < RK_STAGE_SLOTS; i++) {
        struct rk_slot *slot = &device->far_slot[i];
        if (slot->send || slot->receive)
            continue;
        slot->send = left->send;
        slot->receive = left->receive;
        free(left);
        return;
    }
    device->module->give(device->cuda, RK_CUDA_DEVICE, left->send, text);
    device->module->give(device->cuda, RK_CUDA_DEVICE, left->receive, text);
    free(left);
}

/* The next one gets another slot. */
static void leave(struct rankcall_device *device, struct rk_slot *slot)
{
    struct left *left = malloc(sizeof *left);
    if (left)
        *left = (struct left){device, slot->send, slot->receive};
    if (rk_mesh_pass_leave(device->context->mesh, left ? settled : NULL, left))
        slot->send = slot->receive = NULL;
    else
        free(left);
}

int rk_compute_pass(struct rankcall_device *device, struct rk_slot *slot, const struct rk_collective *part)
{
    int code = rk_mesh_pass_begin(device->context->mesh, part);
    if (code)
        return code;
    device->pass_code = RANKCALL_OK;
    code = rk_compute_poll(device, step, rk_collective_name(part->kind));
    if (!code)
        code = device->pass_code;
    if (code)
        leave(device, slot);
    return code;
}
