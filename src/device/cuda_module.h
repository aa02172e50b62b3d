/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What the CUDA module offers to the rest, which knows no CUDA. The module is a shared object that is opened at run
 * time where a rank has a GPU; it alone links CUDA's library. */

#ifndef RK_DEVICE_CUDA_MODULE_H
#define RK_DEVICE_CUDA_MODULE_H

#include <stddef.h>
#include <stdint.h>

#define RK_CUDA_MODULE_NAME    "rankcall-cuda.so"
#define RK_CUDA_MODULE_SYMBOL  "rk_cuda_module"
#define RK_CUDA_MODULE_VERSION 1 /* changes with the table below */
#define RK_CUDA_TEXT           256

enum rk_cuda_end {
    RK_CUDA_OK,
    RK_CUDA_ABSENT,  /* no driver, or not this device */
    RK_CUDA_MEMORY,  /* the device, or what may be pinned, is full */
    RK_CUDA_POINTER, /* memory of another kind than is needed */
    RK_CUDA_LOST,    /* the context is of no more use: only a new process helps */
    RK_CUDA_FAILED
};

enum rk_cuda_kind {
    RK_CUDA_DEVICE, /* on the GPU */
    RK_CUDA_PINNED, /* the host's, where the GPU can reach it */
    RK_CUDA_PLAIN   /* the host's */
};

/* A device that was opened, and a stream of its own. */
struct rk_cuda;

/* As CUDA tells it. */
struct rk_cuda_facts {
    char address[20], uuid[48], name[128];
    uint64_t memory; /* bytes */
    int driver, runtime;
    int ordinal; /* CUDA's number of it in this process */
};

/* Every function that fails writes what CUDA says: the call, its sizes, the error's name and text, the device. A call
 * is made by one thread at a time, any one. */
struct rk_cuda_module {
    int version;

    /* By PCI address, or where that is "" by UUID. Makes CUDA's context, which takes a while and memory. */
    enum rk_cuda_end (*open)(const char *address, const char *uuid, struct rk_cuda **out, char text[RK_CUDA_TEXT]);

    /* Takes NULL. Memory that was taken must have been given back. */
    void (*close)(struct rk_cuda *cuda);

    const struct rk_cuda_facts *(*facts)(const struct rk_cuda *cuda);

    /* A cudaStream_t. */
    void *(*stream)(const struct rk_cuda *cuda);

    enum rk_cuda_end (*take)(struct rk_cuda *cuda, enum rk_cuda_kind kind, size_t size, void **out,
                             char text[RK_CUDA_TEXT]);

    /* Takes NULL. Waits for what uses it. */
    enum rk_cuda_end (*give)(struct rk_cuda *cuda, enum rk_cuda_kind kind, void *memory, char text[RK_CUDA_TEXT]);

    /* What kind of memory a pointer points to. */
    enum rk_cuda_end (*kind)(struct rk_cuda *cuda, const void *memory, enum rk_cuda_kind *out, char text[RK_CUDA_TEXT]);

    /* Begins to copy between any two kinds, after what the stream has begun before. */
    enum rk_cuda_end (*copy)(struct rk_cuda *cuda, void *to, const void *from, size_t size, char text[RK_CUDA_TEXT]);

    /* Waits until everything that the stream has begun is done. */
    enum rk_cuda_end (*wait)(struct rk_cuda *cuda, char text[RK_CUDA_TEXT]);
};

#endif
