/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Opening the CUDA module. */

#ifndef RK_DEVICE_CUDA_H
#define RK_DEVICE_CUDA_H

#include "device/cuda_module.h"

/* Opens the module, which stays open. Errors: RANKCALL_ESYSTEM: it is not installed, CUDA's library is missing, or it
 * is of another version. Threads: one at a time. */
int rk_cuda_load(const struct rk_cuda_module **out);

#endif
