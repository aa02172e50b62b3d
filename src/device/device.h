/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Where a rank computes. Today every rank computes on the host: the CPUs that it was given. */

#ifndef RK_DEVICE_DEVICE_H
#define RK_DEVICE_DEVICE_H

#include <stddef.h>

/* What this process may use, as asked from the kernel: `device` gets "cpu", `cpus` a list like "0-1,4".
 * Returns: the number of usable CPUs, at least 1. */
int rk_device_describe(char *device, size_t device_size, char *cpus, size_t cpus_size);

#endif
