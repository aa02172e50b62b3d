/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The CUDA module: a device, a stream, memory, copies. */

#include "device/cuda_inside.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- Errors ---- */

static enum rk_cuda_end kind_of_error(cudaError_t error)
{
    switch (error) {
    case cudaErrorMemoryAllocation: return RK_CUDA_MEMORY;
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorDevicesUnavailable:
    case cudaErrorInvalidDevice: return RK_CUDA_ABSENT;
    case cudaErrorInvalidValue:
    case cudaErrorInvalidHostPointer:
    case cudaErrorInvalidDevicePointer: return RK_CUDA_POINTER;
    default: return RK_CUDA_FAILED;
    }
}

/* Opening a device failed, whose UUID is known from the driver. */
static enum rk_cuda_end fail_open(cudaError_t error, const char *what, const char *address, const char *uuid,
                                  char text[RK_CUDA_TEXT])
{
    snprintf(text, RK_CUDA_TEXT, "%s of %s on GPU %s: %s (%s)", what, *address ? address : uuid, *uuid ? uuid : "?",
             cudaGetErrorString(error), cudaGetErrorName(error));
    cudaGetLastError();
    return kind_of_error(error);
}

/* An error sticks when a harmless call gives one, too, after it was taken. */
static int sticks(void)
{
    size_t free_bytes, all;
    cudaGetLastError();
    cudaError_t still = cudaMemGetInfo(&free_bytes, &all);
    cudaGetLastError();
    return still != cudaSuccess;
}

enum rk_cuda_end rk_cuda_fail(const struct rk_cuda *cuda, cudaError_t error, char text[RK_CUDA_TEXT],
                              const char *format, ...)
{
    va_list arguments;
    char what[96];
    enum rk_cuda_end end = cuda && sticks() ? RK_CUDA_LOST : kind_of_error(error);
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    snprintf(text, RK_CUDA_TEXT, "%s on GPU %s: %s (%s)", what, cuda ? cuda->facts.uuid : "?",
             cudaGetErrorString(error), cudaGetErrorName(error));
    if (!cuda)
        cudaGetLastError();
    return end;
}

/* ---- Opening ---- */

/* As nvidia-smi writes them. */
static void write_uuid(const cudaUUID_t *uuid, char text[48])
{
    static const int dashes[] = {4, 6, 8, 10};
    int at = snprintf(text, 48, "GPU-"), next = 0;
    for (int i = 0; i < 16; i++) {
        if (next < 4 && dashes[next] == i) {
            text[at++] = '-';
            next++;
        }
        at += snprintf(text + at, 48 - (size_t)at, "%02x", (unsigned char)uuid->bytes[i]);
    }
}

static cudaError_t learn(int ordinal, struct rk_cuda_facts *facts)
{
    struct cudaDeviceProp properties;
    cudaError_t error = cudaGetDeviceProperties(&properties, ordinal);
    if (!error)
        error = cudaDeviceGetPCIBusId(facts->address, (int)sizeof facts->address, ordinal);
    if (!error)
        error = cudaDriverGetVersion(&facts->driver);
    if (!error)
        error = cudaRuntimeGetVersion(&facts->runtime);
    if (error)
        return error;
    facts->ordinal = ordinal;
    facts->memory = properties.totalGlobalMem;
    snprintf(facts->name, sizeof facts->name, "%.127s", properties.name);
    write_uuid(&properties.uuid, facts->uuid);
    return cudaSuccess;
}

static bool is_slice(const char *uuid)
{
    return !strncmp(uuid, "MIG-", 4);
}

/* What follows GPU- or MIG- in a UUID is what CUDA tells of both; of a slice that it shows alone it may tell the GPU's.
 */
static cudaError_t find_by_uuid(const char *uuid, int *ordinal)
{
    int count = 0;
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    cudaError_t error = cudaGetDeviceCount(&count);
    *ordinal = 0;
    if (!error && count == 1 && is_slice(uuid) && visible && !strcmp(visible, uuid))
        return cudaSuccess;
    for (int i = 0; !error && i < count; i++) {
        struct rk_cuda_facts facts = {0};
        error = learn(i, &facts);
        if (!error && strlen(uuid) > 4 && !strcasecmp(facts.uuid + 4, uuid + 4)) {
            *ordinal = i;
            return cudaSuccess;
        }
    }
    return error ? error : cudaErrorInvalidDevice;
}

