/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A double of CUDA's run time, not CUDA: devices are memory of the host under an address of their own, which nobody can
 * read or write, and streams are threads. */

#include "cudart_double.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cuda/cuda_runtime_api.h"

#define DEVICE_MEMORY ((size_t)1 << 30)

struct block {
    struct block *next;
    char *memory, *real; /* the same unless it is the device's */
    size_t size, mapped;
    enum cudaMemoryType type;
};

struct work {
    struct work *next;
    void (*run)(void *);
    void *context;
};

struct CUstream_st {
    struct CUstream_st *next;
    pthread_t thread;
    bool threaded, ending;
    struct work *first, **end;
    int waiting; /* the one that runs included */
};

struct CUevent_st {
    int pending; /* records that have not been passed */
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool lazy, hangs;
    int devices, fail_error, fail_after, streams, events, device;
    char fail_call[64];
    cudaError_t last, stuck;
    struct block *blocks;
    struct CUstream_st *all;
} now = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .devices = DOUBLE_DEVICES};

__attribute__((constructor)) static void count_devices(void)
{
    const char *given = getenv("RANKCALL_DOUBLE_DEVICES");
    if (given)
        now.devices = atoi(given);
}

/* ---- What a test asks ---- */

void double_reset(int devices)
{
    pthread_mutex_lock(&now.lock);
    now.lazy = true;
    now.hangs = false;
    now.devices = devices;
    now.fail_call[0] = '\0';
    now.last = now.stuck = cudaSuccess;
    now.streams = now.events = 0;
    now.blocks = NULL;
    pthread_mutex_unlock(&now.lock);
}

void double_fail(const char *call, int error, int after)
{
    pthread_mutex_lock(&now.lock);
    snprintf(now.fail_call, sizeof now.fail_call, "%s", call);
    now.fail_error = error;
    now.fail_after = after;
    pthread_mutex_unlock(&now.lock);
}

void double_hang(bool hangs)
{
    pthread_mutex_lock(&now.lock);
    now.hangs = hangs;
    pthread_cond_broadcast(&now.changed);
    pthread_mutex_unlock(&now.lock);
}

int double_held(void)
{
    pthread_mutex_lock(&now.lock);
    int held = now.streams + now.events;
    for (const struct block *block = now.blocks; block; block = block->next)
        held++;
    pthread_mutex_unlock(&now.lock);
    return held;
}

size_t double_bytes(void)
{
    size_t bytes = 0;
    pthread_mutex_lock(&now.lock);
    for (const struct block *block = now.blocks; block; block = block->next)
        bytes += block->type == cudaMemoryTypeDevice ? block->size : 0;
    pthread_mutex_unlock(&now.lock);
    return bytes;
}

int double_pending(void)
{
    int pending = 0;
    pthread_mutex_lock(&now.lock);
    for (const struct CUstream_st *stream = now.all; stream; stream = stream->next)
        pending += stream->waiting;
    pthread_mutex_unlock(&now.lock);
    return pending;
}

/* ---- Errors ---- */

/* What a call ends with, unless it has a reason of its own to fail. */
static cudaError_t end(const char *call, cudaError_t own)
{
    pthread_mutex_lock(&now.lock);
    cudaError_t error = now.stuck ? now.stuck : own;
    if (!error && !strcmp(call, now.fail_call) && now.fail_after-- <= 0) {
        error = (cudaError_t)now.fail_error;
        now.fail_call[0] = '\0';
        if (error == cudaErrorIllegalAddress || error == cudaErrorECCUncorrectable)
            now.stuck = error;
    }
    if (error)
        now.last = error;
    pthread_mutex_unlock(&now.lock);
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
    pthread_mutex_lock(&now.lock);
    cudaError_t last = now.last;
    now.last = now.stuck;
    pthread_mutex_unlock(&now.lock);
    return last;
}

/* ---- Devices ---- */

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
    properties->totalGlobalMem = DEVICE_MEMORY;
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
    cudaError_t error = end("cudaSetDevice", device < now.devices ? cudaSuccess : cudaErrorInvalidDevice);
    if (!error)
        now.device = device;
    return error;
}

