/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A job's life from mpirun's start to the last trace of it. */

#ifndef RK_LAUNCHER_SUPERVISE_H
#define RK_LAUNCHER_SUPERVISE_H

#include "launcher/plan.h"

#define RK_LAUNCHER_DRAIN_S 10 /* seconds that a running call has after Ctrl-C */

/* Starts what the plan says, tells of it, passes signals and output on, and returns when nothing of it is left.
 * Returns: the exit status. */
int rk_supervise(struct rk_run_values *values, struct rk_plan *plan);

#endif
