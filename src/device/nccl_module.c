/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* NCCL, as a part of the CUDA module: opened when it is asked for, and never waited for. */

#include <dlfcn.h>
#include <nccl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/cuda_inside.h"

_Static_assert(sizeof(ncclUniqueId) == RK_NCCL_ID_SIZE, "an id has NCCL's size");

struct rk_nccl {
    struct rk_cuda *cuda;
    ncclComm_t comm;
    int ranks, rank;
};

#define PARTS_SINCE 22803 /* ncclGather and ncclScatter */

/* NCCL's functions, by name. */
#define FUNCTIONS(X)          \
    X(ncclGetVersion)         \
    X(ncclGetUniqueId)        \
    X(ncclGetErrorString)     \
    X(ncclGetLastError)       \
    X(ncclCommInitRankConfig) \
    X(ncclCommGetAsyncError)  \
    X(ncclCommAbort)          \
    X(ncclGroupStart)         \
    X(ncclGroupEnd)           \
    X(ncclSend)               \
    X(ncclRecv)               \
    X(ncclBroadcast)          \
    X(ncclAllGather)          \
    X(ncclReduce)             \
    X(ncclAllReduce)

typedef ncclResult_t parts_fn(const void *, void *, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t);

static struct {
    void *library;
    parts_fn *gather, *scatter;
#define MEMBER(name) __typeof__(&name) name;
    FUNCTIONS(MEMBER)
#undef MEMBER
} nccl;

