/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A double of CUDA's run time, not CUDA: devices are memory of the host. Copies happen when somebody waits, so that who
 * does not wait is found out. */

#include "cudart_double.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/cuda_runtime_api.h"

#define BLOCKS 64
#define COPIES 64

struct block {
    char *memory;
    size_t size;
    enum cudaMemoryType type;
};

struct copy {
    void *to;
    const void *from;
    size_t size;
};

static struct {
    int devices, streams, fail_error, fail_after;
    const char *fail_call;
    cudaError_t last, stuck;
    struct block block[BLOCKS];
    struct copy copy[COPIES];
    int copies;
} now;

void double_reset(int devices)
{
    memset(&now, 0, sizeof now);
    now.devices = devices;
}

void double_fail(const char *call, int error, int after)
{
    now.fail_call = call;
    now.fail_error = error;
    now.fail_after = after;
}

int double_held(void)
{
    int held = now.streams;
    for (int i = 0; i < BLOCKS; i++)
        held += now.block[i].memory != NULL;
    return held;
}

int double_pending(void)
{
    return now.copies;
}

/* What a call ends with, unless it has a reason of its own to fail. */
static cudaError_t end(const char *call, cudaError_t own)
{
    cudaError_t error = now.stuck ? now.stuck : own;
    if (!error && now.fail_call && !strcmp(call, now.fail_call) && now.fail_after-- <= 0) {
        error = (cudaError_t)now.fail_error;
        now.fail_call = NULL;
        if (error == cudaErrorIllegalAddress || error == cudaErrorECCUncorrectable)
            now.stuck = error;
    }
    if (error)
        now.last = error;
    return error;
}

static struct block *find(const void *memory)
{
    for (int i = 0; i < BLOCKS; i++)
        if (now.block[i].memory && (const char *)memory >= now.block[i].memory &&
            (const char *)memory < now.block[i].memory + now.block[i].size)
            return &now.block[i];
    return NULL;
}

static cudaError_t take(const char *call, void **memory, size_t size, enum cudaMemoryType type)
{
    cudaError_t error = end(call, size > 1u << 30 ? cudaErrorMemoryAllocation : cudaSuccess);
    for (int i = 0; !error && i < BLOCKS; i++)
        if (!now.block[i].memory) {
            now.block[i] = (struct block){malloc(size), size, type};
            *memory = now.block[i].memory;
            return cudaSuccess;
        }
    return error ? error : end(call, cudaErrorMemoryAllocation);
}

static cudaError_t give(const char *call, void *memory, enum cudaMemoryType type)
{
    struct block *block = find(memory);
    if (!block || block->type != type || block->memory != memory)
        return end(call, cudaErrorInvalidValue);
    cudaError_t error = end(call, cudaSuccess);
    if (!error) {
        free(block->memory);
        *block = (struct block){0};
    }
    return error;
}

const char *cudaGetErrorName(cudaError_t error)
{
    return error == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation"
           : error == cudaErrorIllegalAddress ? "cudaErrorIllegalAddress"
                                              : "cudaErrorOfTheDouble";
}

const char *cudaGetErrorString(cudaError_t error)
{
    return error == cudaErrorMemoryAllocation ? "out of memory" : "an error of the double";
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t last = now.last;
    now.last = now.stuck;
    return last;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = 13000;
    return end("cudaDriverGetVersion", cudaSuccess);
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = 13000;
    return end("cudaRuntimeGetVersion", cudaSuccess);
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = now.devices > 0 ? now.devices : 0;
    return end("cudaGetDeviceCount", now.devices < 0    ? cudaErrorInsufficientDriver
                                     : now.devices == 0 ? cudaErrorNoDevice
                                                        : cudaSuccess);
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device)
{
    memset(properties, 0, sizeof *properties);
    strcpy(properties->name, "A Double");
    properties->uuid.bytes[15] = (char)device;
    properties->totalGlobalMem = (size_t)1 << 30;
    return end("cudaGetDeviceProperties", device < now.devices ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaDeviceGetByPCIBusId(int *device, const char *address)
{
    char own[20];
    int count;
    cudaError_t error = cudaGetDeviceCount(&count);
    for (*device = 0; !error && *device < count; (*device)++) {
        cudaDeviceGetPCIBusId(own, sizeof own, *device);
        if (!strcmp(own, address))
            return end("cudaDeviceGetByPCIBusId", cudaSuccess);
    }
    return error ? error : end("cudaDeviceGetByPCIBusId", cudaErrorInvalidValue);
}

cudaError_t cudaDeviceGetPCIBusId(char *address, int size, int device)
{
    snprintf(address, (size_t)size, "0000:%02x:00.0", 16 + device);
    return end("cudaDeviceGetPCIBusId", cudaSuccess);
}

cudaError_t cudaSetDevice(int device)
{
    return end("cudaSetDevice", device < now.devices ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *all)
{
    *free_bytes = *all = (size_t)1 << 30;
    return end("cudaMemGetInfo", cudaSuccess);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    cudaError_t error =
        end("cudaStreamCreateWithFlags", flags == cudaStreamNonBlocking ? cudaSuccess : cudaErrorInvalidValue);
    now.streams += !error;
    *stream = (cudaStream_t)&now;
    return error;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    now.streams -= stream == (cudaStream_t)&now;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    cudaError_t error = end("cudaStreamSynchronize", stream ? cudaSuccess : cudaErrorInvalidValue);
    for (int i = 0; !error && i < now.copies; i++)
        memcpy(now.copy[i].to, now.copy[i].from, now.copy[i].size);
    now.copies = 0;
    return error;
}

cudaError_t cudaMalloc(void **memory, size_t size)
{
    return take("cudaMalloc", memory, size, cudaMemoryTypeDevice);
}

cudaError_t cudaFree(void *memory)
{
    return give("cudaFree", memory, cudaMemoryTypeDevice);
}

cudaError_t cudaHostAlloc(void **memory, size_t size, unsigned flags)
{
    (void)flags;
    return take("cudaHostAlloc", memory, size, cudaMemoryTypeHost);
}

cudaError_t cudaFreeHost(void *memory)
{
    return give("cudaFreeHost", memory, cudaMemoryTypeHost);
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *memory)
{
    const struct block *block = find(memory);
    attributes->type = block ? block->type : cudaMemoryTypeUnregistered;
    return end("cudaPointerGetAttributes", cudaSuccess);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    bool good = to && from && stream && kind == cudaMemcpyDefault && now.copies < COPIES;
    cudaError_t error = end("cudaMemcpyAsync", good ? cudaSuccess : cudaErrorInvalidValue);
    if (!error)
        now.copy[now.copies++] = (struct copy){to, from, size};
    return error;
}
