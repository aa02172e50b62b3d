/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What the CUDA module offers to the rest, which knows no CUDA. The module is a shared object that is opened at run
 * time where a rank has a GPU; it alone links CUDA's library. NCCL's it opens itself when a communicator is wanted, so
 * that GPUs can be used without. */

#ifndef RK_DEVICE_CUDA_MODULE_H
#define RK_DEVICE_CUDA_MODULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rankcall/collectives.h>

#define RK_CUDA_MODULE_NAME    "rankcall-cuda.so"
#define RK_CUDA_MODULE_SYMBOL  "rk_cuda_module"
#define RK_CUDA_MODULE_VERSION 2 /* changes with the table below */
#define RK_CUDA_TEXT           512
#define RK_NCCL_ID_SIZE        128

enum rk_cuda_end {
    RK_CUDA_OK,
    RK_CUDA_BUSY,    /* not yet: ask again */
    RK_CUDA_ABSENT,  /* no driver, or not this device */
    RK_CUDA_MEMORY,  /* the device, or what may be pinned, is full */
    RK_CUDA_POINTER, /* memory of another kind than is needed */
    RK_CUDA_LOST,    /* the context is of no more use: only a new process helps */
    RK_CUDA_NCCL,    /* NCCL says so: the communicator is of no more use */
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

/* One rank's part in a communicator. */
struct rk_nccl;

enum rk_nccl_kind {
    RK_NCCL_BROADCAST,
    RK_NCCL_GATHER,
    RK_NCCL_ALL_GATHER,
    RK_NCCL_SCATTER,
    RK_NCCL_REDUCE,
    RK_NCCL_ALL_REDUCE
};

/* What one rank brings to a collective. A part is what one rank gives to or gets from a gather, scatter or all-gather,
 * and all of the others' data. */
struct rk_nccl_work {
    enum rk_nccl_kind kind;
    int root;
    size_t size;                   /* bytes of this rank's part */
    const void *send;              /* on the device, as is the result */
    void *receive;                 /* NULL where this rank gets none */
    const size_t *sizes, *offsets; /* of an uneven gather, at the root: each rank's bytes, and where they go */
    bool uneven;
    enum rankcall_dtype type; /* of reductions, with the bytes of an element */
    size_t element;
    enum rankcall_op op;
};

/* Every function that fails writes what CUDA or NCCL says: the call, its sizes, the error's name and text, the device.
 * A call is made by one thread at a time, any one. */
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

    /* Whether it is: RK_CUDA_OK or RK_CUDA_BUSY. */
    enum rk_cuda_end (*look)(struct rk_cuda *cuda, char text[RK_CUDA_TEXT]);

    /* Puts a mark (a cudaEvent_t, made where *mark is NULL) behind what the stream has begun, and looks whether the
     * stream has come to it. */
    enum rk_cuda_end (*mark)(struct rk_cuda *cuda, void **mark, char text[RK_CUDA_TEXT]);
    enum rk_cuda_end (*passed)(struct rk_cuda *cuda, void *mark, char text[RK_CUDA_TEXT]);
    void (*unmark)(struct rk_cuda *cuda, void *mark); /* takes NULL */

    /* Tells of an error that a caller of CUDA's own functions got in `what`. */
    enum rk_cuda_end (*tell)(struct rk_cuda *cuda, int error, const char *what, char text[RK_CUDA_TEXT]);

    /* NCCL's version as it writes it, 22809 for 2.28.9. RK_CUDA_ABSENT: there is none. */
    enum rk_cuda_end (*nccl_version)(int *version, char text[RK_CUDA_TEXT]);

    /* What one rank makes and all others need. */
    enum rk_cuda_end (*nccl_id)(uint8_t id[RK_NCCL_ID_SIZE], char text[RK_CUDA_TEXT]);

    /* Begins to join, without waiting; *out is there unless it fails at once. */
    enum rk_cuda_end (*nccl_join)(struct rk_cuda *cuda, const uint8_t id[RK_NCCL_ID_SIZE], int ranks, int rank,
                                  struct rk_nccl **out, char text[RK_CUDA_TEXT]);

    /* How the joining, or what was begun last, goes: RK_CUDA_BUSY while NCCL is at it. An error that came meanwhile. */
    enum rk_cuda_end (*nccl_look)(struct rk_nccl *nccl, char text[RK_CUDA_TEXT]);

    /* Begins a collective behind what the stream has begun before. RK_CUDA_BUSY: nccl_look until it has begun. */
    enum rk_cuda_end (*nccl_begin)(struct rk_nccl *nccl, const struct rk_nccl_work *work, char text[RK_CUDA_TEXT]);

    /* Whether NCCL can reduce that type. */
    bool (*nccl_reduces)(enum rankcall_dtype type);

    /* Leaves at once, whatever is under way: every rank has to. Takes NULL. */
    void (*nccl_leave)(struct rk_nccl *nccl);
};

#endif
