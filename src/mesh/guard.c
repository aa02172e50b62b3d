/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Somebody who looks at the clock while a rank sits in a call of MPI that may never return. */

#include <errno.h>
#include <time.h>

#include "mesh/internal.h"

static void *keep_time(void *context)
{
    struct rk_guard *guard = context;
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += guard->limit_s;
    pthread_mutex_lock(&guard->lock);
    while (!guard->done)
        if (pthread_cond_timedwait(&guard->changed, &guard->lock, &limit) == ETIMEDOUT && !guard->done)
            guard->late(guard->context);
    pthread_mutex_unlock(&guard->lock);
    return NULL;
}

void rk_guard_begin(struct rk_guard *guard, int limit_s, void (*late)(void *), void *context)
{
    *guard = (struct rk_guard){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    guard->limit_s = limit_s;
    guard->late = late;
    guard->context = context;
    guard->running = !pthread_create(&guard->thread, NULL, keep_time, guard);
}

void rk_guard_end(struct rk_guard *guard)
{
    if (!guard->running)
        return;
    pthread_mutex_lock(&guard->lock);
    guard->done = true;
    pthread_cond_signal(&guard->changed);
    pthread_mutex_unlock(&guard->lock);
    pthread_join(guard->thread, NULL);
    guard->running = false;
}
