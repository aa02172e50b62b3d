/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A worker that measures rankcall's collectives and MPI's blocking ones, in turns, with the same memory. A sample is a
 * number of collectives, one after the other, and a barrier, by the number; taken at rank 0. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rankcall/mpi.h>

#include "samples.h"

enum { LARGE = 1 << 20, WARM_UP = 2 };

struct side {
    struct rankcall_call *call;
    MPI_Comm comm;
    int ranks, size;
    char *send, *receive;
};

typedef void (*step_fn)(const struct side *side);

static void our_barrier(const struct side *side)
{
    rankcall_barrier(side->call);
}

static void mpi_barrier(const struct side *side)
{
    MPI_Barrier(side->comm);
}

static void our_broadcast(const struct side *side)
{
    rankcall_broadcast(side->call, side->send, (size_t)side->size, 0);
}

static void mpi_broadcast(const struct side *side)
{
    MPI_Bcast(side->send, side->size, MPI_BYTE, 0, side->comm);
}

static void our_gather(const struct side *side)
{
    rankcall_gather(side->call, side->send, (size_t)side->size, side->receive, 0);
}

static void mpi_gather(const struct side *side)
{
    MPI_Gather(side->send, side->size, MPI_BYTE, side->receive, side->size, MPI_BYTE, 0, side->comm);
}

static void our_all_gather(const struct side *side)
{
    rankcall_all_gather(side->call, side->send, (size_t)side->size, side->receive);
}

static void mpi_all_gather(const struct side *side)
{
    MPI_Allgather(side->send, side->size, MPI_BYTE, side->receive, side->size, MPI_BYTE, side->comm);
}

static void our_all_reduce(const struct side *side)
{
    rankcall_all_reduce(side->call, side->send, side->receive, (size_t)side->size / sizeof(float), RANKCALL_FLOAT32,
                        RANKCALL_SUM);
}

static void mpi_all_reduce(const struct side *side)
{
    MPI_Allreduce(side->send, side->receive, side->size / (int)sizeof(float), MPI_FLOAT, MPI_SUM, side->comm);
}

static void our_checkpoint(const struct side *side)
{
    rankcall_cancelled(side->call);
}

static void mpi_all_reduce_int(const struct side *side)
{
    int mine = 0, sum;
    MPI_Allreduce(&mine, &sum, 1, MPI_INT, MPI_SUM, side->comm);
}

static const struct {
    const char *name;
    step_fn ours, floor;
} kinds[] = {
    {"barrier", our_barrier, mpi_barrier},
    {"broadcast", our_broadcast, mpi_broadcast},
    {"gather", our_gather, mpi_gather},
    {"all_gather", our_all_gather, mpi_all_gather},
    {"all_reduce", our_all_reduce, mpi_all_reduce},
    {"checkpoint", our_checkpoint, mpi_all_reduce_int},
};

static double sample(const struct side *side, step_fn step, step_fn barrier, int64_t each)
{
    barrier(side);
    uint64_t begin = bench_now();
    for (int64_t i = 0; i < each; i++)
        step(side);
    barrier(side);
    return (double)(bench_now() - begin) / (double)each;
}

static void take_block(const struct side *side, step_fn step, step_fn barrier, int64_t each, double *out, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = sample(side, step, barrier, each);
}

/* Blocks of ours and of the floor take turns, and in beginning. Of large ones a block is one sample: what lies in
 * caches then is the same for both. */
static void measure(const struct side *side, size_t kind, int64_t samples, int64_t each, double *ours, double *floor)
{
    const int64_t block = side->size >= LARGE ? 1 : 5;
    for (int64_t i = 0; i < samples + WARM_UP; i += block) {
        int64_t left = samples + WARM_UP - i, count = left < block ? left : block;
        bool begins = i / block % 2 == 0;
        if (begins)
            take_block(side, kinds[kind].ours, our_barrier, each, ours + i, count);
        take_block(side, kinds[kind].floor, mpi_barrier, each, floor + i, count);
        if (!begins)
            take_block(side, kinds[kind].ours, our_barrier, each, ours + i, count);
    }
}

static int report(struct rankcall_call *call, const double *ours, const double *floor, int64_t samples)
{
    struct rankcall_payload *result = rankcall_payload_new();
    rankcall_set_doubles(result, "ours", ours + WARM_UP, (size_t)samples);
    rankcall_set_doubles(result, "floor", floor + WARM_UP, (size_t)samples);
    return rankcall_result(call, result);
}

/* {"kind", "size", "samples", "each"} */
static int collective(struct rankcall_call *call)
{
    const struct rankcall_payload *args = rankcall_args(call);
    const char *name;
    int64_t size = 0, samples = 10, each = 1;
    if (rankcall_get_string(args, "kind", &name) || rankcall_opt_int_in(args, "size", 0, 1 << 26, &size) ||
        rankcall_opt_int_in(args, "samples", 1, 100000, &samples) || rankcall_opt_int(args, "each", &each))
        return -1;
    size_t kind = 0;
    while (kind < sizeof kinds / sizeof *kinds && strcmp(kinds[kind].name, name))
        kind++;
    if (kind == sizeof kinds / sizeof *kinds)
        return rankcall_fail(call, "no collective \"%s\"", name);
    struct side side = {.call = call, .comm = rankcall_call_comm(call), .size = (int)size};
    side.ranks = rankcall_call_world_size(call);
    side.send = calloc((size_t)size + 1, 1);
    side.receive = calloc((size_t)size + 1, (size_t)side.ranks);
    memset(side.send, 0, (size_t)size + 1); /* take the pages now */
    memset(side.receive, 0, ((size_t)size + 1) * (size_t)side.ranks);
    double *ours = calloc((size_t)samples + WARM_UP, sizeof *ours),
           *floor = calloc((size_t)samples + WARM_UP, sizeof *floor);
    measure(&side, kind, samples, each, ours, floor);
    int code = report(call, ours, floor, samples);
    free(side.send);
    free(side.receive);
    free(ours);
    free(floor);
    return code;
}

static const struct rankcall_handler handlers[] = {{"collective", collective, "measures one"}, {0}};

RANKCALL_WORKER(.name = "bench-collectives", .handlers = handlers)
