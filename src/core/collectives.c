/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Collectives for handlers (rankcall/collectives.h): their arguments are checked here. */

#include <rankcall/collectives.h>
#include <rankcall/worker.h>

#include <stdarg.h>
#include <stdio.h>

#include "base/error.h"
#include "core/compute.h"
#include "core/context.h"
#include "mesh/collect.h"

_Static_assert((int)RANKCALL_SUM == RK_OP_SUM && (int)RANKCALL_PRODUCT == RK_OP_PRODUCT &&
                   (int)RANKCALL_MIN == RK_OP_MIN && (int)RANKCALL_MAX == RK_OP_MAX,
               "operations have the API's numbers");

static struct rk_mesh *mesh_of(const struct rankcall_call *call)
{
    return rankcall_call_context(call)->mesh;
}

static bool is_root(const struct rankcall_call *call, const struct rk_collective *collective)
{
    return rankcall_call_rank(call) == collective->root;
}

/* Whether this rank needs memory of that side. */
static bool needs_send(const struct rankcall_call *call, const struct rk_collective *collective)
{
    bool needs = collective->kind != RK_BROADCAST && collective->kind != RK_SCATTER;
    return collective->size && (needs || is_root(call, collective));
}

static bool needs_receive(const struct rankcall_call *call, const struct rk_collective *collective)
{
    bool rooted = collective->kind == RK_GATHER || collective->kind == RK_REDUCE;
    return collective->size && (!rooted || is_root(call, collective));
}

static int check(const struct rankcall_call *call, const struct rk_collective *collective)
{
    const char *name = rk_collective_name(collective->kind);
    int ranks = rankcall_call_world_size(call);
    if (collective->root < 0 || collective->root >= ranks)
        return rk_error(RANKCALL_EINVAL, "rankcall_%s: root %d is none of the %d ranks", name, collective->root, ranks);
    if (collective->size > SIZE_MAX / 2 / (size_t)ranks)
        return rk_error(RANKCALL_EINVAL, "rankcall_%s: %zu bytes are too many", name, collective->size);
    if (needs_send(call, collective) && !collective->send)
        return rk_error(RANKCALL_EINVAL, "rankcall_%s: send is NULL", name);
    if (needs_receive(call, collective) && !collective->receive)
        return rk_error(RANKCALL_EINVAL, "rankcall_%s: receive is NULL", name);
    return RANKCALL_OK;
}

/* On a rank with a GPU: where the memory is. */
static int run_here_or_there(struct rankcall_call *call, struct rk_collective *collective)
{
    struct rankcall_device *device = rankcall_call_context(call)->gpu;
    bool on_device = false;
    int code = rk_compute_side(device, collective, &on_device);
    if (code)
        return code;
    return on_device ? rk_compute_collect(device, collective) : rk_mesh_collect(mesh_of(call), collective);
}

static int run(struct rankcall_call *call, struct rk_collective *collective)
{
    if (!collective->element)
        collective->element = 1;
    int code = collective->kind == RK_BARRIER ? RANKCALL_OK : check(call, collective);
    if (code)
        return code;
    return rankcall_call_context(call)->gpu ? run_here_or_there(call, collective)
                                            : rk_mesh_collect(mesh_of(call), collective);
}

int rankcall_barrier(struct rankcall_call *call)
{
    return run(call, &(struct rk_collective){.kind = RK_BARRIER});
}

int rankcall_broadcast(struct rankcall_call *call, void *buffer, size_t size, int root)
{
    return run(call, &(struct rk_collective){
                         .kind = RK_BROADCAST, .root = root, .size = size, .send = buffer, .receive = buffer});
}

int rankcall_gather(struct rankcall_call *call, const void *send, size_t size, void *receive, int root)
{
    return run(
        call, &(struct rk_collective){.kind = RK_GATHER, .root = root, .size = size, .send = send, .receive = receive});
}

int rankcall_gatherv(struct rankcall_call *call, const void *send, size_t size, void *receive, const size_t *sizes,
                     const size_t *offsets, int root)
{
    struct rk_collective collective = {.kind = RK_GATHER, .root = root, .size = size, .send = send, .uneven = true};
    collective.receive = receive;
    collective.sizes = sizes;
    collective.offsets = offsets;
    if (is_root(call, &collective) && (!sizes || !offsets))
        return rk_error(RANKCALL_EINVAL, "rankcall_gatherv: the root gives no sizes or offsets");
    for (int rank = 0; is_root(call, &collective) && rank < rankcall_call_world_size(call); rank++)
        if (sizes[rank] && !receive)
            return rk_error(RANKCALL_EINVAL, "rankcall_gatherv: receive is NULL");
    if (is_root(call, &collective) && sizes[root] != size)
        return rk_error(RANKCALL_EINVAL, "rankcall_gatherv: the root's own size is %zu, sizes[%d] is %zu", size, root,
                        sizes[root]);
    return run(call, &collective);
}

int rankcall_all_gather(struct rankcall_call *call, const void *send, size_t size, void *receive)
{
    return run(call, &(struct rk_collective){.kind = RK_ALL_GATHER, .size = size, .send = send, .receive = receive});
}

int rankcall_scatter(struct rankcall_call *call, const void *send, void *receive, size_t size, int root)
{
    return run(call, &(struct rk_collective){
                         .kind = RK_SCATTER, .root = root, .size = size, .send = send, .receive = receive});
}

static int reduce(struct rankcall_call *call, struct rk_collective *collective, size_t count, int type, int op)
{
    const char *name = rk_collective_name(collective->kind);
    collective->fold = rk_fold_find(type, op);
    collective->element = rankcall_dtype_size(type);
    collective->type = type;
    collective->op = op;
    if (!collective->fold)
        return rk_error(RANKCALL_EINVAL, "rankcall_%s: no operation %d for type %d (%s)", name, op, type,
                        rankcall_dtype_name(type));
    if (count > SIZE_MAX / collective->element)
        return rk_error(RANKCALL_EINVAL, "rankcall_%s: %zu elements are too many", name, count);
    collective->size = count * collective->element;
    return run(call, collective);
}

int rankcall_reduce(struct rankcall_call *call, const void *send, void *receive, size_t count, enum rankcall_dtype type,
                    enum rankcall_op op, int root)
{
    struct rk_collective collective = {.kind = RK_REDUCE, .root = root, .send = send, .receive = receive};
    return reduce(call, &collective, count, (int)type, (int)op);
}

int rankcall_all_reduce(struct rankcall_call *call, const void *send, void *receive, size_t count,
                        enum rankcall_dtype type, enum rankcall_op op)
{
    struct rk_collective collective = {.kind = RK_ALL_REDUCE, .send = send, .receive = receive};
    return reduce(call, &collective, count, (int)type, (int)op);
}

void rankcall_mark(struct rankcall_call *call, const char *format, ...)
{
    char text[RK_MARK_SIZE];
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(text, sizeof text, format, arguments) >= 0)
        rk_mesh_mark(mesh_of(call), text);
    va_end(arguments);
}