static enum rk_cuda_end open_device(const char *address, const char *uuid, struct rk_cuda **out,
                                    char text[RK_CUDA_TEXT])
{
    int ordinal = 0;
    cudaError_t error = *address ? cudaDeviceGetByPCIBusId(&ordinal, address) : find_by_uuid(uuid, &ordinal);
    if (error == cudaErrorInvalidValue) /* it knows no such address */
        error = cudaErrorInvalidDevice;
    if (error)
        return fail_open(error, *address ? "cudaDeviceGetByPCIBusId" : "looking for the UUID", address, uuid, text);
    struct rk_cuda *cuda = calloc(1, sizeof *cuda);
    if (!cuda) {
        snprintf(text, RK_CUDA_TEXT, "out of memory");
        return RK_CUDA_FAILED;
    }
    const char *what = "cudaGetDeviceProperties";
    error = learn(ordinal, &cuda->facts);
    if (is_slice(uuid))
        snprintf(cuda->facts.uuid, sizeof cuda->facts.uuid, "%.47s", uuid);
    if (!error && (what = "cudaSetDevice", !(error = cudaSetDevice(ordinal)))) {
        what = "cudaStreamCreateWithFlags";
        error = cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking);
    }
    if (!error) {
        *out = cuda;
        return RK_CUDA_OK;
    }
    enum rk_cuda_end end = fail_open(error, what, address, uuid, text);
    free(cuda);
    return end;
}

static void close_device(struct rk_cuda *cuda)
{
    if (cuda)
        cudaStreamDestroy(cuda->stream);
    free(cuda);
}

static const struct rk_cuda_facts *facts_of(const struct rk_cuda *cuda)
{
    return &cuda->facts;
}

static void *stream_of(const struct rk_cuda *cuda)
{
    return cuda->stream;
}

/* ---- Memory ---- */

/* The device is the thread's, and the caller may have other threads. */
enum rk_cuda_end rk_cuda_enter(struct rk_cuda *cuda, char text[RK_CUDA_TEXT])
{
    cudaError_t error = cudaSetDevice(cuda->facts.ordinal);
    return error ? rk_cuda_fail(cuda, error, text, "cudaSetDevice") : RK_CUDA_OK;
}

static enum rk_cuda_end take(struct rk_cuda *cuda, enum rk_cuda_kind kind, size_t size, void **out,
                             char text[RK_CUDA_TEXT])
{
    const char *call = kind == RK_CUDA_DEVICE ? "cudaMalloc" : "cudaHostAlloc";
    enum rk_cuda_end end = rk_cuda_enter(cuda, text);
    if (end)
        return end;
    cudaError_t error = kind == RK_CUDA_DEVICE ? cudaMalloc(out, size) : cudaHostAlloc(out, size, cudaHostAllocDefault);
    return error ? rk_cuda_fail(cuda, error, text, "%s of %zu bytes", call, size) : RK_CUDA_OK;
}

static enum rk_cuda_end give(struct rk_cuda *cuda, enum rk_cuda_kind kind, void *memory, char text[RK_CUDA_TEXT])
{
    enum rk_cuda_end end = memory ? rk_cuda_enter(cuda, text) : RK_CUDA_OK;
    if (!memory || end)
        return end;
    cudaError_t error = cudaStreamSynchronize(cuda->stream);
    if (!error)
        error = kind == RK_CUDA_DEVICE ? cudaFree(memory) : cudaFreeHost(memory);
    return error ? rk_cuda_fail(cuda, error, text, "%s", kind == RK_CUDA_DEVICE ? "cudaFree" : "cudaFreeHost")
                 : RK_CUDA_OK;
}

static enum rk_cuda_end kind_of(struct rk_cuda *cuda, const void *memory, enum rk_cuda_kind *out,
                                char text[RK_CUDA_TEXT])
{
    struct cudaPointerAttributes attributes;
    enum rk_cuda_end end = rk_cuda_enter(cuda, text);
    if (end)
        return end;
    cudaError_t error = cudaPointerGetAttributes(&attributes, memory);
    if (error)
        return rk_cuda_fail(cuda, error, text, "cudaPointerGetAttributes");
    if (attributes.type == cudaMemoryTypeDevice && attributes.device != cuda->facts.ordinal) {
        snprintf(text, RK_CUDA_TEXT, "the memory is that of CUDA's device %d, not of GPU %s, which is %d",
                 attributes.device, cuda->facts.uuid, cuda->facts.ordinal);
        return RK_CUDA_POINTER;
    }
    *out = attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged ? RK_CUDA_DEVICE
           : attributes.type == cudaMemoryTypeHost                                             ? RK_CUDA_PINNED
                                                                                               : RK_CUDA_PLAIN;
    return RK_CUDA_OK;
}

