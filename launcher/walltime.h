/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The end of a batch job's time, as the launcher sees it: rank 0 ends the job before; here it goes back to the queue.
 */

#ifndef RK_LAUNCHER_WALLTIME_H
#define RK_LAUNCHER_WALLTIME_H

#include <stdbool.h>
#include <stdint.h>

#include "launcher/plan.h"

struct rk_limit {
    const char *job;  /* Slurm's number; NULL: it is none of Slurm's */
    int64_t drain_us; /* when rank 0 begins to end the job; 0: not known */
    bool requeue, warned;
};

/* Asks for the end, and tells rank 0 by its environment. */
void rk_limit_learn(struct rk_limit *limit, const struct rk_run_values *values);

/* Slurm's warning signal has come: rank 0 hears of it. False where it is none of Slurm's. */
bool rk_limit_warn(struct rk_limit *limit, int rank0);

/* The job is gone: puts it back into the queue if its time was over, and that is wanted. */
void rk_limit_requeue(const struct rk_limit *limit, bool interrupted);

#endif
