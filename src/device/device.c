/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A rank's own part in the placement: what it brings, and what it makes of the plan. */

#include "device/device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "device/bind.h"

struct rk_device {
    struct rk_offer offer;
    struct rk_gpu seen[RK_GPUS_MAX]; /* in the order of the offer */
    struct rk_place place;
    struct rk_gpu gpu; /* that of the place */
    bool settled;
    unsigned neighbours;               /* ranks that may run where this one may, itself included */
    const struct rk_cuda_module *cuda; /* where it sees GPUs */
    char no_cuda[256];                 /* why there is none */
};

/* What the planning needs, of all ranks of the node. */
struct table {
    const struct rk_offer *offers;
    int count;
    struct rk_machine *machine;
    struct rk_gpu gpus[RK_GPUS_MAX];
    uint64_t names[RK_GPUS_MAX];
    int gpu_count;
    struct rk_request *requests;
    int *indices; /* of the requests' GPUs */
    struct rk_place *places;
};

/* ---- The offer ---- */

/* FNV-1a: names of GPUs need no protection against anybody. */
static uint64_t short_name(const struct rk_gpu *gpu)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (const char *at = *gpu->uuid ? gpu->uuid : gpu->address; *at; at++)
        hash = (hash ^ (unsigned char)*at) * UINT64_C(0x100000001b3);
    return hash;
}

static uint32_t pack_address(const char *address)
{
    unsigned domain, bus, slot, function;
    if (sscanf(address, "%x:%x:%x.%x", &domain, &bus, &slot, &function) != 4 || domain > 0xffff)
        return RK_NO_ADDRESS;
    return domain << 16 | (bus & 0xff) << 8 | (slot & 31) << 3 | (function & 7);
}

static int look_at_gpus(struct rk_device *device, const char *wanted)
{
    struct rk_gpu all[RK_GPUS_MAX];
    int count, found = rk_gpus_of_driver(all);
    struct rk_gpu_choice choice = rk_gpu_choice_here(wanted);
    int code = rk_gpus_choose(all, found, &choice, device->seen, &count);
    if (code)
        return code;
    if (wanted && !strcmp(wanted, "none")) /* for libraries that the handler uses, too */
        setenv("CUDA_VISIBLE_DEVICES", "", 1);
    for (int i = 0; i < count; i++) {
        device->offer.gpu[i] = short_name(&device->seen[i]);
        device->offer.address[i] = pack_address(device->seen[i].address);
    }
    device->offer.gpu_count = count;
    if (!count)
        return RANKCALL_OK;
    setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID", 0); /* so that numbers mean the same to CUDA */
    if (rk_cuda_load(&device->cuda))
        snprintf(device->no_cuda, sizeof device->no_cuda, "%s", rankcall_last_error()->message);
    device->offer.cuda = device->cuda != NULL;
    return RANKCALL_OK;
}

int rk_device_open(enum rk_bind bind, const char *gpus, struct rk_device **out)
{
    struct rk_device *device = calloc(1, sizeof *device);
    if (!device)
        return rk_error(RANKCALL_EINTERNAL, "no memory for the rank's placement");
    device->offer.bind = bind;
    device->place = (struct rk_place){.gpu = -1, .memory = -1};
    rk_cpus_of_thread(0, &device->offer.given);
    int code = look_at_gpus(device, gpus);
    if (code)
        rk_device_close(device);
    else
        *out = device;
    return code;
}

void rk_device_close(struct rk_device *device)
{
    free(device);
}

const struct rk_offer *rk_device_offer(const struct rk_device *device)
{
    return &device->offer;
}

const struct rk_cuda_module *rk_device_cuda(const struct rk_device *device, const char **why)
{
    *why = *device->no_cuda ? device->no_cuda : "it sees no GPU";
    return device->cuda;
}

/* ---- The plan ---- */

static bool given_alike(const struct table *table)
{
    for (int i = 1; i < table->count; i++)
        if (!rk_cpus_equal(&table->offers[i].given, &table->offers[0].given))
            return false;
    return true;
}

