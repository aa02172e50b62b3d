/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The device on which a rank computes (rankcall/device.h), and collectives on its memory. */

#ifndef RK_CORE_COMPUTE_H
#define RK_CORE_COMPUTE_H

#include <pthread.h>

#include <rankcall/device.h>

#include "core/context.h"
#include "device/cuda_module.h"
#include "mesh/collect.h"

#define RK_STAGE_SLOTS   2           /* copies of one go on while the other is in a collective */
#define RK_STAGE_SLOT    (4u << 20)  /* bytes of each, in either direction */
#define RK_STAGE_PART    (64u << 10) /* bytes of a rank's part in it at least */
#define RK_RESULTS_KEPT  2           /* pinned memory of results that is kept for the next */
#define RK_LOST_LINGER_S 0.1         /* a rank whose GPU is lost lets its last message go */

struct rk_slot {
    uint8_t *send, *receive; /* pinned, or on the device where MPI reads that */
    void *mark;
};

/* Pinned memory of a result. */
struct rk_lent {
    struct rk_lent *next;
    struct rankcall_device *device;
    void *memory;
    size_t size;
};

struct rankcall_device {
    struct rankcall_context *context;
    const struct rk_cuda_module *module; /* NULL: the host's memory and CPUs */
    struct rk_cuda *cuda;
    char lost[RK_CUDA_TEXT]; /* why the GPU is of no more use, or "" */
    bool agreed;             /* in this call the ranks have agreed how collectives go */
    uint64_t tag;            /* of what they have agreed upon; 0: nothing */
    uint64_t begun;          /* collectives by NCCL since */
    struct rk_nccl *nccl;    /* NULL: by staging */
    bool warned;             /* of that */
    void *awaited;           /* the mark that is waited for; NULL: all */
    void *token;             /* a word on the device, for barriers */
    int pass_code;           /* how the round under way goes */
    bool passes;             /* the ranks have agreed that MPI reads the device's memory */
    struct rk_slot slot[RK_STAGE_SLOTS], far_slot[RK_STAGE_SLOTS]; /* pinned; on the device */
    size_t slot_size;
    pthread_mutex_t lock; /* the free ones: payloads are freed by other threads */
    struct rk_lent *free;
    unsigned free_count;
};

struct rankcall_event {
    struct rankcall_device *device;
    void *mark; /* NULL: not recorded */
};

/* Takes NULL. Main thread, when no payload is left. */
void rk_compute_close(struct rankcall_device *device);

/* A handler has returned: its stream is done, or ended, before the rank is. Whether the GPU is lost, with the error. */
bool rk_compute_leave(struct rankcall_device *device);

/* Ends a process whose GPU is lost, when what it has sent has had time to go. */
_Noreturn void rk_compute_die(const struct rankcall_device *device);

/* Whether the memory of a collective is on this rank's GPU. Errors: RANKCALL_EINVAL: one side is and the other is not.
 */
int rk_compute_side(struct rankcall_device *device, const struct rk_collective *collective, bool *on_device);

/* As rk_mesh_collect, for such. */
int rk_compute_collect(struct rankcall_device *device, const struct rk_collective *collective);

/* ---- Inside ---- */

/* The error of a function of the module that failed in `what`. Returns the code. */
int rk_compute_fail(struct rankcall_device *device, enum rk_cuda_end end, const char *what, const char *text);

/* compute_wait.c: waits for a mark, or NULL for the whole stream. Why the call is to be left, or another failure. */
int rk_compute_wait(struct rankcall_device *device, void *mark, const char *what);

/* ... until ready(device, text) is not RK_CUDA_BUSY. */
int rk_compute_poll(struct rankcall_device *device, enum rk_cuda_end (*ready)(struct rankcall_device *, char *),
                    const char *what);

/* Nothing that was agreed upon holds any more: leaves the communicator and waits until the stream is empty. */
void rk_compute_forget(struct rankcall_device *device);

/* compute_agree.c: how collectives of this call go. The first of each call. Collective. */
int rk_compute_agree(struct rankcall_device *device, const char *what);

/* compute_stage.c: through the host's memory. */
int rk_compute_stage(struct rankcall_device *device, const struct rk_collective *collective);
void rk_compute_stage_close(struct rankcall_device *device);

/* compute_pass.c: a round of one from a slot on the device into that of another rank. */
int rk_compute_pass(struct rankcall_device *device, struct rk_slot *slot, const struct rk_collective *part);

/* compute_attach.c */
void rk_compute_attach_close(struct rankcall_device *device);

#endif