cudaError_t cudaGetDevice(int *device)
{
    *device = now.device;
    return end("cudaGetDevice", cudaSuccess);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *all)
{
    *all = DEVICE_MEMORY;
    *free_bytes = DEVICE_MEMORY - double_bytes();
    return end("cudaMemGetInfo", cudaSuccess);
}

/* ---- Memory ---- */

/* With the lock. */
static struct block *find(const void *memory)
{
    for (struct block *block = now.blocks; block; block = block->next)
        if ((const char *)memory >= block->memory && (const char *)memory < block->memory + block->size)
            return block;
    return NULL;
}

void *double_real(const void *memory, size_t size)
{
    void *real = (void *)memory;
    pthread_mutex_lock(&now.lock);
    const struct block *block = find(memory);
    if (block) {
        size_t at = (size_t)((const char *)memory - block->memory);
        real = size <= block->size - at ? block->real + at : NULL;
    }
    pthread_mutex_unlock(&now.lock);
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
    cudaError_t error = end(call, size > DEVICE_MEMORY ? cudaErrorMemoryAllocation : cudaSuccess);
    struct block *block = error ? NULL : calloc(1, sizeof *block);
    if (error)
        return error;
    *block = (struct block){.size = size, .type = type};
    if (!fill_block(block)) {
        free(block);
        return end(call, cudaErrorMemoryAllocation);
    }
    *memory = block->memory;
    pthread_mutex_lock(&now.lock);
    block->next = now.blocks;
    now.blocks = block;
    pthread_mutex_unlock(&now.lock);
    return cudaSuccess;
}

static struct block *unlink_block(const void *memory, enum cudaMemoryType type)
{
    struct block *found = NULL;
    pthread_mutex_lock(&now.lock);
    for (struct block **link = &now.blocks; *link && !found; link = found ? link : &(*link)->next)
        if ((*link)->memory == memory && (*link)->type == type) {
            found = *link;
            *link = found->next;
            break;
        }
    pthread_mutex_unlock(&now.lock);
    return found;
}

static cudaError_t give(const char *call, void *memory, enum cudaMemoryType type)
{
    cudaError_t error = end(call, cudaSuccess);
    struct block *block = error ? NULL : unlink_block(memory, type);
    if (error)
        return error;
    if (!block)
        return end(call, cudaErrorInvalidValue);
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
    pthread_mutex_lock(&now.lock);
    const struct block *block = find(memory);
    attributes->type = block ? block->type : cudaMemoryTypeUnregistered;
    attributes->device = now.device;
    pthread_mutex_unlock(&now.lock);
    return end("cudaPointerGetAttributes", cudaSuccess);
}

/* ---- Streams ---- */

static _Thread_local struct CUstream_st *serving;

bool double_stream_ends(void)
{
    return serving && serving->ending;
}

/* With the lock, which is given up while the work runs. */
static void run_first(struct CUstream_st *stream)
{
    struct work *work = stream->first;
    stream->first = work->next;
    if (!stream->first)
        stream->end = &stream->first;
    pthread_mutex_unlock(&now.lock);
    work->run(work->context);
    free(work);
    pthread_mutex_lock(&now.lock);
    stream->waiting--;
    pthread_cond_broadcast(&now.changed);
}

static void *serve(void *context)
{
    struct CUstream_st *stream = serving = context;
    pthread_mutex_lock(&now.lock);
    while (!stream->ending)
        if (stream->first && !now.hangs)
            run_first(stream);
        else
            pthread_cond_wait(&now.changed, &now.lock);
    pthread_mutex_unlock(&now.lock);
    return NULL;
}

/* With the lock: until all is done. */
static void finish(struct CUstream_st *stream)
{
    while (stream->waiting)
        if (stream->threaded)
            pthread_cond_wait(&now.changed, &now.lock);
        else
            run_first(stream);
}

