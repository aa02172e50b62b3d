/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A replacement that is stuck. mpirun 4.1 sometimes answers no new process any more when several have died at once: it
 * then waits in MPI_Init for ever, and the living for it in MPI_Comm_spawn. When it runs its program once more, mpirun
 * notices and refuses it, MPI_Comm_spawn fails for the living, and the job ends soon instead of late. (When it just
 * ends, mpirun does not tell them.) */

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "mesh/internal.h"

#define PATIENCE_S 3

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool running, done;
static pthread_t thread;

static void *keep_time(void *context)
{
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&lock);
    while (!done)
        if (pthread_cond_timedwait(&changed, &lock, &limit) == ETIMEDOUT && !done) {
            rk_log(RK_LOG_INFO, "this replacement is stuck in MPI_Init: mpirun does not answer it");
            execl("/proc/self/exe", "stuck", (char *)NULL);
            _exit(1);
        }
    pthread_mutex_unlock(&lock);
    return context;
}

void rk_stuck_begin(void)
{
    if (getenv("OMPI_PARENT_PORT")) /* as Open MPI marks a process that another one started */
        running = !pthread_create(&thread, NULL, keep_time, NULL);
}

void rk_stuck_end(void)
{
    if (!running)
        return;
    pthread_mutex_lock(&lock);
    done = true;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
    pthread_join(thread, NULL);
}
