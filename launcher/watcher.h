/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A process that cleans up after this one, should it be killed before it can do so itself. */

#ifndef RK_LAUNCHER_WATCHER_H
#define RK_LAUNCHER_WATCHER_H

#include <sys/types.h>

#include "launcher/plan.h"

struct rk_watcher {
    pid_t pid; /* 0: none */
    int pipe;  /* whose end tells the watcher that this process is gone */
};

/* Starts it for a job that has just been started. Errors: RANKCALL_ESYSTEM. */
int rk_watcher_start(struct rk_watcher *watcher, pid_t mpirun, const struct rk_plan *plan);

/* The job is gone and cleaned up: ends the watcher. */
void rk_watcher_dismiss(struct rk_watcher *watcher);

#endif
