/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Where the ranks of one machine belong: pure planning, nothing is asked of the system.
 *
 * Each rank gets a GPU of its own, in the order of ranks, as long as there is one; then they are shared round-robin.
 * It gets cores next to its GPU, or, without GPUs, ranks are spread over the NUMA nodes in proportion to their cores;
 * the cores of one locality are shared out among its ranks, and rank 0 gets one more for its IO thread. A rank whose
 * locality is full goes to another. Nobody gets a CPU that he was not given, and none is shared while one is free. */

#ifndef RK_DEVICE_PLACEMENT_H
#define RK_DEVICE_PLACEMENT_H

#include "device/machine.h"

enum rk_bind {
    RK_BIND_AUTO, /* to cores */
    RK_BIND_NUMA, /* to all cores of the locality, which its ranks share */
    RK_BIND_NONE
};

/* Reads "auto", "numa" or "none". Errors: RANKCALL_EINVAL. */
int rk_bind_read(const char *text, enum rk_bind *bind);

enum rk_binding {
    RK_UNBOUND, /* as it was wished */
    RK_BOUND,
    RK_FOUND,  /* ranks came with different CPUs: somebody has bound them */
    RK_CROWDED /* ranks outnumber the cores: the scheduler had better move them */
};

const char *rk_binding_name(enum rk_binding binding);

/* What a rank brings. */
struct rk_request {
    struct rk_cpus given; /* where it may run */
    const int *gpus;      /* indices of those that it sees, the preferred first */
    int gpu_count;
};

struct rk_place {
    enum rk_binding binding;
    struct rk_cpus cpus;    /* all of the rank's */
    struct rk_cpus workers; /* of its main thread, and of those that it starts */
    struct rk_cpus io;      /* of rank 0's IO thread; empty: the same */
    int gpu;                /* index; -1: none */
    int sharers;            /* ranks on that GPU, this one included */
    int memory;             /* number of the NUMA node to take memory from; -1: as the system does */
    bool shared;            /* others have its cores, too */
    bool far;               /* none of its cores is next to its GPU ... */
    bool misgiven;          /* ... and no CPU that it was given is */
};

struct rk_wishes {
    enum rk_bind bind;
    int io_rank; /* index of the rank with the IO thread; -1: it is on another machine */
};

/* Places `count` ranks of the machine, in the order of their numbers. `gpus`: what the requests' indices count.
 * Errors: RANKCALL_EINVAL: a rank was given no CPU of the machine; RANKCALL_EINTERNAL. */
int rk_placement_make(const struct rk_machine *machine, const struct rk_gpu *gpus, int gpu_count,
                      const struct rk_request *requests, int count, const struct rk_wishes *wishes,
                      struct rk_place *places);

/* Sets `sharers`, `far` and, with the requests (else NULL), `misgiven` of places whose GPUs and CPUs are known. */
void rk_placement_judge(const struct rk_gpu *gpus, const struct rk_request *requests, int count,
                        struct rk_place *places);

/* What is not as good as it could be. */
struct rk_remark {
    const char *kind; /* "shared_gpu", "far_from_gpu", "wrong_cores", "crowded" */
    int rank;         /* index; -1: all */
    char text[320];
};

/* Returns how many there are, at most `room` of which are written. `ranks`: how ranks are called; NULL: by index. */
int rk_placement_remarks(const struct rk_gpu *gpus, const struct rk_place *places, int count, const int *ranks,
                         struct rk_remark *remarks, int room);

#endif
