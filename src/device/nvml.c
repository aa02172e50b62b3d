/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Asking NVML. Its header comes with the toolkit, so the little that is used is declared here. */

#include "device/nvml.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct nvmlDevice_st *handle;

struct pci_info { /* nvmlPciInfo_t */
    char legacy[16];
    unsigned domain, bus, device, ids, subsystem;
    char address[32];
};

struct process_info { /* nvmlProcessInfo_t, since its second version */
    unsigned process;
    unsigned long long memory;
    unsigned gpu_instance, compute_instance;
};

struct nvml {
    void *library;
    int (*init)(void);
    int (*shutdown)(void);
    int (*by_uuid)(const char *uuid, handle *device);
    int (*by_index)(unsigned index, handle *device);
    int (*count)(unsigned *count);
    int (*parent)(handle slice, handle *device);
    int (*pci)(handle device, struct pci_info *info);
    int (*uuid)(handle device, char *uuid, unsigned size);
    int (*name)(handle device, char *name, unsigned size);
    int (*minor)(handle device, unsigned *minor);
    int (*processes)(handle device, unsigned *count, struct process_info *infos); /* NULL in old ones */
};

static bool find_all(struct nvml *nvml)
{
    const struct {
        const char *name;
        void *function;
    } wanted[] = {{"nvmlInit_v2", &nvml->init},
                  {"nvmlShutdown", &nvml->shutdown},
                  {"nvmlDeviceGetHandleByUUID", &nvml->by_uuid},
                  {"nvmlDeviceGetHandleByIndex_v2", &nvml->by_index},
                  {"nvmlDeviceGetCount_v2", &nvml->count},
                  {"nvmlDeviceGetDeviceHandleFromMigDeviceHandle", &nvml->parent},
                  {"nvmlDeviceGetPciInfo_v3", &nvml->pci},
                  {"nvmlDeviceGetUUID", &nvml->uuid},
                  {"nvmlDeviceGetName", &nvml->name},
                  {"nvmlDeviceGetMinorNumber", &nvml->minor}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (!(*(void **)wanted[i].function = dlsym(nvml->library, wanted[i].name)))
            return false;
    *(void **)&nvml->processes = dlsym(nvml->library, "nvmlDeviceGetComputeRunningProcesses_v3");
    if (!nvml->processes)
        *(void **)&nvml->processes = dlsym(nvml->library, "nvmlDeviceGetComputeRunningProcesses_v2");
    return true;
}

static bool open_nvml(struct nvml *nvml)
{
    const char *pretended = getenv("RANKCALL_TEST_NVML");
    if (!pretended && access("/dev/nvidiactl", F_OK) != 0) /* no driver: nothing is looked for */
        return false;
    nvml->library = dlopen(pretended ? pretended : "libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (nvml->library && find_all(nvml) && !nvml->init())
        return true;
    if (nvml->library)
        dlclose(nvml->library);
    return false;
}

static void close_nvml(struct nvml *nvml)
{
    nvml->shutdown();
    dlclose(nvml->library);
}

static bool address_of(const struct nvml *nvml, handle device, char address[20])
{
    struct pci_info info = {0};
    if (nvml->pci(device, &info))
        return false;
    snprintf(address, 20, "%04x:%02x:%02x.0", info.domain & 0xffff, info.bus & 0xff, info.device & 0x1f);
    return true;
}

bool rk_nvml_parent(const char *uuid, char address[20])
{
    struct nvml nvml;
    handle slice, device;
    if (!open_nvml(&nvml))
        return false;
    bool found = !nvml.by_uuid(uuid, &slice) && !nvml.parent(slice, &device) && address_of(&nvml, device, address);
    close_nvml(&nvml);
    return found;
}

static bool read_gpu(const struct nvml *nvml, unsigned index, struct rk_gpu *gpu)
{
    handle device;
    unsigned minor;
    *gpu = (struct rk_gpu){.minor = -1};
    if (nvml->by_index(index, &device) || !address_of(nvml, device, gpu->address) ||
        nvml->uuid(device, gpu->uuid, sizeof gpu->uuid))
        return false;
    nvml->name(device, gpu->model, sizeof gpu->model);
    if (!nvml->minor(device, &minor))
        gpu->minor = (int)minor;
    return true;
}

int rk_nvml_gpus(struct rk_gpu gpus[RK_GPUS_MAX])
{
    struct nvml nvml;
    unsigned all = 0;
    int count = 0;
    if (!open_nvml(&nvml))
        return 0;
    if (nvml.count(&all))
        all = 0;
    for (unsigned i = 0; i < all && count < RK_GPUS_MAX; i++)
        count += read_gpu(&nvml, i, &gpus[count]);
    close_nvml(&nvml);
    return count;
}

#define PROCESSES_MAX 256 /* of one GPU */

static int read_uses(const struct nvml *nvml, unsigned index, struct rk_gpu_use *uses, int room)
{
    struct process_info infos[PROCESSES_MAX];
    unsigned there = PROCESSES_MAX;
    char address[20];
    int count = 0;
    handle device;
    if (nvml->by_index(index, &device) || !address_of(nvml, device, address) || nvml->processes(device, &there, infos))
        return 0;
    for (unsigned i = 0; i < there && count < room; i++) {
        uses[count] = (struct rk_gpu_use){.process = (pid_t)infos[i].process};
        memcpy(uses[count++].address, address, sizeof address);
    }
    return count;
}

int rk_nvml_uses(struct rk_gpu_use *uses, int room)
{
    struct nvml nvml;
    unsigned all = 0;
    int count = 0;
    if (!open_nvml(&nvml))
        return 0;
    if (!nvml.processes || nvml.count(&all))
        all = 0;
    for (unsigned i = 0; i < all; i++)
        count += read_uses(&nvml, i, uses + count, room - count);
    close_nvml(&nvml);
    return count;
}
