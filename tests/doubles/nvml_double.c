/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A double of NVML, not NVML: eight GPUs where those of tests/topologies/dual-socket-8gpu.xml are; a slice whose UUID
 * ends in a digit is of the GPU of that number. RANKCALL_DOUBLE_BUS: the first one's bus instead, the others follow.
 * RANKCALL_DOUBLE_PROCESSES: who computes where, as "PROCESS:GPU,...". */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GPUS    8
#define UNKNOWN 6 /* NVML_ERROR_NOT_FOUND */

typedef struct nvmlDevice_st *handle;

struct pci_info {
    char legacy[16];
    unsigned domain, bus, device, ids, subsystem;
    char address[32];
};

struct process_info {
    unsigned process;
    unsigned long long memory;
    unsigned gpu_instance, compute_instance;
};

static char gpus[GPUS], slices[GPUS];
static const unsigned buses[GPUS] = {0x07, 0x0f, 0x47, 0x4e, 0x87, 0x90, 0xb7, 0xbd};

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetHandleByUUID(const char *uuid, handle *device);
int nvmlDeviceGetHandleByIndex_v2(unsigned index, handle *device);
int nvmlDeviceGetCount_v2(unsigned *count);
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle slice, handle *device);
int nvmlDeviceGetPciInfo_v3(handle device, struct pci_info *info);
int nvmlDeviceGetUUID(handle device, char *uuid, unsigned size);
int nvmlDeviceGetName(handle device, char *name, unsigned size);
int nvmlDeviceGetMinorNumber(handle device, unsigned *minor);
int nvmlDeviceGetComputeRunningProcesses_v3(handle device, unsigned *count, struct process_info *infos);

int nvmlInit_v2(void)
{
    return 0;
}

int nvmlShutdown(void)
{
    return 0;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, handle *device)
{
    unsigned number = (unsigned)(uuid[strlen(uuid) - 1] - '0');
    if (strncmp(uuid, "MIG-", 4) || number >= GPUS)
        return UNKNOWN;
    *device = (handle)&slices[number];
    return 0;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, handle *device)
{
    *device = (handle)&gpus[index];
    return index < GPUS ? 0 : UNKNOWN;
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    *count = GPUS;
    return 0;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle slice, handle *device)
{
    *device = (handle)&gpus[(char *)slice - slices];
    return 0;
}

static unsigned number_of(handle device)
{
    return (unsigned)((char *)device - gpus);
}

int nvmlDeviceGetPciInfo_v3(handle device, struct pci_info *info)
{
    const char *first = getenv("RANKCALL_DOUBLE_BUS");
    unsigned number = number_of(device);
    *info = (struct pci_info){.bus = first ? (unsigned)atoi(first) + number : buses[number]};
    return 0;
}

int nvmlDeviceGetUUID(handle device, char *uuid, unsigned size)
{
    snprintf(uuid, size, "GPU-00000000-0000-0000-0000-%012x", number_of(device));
    return 0;
}

int nvmlDeviceGetName(handle device, char *name, unsigned size)
{
    (void)device;
    snprintf(name, size, "A Double");
    return 0;
}

int nvmlDeviceGetMinorNumber(handle device, unsigned *minor)
{
    *minor = number_of(device);
    return 0;
}

int nvmlDeviceGetComputeRunningProcesses_v3(handle device, unsigned *count, struct process_info *infos)
{
    const char *at = getenv("RANKCALL_DOUBLE_PROCESSES");
    unsigned process, gpu, room = *count;
    int length;
    for (*count = 0; at && *count < room && sscanf(at, "%u:%u%n", &process, &gpu, &length) == 2; at += length) {
        if (gpu == number_of(device))
            infos[(*count)++] = (struct process_info){.process = process};
        length += at[length] == ',';
    }
    return 0;
}