static enum rk_cuda_end copy(struct rk_cuda *cuda, void *to, const void *from, size_t size, char text[RK_CUDA_TEXT])
{
    enum rk_cuda_end end = rk_cuda_enter(cuda, text);
    if (end)
        return end;
    cudaError_t error = cudaMemcpyAsync(to, from, size, cudaMemcpyDefault, cuda->stream);
    return error ? rk_cuda_fail(cuda, error, text, "cudaMemcpyAsync of %zu bytes", size) : RK_CUDA_OK;
}

static enum rk_cuda_end wait_for_all(struct rk_cuda *cuda, char text[RK_CUDA_TEXT])
{
    cudaError_t error = cudaStreamSynchronize(cuda->stream);
    return error ? rk_cuda_fail(cuda, error, text, "cudaStreamSynchronize") : RK_CUDA_OK;
}

/* ---- How far the stream is ---- */

static enum rk_cuda_end progress(const struct rk_cuda *cuda, cudaError_t error, const char *call,
                                 char text[RK_CUDA_TEXT])
{
    if (error == cudaErrorNotReady) {
        cudaGetLastError();
        return RK_CUDA_BUSY;
    }
    return error ? rk_cuda_fail(cuda, error, text, "%s", call) : RK_CUDA_OK;
}

static enum rk_cuda_end look(struct rk_cuda *cuda, char text[RK_CUDA_TEXT])
{
    return progress(cuda, cudaStreamQuery(cuda->stream), "cudaStreamQuery", text);
}

static enum rk_cuda_end mark(struct rk_cuda *cuda, void **mark, char text[RK_CUDA_TEXT])
{
    enum rk_cuda_end end = rk_cuda_enter(cuda, text);
    cudaEvent_t event = *mark;
    cudaError_t error = cudaSuccess;
    if (end)
        return end;
    if (!event)
        error = cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
    if (error)
        return rk_cuda_fail(cuda, error, text, "cudaEventCreateWithFlags");
    *mark = event;
    error = cudaEventRecord(event, cuda->stream);
    return error ? rk_cuda_fail(cuda, error, text, "cudaEventRecord") : RK_CUDA_OK;
}

static enum rk_cuda_end passed(struct rk_cuda *cuda, void *mark, char text[RK_CUDA_TEXT])
{
    return progress(cuda, cudaEventQuery(mark), "cudaEventQuery", text);
}

static void unmark(struct rk_cuda *cuda, void *mark)
{
    (void)cuda;
    if (mark)
        cudaEventDestroy(mark);
}

static enum rk_cuda_end tell(struct rk_cuda *cuda, int error, const char *what, char text[RK_CUDA_TEXT])
{
    return error ? rk_cuda_fail(cuda, (cudaError_t)error, text, "%s", what) : RK_CUDA_OK;
}

/* Found by its name, see RK_CUDA_MODULE_SYMBOL. */
extern const struct rk_cuda_module rk_cuda_module;
__attribute__((visibility("default"))) const struct rk_cuda_module rk_cuda_module = {
    .version = RK_CUDA_MODULE_VERSION,
    .open = open_device,
    .close = close_device,
    .facts = facts_of,
    .stream = stream_of,
    .take = take,
    .give = give,
    .kind = kind_of,
    .copy = copy,
    .wait = wait_for_all,
    .look = look,
    .mark = mark,
    .passed = passed,
    .unmark = unmark,
    .tell = tell,
    .nccl_version = rk_nccl_version,
    .nccl_id = rk_nccl_id,
    .nccl_join = rk_nccl_join,
    .nccl_look = rk_nccl_look,
    .nccl_begin = rk_nccl_begin,
    .nccl_reduces = rk_nccl_reduces,
    .nccl_leave = rk_nccl_leave,
};
