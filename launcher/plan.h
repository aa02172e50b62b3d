/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What `rankcall run` is asked for, and the mpirun line that it becomes. */

#ifndef RK_LAUNCHER_PLAN_H
#define RK_LAUNCHER_PLAN_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/defaults.h"
#include "base/path.h"
#include "launcher/options.h"

/* What starts the ranks. */
enum rk_method { RK_MPIRUN, RK_SRUN };

struct rk_run_values {
    int ranks;             /* 0: not said */
    const char *launch;    /* or NULL */
    enum rk_method method; /* what that comes to, see launch.h */
    int ranks_per_node;    /* 0: as the scheduler has it */
    bool crowded;          /* there are more ranks than places for them */
    bool arrived;          /* sent here by one that was started elsewhere */
    int het_group;         /* of a heterogeneous job; negative: it is none, or this one */
    const char *name, *socket, *setup;
    int queue;                /* 0: the worker's default */
    bool plain;               /* a rank's end is to be the job's, after all */
    const char *on_node_loss; /* "fail", "shrink", or NULL */
    int restarts;             /* how often in an hour dead ranks are replaced */
    double grace;             /* seconds for ranks to come back from a call; negative: the worker's own */
    uint64_t payload_cap;     /* 0: the worker's default */
    const char *call_log;     /* or NULL */
    const char *bind, *gpus;  /* or NULL */
    double walltime_drain;    /* seconds; negative: the default */
    bool requeue;
    double client_stall; /* seconds; negative: the worker's default */
    struct rk_list launcher_arguments;
    double timeout;
    bool debug, json, verbose;
    int supervisor_fd;    /* 0: none */
    char *const *program; /* and its arguments, ended by NULL */
};

struct rk_plan {
    int line;                    /* of Open MPI: 4, 5 */
    char socket[RK_PATH_MAX];    /* where the job will listen */
    char name[65];               /* of the job; "" when it has only a path */
    char launcher[RK_PATH_MAX];  /* where rank 0 reports to this process */
    char leftovers[RK_PATH_MAX]; /* where it writes down what its processes would leave */
    char setup[RK_PATH_MAX];     /* a file of ours with setup's arguments; "" when they are on the line */
    struct rk_list argv;         /* ended by NULL */
    size_t worker;               /* where its program begins; before that are mpirun's or srun's options */
    struct rk_list environment;  /* NAME=VALUE, ended by NULL */
    struct rk_list owned;        /* what the lists point to */
};

/* Whether mpirun is asked to let the job live on without a rank that dies, so that the rest can have it replaced. */
bool rk_plan_recovers(const struct rk_run_values *values);

/* Takes that out of the line. */
void rk_plan_make_plain(struct rk_plan *plan);

/* Whether ranks may be on other nodes, too: a scheduler or the user has named some. */
bool rk_plan_spreads(const struct rk_run_values *values);

/* Checks what can be checked before anything is started, and makes the line.
 * Errors: RANKCALL_EINVAL, RANKCALL_EPAYLOAD (setup), RANKCALL_EEXIST (a live job), RANKCALL_ELAUNCH, RANKCALL_ESYSTEM.
 */
int rk_plan_make(const struct rk_run_values *values, struct rk_plan *plan);

/* lost.c: the same line without nodes that are lost, and with fewer ranks if that is what the user wants. Says what it
 * does. Errors: RANKCALL_ERANKDIED: there are no places for the ranks. */
int rk_plan_leave_out(struct rk_run_values *values, struct rk_plan *plan, const char *const *lost, size_t count);
int rk_plan_check_loss(const struct rk_run_values *values); /* Errors: RANKCALL_EINVAL */
const char *rk_plan_keep(struct rk_plan *plan, char *text); /* malloc()ed, the plan's from now on; takes NULL */

/* The line as a shell would take it. Ownership: the caller's, free(); NULL when memory is out. */
char *rk_plan_text(const struct rk_plan *plan);

/* Removes the setup file and frees. */
void rk_plan_free(struct rk_plan *plan);

#endif
