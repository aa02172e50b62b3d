/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Collectives and copies on GPUs, through rankcall and beside that by NCCL's and CUDA's own functions in the same
 * program, in turns. */

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <nccl.h>
#include <rankcall/cuda.h>
#include <rankcall/worker.h>

struct state {
    struct rankcall_device *device;
    ncclComm_t comm; /* of the bare calls; NULL until it is needed */
};

struct bench {
    struct rankcall_call *call;
    struct state *state;
    cudaStream_t stream;
    void *send, *receive, *pinned;
    size_t size;
};

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int join(struct rankcall_call *call, struct state *state)
{
    ncclUniqueId id;
    if (state->comm)
        return 0;
    if (rankcall_call_rank(call) == 0)
        ncclGetUniqueId(&id);
    if (rankcall_broadcast(call, &id, sizeof id, 0))
        return -1;
    ncclResult_t result = ncclCommInitRank(&state->comm, rankcall_call_world_size(call), id, rankcall_call_rank(call));
    return result ? rankcall_fail(call, "ncclCommInitRank: %s", ncclGetErrorString(result)) : 0;
}

/* ---- What is measured: each once, without waiting ---- */

static int our_all_reduce(struct bench *bench)
{
    return rankcall_all_reduce(bench->call, bench->send, bench->receive, bench->size / 4, RANKCALL_FLOAT32,
                               RANKCALL_SUM);
}

static int bare_all_reduce(struct bench *bench)
{
    return (int)ncclAllReduce(bench->send, bench->receive, bench->size / 4, ncclFloat32, ncclSum, bench->state->comm,
                              bench->stream);
}

static int our_gather(struct bench *bench)
{
    return rankcall_gather(bench->call, bench->send, bench->size, bench->receive, 0);
}

#if NCCL_VERSION_CODE >= 22803
static int bare_gather(struct bench *bench)
{
    return (int)ncclGather(bench->send, bench->receive, bench->size, ncclInt8, 0, bench->state->comm, bench->stream);
}
#else
/* As the library does it where ncclGather is not there; on one rank that is a copy. */
static int bare_gather(struct bench *bench)
{
    int rank = rankcall_call_rank(bench->call), ranks = rankcall_call_world_size(bench->call);
    ncclResult_t result = ncclGroupStart();
    if (!result)
        result = ncclSend(bench->send, bench->size, ncclInt8, 0, bench->state->comm, bench->stream);
    for (int from = 0; from < ranks && rank == 0 && !result; from++)
        result = ncclRecv((char *)bench->receive + (size_t)from * bench->size, bench->size, ncclInt8, from,
                          bench->state->comm, bench->stream);
    ncclResult_t end = ncclGroupEnd();
    return (int)(result ? result : end);
}
#endif

static int our_copy(struct bench *bench)
{
    return rankcall_device_copy(bench->state->device, bench->pinned, bench->send, bench->size);
}

static int bare_copy(struct bench *bench)
{
    return (int)cudaMemcpyAsync(bench->pinned, bench->send, bench->size, cudaMemcpyDefault, bench->stream);
}

/* What staging cannot do without. */
static int two_copies(struct bench *bench)
{
    int error = bare_copy(bench);
    return error ? error
                 : (int)cudaMemcpyAsync(bench->receive, bench->pinned, bench->size, cudaMemcpyDefault, bench->stream);
}

static const struct subject {
    const char *name;
    int (*ours)(struct bench *bench), (*bare)(struct bench *bench);
    bool nccl;
} subjects[] = {{"all_reduce", our_all_reduce, bare_all_reduce, true},
                {"gather", our_gather, bare_gather, true},
                {"copy", our_copy, bare_copy, false},
                {"staging", our_all_reduce, two_copies, false}};

/* ---- Measuring ---- */

/* Microseconds of one of `times` that were begun one after the other. */
static int measure(struct bench *bench, int (*once)(struct bench *), int times, double *us)
{
    if (cudaStreamSynchronize(bench->stream) || rankcall_barrier(bench->call))
        return -1;
    double begun = now_us();
    for (int i = 0; i < times; i++)
        if (once(bench))
            return -1;
    if (cudaStreamSynchronize(bench->stream))
        return -1;
    *us = (now_us() - begun) / times;
    return 0;
}

static int by_value(const void *left, const void *right)
{
    const double *one = left, *other = right;
    return *one < *other ? -1 : *one > *other;
}