static bool has_gpus(const struct table *table)
{
    for (int i = 0; i < table->count; i++)
        if (table->offers[i].gpu_count)
            return true;
    return false;
}

/* The topology costs every start milliseconds, with GPUs tens of them: it is asked for only where it can change
 * something. */
static int find_machine(struct table *table)
{
    const struct rk_offer *first = &table->offers[0];
    bool gpus = has_gpus(table);
    bool may_bind = first->bind != RK_BIND_NONE && given_alike(table) &&
                    (first->bind == RK_BIND_NUMA || rk_cpus_count(&first->given) >= (unsigned)table->count);
    if ((gpus || may_bind) && !rk_machine_open(NULL, gpus ? RK_CORES_AND_GPUS : RK_CORES_ALONE, &table->machine))
        return RANKCALL_OK;
    if (gpus || may_bind)
        rk_log(RK_LOG_WARNING, "ranks are not bound: %s", rankcall_last_error()->message);
    table->machine = calloc(1, sizeof *table->machine);
    if (!table->machine)
        return rk_error(RANKCALL_EINTERNAL, "no memory for the rank's placement");
    for (int i = 0; i < table->count; i++)
        rk_cpus_join(&table->machine->cpus, &table->offers[i].given);
    return RANKCALL_OK;
}

/* All ranks must find the same, so only what they tell each other counts. */
static struct rk_cpus near_address(const struct rk_machine *machine, uint32_t address)
{
    bool same = true;
    for (int i = 0; i < machine->gpu_count; i++) {
        if (pack_address(machine->gpus[i].address) == address)
            return machine->gpus[i].near;
        same = same && rk_cpus_equal(&machine->gpus[i].near, &machine->gpus[0].near);
    }
    return same && machine->gpu_count ? machine->gpus[0].near : (struct rk_cpus){0};
}

/* The index of a GPU that a rank sees; -1: there are too many. */
static int index_of(struct table *table, uint64_t name, uint32_t address)
{
    for (int i = 0; i < table->gpu_count; i++)
        if (table->names[i] == name)
            return i;
    if (table->gpu_count == RK_GPUS_MAX)
        return -1;
    table->names[table->gpu_count] = name;
    table->gpus[table->gpu_count] = (struct rk_gpu){.minor = -1, .near = near_address(table->machine, address)};
    return table->gpu_count++;
}

static int fill_table(struct table *table)
{
    size_t count = (size_t)table->count;
    table->requests = calloc(count, sizeof *table->requests);
    table->places = calloc(count, sizeof *table->places);
    table->indices = calloc(count * RK_GPUS_MAX, sizeof *table->indices);
    if (!table->requests || !table->places || !table->indices)
        return rk_error(RANKCALL_EINTERNAL, "no memory for the rank's placement");
    for (size_t i = 0; i < count; i++) {
        const struct rk_offer *offer = &table->offers[i];
        int *indices = table->indices + i * RK_GPUS_MAX, known = 0;
        for (int n = 0; n < offer->gpu_count; n++) {
            int index = index_of(table, offer->gpu[n], offer->address[n]);
            if (index >= 0)
                indices[known++] = index;
        }
        table->requests[i] = (struct rk_request){offer->given, indices, known};
    }
    return RANKCALL_OK;
}

static void free_table(struct table *table)
{
    rk_machine_free(table->machine);
    free(table->requests);
    free(table->places);
    free(table->indices);
}

/* ---- What becomes of it ---- */

static void take_place(struct rk_device *device, const struct table *table, int self)
{
    device->place = table->places[self];
    if (device->place.gpu < 0)
        return;
    for (int i = 0; i < device->offer.gpu_count; i++)
        if (device->offer.gpu[i] == table->names[device->place.gpu])
            device->gpu = device->seen[i];
    if (!strncmp(device->gpu.uuid, "MIG-", 4)) /* of a list of slices CUDA shows the first alone */
        setenv("CUDA_VISIBLE_DEVICES", device->gpu.uuid, 1);
    if (!*device->gpu.uuid && !*device->gpu.address) /* the dead rank whose place this one takes saw another */
        device->place.gpu = -1;
    else
        device->gpu.near = table->gpus[device->place.gpu].near;
}

