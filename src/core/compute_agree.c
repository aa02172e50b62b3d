/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* How collectives on device memory go: by NCCL where every rank has a GPU of its own, else by MPI where that reads the
 * memory of GPUs, else through the host's memory.
 *
 * Before the first such collective of a call the ranks tell each other what they have, and all draw the same
 * conclusion. A communicator that some have left (a call was cut short) or never had (they have replaced a dead rank)
 * is made anew by all. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/log.h"
#include "core/compute.h"

#define TAG_STAGED 1
#define TAG_PASSED 2
#define TEXT_SIZE  160

/* What a rank tells. Plain bytes. */
struct hello {
    uint64_t tag;               /* of what it has agreed upon before; 0: nothing */
    uint64_t begun;             /* collectives by NCCL since */
    int32_t node, nccl;         /* NCCL's version; 0: it has none */
    int32_t wish, reserved;     /* enum wish */
    char address[20], uuid[48]; /* of its GPU */
    char why[TEXT_SIZE];        /* it has no NCCL */
};

enum wish { WISH_AUTO, WISH_NCCL, WISH_MPI, WISH_STAGING, WISH_WRONG };
enum way { KEEP, NCCL, PASS, STAGE, REFUSE };

struct agreement {
    struct rankcall_device *device;
    const char *what;
    struct hello *all;
    int ranks, rank;
    char why[3 * TEXT_SIZE]; /* it is to be staged, or refused */
};

static enum wish wish_here(void)
{
    static const char *const names[] = {"auto", "nccl", "mpi", "staging"};
    const char *text = getenv("RANKCALL_DEVICE_COLLECTIVES");
    int wish = WISH_AUTO;
    while (text && wish < WISH_WRONG && strcmp(text, names[wish]))
        wish++;
    return (enum wish)wish;
}

static void fill(const struct rankcall_device *device, struct hello *hello)
{
    char text[RK_CUDA_TEXT] = "";
    const struct rk_cuda_facts *facts = device->module->facts(device->cuda);
    const struct rk_mesh *mesh = device->context->mesh;
    int version = 0;
    *hello = (struct hello){.tag = device->tag, .begun = device->begun, .wish = wish_here()};
    hello->node = rk_mesh_info(mesh, rk_mesh_rank(mesh))->node;
    snprintf(hello->address, sizeof hello->address, "%s", facts->address);
    snprintf(hello->uuid, sizeof hello->uuid, "%s", facts->uuid);
    if (hello->wish == WISH_STAGING || hello->wish == WISH_MPI)
        return;
    if (device->module->nccl_version(&version, text))
        snprintf(hello->why, sizeof hello->why, "%.*s", TEXT_SIZE - 1, text);
    hello->nccl = version;
}

static const char *host_of(const struct agreement *agreement, int rank)
{
    return rk_mesh_info(agreement->device->context->mesh, rank)->host;
}

/* Slices of one GPU count as sharing: NCCL refuses them, too. */
static bool some_share(struct agreement *agreement)
{
    for (int i = 0; i < agreement->ranks; i++)
        for (int j = 0; j < i; j++) {
            const struct hello *one = &agreement->all[i], *other = &agreement->all[j];
            if (one->node != other->node ||
                (strcasecmp(one->address, other->address) && strcmp(one->uuid, other->uuid)))
                continue;
            snprintf(agreement->why, sizeof agreement->why, "ranks %d and %d (%s) share GPU %s", j, i,
                     host_of(agreement, i), one->uuid);
            return true;
        }
    return false;
}

/* Ranks that have not begun the same are out of step: a handler failed, and others were through with a collective that
 * needed nothing of it. */
static bool all_keep(const struct agreement *agreement)
{
    const struct hello *first = &agreement->all[0];
    for (int i = 0; i < agreement->ranks; i++)
        if (!first->tag || agreement->all[i].tag != first->tag || agreement->all[i].begun != first->begun)
            return false;
    return true;
}

static void write_version(char text[16], int version)
{
    snprintf(text, 16, "%d.%d.%d", version / 10000, version / 100 % 100, version % 100);
}

static enum way by_versions(struct agreement *agreement)
{
    int first = -1;
    for (int i = 0; i < agreement->ranks; i++) {
        const struct hello *hello = &agreement->all[i];
        if (*hello->why) {
            snprintf(agreement->why, sizeof agreement->why, "rank %d (%s): %s", i, host_of(agreement, i), hello->why);
            return STAGE;
        }
        if (first >= 0 && hello->nccl != agreement->all[first].nccl) {
            char one[16], other[16];
            write_version(one, agreement->all[first].nccl);
            write_version(other, hello->nccl);
            snprintf(agreement->why, sizeof agreement->why,
                     "NCCL's versions differ: rank %d (%s) has %s, rank %d (%s) has %s; install one, or set "
                     "RANKCALL_DEVICE_COLLECTIVES=staging",
                     first, host_of(agreement, first), one, i, host_of(agreement, i), other);
            return REFUSE;
        }
        first = first < 0 ? i : first;
    }
    return NCCL;
}