static int run(struct bench *bench, const struct subject *subject, int times, int rounds)
{
    double ours[101], bare[101], warm;
    if ((subject->nccl && join(bench->call, bench->state)) || measure(bench, subject->ours, 3, &warm) ||
        measure(bench, subject->bare, 3, &warm))
        return rankcall_fail(bench->call, "%s: %s", subject->name, rankcall_last_error()->message);
    for (int i = 0; i < rounds; i++)
        if (measure(bench, subject->ours, times, &ours[i]) || measure(bench, subject->bare, times, &bare[i]))
            return rankcall_fail(bench->call, "%s: %s", subject->name, rankcall_last_error()->message);
    qsort(ours, (size_t)rounds, sizeof *ours, by_value);
    qsort(bare, (size_t)rounds, sizeof *bare, by_value);
    return rankcall_result_json(bench->call, "{\"ours_us\": %.3f, \"bare_us\": %.3f}", ours[rounds / 2],
                                bare[rounds / 2]);
}

/* {"what", "size", "times", "rounds"}: medians at rank 0. */
static int handle_measure(struct rankcall_call *call)
{
    const struct rankcall_payload *args = rankcall_args(call);
    const char *what;
    int64_t size = 1024, times = 20, rounds = 21;
    const struct subject *subject = NULL;
    if (rankcall_get_string(args, "what", &what) || rankcall_opt_int(args, "size", &size) ||
        rankcall_opt_int_in(args, "times", 1, 10000, &times) || rankcall_opt_int_in(args, "rounds", 1, 101, &rounds))
        return -1;
    for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++)
        if (!strcmp(subjects[i].name, what))
            subject = &subjects[i];
    if (!subject)
        return rankcall_fail(call, "nothing is called %s", what);
    struct state *state = rankcall_call_state(call);
    struct bench bench = {.call = call, .state = state, .stream = rankcall_cuda_stream(state->device)};
    size_t room = (size_t)size * (size_t)rankcall_call_world_size(call);
    bench.size = (size_t)size;
    int code = rankcall_device_alloc(state->device, bench.size, &bench.send) ||
               rankcall_device_alloc(state->device, room, &bench.receive) ||
               rankcall_pinned_alloc(state->device, bench.size, &bench.pinned);
    if (!code)
        code = run(&bench, subject, (int)times, (int)rounds);
    rankcall_device_free(state->device, bench.send);
    rankcall_device_free(state->device, bench.receive);
    rankcall_pinned_free(state->device, bench.pinned);
    return code ? -1 : 0;
}

/* {"size", "device"}: a result of that size that lies on the device, or on the host. */
static int handle_result(struct rankcall_call *call)
{
    struct state *state = rankcall_call_state(call);
    struct rankcall_payload *result = rankcall_payload_new();
    int64_t size = 64 << 20;
    bool there = true;
    static void *memory[2];
    static int64_t taken;
    if (rankcall_opt_int(rankcall_args(call), "size", &size) ||
        rankcall_opt_bool(rankcall_args(call), "device", &there))
        return -1;
    if (taken != size) {
        taken = size;
        free(memory[0]);
        memory[0] = calloc(1, (size_t)size);
        rankcall_device_free(state->device, memory[1]);
        if (!memory[0] || rankcall_device_alloc(state->device, (size_t)size, &memory[1]))
            return -1;
    }
    struct rankcall_attachment bytes = {
        .name = "bytes", .type = RANKCALL_BYTES, .data = memory[there], .size = (uint64_t)size};
    if (there ? rankcall_attach_from_device(call, result, &bytes) : rankcall_attach_copy(result, &bytes))
        return -1;
    return rankcall_result(call, result);
}

static int setup(struct rankcall_context *context, const struct rankcall_payload *args)
{
    struct state *state = calloc(1, sizeof *state);
    (void)args;
    rankcall_set_state(context, state);
    if (rankcall_device_open(context, &state->device))
        return -1;
    return rankcall_device_kind(state->device) == RANKCALL_CUDA ? 0 : rankcall_fail_setup(context, "there is no GPU");
}

static const struct rankcall_handler handlers[] = {
    {"measure", handle_measure, "rankcall beside NCCL and CUDA"}, {"result", handle_result, "a large result"}, {0}};

RANKCALL_WORKER(.name = "gpu-bench", .handlers = handlers, .setup = setup)
