/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Binding this process, for device.c alone. */

#ifndef RK_DEVICE_BIND_H
#define RK_DEVICE_BIND_H

#include "device/cpus.h"

/* Binds every thread of this process. false with errno. */
bool rk_bind_process(const struct rk_cpus *cpus);

/* Has the calling thread, and those that it starts, take memory from a NUMA node while it has some; -1: nothing to do.
 * A policy that was set already stays, and a node that this process may not use is left alone. false with errno. */
bool rk_bind_memory(int node);

/* The calling thread's memory policy: "default", "prefer:0". */
void rk_bound_memory(char *text, size_t size);

#endif
