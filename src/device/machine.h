/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What a machine is made of, as far as placement is concerned: cores, the NUMA nodes next to them, GPUs. Found by hwloc
 * on this machine or in a file that it has written on another. */

#ifndef RK_DEVICE_MACHINE_H
#define RK_DEVICE_MACHINE_H

#include "device/cpus.h"

#define RK_GPUS_MAX 64 /* of a machine, slices of GPUs counted one by one */

/* Cores with the same memory next to them. */
struct rk_locality {
    int number; /* the system's number of the NUMA node */
    struct rk_cpus cpus;
};

struct rk_core {
    struct rk_cpus cpus; /* its hardware threads */
    int locality;        /* index */
};

/* A GPU that CUDA can use, or a slice of one (MIG). */
struct rk_gpu {
    char address[20]; /* PCI, as 0000:3b:00.0; "" when it is not known, as of a slice */
    char uuid[64];    /* GPU-... or MIG-...; "" when it is not known */
    char model[64];
    int minor;           /* the driver's number of its device file; -1 */
    bool usable;         /* its device file may be opened */
    struct rk_cpus near; /* the CPUs next to it; empty: not known, or all */
};

struct rk_machine {
    char name[128]; /* the host's; "" when the file does not tell it */
    struct rk_cpus cpus, allowed;
    struct rk_locality *localities;
    struct rk_core *cores;
    struct rk_gpu *gpus; /* in the order of their addresses */
    int locality_count, core_count, gpu_count;
};

enum rk_machine_parts { RK_CORES_ALONE, RK_CORES_AND_GPUS };

/* Looks at this machine (`xml` NULL) or reads a file. GPUs cost an enumeration of PCI. Ownership: rk_machine_free().
 * Errors: RANKCALL_EINVAL (no file of hwloc's, or one that this hwloc cannot read, with what to do),
 * RANKCALL_ESYSTEM, RANKCALL_EINTERNAL. */
int rk_machine_open(const char *xml, enum rk_machine_parts parts, struct rk_machine **out);

/* The same from hwloc's description of a synthetic machine, such as "package:2 numa:1 core:8 pu:2". For tests. */
int rk_machine_synthetic(const char *description, struct rk_machine **out);

/* Takes NULL. */
void rk_machine_free(struct rk_machine *machine);

/* ---- GPUs as the driver of this machine tells them ---- */

/* Those that the driver has, sorted by address; `near` is empty. Returns how many. Costs nothing where there are none.
 */
int rk_gpus_of_driver(struct rk_gpu gpus[RK_GPUS_MAX]);

/* ---- Which of them ranks may use ---- */

struct rk_gpu_choice {
    const char *visible; /* CUDA_VISIBLE_DEVICES: numbers by address, UUIDs or their beginnings; NULL: all */
    const char *slurm;   /* the numbers that Slurm gave to the step, when it did; or NULL */
    const char *wanted; /* --gpus: "all", "none", or a list of numbers among the visible, UUIDs, addresses; NULL: all */
    bool (*parent)(const char *uuid,
                   char address[20]); /* whose GPU's slice that is, when its name does not tell; or NULL */
};

/* From the environment, with the given --gpus. */
struct rk_gpu_choice rk_gpu_choice_here(const char *wanted);

/* Whether a text is fit for --gpus, whatever GPUs there are. Errors: RANKCALL_EINVAL. */
int rk_gpu_choice_check(const char *wanted);

/* The chosen ones of `gpus`, those that are usable, in the order in which they are named. *count may be 0.
 * Errors: RANKCALL_EINVAL: `wanted` names one that is not there or not visible. */
int rk_gpus_choose(const struct rk_gpu *gpus, int gpu_count, const struct rk_gpu_choice *choice,
                   struct rk_gpu chosen[RK_GPUS_MAX], int *count);

#endif
