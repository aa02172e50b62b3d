/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The filters on a GPU: what photogrid-cuda.so offers. No CUDA is needed to include this. */

#ifndef PHOTOGRID_FILTERS_CUDA_H
#define PHOTOGRID_FILTERS_CUDA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum cuda_filter_kind { CUDA_EDGES, CUDA_BILATERAL, CUDA_POSTERISE, CUDA_SHARPEN };

/* A filter's weights, on the host. */
struct cuda_filter {
    enum cuda_filter_kind kind;
    float strength;
    int radius;
    const float *smooth, *slope; /* 2 radius + 1 each */
    const float *range;          /* range_steps + 1 */
    int range_steps;
};

#define CUDA_FILTERS_SYMBOL "photogrid_cuda"
struct cuda_filters {
    /* Bytes of device memory that `work` has. */
    size_t (*work_size)(const struct cuda_filter *filter, int width, int height);

    /* Filters an RGB picture, both on the device, in a stream (cudaStream_t). Returns a cudaError_t; *call is what gave
     * it. */
    int (*apply)(const struct cuda_filter *filter, const uint8_t *in, uint8_t *out, int width, int height, void *work,
                 void *stream, const char **call);
};

#ifdef __cplusplus
}
#endif
#endif
