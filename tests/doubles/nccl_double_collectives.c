/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The double of NCCL: collectives, which are messages through the mailboxes, in a stream. */

#include "nccl_double_inside.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "cudart_double.h"

/* One message of a collective. */
struct job {
    bool sends;
    int peer;
    uint8_t *bytes;
    size_t size, done;
};

struct collective {
    struct ncclComm *comm;
    struct job job[JOBS_MAX];
    int jobs;
    uint8_t *parts; /* of a reduction: one after the other */
    uint8_t *result;
    size_t count;
    ncclDataType_t type;
    ncclRedOp_t op;
};

/* Between ncclGroupStart and ncclGroupEnd. */
static struct {
    struct collective *group;
    cudaStream_t stream;
    int depth;
} posted;

static void *real_of(const void *memory, size_t size)
{
    void *(*real)(const void *, size_t);
    *(void **)&real = nccl_double_cuda("double_real");
    return real(memory, size);
}

static bool stream_ends(void)
{
    bool (*ends)(void);
    *(void **)&ends = nccl_double_cuda("double_stream_ends");
    return ends();
}

static bool enqueue(cudaStream_t stream, void (*run)(void *), void *context)
{
    bool (*put)(cudaStream_t, void (*)(void *), void *);
    *(void **)&put = nccl_double_cuda("double_enqueue");
    return put(stream, run, context);
}

/* ---- Messages ---- */

static void add(struct collective *collective, bool sends, int peer, const void *bytes, size_t size)
{
    if (collective->jobs == JOBS_MAX)
        abort();
    if (size)
        collective->job[collective->jobs++] =
            (struct job){.sends = sends, .peer = peer, .bytes = (uint8_t *)bytes, .size = size};
}

/* Whether it could do something. */
static bool move(struct ncclComm *comm, struct job *job)
{
    struct box *box =
        job->sends ? &comm->shared->box[comm->rank][job->peer] : &comm->shared->box[job->peer][comm->rank];
    uint32_t filled = atomic_load_explicit(&box->filled, memory_order_acquire);
    size_t left = job->size - job->done;
    if (!left || job->sends == (filled != 0))
        return false;
    if (job->sends) {
        filled = (uint32_t)(left < BOX_SIZE ? left : BOX_SIZE);
        memcpy(box->bytes, job->bytes + job->done, filled);
        atomic_store_explicit(&box->filled, filled, memory_order_release);
    } else {
        filled = filled < left ? filled : (uint32_t)left;
        memcpy(job->bytes + job->done, box->bytes, filled);
        atomic_store_explicit(&box->filled, 0, memory_order_release);
    }
    job->done += filled;
    return true;
}

/* Messages between the same two ranks go one after the other. */
static bool is_next(const struct collective *collective, int which)
{
    const struct job *job = &collective->job[which];
    for (int i = 0; i < which; i++)
        if (collective->job[i].peer == job->peer && collective->job[i].sends == job->sends &&
            collective->job[i].done < collective->job[i].size)
            return false;
    return true;
}

static bool all_moved(struct collective *collective)
{
    bool some = false, all = true;
    for (int i = 0; i < collective->jobs; i++) {
        some |= is_next(collective, i) && move(collective->comm, &collective->job[i]);
        all = all && collective->job[i].done == collective->job[i].size;
    }
    if (!all && !some)
        sched_yield();
    return all;
}

#define FOLD(type)                                                                 \
    for (int rank = 0; rank < collective->comm->ranks; rank++) {                   \
        const type *part = (const type *)collective->parts + (size_t)rank * count; \
        type *to = (type *)collective->result;                                     \
        for (size_t i = 0; i < count; i++)                                         \
            to[i] = rank == 0        ? part[i]                                     \
                    : op == ncclSum  ? (type)(to[i] + part[i])                     \
                    : op == ncclProd ? (type)(to[i] * part[i])                     \
                    : op == ncclMax  ? (to[i] > part[i] ? to[i] : part[i])         \
                                     : (to[i] < part[i] ? to[i] : part[i]);         \
    }

static void fold(struct collective *collective)
{
    size_t count = collective->count;
    ncclRedOp_t op = collective->op;
    switch (collective->type) {
    case ncclInt8: FOLD(int8_t) break;
    case ncclUint8: FOLD(uint8_t) break;
    case ncclInt32: FOLD(int32_t) break;
    case ncclUint32: FOLD(uint32_t) break;
    case ncclInt64: FOLD(int64_t) break;
    case ncclUint64: FOLD(uint64_t) break;
    case ncclFloat32: FOLD(float) break;
    case ncclFloat64: FOLD(double) break;
    default: abort();
    }
}

/* In the stream. */
static void run(void *context)
{
    struct collective *collective = context;
    struct ncclComm *comm = collective->comm;
    bool done = false;
    while (!done && !atomic_load(&comm->aborted) && !stream_ends())
        done = !nccl_double_hangs && all_moved(collective);
    if (done && collective->result)
        fold(collective);
    free(collective->parts);
    free(collective);
    atomic_fetch_sub(&comm->in_stream, 1);
}

static ncclResult_t begin(const char *call, struct collective *collective, cudaStream_t stream)
{
    struct ncclComm *comm = collective->comm;
    ncclResult_t result = nccl_double_end(call);
    if (!result && (comm->broken || !comm->joined))
        result = ncclInvalidUsage;
    for (int i = 0; i < collective->jobs && !result; i++)
        if (!collective->job[i].bytes)
            result = nccl_double_say(comm, ncclInvalidArgument, "memory is not on the device");
    if (result) {
        free(collective->parts);
        free(collective);
        return result;
    }
    atomic_fetch_add(&comm->in_stream, 1);
    comm->progress = LATENCY;
    if (!enqueue(stream, run, collective))
        abort();
    return comm->blocks ? ncclSuccess : ncclInProgress;
}

