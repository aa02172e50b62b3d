/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Kernels for GPUs lie in shared objects of their own, so that the programs start where there is no CUDA. */

#ifndef EXAMPLES_KERNELS_H
#define EXAMPLES_KERNELS_H

#include <rankcall/device.h>

/* The table of functions `symbol` of the module `name` ("photogrid-cuda.so"), in the folder RANKCALL_KERNELS_DIR of the
 * environment or the one that the example was built for. NULL: the rank computes on the host, or
 * the module was not built or cannot be opened, which is printed; then the handler uses the CPU. */
const void *kernels_open(struct rankcall_context *context, const struct rankcall_device *device, const char *name,
                         const char *symbol);

#endif
