/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* For handlers that compile CUDA themselves: rankcall/device.h with CUDA's types. It needs CUDA's headers; rankcall
 * itself links none of CUDA, so the worker links what it uses. */

#ifndef RANKCALL_CUDA_H
#define RANKCALL_CUDA_H

#include <cuda_runtime_api.h>

#include <rankcall/device.h>

/* The stream for kernels and cuBLAS. */
static inline cudaStream_t rankcall_cuda_stream(const struct rankcall_device *device)
{
    return (cudaStream_t)rankcall_device_stream(device);
}

/* Returns RANKCALL_OK, or tells of the error that one of CUDA's functions gave: `return rankcall_cuda_check(device,
 * cudaMemsetAsync(…), "cudaMemsetAsync")`. */
static inline int rankcall_cuda_check(struct rankcall_device *device, cudaError_t error, const char *what)
{
    return error == cudaSuccess ? RANKCALL_OK : rankcall_device_error(device, (int)error, what);
}

/* The same after the launch of a kernel, which returns nothing. */
static inline int rankcall_cuda_launched(struct rankcall_device *device, const char *kernel)
{
    return rankcall_cuda_check(device, cudaGetLastError(), kernel);
}

#endif
