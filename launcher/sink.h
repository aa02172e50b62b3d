/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Output that never blocks its writer: a buffer before a descriptor that may be a slow pipe or a stopped terminal. */

#ifndef RK_LAUNCHER_SINK_H
#define RK_LAUNCHER_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RK_SINK_FULL (1 << 20) /* bytes above which its sources should wait */

struct rk_sink {
    int fd;
    char *data;
    size_t begin, end, room;
    bool broken; /* nobody reads it: what comes is dropped */
};

void rk_sink_open(struct rk_sink *sink, int fd);
void rk_sink_close(struct rk_sink *sink);

void rk_sink_add(struct rk_sink *sink, const char *data, size_t size);

/* Bytes not yet written. */
size_t rk_sink_held(const struct rk_sink *sink);

/* Writes what the descriptor takes without blocking. */
void rk_sink_flush(struct rk_sink *sink);

/* Writes everything, or gives up when nothing moves for `patience_us`. */
void rk_sink_drain(struct rk_sink *sink, int64_t patience_us);

#endif
