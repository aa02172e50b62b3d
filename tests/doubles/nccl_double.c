/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A double of NCCL, not NCCL: ranks of one machine that move data through a file that all map, in the streams of the
 * double of CUDA's run time. Each rank has a mailbox for each other; every collective is messages through those.
 *
 * As with NCCL, a communicator that does not block is joined and used in the background, two ranks on one GPU are
 * refused unless NCCL_HOSTID tells them apart, and a rank whose peers are gone waits until it is aborted. */

#include "nccl_double_inside.h"

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

_Atomic bool nccl_double_hangs;

static struct {
    pthread_mutex_t lock;
    char fail_call[64];
    int fail_result, fail_after, made, open;
} now = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- The double of CUDA's run time, which this library does not link ---- */

void *nccl_double_cuda(const char *name)
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
    nccl_double_hangs = hangs;
}

API int nccl_double_made(void)
{
    return now.made;
}

API int nccl_double_open(void)
{
    return now.open;
}

ncclResult_t nccl_double_end(const char *call)
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

ncclResult_t nccl_double_say(struct ncclComm *comm, ncclResult_t result, const char *text)
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
    return nccl_double_end("ncclGetVersion");
}

/* ---- Communicators ---- */

API ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    const char *folder = getenv("TMPDIR");
    ncclResult_t result = nccl_double_end("ncclGetUniqueId");
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
    *(void **)&get_device = nccl_double_cuda("cudaGetDevice");
    get_device(&device);
    snprintf(text, 64, "%d of %.50s", device, host ? host : "this host");
}

API ncclResult_t ncclCommInitRankConfig(ncclComm_t *out, int ranks, ncclUniqueId id, int rank, ncclConfig_t *config)
{
    ncclResult_t result = nccl_double_end("ncclCommInitRankConfig");
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
                return comm->broken = nccl_double_say(comm, ncclInvalidUsage, "Duplicate GPU detected");
    comm->joined = true;
    return ncclSuccess;
}

API ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *state)
{
    ncclResult_t broken = comm->broken ? ncclSuccess : nccl_double_end("async");
    if (broken)
        comm->broken = nccl_double_say(comm, broken, "an error of the double's that came meanwhile");
    *state = comm->broken           ? comm->broken
             : comm->progress-- > 0 ? ncclInProgress
             : comm->joined         ? ncclSuccess
                                    : look_at_join(comm);
    return ncclSuccess;
}

/* As a program of NCCL's own does it, that waits. */
API ncclResult_t ncclCommInitRank(ncclComm_t *out, int ranks, ncclUniqueId id, int rank)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclResult_t state = ncclCommInitRankConfig(out, ranks, id, rank, &config);
    while (state == ncclInProgress)
        if (ncclCommGetAsyncError(*out, &state) == ncclSuccess && state == ncclInProgress)
            nanosleep(&(struct timespec){.tv_nsec = 10000}, NULL);
    if (state == ncclSuccess)
        (*out)->blocks = true;
    return state;
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