static struct collective *new_collective(ncclComm_t comm)
{
    struct collective *collective = calloc(1, sizeof *collective);
    if (!collective)
        abort();
    collective->comm = comm;
    return collective;
}

static size_t size_of(ncclDataType_t type)
{
    static const size_t sizes[] = {1, 1, 4, 4, 8, 8, 2, 4, 8};
    return sizes[type];
}

/* ---- Collectives ---- */

API ncclResult_t ncclGroupStart(void)
{
    posted.depth++;
    return ncclSuccess;
}

API ncclResult_t ncclGroupEnd(void)
{
    struct collective *group = posted.group;
    if (--posted.depth || !group)
        return ncclSuccess;
    posted.group = NULL;
    return begin("ncclGroupEnd", group, posted.stream);
}

static ncclResult_t post(bool sends, const void *bytes, size_t size, int peer, ncclComm_t comm, cudaStream_t stream)
{
    if (!posted.depth)
        return ncclInvalidUsage; /* the double knows no message alone */
    if (!posted.group)
        posted.group = new_collective(comm);
    posted.stream = stream;
    add(posted.group, sends, peer, real_of(bytes, size), size);
    return comm->blocks ? ncclSuccess : ncclInProgress;
}

API ncclResult_t ncclSend(const void *from, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                          cudaStream_t stream)
{
    return post(true, from, count * size_of(type), peer, comm, stream);
}

API ncclResult_t ncclRecv(void *to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream)
{
    return post(false, to, count * size_of(type), peer, comm, stream);
}

API ncclResult_t ncclBroadcast(const void *send, void *receive, size_t count, ncclDataType_t type, int root,
                               ncclComm_t comm, cudaStream_t stream)
{
    struct collective *collective = new_collective(comm);
    size_t size = count * size_of(type);
    for (int rank = 0; rank < comm->ranks && comm->rank == root; rank++)
        add(collective, true, rank, real_of(send, size), size);
    add(collective, false, root, real_of(receive, size), size);
    return begin("ncclBroadcast", collective, stream);
}

API ncclResult_t ncclAllGather(const void *send, void *receive, size_t count, ncclDataType_t type, ncclComm_t comm,
                               cudaStream_t stream)
{
    struct collective *collective = new_collective(comm);
    size_t size = count * size_of(type);
    uint8_t *to = real_of(receive, size * (size_t)comm->ranks);
    for (int rank = 0; rank < comm->ranks; rank++) {
        add(collective, true, rank, real_of(send, size), size);
        add(collective, false, rank, to ? to + (size_t)rank * size : NULL, size);
    }
    return begin("ncclAllGather", collective, stream);
}

API ncclResult_t ncclGather(const void *send, void *receive, size_t count, ncclDataType_t type, int root,
                            ncclComm_t comm, cudaStream_t stream)
{
    struct collective *collective = new_collective(comm);
    size_t size = count * size_of(type);
    uint8_t *to = comm->rank == root ? real_of(receive, size * (size_t)comm->ranks) : NULL;
    add(collective, true, root, real_of(send, size), size);
    for (int rank = 0; rank < comm->ranks && comm->rank == root; rank++)
        add(collective, false, rank, to ? to + (size_t)rank * size : NULL, size);
    return begin("ncclGather", collective, stream);
}

API ncclResult_t ncclScatter(const void *send, void *receive, size_t count, ncclDataType_t type, int root,
                             ncclComm_t comm, cudaStream_t stream)
{
    struct collective *collective = new_collective(comm);
    size_t size = count * size_of(type);
    const uint8_t *from = comm->rank == root ? real_of(send, size * (size_t)comm->ranks) : NULL;
    for (int rank = 0; rank < comm->ranks && comm->rank == root; rank++)
        add(collective, true, rank, from ? from + (size_t)rank * size : NULL, size);
    add(collective, false, root, real_of(receive, size), size);
    return begin("ncclScatter", collective, stream);
}

/* Everybody's part to those who need the result. */
static ncclResult_t reduce(const char *call, struct collective *collective, const void *send, void *receive, int root,
                           cudaStream_t stream)
{
    struct ncclComm *comm = collective->comm;
    size_t size = collective->count * size_of(collective->type);
    for (int rank = 0; rank < comm->ranks; rank++)
        if (root < 0 || rank == root)
            add(collective, true, rank, real_of(send, size), size);
    if (root < 0 || comm->rank == root) {
        collective->parts = malloc(size * (size_t)comm->ranks + 1);
        collective->result = real_of(receive, size);
        for (int rank = 0; rank < comm->ranks; rank++)
            add(collective, false, rank, collective->parts + (size_t)rank * size, size);
    }
    return begin(call, collective, stream);
}

API ncclResult_t ncclReduce(const void *send, void *receive, size_t count, ncclDataType_t type, ncclRedOp_t op,
                            int root, ncclComm_t comm, cudaStream_t stream)
{
    struct collective *collective = new_collective(comm);
    collective->count = count;
    collective->type = type;
    collective->op = op;
    return reduce("ncclReduce", collective, send, receive, root, stream);
}

API ncclResult_t ncclAllReduce(const void *send, void *receive, size_t count, ncclDataType_t type, ncclRedOp_t op,
                               ncclComm_t comm, cudaStream_t stream)
{
    struct collective *collective = new_collective(comm);
    collective->count = count;
    collective->type = type;
    collective->op = op;
    return reduce("ncclAllReduce", collective, send, receive, -1, stream);
}
