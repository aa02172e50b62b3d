/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Opening the CUDA module. */

#include "device/cuda.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "base/error.h"

int rk_cuda_load(const struct rk_cuda_module **out)
{
    const char *pretended = getenv("RANKCALL_TEST_CUDA_MODULE");
    const char *path = pretended ? pretended : RK_MODULE_DIR "/" RK_CUDA_MODULE_NAME;
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!object)
        return rk_error(RANKCALL_ESYSTEM, "GPUs cannot be used: %s", dlerror());
    const struct rk_cuda_module *module = dlsym(object, RK_CUDA_MODULE_SYMBOL);
    if (module && module->version == RK_CUDA_MODULE_VERSION) {
        *out = module;
        return RANKCALL_OK;
    }
    dlclose(object);
    return rk_error(RANKCALL_ESYSTEM, "GPUs cannot be used: %s is of another version of rankcall", path);
}
