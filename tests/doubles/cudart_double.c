/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A double of CUDA's run time, not CUDA: devices are memory of the host under an address of their own, which nobody can
 * read or write, and streams are threads. */

#include "cudart_double_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct double_state double_now = {
    .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .devices = DOUBLE_DEVICES};

__attribute__((constructor)) static void count_devices(void)
{
    const char *given = getenv("RANKCALL_DOUBLE_DEVICES");
    if (given)
        double_now.devices = atoi(given);
}

/* ---- What a test asks ---- */

void double_reset(int devices)
{
    pthread_mutex_lock(&double_now.lock);
    double_now.lazy = true;
    double_now.hangs = false;
    double_now.devices = devices;
    double_now.fail_call[0] = '\0';
    double_now.last = double_now.stuck = cudaSuccess;
    double_now.streams = double_now.events = 0;
    double_now.blocks = NULL;
    pthread_mutex_unlock(&double_now.lock);
}

void double_fail(const char *call, int error, int after)
{
    pthread_mutex_lock(&double_now.lock);
    snprintf(double_now.fail_call, sizeof double_now.fail_call, "%s", call);
    double_now.fail_error = error;
    double_now.fail_after = after;
    pthread_mutex_unlock(&double_now.lock);
}

void double_hang(bool hangs)
{
    pthread_mutex_lock(&double_now.lock);
    double_now.hangs = hangs;
    pthread_cond_broadcast(&double_now.changed);
    pthread_mutex_unlock(&double_now.lock);
}

int double_held(void)
{
    pthread_mutex_lock(&double_now.lock);
    int held = double_now.streams + double_now.events;
    for (const struct block *block = double_now.blocks; block; block = block->next)
        held++;
    pthread_mutex_unlock(&double_now.lock);
    return held;
}

size_t double_bytes(void)
{
    size_t bytes = 0;
    pthread_mutex_lock(&double_now.lock);
    for (const struct block *block = double_now.blocks; block; block = block->next)
        bytes += block->type == cudaMemoryTypeDevice ? block->size : 0;
    pthread_mutex_unlock(&double_now.lock);
    return bytes;
}

int double_pending(void)
{
    int pending = 0;
    pthread_mutex_lock(&double_now.lock);
    for (const struct CUstream_st *stream = double_now.all; stream; stream = stream->next)
        pending += stream->waiting;
    pthread_mutex_unlock(&double_now.lock);
    return pending;
}

/* ---- Errors ---- */

cudaError_t double_end(const char *call, cudaError_t own)
{
    pthread_mutex_lock(&double_now.lock);
    cudaError_t error = double_now.stuck ? double_now.stuck : own;
    if (!error && !strcmp(call, double_now.fail_call) && double_now.fail_after-- <= 0) {
        error = (cudaError_t)double_now.fail_error;
        double_now.fail_call[0] = '\0';
        if (error == cudaErrorIllegalAddress || error == cudaErrorECCUncorrectable)
            double_now.stuck = error;
    }
    if (error)
        double_now.last = error;
    pthread_mutex_unlock(&double_now.lock);
    return error;
}

const char *cudaGetErrorName(cudaError_t error)
{
    return error == cudaErrorMemoryAllocation   ? "cudaErrorMemoryAllocation"
           : error == cudaErrorIllegalAddress   ? "cudaErrorIllegalAddress"
           : error == cudaErrorECCUncorrectable ? "cudaErrorECCUncorrectable"
                                                : "cudaErrorOfTheDouble";
}

const char *cudaGetErrorString(cudaError_t error)
{
    return error == cudaErrorMemoryAllocation ? "out of memory" : "an error of the double";
}

cudaError_t cudaGetLastError(void)
{
    pthread_mutex_lock(&double_now.lock);
    cudaError_t last = double_now.last;
    double_now.last = double_now.stuck;
    pthread_mutex_unlock(&double_now.lock);
    return last;
}

