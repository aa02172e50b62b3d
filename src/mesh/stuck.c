/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A replacement that is stuck. mpirun 4.1 sometimes answers no new process any more, for good, when several have died
 * at once: it then waits in MPI_Init for ever, and the living for it in MPI_Comm_spawn. It ends, which the living see
 * (vigil.c), and the job with it.
 *
 * Where CPUs are short MPI_Init takes seconds, too. But then mpirun is at work, or would be if there were a CPU:
 * that gives it three times as long. */

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/ended.h"
#include "base/log.h"
#include "mesh/internal.h"

#define TICK_MS 100
#define WORK_NS 20000000 /* of a tick */
#define AT_REST 3        /* a tick at rest counts for so many under way */

static struct {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done, running;
    int ticks; /* until it counts as stuck */
} guard = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* In the last tick mpirun was at work, or one of the two waited for a CPU. That this process runs tells nothing: MPI
 * waits by looking. */
static bool is_under_way(int mpirun, uint64_t *before)
{
    uint64_t run, waited, own_run, own_waited;
    rk_process_work(mpirun, &run, &waited);
    rk_process_work(getpid(), &own_run, &own_waited);
    uint64_t now = run + waited + own_waited, done = now - *before;
    *before = now;
    return done > WORK_NS;
}

/* Returns whether MPI_Init came to its end first. */
static bool pass_a_tick(void)
{
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_nsec += TICK_MS * 1000000;
    limit.tv_sec += limit.tv_nsec / 1000000000;
    limit.tv_nsec %= 1000000000;
    while (!guard.done)
        if (pthread_cond_timedwait(&guard.changed, &guard.lock, &limit) == ETIMEDOUT)
            break;
    return guard.done;
}

static void *keep_time(void *context)
{
    int mpirun = getppid();
    uint64_t before = 0;
    (void)context;
    (void)is_under_way(mpirun, &before);
    pthread_mutex_lock(&guard.lock);
    while (guard.ticks > 0 && !pass_a_tick())
        guard.ticks -= is_under_way(mpirun, &before) ? 1 : AT_REST;
    bool done = guard.done;
    pthread_mutex_unlock(&guard.lock);
    if (done)
        return NULL;
    rk_log(RK_LOG_INFO, "this replacement is stuck in MPI_Init: mpirun does not answer it");
    _exit(1);
}

void rk_stuck_begin(void)
{
    const char *nodes = getenv("OMPI_MCA_orte_num_nodes");
    int limit_s = nodes && atoi(nodes) > 1 ? RK_STUCK_FAR_S : RK_STUCK_S;
    if (!getenv("OMPI_PARENT_PORT")) /* as Open MPI marks a process that another one started */
        return;
    guard.ticks = AT_REST * limit_s * 1000 / TICK_MS;
    guard.running = !pthread_create(&guard.thread, NULL, keep_time, NULL);
}

void rk_stuck_end(void)
{
    if (!guard.running)
        return;
    pthread_mutex_lock(&guard.lock);
    guard.done = true;
    pthread_cond_signal(&guard.changed);
    pthread_mutex_unlock(&guard.lock);
    pthread_join(guard.thread, NULL);
    guard.running = false;
}
