/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What only NVML knows, the driver's library, which is opened where it is needed: to ask it takes tens of milliseconds.
 */

#ifndef RK_DEVICE_NVML_H
#define RK_DEVICE_NVML_H

#include "device/machine.h"

/* The PCI address of the GPU that a slice (MIG) is of. False: not known. */
bool rk_nvml_parent(const char *uuid, char address[20]);

/* The GPUs, where the driver shows no folder of them: in some containers. `usable` is not set. Returns how many. */
int rk_nvml_gpus(struct rk_gpu gpus[RK_GPUS_MAX]);

/* A process that computes on a GPU. */
struct rk_gpu_use {
    pid_t process;
    char address[20]; /* of the GPU, also where it has a slice of it */
};

/* All of them, as the driver tells it now. Returns how many, at most `room`. */
int rk_nvml_uses(struct rk_gpu_use *uses, int room);

#endif