bool double_enqueue(struct CUstream_st *stream, void (*run)(void *), void *context)
{
    struct work *work = malloc(sizeof *work);
    if (!work)
        return false;
    *work = (struct work){.run = run, .context = context};
    pthread_mutex_lock(&now.lock);
    *stream->end = work;
    stream->end = &work->next;
    stream->waiting++;
    pthread_cond_broadcast(&now.changed);
    pthread_mutex_unlock(&now.lock);
    return true;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    cudaError_t error =
        end("cudaStreamCreateWithFlags", flags == cudaStreamNonBlocking ? cudaSuccess : cudaErrorInvalidValue);
    struct CUstream_st *made = error ? NULL : calloc(1, sizeof *made);
    if (error)
        return error;
    made->end = &made->first;
    made->threaded = !now.lazy && !pthread_create(&made->thread, NULL, serve, made);
    pthread_mutex_lock(&now.lock);
    made->next = now.all;
    now.all = made;
    now.streams++;
    pthread_mutex_unlock(&now.lock);
    *stream = made;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    pthread_mutex_lock(&now.lock);
    if (!stream->threaded)
        finish(stream);
    stream->ending = true;
    pthread_cond_broadcast(&now.changed);
    for (struct CUstream_st **link = &now.all; *link; link = &(*link)->next)
        if (*link == stream) {
            *link = stream->next;
            now.streams--;
            break;
        }
    pthread_mutex_unlock(&now.lock);
    if (stream->threaded)
        pthread_join(stream->thread, NULL);
    while (stream->first) {
        struct work *work = stream->first;
        stream->first = work->next;
        free(work);
    }
    free(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    cudaError_t error = end("cudaStreamSynchronize", stream ? cudaSuccess : cudaErrorInvalidValue);
    pthread_mutex_lock(&now.lock);
    if (stream && (!error || !stream->threaded))
        finish(stream);
    pthread_mutex_unlock(&now.lock);
    return error;
}

/* Lazy streams do one piece of work for each look, so that somebody who looks on sees an end. */
static bool is_done(struct CUstream_st *stream, const int *pending)
{
    pthread_mutex_lock(&now.lock);
    bool done = !*pending;
    if (!done && stream && !stream->threaded && stream->first)
        run_first(stream);
    pthread_mutex_unlock(&now.lock);
    return done;
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    cudaError_t error = end("cudaStreamQuery", cudaSuccess);
    return error ? error : is_done(stream, &stream->waiting) ? cudaSuccess : cudaErrorNotReady;
}

/* ---- Events ---- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    cudaError_t error =
        end("cudaEventCreateWithFlags", flags == cudaEventDisableTiming ? cudaSuccess : cudaErrorInvalidValue);
    if (error)
        return error;
    *event = calloc(1, sizeof **event);
    pthread_mutex_lock(&now.lock);
    now.events++;
    pthread_mutex_unlock(&now.lock);
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    pthread_mutex_lock(&now.lock);
    now.events--;
    bool pending = event->pending;
    pthread_mutex_unlock(&now.lock);
    if (!pending) /* else it is lost: its stream still has it */
        free(event);
    return cudaSuccess;
}

static void pass(void *context)
{
    struct CUevent_st *event = context;
    pthread_mutex_lock(&now.lock);
    event->pending--;
    pthread_mutex_unlock(&now.lock);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    cudaError_t error = end("cudaEventRecord", event && stream ? cudaSuccess : cudaErrorInvalidValue);
    if (error)
        return error;
    pthread_mutex_lock(&now.lock);
    event->pending++;
    pthread_mutex_unlock(&now.lock);
    return double_enqueue(stream, pass, event) ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    cudaError_t error = end("cudaEventQuery", event ? cudaSuccess : cudaErrorInvalidValue);
    return error ? error : is_done(now.all, &event->pending) ? cudaSuccess : cudaErrorNotReady;
}

/* ---- Copies ---- */

struct copy {
    void *to;
    const void *from;
    size_t size;
};

static void run_copy(void *context)
{
    struct copy *copy = context;
    memmove(copy->to, copy->from, copy->size);
    free(copy);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    void *real_to = to ? double_real(to, size) : NULL;
    const void *real_from = from ? double_real(from, size) : NULL;
    bool good = real_to && real_from && stream && kind == cudaMemcpyDefault;
    cudaError_t error = end("cudaMemcpyAsync", good ? cudaSuccess : cudaErrorInvalidValue);
    struct copy *copy = error ? NULL : malloc(sizeof *copy);
    if (error)
        return error;
    *copy = (struct copy){real_to, real_from, size};
    return double_enqueue(stream, run_copy, copy) ? cudaSuccess : cudaErrorMemoryAllocation;
}