static enum rk_cuda_end find_all(void *library, char text[RK_CUDA_TEXT])
{
#define FIND(name)                                                         \
    if (!(*(void **)&nccl.name = dlsym(library, #name))) {                 \
        snprintf(text, RK_CUDA_TEXT, "NCCL is too old: it has no " #name); \
        return RK_CUDA_ABSENT;                                             \
    }
    FUNCTIONS(FIND)
#undef FIND
    int version = 0;
    if (nccl.ncclGetVersion(&version) == ncclSuccess && version >= PARTS_SINCE) {
        *(void **)&nccl.gather = dlsym(library, "ncclGather");
        *(void **)&nccl.scatter = dlsym(library, "ncclScatter");
    }
    return RK_CUDA_OK;
}

static enum rk_cuda_end open_nccl(char text[RK_CUDA_TEXT])
{
    const char *pretended = getenv("RANKCALL_TEST_NCCL");
    if (nccl.library)
        return RK_CUDA_OK;
    void *library = dlopen(pretended ? pretended : "libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        snprintf(text, RK_CUDA_TEXT, "NCCL cannot be used: %s", dlerror());
        return RK_CUDA_ABSENT;
    }
    enum rk_cuda_end end = find_all(library, text);
    if (end)
        dlclose(library);
    else
        nccl.library = library;
    return end;
}

/* ---- Errors ---- */

static enum rk_cuda_end fail(const struct rk_nccl *self, ncclResult_t result, const char *call, char text[RK_CUDA_TEXT])
{
    const char *last = nccl.ncclGetLastError(self ? self->comm : NULL);
    snprintf(text, RK_CUDA_TEXT, "%s on GPU %s: %s%s%.250s", call, self ? self->cuda->facts.uuid : "?",
             nccl.ncclGetErrorString(result), last && *last ? ": " : "", last ? last : "");
    return RK_CUDA_NCCL;
}

/* NCCL passes CUDA's errors on without saying which it was. */
static enum rk_cuda_end end_of(struct rk_nccl *self, ncclResult_t result, const char *call, char text[RK_CUDA_TEXT])
{
    if (result == ncclSuccess)
        return RK_CUDA_OK;
    if (result == ncclInProgress)
        return RK_CUDA_BUSY;
    cudaError_t error = result == ncclUnhandledCudaError ? cudaStreamQuery(self->cuda->stream) : cudaSuccess;
    if (error && error != cudaErrorNotReady)
        return rk_cuda_fail(self->cuda, error, text, "%s", call);
    return fail(self, result, call, text);
}

/* ---- Communicators ---- */

enum rk_cuda_end rk_nccl_version(int *version, char text[RK_CUDA_TEXT])
{
    enum rk_cuda_end end = open_nccl(text);
    ncclResult_t result = end ? ncclSuccess : nccl.ncclGetVersion(version);
    return end ? end : result ? fail(NULL, result, "ncclGetVersion", text) : RK_CUDA_OK;
}

enum rk_cuda_end rk_nccl_id(uint8_t id[RK_NCCL_ID_SIZE], char text[RK_CUDA_TEXT])
{
    ncclUniqueId unique;
    enum rk_cuda_end end = open_nccl(text);
    if (end)
        return end;
    ncclResult_t result = nccl.ncclGetUniqueId(&unique);
    if (result)
        return fail(NULL, result, "ncclGetUniqueId", text);
    memcpy(id, &unique, RK_NCCL_ID_SIZE);
    return RK_CUDA_OK;
}

enum rk_cuda_end rk_nccl_join(struct rk_cuda *cuda, const uint8_t id[RK_NCCL_ID_SIZE], int ranks, int rank,
                              struct rk_nccl **out, char text[RK_CUDA_TEXT])
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    ncclUniqueId unique;
    enum rk_cuda_end end = rk_cuda_enter(cuda, text);
    struct rk_nccl *self = end ? NULL : calloc(1, sizeof *self);
    if (end)
        return end;
    if (!self) {
        snprintf(text, RK_CUDA_TEXT, "out of memory");
        return RK_CUDA_FAILED;
    }
    *self = (struct rk_nccl){.cuda = cuda, .ranks = ranks, .rank = rank};
    memcpy(&unique, id, RK_NCCL_ID_SIZE);
    config.blocking = 0;
    ncclResult_t result = nccl.ncclCommInitRankConfig(&self->comm, ranks, unique, rank, &config);
    end = end_of(self, result, "ncclCommInitRankConfig", text);
    if (end == RK_CUDA_OK || end == RK_CUDA_BUSY)
        *out = self;
    else
        rk_nccl_leave(self);
    return end;
}

enum rk_cuda_end rk_nccl_look(struct rk_nccl *self, char text[RK_CUDA_TEXT])
{
    ncclResult_t state = ncclSuccess, result = nccl.ncclCommGetAsyncError(self->comm, &state);
    return end_of(self, result ? result : state, "NCCL", text);
}

void rk_nccl_leave(struct rk_nccl *self)
{
    if (self && self->comm)
        nccl.ncclCommAbort(self->comm);
    free(self);
}

/* ---- Collectives ---- */

static const int types[] = {
    [RANKCALL_INT8] = ncclInt8 + 1,       [RANKCALL_INT32] = ncclInt32 + 1,     [RANKCALL_INT64] = ncclInt64 + 1,
    [RANKCALL_UINT8] = ncclUint8 + 1,     [RANKCALL_UINT32] = ncclUint32 + 1,   [RANKCALL_UINT64] = ncclUint64 + 1,
    [RANKCALL_FLOAT32] = ncclFloat32 + 1, [RANKCALL_FLOAT64] = ncclFloat64 + 1,
};

bool rk_nccl_reduces(enum rankcall_dtype type)
{
    return (size_t)type < sizeof types / sizeof *types && types[type];
}

static ncclRedOp_t op_of(enum rankcall_op op)
{
    static const ncclRedOp_t ops[] = {
        [RANKCALL_SUM] = ncclSum, [RANKCALL_PRODUCT] = ncclProd, [RANKCALL_MIN] = ncclMin, [RANKCALL_MAX] = ncclMax};
    return ops[op];
}

/* The root's own part needs no message. */
static ncclResult_t copy_own(struct rk_nccl *self, void *to, const void *from, size_t size)
{
    if (to == from || !size)
        return ncclSuccess;
    return cudaMemcpyAsync(to, from, size, cudaMemcpyDefault, self->cuda->stream) ? ncclUnhandledCudaError
                                                                                  : ncclSuccess;
}

/* Within a group nothing has begun yet, which communicators that don't block may say. */
static ncclResult_t posted(ncclResult_t result)
{
    return result == ncclInProgress ? ncclSuccess : result;
}

/* Messages of a gather, even or not, to the root. */
static ncclResult_t gather_parts(struct rk_nccl *self, const struct rk_nccl_work *work)
{
    ncclResult_t result = ncclSuccess;
    if (self->rank != work->root)
        return !work->size ? ncclSuccess
                           : posted(nccl.ncclSend(work->send, work->size, ncclInt8, work->root, self->comm,
                                                  self->cuda->stream));
    for (int rank = 0; rank < self->ranks && !result; rank++) {
        size_t size = work->uneven ? work->sizes[rank] : work->size;
        char *to = (char *)work->receive + (work->uneven ? work->offsets[rank] : (size_t)rank * size);
        if (rank == work->root)
            result = copy_own(self, to, work->send, size);
        else if (size)
            result = posted(nccl.ncclRecv(to, size, ncclInt8, rank, self->comm, self->cuda->stream));
    }
    return result;
}

static ncclResult_t scatter_parts(struct rk_nccl *self, const struct rk_nccl_work *work)
{
    ncclResult_t result = ncclSuccess;
    if (self->rank != work->root)
        return posted(nccl.ncclRecv(work->receive, work->size, ncclInt8, work->root, self->comm, self->cuda->stream));
    for (int rank = 0; rank < self->ranks && !result; rank++) {
        const char *from = (const char *)work->send + (size_t)rank * work->size;
        if (rank == work->root)
            result = copy_own(self, work->receive, from, work->size);
        else
            result = posted(nccl.ncclSend(from, work->size, ncclInt8, rank, self->comm, self->cuda->stream));
    }
    return result;
}

static ncclResult_t in_a_group(struct rk_nccl *self, const struct rk_nccl_work *work,
                               ncclResult_t (*parts)(struct rk_nccl *, const struct rk_nccl_work *))
{
    ncclResult_t result = nccl.ncclGroupStart();
    if (result)
        return result;
    ncclResult_t inner = parts(self, work);
    result = nccl.ncclGroupEnd();
    return inner ? inner : result;
}

static ncclResult_t reduce(struct rk_nccl *self, const struct rk_nccl_work *work)
{
    ncclDataType_t type = (ncclDataType_t)(types[work->type] - 1);
    size_t count = work->size / work->element;
    if (work->kind == RK_NCCL_ALL_REDUCE)
        return nccl.ncclAllReduce(work->send, work->receive, count, type, op_of(work->op), self->comm,
                                  self->cuda->stream);
    return nccl.ncclReduce(work->send, work->receive, count, type, op_of(work->op), work->root, self->comm,
                           self->cuda->stream);
}

static ncclResult_t go(struct rk_nccl *self, const struct rk_nccl_work *work, const char **call)
{
    cudaStream_t stream = self->cuda->stream;
    switch (work->kind) {
    case RK_NCCL_BROADCAST:
        *call = "ncclBroadcast";
        return nccl.ncclBroadcast(work->send, work->receive, work->size, ncclInt8, work->root, self->comm, stream);
    case RK_NCCL_ALL_GATHER:
        *call = "ncclAllGather";
        return nccl.ncclAllGather(work->send, work->receive, work->size, ncclInt8, self->comm, stream);
    case RK_NCCL_GATHER:
        *call = nccl.gather && !work->uneven ? "ncclGather" : "ncclSend and ncclRecv of a gather";
        return nccl.gather && !work->uneven
                   ? nccl.gather(work->send, work->receive, work->size, ncclInt8, work->root, self->comm, stream)
                   : in_a_group(self, work, gather_parts);
    case RK_NCCL_SCATTER:
        *call = nccl.scatter ? "ncclScatter" : "ncclSend and ncclRecv of a scatter";
        return nccl.scatter
                   ? nccl.scatter(work->send, work->receive, work->size, ncclInt8, work->root, self->comm, stream)
                   : in_a_group(self, work, scatter_parts);
    case RK_NCCL_REDUCE:
    case RK_NCCL_ALL_REDUCE: *call = work->kind == RK_NCCL_REDUCE ? "ncclReduce" : "ncclAllReduce";
    }
    return reduce(self, work);
}

enum rk_cuda_end rk_nccl_begin(struct rk_nccl *self, const struct rk_nccl_work *work, char text[RK_CUDA_TEXT])
{
    const char *call = "NCCL";
    enum rk_cuda_end end = rk_cuda_enter(self->cuda, text);
    if (end)
        return end;
    ncclResult_t result = go(self, work, &call);
    return end_of(self, result, call, text);
}
