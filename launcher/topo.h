/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What `rankcall topo` shows: a machine and the ranks on it, planned or running. */

#ifndef RK_LAUNCHER_TOPO_H
#define RK_LAUNCHER_TOPO_H

#include <rankcall/payload.h>
#include <stdio.h>

#include "device/placement.h"

#define RK_REMARKS_MAX 64

/* A rank of a running job beside its place. */
struct rk_topo_rank {
    int number;
    int pid;         /* 0: of a plan */
    char host[72];   /* "" of a plan */
    char memory[32]; /* the policy as the kernel tells it; "" of a plan */
    char bound[12];
    char device[32]; /* as the job tells it; "" of a plan */
    bool asked;      /* the driver tells which GPU its process computes on ... */
    char other[20];  /* ... and this, which is another one; "" */
};

struct rk_topo {
    const char *source; /* what the machine is: "this machine", or a file */
    const char *job;    /* NULL: a plan */
    struct rk_machine *machine;
    struct rk_cpus allowed; /* what ranks may have of it */
    struct rk_gpu gpus[RK_GPUS_MAX];
    int gpu_count;
    struct rk_place *places;
    struct rk_topo_rank *ranks;
    int count; /* of ranks on this machine */
    struct rk_remark remarks[RK_REMARKS_MAX];
    int remark_count;
    const struct rankcall_payload *status; /* of the job: it tells of ranks on other machines */
};

/* Finds the ranks of a job: those on this machine are looked at here. Errors: RANKCALL_EINTERNAL. */
int rk_topo_of_job(struct rk_topo *topo, const struct rankcall_payload *status);

void rk_topo_print(const struct rk_topo *topo);
void rk_topo_print_json(const struct rk_topo *topo);

/* Whether a rank of the status runs on this machine. */
bool rk_topo_is_here(const struct rankcall_payload *status, int rank);

#endif
