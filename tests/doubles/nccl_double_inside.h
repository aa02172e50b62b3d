/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The inside of the double of NCCL. */

#ifndef RK_TESTS_NCCL_DOUBLE_INSIDE_H
#define RK_TESTS_NCCL_DOUBLE_INSIDE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "nccl/nccl.h"
#include "nccl_double.h"

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
    bool joined, blocks;
    ncclResult_t broken;
};

extern _Atomic bool nccl_double_hangs;

/* What a call ends with. */
ncclResult_t nccl_double_end(const char *call);
ncclResult_t nccl_double_say(struct ncclComm *comm, ncclResult_t result, const char *text);

/* The double of CUDA's run time. */
void *nccl_double_cuda(const char *name);

#endif