static enum way decide(struct agreement *agreement)
{
    enum wish wish = (enum wish)agreement->all[0].wish;
    for (int i = 0; i < agreement->ranks; i++)
        if (agreement->all[i].wish == WISH_WRONG || agreement->all[i].wish != agreement->all[0].wish) {
            snprintf(agreement->why, sizeof agreement->why,
                     "RANKCALL_DEVICE_COLLECTIVES of rank %d (%s) is none of auto, nccl, mpi and staging, or not that "
                     "of rank 0",
                     i, host_of(agreement, i));
            return REFUSE;
        }
    if (all_keep(agreement))
        return KEEP;
    bool passes = rk_mesh_passes(agreement->device->context->mesh);
    if (wish == WISH_STAGING)
        return STAGE;
    if (wish == WISH_MPI && !passes)
        snprintf(agreement->why, sizeof agreement->why,
                 "this MPI does not read the memory of GPUs (it is not CUDA-aware), as RANKCALL_DEVICE_COLLECTIVES=mpi "
                 "wants it to");
    if (wish == WISH_MPI)
        return passes ? PASS : REFUSE;
    if (wish == WISH_AUTO && some_share(agreement))
        return passes ? PASS : STAGE;
    enum way way = by_versions(agreement);
    return way != STAGE ? way : wish == WISH_NCCL ? REFUSE : passes ? PASS : STAGE;
}

/* ---- A new communicator ---- */

static enum rk_cuda_end has_joined(struct rankcall_device *device, char *text)
{
    return device->module->nccl_look(device->nccl, text);
}

/* Rank 0's id to all, or its failure. */
static int spread_id(struct agreement *agreement, uint8_t id[RK_NCCL_ID_SIZE])
{
    struct rankcall_device *device = agreement->device;
    struct {
        uint8_t id[RK_NCCL_ID_SIZE];
        int32_t end;
        char text[RK_CUDA_TEXT];
    } made = {.end = RK_CUDA_OK};
    if (agreement->rank == 0)
        made.end = (int32_t)device->module->nccl_id(made.id, made.text);
    struct rk_collective spread = {.kind = RK_BROADCAST, .size = sizeof made, .send = &made, .receive = &made};
    spread.element = 1;
    int code = rk_mesh_collect(device->context->mesh, &spread);
    if (!code && made.end)
        code = rk_error(RANKCALL_ESYSTEM, "%s: rank 0 (%s): %s", agreement->what, host_of(agreement, 0), made.text);
    memcpy(id, made.id, RK_NCCL_ID_SIZE);
    return code;
}

static uint64_t tag_of(const uint8_t id[RK_NCCL_ID_SIZE])
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (int i = 0; i < RK_NCCL_ID_SIZE; i++)
        hash = (hash ^ id[i]) * UINT64_C(0x100000001b3);
    return hash > TAG_PASSED ? hash : TAG_PASSED + 1;
}

static int join(struct agreement *agreement)
{
    struct rankcall_device *device = agreement->device;
    uint8_t id[RK_NCCL_ID_SIZE];
    char text[RK_CUDA_TEXT] = "";
    int code = spread_id(agreement, id);
    if (code)
        return code;
    enum rk_cuda_end end =
        device->module->nccl_join(device->cuda, id, agreement->ranks, agreement->rank, &device->nccl, text);
    if (end && end != RK_CUDA_BUSY)
        return rk_compute_fail(device, end, agreement->what, text);
    code = rk_compute_poll(device, has_joined, agreement->what);
    if (!code)
        device->tag = tag_of(id);
    device->passes = false;
    device->begun = 0;
    return code;
}

static void go_without_nccl(struct agreement *agreement, bool passes)
{
    struct rankcall_device *device = agreement->device;
    if (agreement->rank == 0 && *agreement->why && !device->warned)
        rk_log(RK_LOG_WARNING, "collectives on device memory go %s: %s",
               passes ? "by MPI, which is CUDA-aware" : "through the host's memory", agreement->why);
    device->warned = true;
    device->passes = passes;
    device->tag = passes ? TAG_PASSED : TAG_STAGED;
}

static int conclude(struct agreement *agreement)
{
    struct rankcall_device *device = agreement->device;
    enum way way = decide(agreement);
    if (way != KEEP && device->tag)
        rk_compute_forget(device);
    if (way == REFUSE)
        return rk_error(RANKCALL_ESYSTEM, "%s: %s", agreement->what, agreement->why);
    if (way == STAGE || way == PASS)
        go_without_nccl(agreement, way == PASS);
    return way == NCCL ? join(agreement) : RANKCALL_OK;
}

int rk_compute_agree(struct rankcall_device *device, const char *what)
{
    struct rankcall_context *context = device->context;
    struct agreement agreement = {.device = device, .what = what, .ranks = rankcall_world_size(context)};
    struct hello mine;
    agreement.rank = rankcall_rank(context);
    agreement.all = calloc((size_t)agreement.ranks, sizeof *agreement.all);
    if (!agreement.all)
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    fill(device, &mine);
    struct rk_collective exchange = {.kind = RK_ALL_GATHER, .size = sizeof mine, .send = &mine, .element = 1};
    exchange.receive = agreement.all;
    int code = rk_mesh_collect(context->mesh, &exchange);
    if (!code)
        code = rk_mesh_pass_tidy(context->mesh);
    if (!code)
        code = conclude(&agreement);
    device->agreed = !code;
    free(agreement.all);
    return code;
}
