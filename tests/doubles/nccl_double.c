/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A double of NCCL, not NCCL: ranks of one machine that move data through a file that all map, in the streams of the
 * double of CUDA's run time. Each rank has a mailbox for each other; every collective is messages through those.
 *
 * As with NCCL, a communicator that does not block is joined and used in the background, two ranks on one GPU are
 * refused unless NCCL_HOSTID tells them apart, and a rank whose peers are gone waits until it is aborted. */

#include "nccl_double.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "cudart_double.h"
#include "nccl/nccl.h"

#define RANKS_MAX 16
#define BOX_SIZE  8192
#define JOBS_MAX  (2 * RANKS_MAX)
#define API       __attribute__((visibility("default")))
#define VERSION   22809
#define LATENCY   1 /* looks that find a call still in progress */

/* Bytes on their way from one rank to another. */
struct box {
    _Alignas(64) _Atomic uint32_t filled;
    uint8_t bytes[BOX_SIZE];
};

struct shared {
    _Atomic int32_t joined;
    char gpu[RANKS_MAX][64]; /* which GPU of which host */
    struct box box[RANKS_MAX][RANKS_MAX];
};

struct ncclComm {
    struct shared *shared;
    char path[NCCL_UNIQUE_ID_BYTES], last[160];
    int ranks, rank;
    _Atomic bool aborted;
    _Atomic int in_stream; /* collectives that have not ended */
    int progress;          /* looks that still find what was begun in progress */
    bool joined;
    ncclResult_t broken;
};

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

static struct {
    pthread_mutex_t lock;
    char fail_call[64];
    int fail_result, fail_after, made, open;
    _Atomic bool hangs;
    struct collective *group;
    cudaStream_t group_stream;
    int group_depth;
} now = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- The double of CUDA's run time, which this library does not link ---- */

static void *cuda_function(const char *name)
{
    static void *library;
    const char *path = getenv("RANKCALL_TEST_CUDA_MODULE");
    if (!library)
        library = dlopen(path ? path : "", RTLD_NOW | RTLD_NOLOAD);
    void *function = library ? dlsym(library, name) : NULL;
    if (!function) {
        fprintf(stderr, "the double of NCCL finds no %s in %s\n", name, path ? path : "RANKCALL_TEST_CUDA_MODULE");
        abort();
    }
    return function;
}

static void *real_of(const void *memory, size_t size)
{
    void *(*real)(const void *, size_t);
    *(void **)&real = cuda_function("double_real");
    return real(memory, size);
}

static bool stream_ends(void)
{
    bool (*ends)(void);
    *(void **)&ends = cuda_function("double_stream_ends");
    return ends();
}

static bool enqueue(cudaStream_t stream, void (*run)(void *), void *context)
{
    bool (*put)(cudaStream_t, void (*)(void *), void *);
    *(void **)&put = cuda_function("double_enqueue");
    return put(stream, run, context);
}

/* ---- What a test asks ---- */

API void nccl_double_fail(const char *call, int result, int after)
{
    pthread_mutex_lock(&now.lock);
    snprintf(now.fail_call, sizeof now.fail_call, "%s", call);
    now.fail_result = result;
    now.fail_after = after;
    pthread_mutex_unlock(&now.lock);
}

API void nccl_double_hang(bool hangs)
{
    now.hangs = hangs;
}

API int nccl_double_made(void)
{
    return now.made;
}

API int nccl_double_open(void)
{
    return now.open;
}

static ncclResult_t end(const char *call)
{
    ncclResult_t result = ncclSuccess;
    pthread_mutex_lock(&now.lock);
    if (!strcmp(call, now.fail_call) && now.fail_after-- <= 0) {
        result = (ncclResult_t)now.fail_result;
        now.fail_call[0] = '\0';
    }
    pthread_mutex_unlock(&now.lock);
    return result;
}

static ncclResult_t say(struct ncclComm *comm, ncclResult_t result, const char *text)
{
    if (comm)
        snprintf(comm->last, sizeof comm->last, "%s", text);
    return result;
}

API const char *ncclGetErrorString(ncclResult_t result)
{
    static const char *const texts[] = {"no error",
                                        "unhandled cuda error",
                                        "unhandled system error",
                                        "internal error",
                                        "invalid argument",
                                        "invalid usage",
                                        "remote process exited or there was a network error",
                                        "in progress"};
    return texts[result];
}

API const char *ncclGetLastError(ncclComm_t comm)
{
    return comm ? comm->last : "";
}

API ncclResult_t ncclGetVersion(int *version)
{
    const char *given = getenv("RANKCALL_DOUBLE_NCCL_VERSION"), *rank = getenv("OMPI_COMM_WORLD_RANK");
    const char *colon = given ? strchr(given, ':') : NULL;
    *version = VERSION;
    if (given && (!colon || (rank && atoi(rank) == atoi(given))))
        *version = atoi(colon ? colon + 1 : given);
    return end("ncclGetVersion");
}

/* ---- Communicators ---- */

API ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    const char *folder = getenv("TMPDIR");
    ncclResult_t result = end("ncclGetUniqueId");
    memset(id, 0, sizeof *id);
    snprintf(id->internal, sizeof id->internal, "%s/nccl-double-XXXXXX", folder ? folder : "/tmp");
    int file = result ? -1 : mkstemp(id->internal);
    if (!result && (file < 0 || ftruncate(file, sizeof(struct shared))))
        result = ncclSystemError;
    if (file >= 0)
        close(file);
    return result;
}