static void apply(const struct rk_device *device, const struct rk_machine *machine)
{
    const struct rk_place *place = &device->place;
    if (place->binding != RK_BOUND && place->binding != RK_FOUND)
        return;
    if (!rk_cpus_equal(&place->workers, &device->offer.given) && !rk_bind_process(&place->workers))
        rk_log(RK_LOG_WARNING, "cannot bind this rank to its CPUs: %s", strerror(errno));
    if (machine->locality_count > 1 && !rk_bind_memory(place->memory))
        rk_log(RK_LOG_WARNING, "cannot bind this rank's memory: %s", strerror(errno));
}

/* One line a node about shared GPUs, one a rank about distance. */
static void tell(const struct rk_device *device, const struct table *table, const int *ranks, int self)
{
    struct rk_place mine = device->place;
    struct rk_remark remark;
    bool shared = false;
    for (int i = 0; i < table->count; i++)
        shared = shared || table->places[i].sharers > 1;
    if (self == 0 && shared)
        rk_log(RK_LOG_WARNING, "%d ranks of this node share %d GPU%s", table->count, table->gpu_count,
               table->gpu_count == 1 ? "" : "s");
    mine.gpu = mine.gpu < 0 ? -1 : 0;
    mine.sharers = 0;
    if (mine.far && rk_placement_remarks(&device->gpu, &mine, 1, &ranks[self], &remark, 1))
        rk_log(RK_LOG_WARNING, "%s", remark.text);
}

void rk_device_settle(struct rk_device *device, const struct rk_offer *offers, const int *ranks, int count, int self)
{
    struct table table = {.offers = offers, .count = count};
    struct rk_wishes wishes = {(enum rk_bind)device->offer.bind, ranks[0] == 0 ? 0 : -1};
    if (device->settled)
        return;
    device->neighbours = 0;
    for (int i = 0; i < count; i++)
        device->neighbours += rk_cpus_meet(&offers[i].given, &device->offer.given);
    int code = find_machine(&table);
    if (!code)
        code = fill_table(&table);
    if (!code)
        code =
            rk_placement_make(table.machine, table.gpus, table.gpu_count, table.requests, count, &wishes, table.places);
    if (code) {
        rk_log(RK_LOG_WARNING, "this rank is not bound: %s", rankcall_last_error()->message);
    } else {
        take_place(device, &table, self);
        apply(device, table.machine);
        tell(device, &table, ranks, self);
        device->settled = true;
    }
    free_table(&table);
}

void rk_device_report(const struct rk_device *device, struct rk_device_report *report)
{
    struct rk_cpus cpus;
    *report = (struct rk_device_report){0};
    if (device->place.gpu >= 0)
        snprintf(report->device, sizeof report->device, "gpu %s", *device->gpu.address ? device->gpu.address : "slice");
    else
        snprintf(report->device, sizeof report->device, "cpu");
    snprintf(report->uuid, sizeof report->uuid, "%s", device->gpu.uuid);
    snprintf(report->bound, sizeof report->bound, "%s", rk_binding_name(device->place.binding));
    if (rk_cpus_of_thread(0, &cpus))
        rk_cpus_text(&cpus, report->cpus, sizeof report->cpus);
    else
        snprintf(report->cpus, sizeof report->cpus, "?");
    rk_bound_memory(report->memory, sizeof report->memory);
}

static bool io_has_cpus(const struct rk_device *device)
{
    return device->place.binding == RK_BOUND && !rk_cpus_empty(&device->place.io);
}

void rk_device_bind_io(const struct rk_device *device)
{
    if (io_has_cpus(device))
        rk_cpus_bind_thread(0, &device->place.io);
}

bool rk_device_io_shares(const struct rk_device *device)
{
    return !io_has_cpus(device) && device->neighbours + 1 > rk_cpus_count(&device->offer.given);
}

bool rk_device_ranks_fit(const struct rk_device *device)
{
    return device->neighbours && device->neighbours <= rk_cpus_count(&device->offer.given);
}
