/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A strip on a GPU: what denoise-cuda.so offers. No CUDA is needed to include this. */

#ifndef DENOISE_STRIP_CUDA_H
#define DENOISE_STRIP_CUDA_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cuda_strip;

/* Rows on the device that neighbours have or want; strip.c has their meaning. */
struct cuda_rows {
    float *lead_first, *lead_below, *down_last, *down_above;
};

/* Functions that return int return 0 or a cudaError_t; *call is what gave it. */
#define CUDA_STRIPS_SYMBOL "denoise_cuda"
struct cuda_strips {
    /* A strip of `rows` rows of `row` values, on the GPU that is current. */
    int (*begin)(const uint8_t *noisy, int row, int channels, int rows, void *stream, struct cuda_strip **out,
                 struct cuda_rows *edges, const char **call);

    /* Both halves of a step; the rows of neighbours are there. */
    int (*ascend)(struct cuda_strip *strip, float sigma, bool has_below, const char **call);
    int (*descend)(struct cuda_strip *strip, float tau, float pull, float theta, const char **call);

    /* Begins to copy to the host: the strip as 8 bits a channel, and the sum of squared changes of the last step. */
    int (*read)(struct cuda_strip *strip, uint8_t *out, const char **call);
    int (*change)(struct cuda_strip *strip, double *out, const char **call);

    /* Takes NULL. */
    void (*end)(struct cuda_strip *strip);
};

#ifdef __cplusplus
}
#endif
#endif