/* ---- Devices ---- */

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = 13000;
    return double_end("cudaDriverGetVersion", cudaSuccess);
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = 13000;
    return double_end("cudaRuntimeGetVersion", cudaSuccess);
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = double_now.devices > 0 ? double_now.devices : 0;
    return double_end("cudaGetDeviceCount", double_now.devices < 0    ? cudaErrorInsufficientDriver
                                            : double_now.devices == 0 ? cudaErrorNoDevice
                                                                      : cudaSuccess);
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device)
{
    memset(properties, 0, sizeof *properties);
    strcpy(properties->name, "A Double");
    properties->uuid.bytes[15] = (char)device;
    properties->totalGlobalMem = DEVICE_MEMORY;
    return double_end("cudaGetDeviceProperties", device < double_now.devices ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaDeviceGetByPCIBusId(int *device, const char *address)
{
    char own[20];
    int count;
    cudaError_t error = cudaGetDeviceCount(&count);
    for (*device = 0; !error && *device < count; (*device)++) {
        cudaDeviceGetPCIBusId(own, sizeof own, *device);
        if (!strcmp(own, address))
            return double_end("cudaDeviceGetByPCIBusId", cudaSuccess);
    }
    return error ? error : double_end("cudaDeviceGetByPCIBusId", cudaErrorInvalidValue);
}

cudaError_t cudaDeviceGetPCIBusId(char *address, int size, int device)
{
    snprintf(address, (size_t)size, "0000:%02x:00.0", 16 + device);
    return double_end("cudaDeviceGetPCIBusId", cudaSuccess);
}

cudaError_t cudaSetDevice(int device)
{
    cudaError_t error = double_end("cudaSetDevice", device < double_now.devices ? cudaSuccess : cudaErrorInvalidDevice);
    if (!error)
        double_now.device = device;
    return error;
}

cudaError_t cudaGetDevice(int *device)
{
    *device = double_now.device;
    return double_end("cudaGetDevice", cudaSuccess);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *all)
{
    *all = DEVICE_MEMORY;
    *free_bytes = DEVICE_MEMORY - double_bytes();
    return double_end("cudaMemGetInfo", cudaSuccess);
}

/* ---- Memory ---- */

/* With the lock. */
static struct block *find(const void *memory)
{
    for (struct block *block = double_now.blocks; block; block = block->next)
        if ((const char *)memory >= block->memory && (const char *)memory < block->memory + block->size)
            return block;
    return NULL;
}

void *double_real(const void *memory, size_t size)
{
    void *real = (void *)memory;
    pthread_mutex_lock(&double_now.lock);
    const struct block *block = find(memory);
    if (block) {
        size_t at = (size_t)((const char *)memory - block->memory);
        real = size <= block->size - at ? block->real + at : NULL;
    }
    pthread_mutex_unlock(&double_now.lock);
    return real;
}

/* The same bytes twice: once for everybody's pointers, where they cannot be reached, and once for the double. */
static bool map_twice(struct block *block)
{
    int file = memfd_create("cuda double", MFD_CLOEXEC);
    block->mapped = (block->size + 4095) / 4096 * 4096;
    if (file < 0 || ftruncate(file, (off_t)block->mapped)) {
        if (file >= 0)
            close(file);
        return false;
    }
    void *real = mmap(NULL, block->mapped, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    void *shown = mmap(NULL, block->mapped, PROT_NONE, MAP_SHARED, file, 0);
    close(file);
    block->real = real;
    block->memory = shown;
    return real != MAP_FAILED && shown != MAP_FAILED;
}

static bool fill_block(struct block *block)
{
    if (block->type == cudaMemoryTypeDevice)
        return map_twice(block);
    block->memory = block->real = malloc(block->size);
    return block->memory;
}

static cudaError_t take(const char *call, void **memory, size_t size, enum cudaMemoryType type)
{
    cudaError_t error = double_end(call, size > DEVICE_MEMORY ? cudaErrorMemoryAllocation : cudaSuccess);
    struct block *block = error ? NULL : calloc(1, sizeof *block);
    if (error)
        return error;
    *block = (struct block){.size = size, .type = type};
    if (!fill_block(block)) {
        free(block);
        return double_end(call, cudaErrorMemoryAllocation);
    }
    *memory = block->memory;
    pthread_mutex_lock(&double_now.lock);
    block->next = double_now.blocks;
    double_now.blocks = block;
    pthread_mutex_unlock(&double_now.lock);
    return cudaSuccess;
}

static struct block *unlink_block(const void *memory, enum cudaMemoryType type)
{
    struct block *found = NULL;
    pthread_mutex_lock(&double_now.lock);
    for (struct block **link = &double_now.blocks; *link && !found; link = found ? link : &(*link)->next)
        if ((*link)->memory == memory && (*link)->type == type) {
            found = *link;
            *link = found->next;
            break;
        }
    pthread_mutex_unlock(&double_now.lock);
    return found;
}

static cudaError_t give(const char *call, void *memory, enum cudaMemoryType type)
{
    cudaError_t error = double_end(call, cudaSuccess);
    struct block *block = error ? NULL : unlink_block(memory, type);
    if (error)
        return error;
    if (!block)
        return double_end(call, cudaErrorInvalidValue);
    if (type == cudaMemoryTypeDevice) {
        munmap(block->real, block->mapped);
        munmap(block->memory, block->mapped);
    } else {
        free(block->memory);
    }
    free(block);
    return cudaSuccess;
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
    pthread_mutex_lock(&double_now.lock);
    const struct block *block = find(memory);
    attributes->type = block ? block->type : cudaMemoryTypeUnregistered;
    attributes->device = double_now.device;
    pthread_mutex_unlock(&double_now.lock);
    return double_end("cudaPointerGetAttributes", cudaSuccess);
}
