/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The filters as kernels: the same arithmetic as filters.c, a thread a pixel. */

#include "filters_cuda.h"

#include <cuda_runtime.h>

#define MAX_COLOURS 64
#define ROUNDS      12
#define THREADS     256

struct work {
    float *smooth, *slope, *range, *plane[3];
    unsigned long long *sums; /* red, green, blue and the number of pixels of each colour */
    uint8_t *colours;
};

struct picture {
    const uint8_t *in;
    uint8_t *out;
    int width, height;
};

__device__ static int clamp(int value, int low, int high)
{
    return value < low ? low : value > high ? high : value;
}

__device__ static uint8_t to_byte(float value)
{
    return (uint8_t)clamp(__float2int_rn(value), 0, 255);
}

__device__ static int squared_distance(const uint8_t *a, const uint8_t *b)
{
    const int red = a[0] - b[0], green = a[1] - b[1], blue = a[2] - b[2];

    return red * red + green * green + blue * blue;
}

/* One channel of the picture along the rows. */
__global__ static void convolve_across(struct picture picture, int channel, const float *weights, int radius, float *to)
{
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    float sum = 0;

    if (i >= picture.width * picture.height)
        return;
    const int x = i % picture.width, y = i / picture.width;
    for (int j = -radius; j <= radius; j++)
        sum += weights[j + radius] * picture.in[(y * picture.width + clamp(x + j, 0, picture.width - 1)) * 3 + channel];
    to[i] = sum;
}

__global__ static void convolve_down(int width, int height, const float *from, const float *weights, int radius,
                                     float *to)
{
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    float sum = 0;

    if (i >= width * height)
        return;
    for (int j = -radius; j <= radius; j++)
        sum += weights[j + radius] * from[clamp(i / width + j, 0, height - 1) * width + i % width];
    to[i] = sum;
}

/* The strongest channel's gradient, dark on white. */
__global__ static void draw_edges(struct picture picture, const float *along, const float *across, float strength)
{
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);

    if (i >= picture.width * picture.height)
        return;
    const uint8_t value = to_byte(255 - 4 * strength * hypotf(along[i], across[i]));
    if (value < picture.out[3 * i])
        picture.out[3 * i] = picture.out[3 * i + 1] = picture.out[3 * i + 2] = value;
}

__global__ static void draw_sharp(struct picture picture, int channel, const float *smooth)
{
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);

    if (i >= picture.width * picture.height)
        return;
    const float old = picture.in[3 * i + channel];
    picture.out[3 * i + channel] = to_byte(old + 2 * (old - smooth[i]));
}

__global__ static void draw_bilateral(struct picture picture, const float *smooth, const float *range, int radius,
                                      int steps)
{
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    const int right = picture.width - 1, bottom = picture.height - 1;
    float sum[4] = {0, 0, 0, 0};

    if (i >= picture.width * picture.height)
        return;
    const int x = i % picture.width, y = i / picture.width;
    for (int v = clamp(y - radius, 0, bottom); v <= clamp(y + radius, 0, bottom); v++)
        for (int u = clamp(x - radius, 0, right); u <= clamp(x + radius, 0, right); u++) {
            const uint8_t *there = picture.in + (v * picture.width + u) * 3;
            const long long step = (long long)squared_distance(picture.in + 3 * i, there) * steps / (3 * 255 * 255);
            const float weight = smooth[u - x + radius] * smooth[v - y + radius] * range[step];
            for (int c = 0; c < 3; c++)
                sum[c] += weight * there[c];
            sum[3] += weight;
        }
    for (int c = 0; c < 3; c++)
        picture.out[3 * i + c] = to_byte(sum[c] / sum[3]);
}

__device__ static int nearest(const uint8_t *colours, int count, const uint8_t *pixel)
{
    int best = 0, distance = squared_distance(colours, pixel);

    for (int k = 1; k < count; k++) {
        const int other = squared_distance(colours + 3 * k, pixel);
        if (other < distance) {
            distance = other;
            best = k;
        }
    }
    return best;
}

/* First guesses: pixels spread evenly over the picture. */
__global__ static void guess(struct picture picture, uint8_t *colours, int count)
{
    const size_t pixels = (size_t)picture.width * (size_t)picture.height, k = threadIdx.x;

    if (k < (size_t)count)
        for (size_t c = 0; c < 3; c++)
            colours[3 * k + c] = picture.in[pixels * (2 * k + 1) / (2 * (size_t)count) * 3 + c];
}

/* Sums are of integers, so their order does not matter. */
__global__ static void add_up(struct picture picture, const uint8_t *colours, int count, unsigned long long *sums)
{
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);

    if (i >= picture.width * picture.height)
        return;
    const int k = nearest(colours, count, picture.in + 3 * i);
    for (int c = 0; c < 3; c++)
        atomicAdd(&sums[4 * k + c], (unsigned long long)picture.in[3 * i + c]);
    atomicAdd(&sums[4 * k + 3], 1ull);
}

__global__ static void move_colours(uint8_t *colours, int count, unsigned long long *sums)
{
    const int k = (int)threadIdx.x;

    for (int c = 0; c < 3 && k < count; c++) {
        if (sums[4 * k + 3])
            colours[3 * k + c] = to_byte((float)((double)sums[4 * k + c] / (double)sums[4 * k + 3]));
        sums[4 * k + c] = 0;
    }
    if (k < count)
        sums[4 * k + 3] = 0;
}

