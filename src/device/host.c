/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The host device: the CPUs that the launch method, Slurm or the user left to this process. */

#include <hwloc.h>
#include <sched.h>
#include <stdio.h>

#include "device/device.h"

int rk_device_describe(char *device, size_t device_size, char *cpus, size_t cpus_size)
{
    cpu_set_t set;
    snprintf(device, device_size, "cpu");
    snprintf(cpus, cpus_size, "?");
    if (sched_getaffinity(0, sizeof set, &set))
        return 1;
    /* The list needs no topology, whose discovery would cost every start tens of milliseconds. */
    hwloc_bitmap_t bitmap = hwloc_bitmap_alloc();
    if (!bitmap)
        return CPU_COUNT(&set);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &set))
            hwloc_bitmap_set(bitmap, cpu);
    hwloc_bitmap_list_snprintf(cpus, cpus_size, bitmap);
    hwloc_bitmap_free(bitmap);
    return CPU_COUNT(&set);
}
