/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The solver of strip.c as kernels. Each value is computed by the same operations in the same order, without fused
 * multiply-add (-fmad=false), so the picture is the same. */

#include "strip_cuda.h"

#include <cuda_runtime.h>
#include <stdlib.h>

#define THREADS 256

struct cuda_strip {
    cudaStream_t stream;
    int row, channels, rows;
    float *noisy, *u, *lead, *across, *down;
    double *squares, *change; /* of each row, and of all */
    uint8_t *bytes;
};

__global__ static void load(const uint8_t *bytes, size_t size, float *noisy, float *u, float *lead)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;

    if (i < size)
        noisy[i] = u[i] = lead[i] = (float)bytes[i] / 255;
}

__global__ static void store(const float *u, size_t size, uint8_t *bytes)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;

    if (i < size)
        bytes[i] = (uint8_t)__float2int_rn(255 * fminf(fmaxf(u[i], 0), 1));
}

/* A thread a pixel; `down` begins with a row of the strip above. */
__global__ static void ascend_pixel(struct cuda_strip strip, float sigma, bool has_below)
{
    const int channels = strip.channels, row = strip.row, width = row / channels;
    const int pixel = (int)(blockIdx.x * blockDim.x + threadIdx.x), y = pixel / width, x = pixel % width * channels;

    if (y >= strip.rows)
        return;
    const float *lead = strip.lead + (size_t)y * row;
    const float *next = y + 1 < strip.rows || has_below ? lead + row : NULL;
    float *across = strip.across + (size_t)y * row, *down = strip.down + (size_t)(y + 1) * row, square = 0;
    for (int i = x; i < x + channels; i++) {
        if (x + channels < row)
            across[i] += sigma * (lead[i + channels] - lead[i]);
        if (next)
            down[i] += sigma * (next[i] - lead[i]);
        square += across[i] * across[i] + down[i] * down[i];
    }
    if (square <= 1)
        return;
    const float shrink = 1 / sqrtf(square);
    for (int i = x; i < x + channels; i++) {
        across[i] *= shrink;
        down[i] *= shrink;
    }
}

/* A block a row; the row's squares are added in an order that does not change. */
__global__ static void descend_row(struct cuda_strip strip, float tau, float pull, float theta)
{
    __shared__ double sums[THREADS];
    const int channels = strip.channels, row = strip.row;
    const size_t at = (size_t)blockIdx.x * row;
    const float *across = strip.across + at, *down = strip.down + at + row, *above = strip.down + at;
    const float scale = 1 / (1 + pull);
    double sum = 0;

    for (int i = (int)threadIdx.x; i < row; i += THREADS) {
        const float divergence = across[i] - (i < channels ? 0 : across[i - channels]) + down[i] - above[i];
        const float moved = scale * (strip.u[at + i] + tau * divergence + pull * strip.noisy[at + i]);
        const float step = moved - strip.u[at + i];
        strip.lead[at + i] = moved + theta * step;
        strip.u[at + i] = moved;
        sum += (double)step * (double)step;
    }
    sums[threadIdx.x] = sum;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < half)
            sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    if (threadIdx.x == 0)
        strip.squares[blockIdx.x] = sums[0];
}

__global__ static void add_rows(const double *squares, int rows, double *sum)
{
    *sum = 0;
    for (int i = 0; i < rows; i++)
        *sum += squares[i];
}

/* ---- The host's side ---- */

static unsigned blocks_for(size_t things)
{
    return (unsigned)((things + THREADS - 1) / THREADS);
}

static void end(struct cuda_strip *strip)
{
    if (!strip)
        return;
    for (float *memory : {strip->noisy, strip->u, strip->lead, strip->across, strip->down})
        cudaFree(memory);
    cudaFree(strip->squares);
    cudaFree(strip->change);
    cudaFree(strip->bytes);
    free(strip);
}

static cudaError_t allocate(struct cuda_strip *strip)
{
    const size_t row = (size_t)strip->row, size = row * (size_t)strip->rows;
    float **const arrays[] = {&strip->noisy, &strip->u, &strip->lead, &strip->across, &strip->down};
    cudaError_t error = cudaSuccess;

    for (float **array : arrays) {
        if (!error)
            error = cudaMalloc(array, (size + row) * sizeof(float));
        if (!error)
            error = cudaMemsetAsync(*array, 0, (size + row) * sizeof(float), strip->stream);
    }
    if (!error)
        error = cudaMalloc(&strip->squares, (size_t)(strip->rows + 1) * sizeof(double));
    if (!error)
        error = cudaMalloc(&strip->change, sizeof(double));
    return error ? error : cudaMalloc(&strip->bytes, size + 1);
}

static int begin(const uint8_t *noisy, int row, int channels, int rows, void *stream, struct cuda_strip **out,
                 struct cuda_rows *edges, const char **call)
{
    struct cuda_strip *strip = (struct cuda_strip *)calloc(1, sizeof *strip);
    const size_t size = (size_t)row * (size_t)rows;
    cudaError_t error = strip ? cudaSuccess : cudaErrorMemoryAllocation;

    *call = "cudaMalloc";
    if (!error) {
        strip->stream = (cudaStream_t)stream;
        strip->row = row;
        strip->channels = channels;
        strip->rows = rows;
        error = allocate(strip);
    }
    if (!error && size) {
        *call = "cudaMemcpyAsync";
        error = cudaMemcpyAsync(strip->bytes, noisy, size, cudaMemcpyDefault, strip->stream);
    }
    if (error) {
        end(strip);
        return (int)error;
    }
    if (size)
        load<<<blocks_for(size), THREADS, 0, strip->stream>>>(strip->bytes, size, strip->noisy, strip->u, strip->lead);
    *edges = {strip->lead, strip->lead + size, strip->down + size, strip->down};
    *out = strip;
    *call = "a kernel";
    return (int)cudaGetLastError();
}

static int ascend(struct cuda_strip *strip, float sigma, bool has_below, const char **call)
{
    const size_t pixels = (size_t)(strip->row / strip->channels) * (size_t)strip->rows;

    *call = "the kernel ascend_pixel";
    if (pixels)
        ascend_pixel<<<blocks_for(pixels), THREADS, 0, strip->stream>>>(*strip, sigma, has_below);
    return (int)cudaGetLastError();
}

static int descend(struct cuda_strip *strip, float tau, float pull, float theta, const char **call)
{
    *call = "the kernel descend_row";
    if (strip->rows)
        descend_row<<<(unsigned)strip->rows, THREADS, 0, strip->stream>>>(*strip, tau, pull, theta);
    return (int)cudaGetLastError();
}

static int read(struct cuda_strip *strip, uint8_t *out, const char **call)
{
    const size_t size = (size_t)strip->row * (size_t)strip->rows;

    *call = "cudaMemcpyAsync";
    if (!size)
        return 0;
    store<<<blocks_for(size), THREADS, 0, strip->stream>>>(strip->u, size, strip->bytes);
    return (int)cudaMemcpyAsync(out, strip->bytes, size, cudaMemcpyDefault, strip->stream);
}

static int change(struct cuda_strip *strip, double *out, const char **call)
{
    *call = "cudaMemcpyAsync";
    add_rows<<<1, 1, 0, strip->stream>>>(strip->squares, strip->rows, strip->change);
    return (int)cudaMemcpyAsync(out, strip->change, sizeof *out, cudaMemcpyDefault, strip->stream);
}

extern "C" const struct cuda_strips denoise_cuda;
const struct cuda_strips denoise_cuda = {begin, ascend, descend, read, change, end};
