/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A collective by its name, on memory of the host or of a device, and a short sleep. */

#ifndef COLLECT_H
#define COLLECT_H

#include <stdint.h>
#include <string.h>
#include <time.h>

#include <rankcall/worker.h>

static inline int collect_once(struct rankcall_call *call, const char *kind, char *send, char *receive, size_t size)
{
    int last = rankcall_call_world_size(call) - 1;
    if (!strcmp(kind, "broadcast"))
        return rankcall_broadcast(call, send, size, last);
    if (!strcmp(kind, "gather"))
        return rankcall_gather(call, send, size, receive, last);
    if (!strcmp(kind, "all_gather"))
        return rankcall_all_gather(call, send, size, receive);
    if (!strcmp(kind, "scatter"))
        return rankcall_scatter(call, receive, send, size, last);
    if (!strcmp(kind, "reduce"))
        return rankcall_reduce(call, send, receive, size, RANKCALL_UINT8, RANKCALL_MAX, last);
    return rankcall_all_reduce(call, send, receive, size, RANKCALL_UINT8, RANKCALL_MAX);
}

static inline void nap(int64_t us)
{
    struct timespec time = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    nanosleep(&time, NULL);
}

#endif
