/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The inside of the double of CUDA's run time. */

#ifndef RK_TESTS_CUDART_DOUBLE_INSIDE_H
#define RK_TESTS_CUDART_DOUBLE_INSIDE_H

#include <pthread.h>

#include "cuda/cuda_runtime_api.h"
#include "cudart_double.h"

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

/* All that it knows, under its lock. */
struct double_state {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool lazy, hangs;
    int devices, fail_error, fail_after, streams, events, device;
    char fail_call[64];
    cudaError_t last, stuck;
    struct block *blocks;
    struct CUstream_st *all;
};
extern struct double_state double_now;

/* What a call ends with, unless it has a reason of its own to fail. */
cudaError_t double_end(const char *call, cudaError_t own);

#endif
