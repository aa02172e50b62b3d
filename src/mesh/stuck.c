/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A replacement that is stuck. mpirun 4.1 sometimes answers no new process any more, for good, when several have died
 * at once: it then waits in MPI_Init for ever, and the living for it in MPI_Comm_spawn. It ends, which the living see
 * (vigil.c), and the job with it. */

#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "mesh/internal.h"

static struct rk_guard guard;

_Noreturn static void end(void *context)
{
    (void)context;
    rk_log(RK_LOG_INFO, "this replacement is stuck in MPI_Init: mpirun does not answer it");
    _exit(1);
}

void rk_stuck_begin(void)
{
    const char *nodes = getenv("OMPI_MCA_orte_num_nodes");
    int limit_s = nodes && atoi(nodes) > 1 ? RK_STUCK_FAR_S : RK_STUCK_S;
    if (getenv("OMPI_PARENT_PORT")) /* as Open MPI marks a process that another one started */
        rk_guard_begin(&guard, limit_s, end, NULL);
}

void rk_stuck_end(void)
{
    rk_guard_end(&guard);
}
