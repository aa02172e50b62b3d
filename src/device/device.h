/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Where this rank computes: the CPUs, memory and GPU that it agrees on with the other ranks of its node. */

#ifndef RK_DEVICE_DEVICE_H
#define RK_DEVICE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "device/cuda.h"
#include "device/placement.h"

/* What a rank brings into the planning, for the others of its node to know. Plain bytes. */
struct rk_offer {
    struct rk_cpus given;          /* where it may run */
    uint64_t gpu[RK_GPUS_MAX];     /* which GPUs it sees, by names made short */
    uint32_t address[RK_GPUS_MAX]; /* where on PCI they are; RK_NO_ADDRESS */
    int32_t gpu_count, bind;       /* enum rk_bind */
    int32_t cuda;                  /* 1: it has the CUDA module */
};

#define RK_NO_ADDRESS UINT32_MAX

/* How it came out. */
struct rk_device_report {
    char device[32];         /* "cpu", or "gpu 0000:3b:00.0" */
    char uuid[64];           /* of the GPU, or "" */
    char cpus[RK_CPUS_TEXT]; /* of the main thread, asked from the kernel */
    char memory[32];         /* its policy, asked from the kernel: "default", "prefer:0" */
    char bound[12];          /* "auto", "none", "found", "crowded" */
};

struct rk_device;

#define RK_IO_THREAD "rankcall-io" /* the name of rank 0's IO thread */

/* Asks the kernel where this process may run and the driver which GPUs it has. `gpus`: --gpus, or NULL.
 * Ownership: rk_device_close(). Errors: RANKCALL_EINVAL (`gpus`), RANKCALL_EINTERNAL. */
int rk_device_open(enum rk_bind bind, const char *gpus, struct rk_device **out);

/* Takes NULL. */
void rk_device_close(struct rk_device *device);

const struct rk_offer *rk_device_offer(const struct rk_device *device);

/* Plans from the offers of all ranks of this node, in the order of their numbers, which `ranks` tells; this one is at
 * `self`. Every rank comes to the same plan. Then binds this process: its threads, those that they start, and memory
 * that is taken from now on. Later calls change nothing. Logs what is not as good as it could be. Main
 * thread. */
void rk_device_settle(struct rk_device *device, const struct rk_offer *offers, const int *ranks, int count, int self);

/* What CUDA's functions are behind where this rank sees GPUs; NULL: not there, *why says why. */
const struct rk_cuda_module *rk_device_cuda(const struct rk_device *device, const char **why);

void rk_device_report(const struct rk_device *device, struct rk_device_report *report);

/* Binds the calling thread, rank 0's IO thread, to its own CPUs. */
void rk_device_bind_io(const struct rk_device *device);

/* Whether rank 0's IO thread has no CPU of its own: with it there are more threads than CPUs where this rank may run.
 */
bool rk_device_io_shares(const struct rk_device *device);

/* Whether there is a CPU for each of the ranks that may run where this one may. */
bool rk_device_ranks_fit(const struct rk_device *device);

/* The memory policy of another process's main thread as its first mapping tells it, "?" when that cannot be asked. */
void rk_device_memory_of(pid_t process, char *text, size_t size);

#endif