static struct shared *map(const char *path)
{
    int file = open(path, O_RDWR | O_CLOEXEC);
    void *shared =
        file < 0 ? MAP_FAILED : mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file >= 0)
        close(file);
    return shared == MAP_FAILED ? NULL : shared;
}

/* The double of CUDA's run time tells devices apart by their numbers. */
static void write_gpu(char text[64])
{
    cudaError_t (*get_device)(int *);
    const char *host = getenv("NCCL_HOSTID");
    int device = 0;
    *(void **)&get_device = cuda_function("cudaGetDevice");
    get_device(&device);
    snprintf(text, 64, "%d of %.50s", device, host ? host : "this host");
}

API ncclResult_t ncclCommInitRankConfig(ncclComm_t *out, int ranks, ncclUniqueId id, int rank, ncclConfig_t *config)
{
    ncclResult_t result = end("ncclCommInitRankConfig");
    struct ncclComm *comm = result ? NULL : calloc(1, sizeof *comm);
    if (!comm)
        return result ? result : ncclSystemError;
    if (config->blocking != 0 || ranks > RANKS_MAX || !(comm->shared = map(id.internal))) {
        free(comm);
        return ncclInvalidArgument;
    }
    memcpy(comm->path, id.internal, sizeof comm->path);
    comm->ranks = ranks;
    comm->rank = rank;
    comm->progress = LATENCY;
    write_gpu(comm->shared->gpu[rank]);
    if (atomic_fetch_add(&comm->shared->joined, 1) + 1 == ranks)
        unlink(comm->path);
    pthread_mutex_lock(&now.lock);
    now.made++;
    now.open++;
    pthread_mutex_unlock(&now.lock);
    *out = comm;
    return ncclInProgress;
}

static ncclResult_t look_at_join(struct ncclComm *comm)
{
    if (atomic_load(&comm->shared->joined) < comm->ranks)
        return ncclInProgress;
    for (int i = 0; i < comm->ranks; i++)
        for (int j = 0; j < i; j++)
            if (!strcmp(comm->shared->gpu[i], comm->shared->gpu[j]))
                return comm->broken = say(comm, ncclInvalidUsage, "Duplicate GPU detected");
    comm->joined = true;
    return ncclSuccess;
}

API ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *state)
{
    ncclResult_t broken = comm->broken ? ncclSuccess : end("async");
    if (broken)
        comm->broken = say(comm, broken, "an error of the double's that came meanwhile");
    *state = comm->broken           ? comm->broken
             : comm->progress-- > 0 ? ncclInProgress
             : comm->joined         ? ncclSuccess
                                    : look_at_join(comm);
    return ncclSuccess;
}

API ncclResult_t ncclCommAbort(ncclComm_t comm)
{
    atomic_store(&comm->aborted, true);
    /* NCCL waits for its kernels, too. */
    for (int tries = 0; atomic_load(&comm->in_stream) && tries < 100000; tries++)
        nanosleep(&(struct timespec){.tv_nsec = 10000}, NULL);
    if (atomic_load(&comm->in_stream))
        return ncclSuccess; /* behind a stream that stands still: its work still has the communicator */
    if (!comm->joined)
        unlink(comm->path);
    munmap(comm->shared, sizeof *comm->shared);
    free(comm);
    pthread_mutex_lock(&now.lock);
    now.open--;
    pthread_mutex_unlock(&now.lock);
    return ncclSuccess;
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
        done = !now.hangs && all_moved(collective);
    if (done && collective->result)
        fold(collective);
    free(collective->parts);
    free(collective);
    atomic_fetch_sub(&comm->in_stream, 1);
}

static ncclResult_t begin(const char *call, struct collective *collective, cudaStream_t stream)
{
    struct ncclComm *comm = collective->comm;
    ncclResult_t result = end(call);
    if (!result && (comm->broken || !comm->joined))
        result = ncclInvalidUsage;
    for (int i = 0; i < collective->jobs && !result; i++)
        if (!collective->job[i].bytes)
            result = say(comm, ncclInvalidArgument, "memory is not on the device");
    if (result) {
        free(collective->parts);
        free(collective);
        return result;
    }
    atomic_fetch_add(&comm->in_stream, 1);
    comm->progress = LATENCY;
    if (!enqueue(stream, run, collective))
        abort();
    return ncclInProgress;
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
    now.group_depth++;
    return ncclSuccess;
}

API ncclResult_t ncclGroupEnd(void)
{
    struct collective *group = now.group;
    if (--now.group_depth || !group)
        return ncclSuccess;
    now.group = NULL;
    return begin("ncclGroupEnd", group, now.group_stream);
}

static ncclResult_t post(bool sends, const void *bytes, size_t size, int peer, ncclComm_t comm, cudaStream_t stream)
{
    if (!now.group_depth)
        return ncclInvalidUsage; /* the double knows no message alone */
    if (!now.group)
        now.group = new_collective(comm);
    now.group_stream = stream;
    add(now.group, sends, peer, real_of(bytes, size), size);
    return ncclSuccess;
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