__global__ static void draw_posterised(struct picture picture, const uint8_t *colours, int count)
{
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);

    if (i >= picture.width * picture.height)
        return;
    const int k = nearest(colours, count, picture.in + 3 * i);
    for (int c = 0; c < 3; c++)
        picture.out[3 * i + c] = colours[3 * k + c];
}

/* ---- The host's side ---- */

static size_t lay_out(const struct cuda_filter *filter, int width, int height, char *at, struct work *work)
{
    const size_t taps = (size_t)(2 * filter->radius + 1) * sizeof(float);
    const size_t plane = (size_t)width * (size_t)height * sizeof(float);
    const size_t sizes[] = {taps,  taps,  (size_t)(filter->range_steps + 1) * sizeof(float),
                            plane, plane, plane, MAX_COLOURS * 4 * sizeof(unsigned long long), MAX_COLOURS * 3};
    char *parts[8];
    size_t end = 0;

    for (int i = 0; i < 8; i++) {
        parts[i] = at + end;
        end += (sizes[i] + 255) / 256 * 256;
    }
    if (work)
        *work = {(float *)parts[0], (float *)parts[1], (float *)parts[2],
                 {(float *)parts[3], (float *)parts[4], (float *)parts[5]},
                 (unsigned long long *)parts[6], (uint8_t *)parts[7]};
    return end;
}

static size_t work_size(const struct cuda_filter *filter, int width, int height)
{
    return lay_out(filter, width, height, NULL, NULL);
}

static cudaError_t copy_weights(const struct cuda_filter *filter, const struct work *work, cudaStream_t stream)
{
    const size_t taps = (size_t)(2 * filter->radius + 1) * sizeof(float);
    const size_t range = (size_t)(filter->range_steps + 1) * sizeof(float);
    cudaError_t error = cudaMemcpyAsync(work->smooth, filter->smooth, taps, cudaMemcpyDefault, stream);

    if (!error)
        error = cudaMemcpyAsync(work->slope, filter->slope, taps, cudaMemcpyDefault, stream);
    return error ? error : cudaMemcpyAsync(work->range, filter->range, range, cudaMemcpyDefault, stream);
}

static void launch(const struct cuda_filter *filter, const struct work *work, struct picture picture,
                   cudaStream_t stream)
{
    const int width = picture.width, height = picture.height, radius = filter->radius;
    const unsigned blocks = (unsigned)((width * height + THREADS - 1) / THREADS);
    float *const *plane = work->plane;

    for (int c = 0; c < 3 && filter->kind == CUDA_EDGES; c++) {
        convolve_across<<<blocks, THREADS, 0, stream>>>(picture, c, work->slope, radius, plane[0]);
        convolve_down<<<blocks, THREADS, 0, stream>>>(width, height, plane[0], work->smooth, radius, plane[1]);
        convolve_across<<<blocks, THREADS, 0, stream>>>(picture, c, work->smooth, radius, plane[0]);
        convolve_down<<<blocks, THREADS, 0, stream>>>(width, height, plane[0], work->slope, radius, plane[2]);
        draw_edges<<<blocks, THREADS, 0, stream>>>(picture, plane[1], plane[2], filter->strength);
    }
    for (int c = 0; c < 3 && filter->kind == CUDA_SHARPEN; c++) {
        convolve_across<<<blocks, THREADS, 0, stream>>>(picture, c, work->smooth, radius, plane[0]);
        convolve_down<<<blocks, THREADS, 0, stream>>>(width, height, plane[0], work->smooth, radius, plane[1]);
        draw_sharp<<<blocks, THREADS, 0, stream>>>(picture, c, plane[1]);
    }
    if (filter->kind == CUDA_BILATERAL)
        draw_bilateral<<<blocks, THREADS, 0, stream>>>(picture, work->smooth, work->range, radius, filter->range_steps);
    if (filter->kind != CUDA_POSTERISE)
        return;
    const int count = (int)filter->strength;
    guess<<<1, MAX_COLOURS, 0, stream>>>(picture, work->colours, count);
    for (int round = 0; round < ROUNDS; round++) {
        add_up<<<blocks, THREADS, 0, stream>>>(picture, work->colours, count, work->sums);
        move_colours<<<1, MAX_COLOURS, 0, stream>>>(work->colours, count, work->sums);
    }
    draw_posterised<<<blocks, THREADS, 0, stream>>>(picture, work->colours, count);
}

static int apply(const struct cuda_filter *filter, const uint8_t *in, uint8_t *out, int width, int height,
                 void *memory, void *stream_pointer, const char **call)
{
    cudaStream_t stream = (cudaStream_t)stream_pointer;
    struct work work;
    cudaError_t error;

    lay_out(filter, width, height, (char *)memory, &work);
    *call = "cudaMemcpyAsync of a filter's weights";
    if ((error = copy_weights(filter, &work, stream)))
        return (int)error;
    *call = "cudaMemsetAsync";
    error = cudaMemsetAsync(work.sums, 0, MAX_COLOURS * 4 * sizeof(unsigned long long), stream);
    if (!error)
        error = cudaMemsetAsync(out, 255, (size_t)width * (size_t)height * 3, stream);
    if (error)
        return (int)error;
    *call = "a filter's kernel";
    launch(filter, &work, {in, out, width, height}, stream);
    return (int)cudaGetLastError();
}

extern "C" const struct cuda_filters photogrid_cuda;
const struct cuda_filters photogrid_cuda = {work_size, apply};
