/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Opening a module of kernels. */

#include "common/kernels.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include <rankcall/worker.h>

const void *kernels_open(struct rankcall_context *context, const struct rankcall_device *device, const char *name,
                         const char *symbol)
{
    const char *folder = getenv("RANKCALL_KERNELS_DIR");
    char path[1024];

    if (rankcall_device_kind(device) != RANKCALL_CUDA)
        return NULL;
    snprintf(path, sizeof path, "%s/%s", folder ? folder : RANKCALL_MODULE_DIR, name);
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const void *table = module ? dlsym(module, symbol) : NULL;
    if (!table)
        rankcall_print(context, "computes on the CPU: %s", dlerror());
    return table;
}
