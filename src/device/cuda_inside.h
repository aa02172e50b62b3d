/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The CUDA module's inside. */

#ifndef RK_DEVICE_CUDA_INSIDE_H
#define RK_DEVICE_CUDA_INSIDE_H

#include <cuda_runtime_api.h>

#include "device/cuda_module.h"

struct rk_cuda {
    struct rk_cuda_facts facts;
    cudaStream_t stream;
};

/* Tells of the failure of what `format` describes, on a device that is open (else NULL). */
__attribute__((format(printf, 4, 5))) enum rk_cuda_end rk_cuda_fail(const struct rk_cuda *cuda, cudaError_t error,
                                                                    char text[RK_CUDA_TEXT], const char *format, ...);

/* The device is the thread's, and the caller may have other threads. */
enum rk_cuda_end rk_cuda_enter(struct rk_cuda *cuda, char text[RK_CUDA_TEXT]);

/* nccl_module.c: as in struct rk_cuda_module. */
enum rk_cuda_end rk_nccl_version(int *version, char text[RK_CUDA_TEXT]);
enum rk_cuda_end rk_nccl_id(uint8_t id[RK_NCCL_ID_SIZE], char text[RK_CUDA_TEXT]);
enum rk_cuda_end rk_nccl_join(struct rk_cuda *cuda, const uint8_t id[RK_NCCL_ID_SIZE], int ranks, int rank,
                              struct rk_nccl **out, char text[RK_CUDA_TEXT]);
enum rk_cuda_end rk_nccl_look(struct rk_nccl *nccl, char text[RK_CUDA_TEXT]);
enum rk_cuda_end rk_nccl_begin(struct rk_nccl *nccl, const struct rk_nccl_work *work, char text[RK_CUDA_TEXT]);
bool rk_nccl_reduces(enum rankcall_dtype type);
void rk_nccl_leave(struct rk_nccl *nccl);

#endif
