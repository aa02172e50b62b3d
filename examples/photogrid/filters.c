/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The filters: edges, bilateral, posterise, sharpen. */

#include "filters.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters_cuda.h"

#define MAX_RADIUS  24
#define RANGE_STEPS 4096 /* of squared colour distances, up to 3 * 255^2 */
#define MAX_COLOURS 64
#define ROUNDS      12 /* of k-means */

struct kind {
    const char *name, *unit;
    float strength; /* of the first round */
    void (*load)(struct filter *filter);
    int (*apply)(const struct filter *filter, const struct image *in, struct image *out);
};

struct filter {
    const struct kind *kind;
    char label[48];
    float strength; /* a width in pixels, or a number of colours */
    int radius;
    float smooth[2 * MAX_RADIUS + 1], slope[2 * MAX_RADIUS + 1]; /* a Gaussian of that width and its derivative */
    float range[RANGE_STEPS + 1]; /* weights of the bilateral filter's colour distances */
};

static int clamp(int value, int low, int high)
{
    return value < low ? low : value > high ? high : value;
}

static uint8_t to_byte(float value)
{
    return (uint8_t)clamp((int)lrintf(value), 0, 255);
}

/* Loads `smooth` and `slope` for a Gaussian whose standard deviation is the strength. */
static void load_gaussian(struct filter *filter)
{
    const float sigma = filter->strength;
    float sum = 0;

    filter->radius = clamp((int)ceilf(3 * sigma), 1, MAX_RADIUS);
    for (int i = -filter->radius; i <= filter->radius; i++)
        sum += filter->smooth[i + filter->radius] = expf(-(float)(i * i) / (2 * sigma * sigma));
    for (int i = 0; i <= 2 * filter->radius; i++) {
        filter->smooth[i] /= sum;
        filter->slope[i] = filter->smooth[i] * (float)(i - filter->radius) / (sigma * sigma);
    }
}

/* The pixel's number in its picture. */
static size_t number_of(const struct image *image, int x, int y)
{
    return (size_t)y * (size_t)image->width + (size_t)x;
}

/* One channel under the separable kernel across(x) down(y), borders repeated. `scratch` and `out` hold a plane. */
static void convolve(const struct filter *filter, const struct image *in, int channel, const float *across,
                     const float *down, float *scratch, float *out)
{
    const int right = in->width - 1, bottom = in->height - 1, radius = filter->radius;

    for (int y = 0; y <= bottom; y++)
        for (int x = 0; x <= right; x++) {
            float sum = 0;
            for (int i = -radius; i <= radius; i++)
                sum += across[i + radius] * in->pixels[number_of(in, clamp(x + i, 0, right), y) * 3 + (size_t)channel];
            scratch[number_of(in, x, y)] = sum;
        }
    for (int y = 0; y <= bottom; y++)
        for (int x = 0; x <= right; x++) {
            float sum = 0;
            for (int i = -radius; i <= radius; i++)
                sum += down[i + radius] * scratch[number_of(in, x, clamp(y + i, 0, bottom))];
            out[number_of(in, x, y)] = sum;
        }
}

/* The gradient of the smoothed picture, strongest channel, dark on white. The derivative of a Gaussian is nearly the
 * best detector of a step edge: Canny, "A computational approach to edge detection", 1986. */
static int apply_edges(const struct filter *filter, const struct image *in, struct image *out)
{
    const size_t plane = (size_t)in->width * (size_t)in->height;
    float *work = malloc(3 * plane * sizeof *work);

    if (!work)
        return -1;
    memset(out->pixels, 255, 3 * plane);
    for (int channel = 0; channel < 3; channel++) {
        convolve(filter, in, channel, filter->slope, filter->smooth, work, work + plane);
        convolve(filter, in, channel, filter->smooth, filter->slope, work, work + 2 * plane);
        for (size_t i = 0; i < plane; i++) {
            const float edge = 4 * filter->strength * hypotf(work[plane + i], work[2 * plane + i]);
            if (to_byte(255 - edge) < out->pixels[3 * i])
                memset(out->pixels + 3 * i, to_byte(255 - edge), 3);
        }
    }
    free(work);
    return 0;
}

/* Unsharp masking: twice the difference to the smoothed picture is added. */
static int apply_sharpen(const struct filter *filter, const struct image *in, struct image *out)
{
    const size_t plane = (size_t)in->width * (size_t)in->height;
    float *work = malloc(2 * plane * sizeof *work);

    if (!work)
        return -1;
    for (size_t channel = 0; channel < 3; channel++) {
        convolve(filter, in, (int)channel, filter->smooth, filter->smooth, work, work + plane);
        for (size_t i = 0; i < plane; i++) {
            const float old = in->pixels[3 * i + channel];
            out->pixels[3 * i + channel] = to_byte(old + 2 * (old - work[plane + i]));
        }
    }
    free(work);
    return 0;
}

static int squared_distance(const uint8_t *a, const uint8_t *b)
{
    const int red = a[0] - b[0], green = a[1] - b[1], blue = a[2] - b[2];

    return red * red + green * green + blue * blue;
}

static void load_bilateral(struct filter *filter)
{
    const float sigma = 30; /* in grey levels */

    load_gaussian(filter);
    for (int i = 0; i <= RANGE_STEPS; i++)
        filter->range[i] = expf(-(float)i * (3 * 255 * 255 / (float)RANGE_STEPS) / (2 * sigma * sigma));
}

/* Each pixel becomes the mean of its neighbours weighted by nearness in place and in colour: Tomasi and Manduchi,
 * "Bilateral filtering for gray and color images", 1998, section 2.1. */
static int apply_bilateral(const struct filter *filter, const struct image *in, struct image *out)
{
    const int radius = filter->radius, right = in->width - 1, bottom = in->height - 1;

    for (int y = 0; y <= bottom; y++)
        for (int x = 0; x <= right; x++) {
            const uint8_t *here = in->pixels + number_of(in, x, y) * 3;
            float sum[4] = {0};
            for (int v = clamp(y - radius, 0, bottom); v <= clamp(y + radius, 0, bottom); v++)
                for (int u = clamp(x - radius, 0, right); u <= clamp(x + radius, 0, right); u++) {
                    const uint8_t *there = in->pixels + number_of(in, u, v) * 3;
                    const long step = (long)squared_distance(here, there) * RANGE_STEPS / (3 * 255 * 255);
                    const float weight =
                        filter->smooth[u - x + radius] * filter->smooth[v - y + radius] * filter->range[step];
                    for (int c = 0; c < 3; c++)
                        sum[c] += weight * there[c];
                    sum[3] += weight;
                }
            for (size_t c = 0; c < 3; c++)
                out->pixels[number_of(in, x, y) * 3 + c] = to_byte(sum[c] / sum[3]);
        }
    return 0;
}

static int nearest(uint8_t (*colours)[3], int count, const uint8_t *pixel, int *distance)
{
    int best = 0;

    *distance = squared_distance(colours[0], pixel);
    for (int k = 1; k < count; k++) {
        const int other = squared_distance(colours[k], pixel);
        if (other < *distance) {
            *distance = other;
            best = k;
        }
    }
    return best;
}

/* Colours become the nearest of a few, found by k-means: Lloyd, "Least squares quantization in PCM", 1982, method I. */
static int apply_posterise(const struct filter *filter, const struct image *in, struct image *out)
{
    const size_t pixels = (size_t)in->width * (size_t)in->height;
    const int count = (int)filter->strength;
    uint8_t colours[MAX_COLOURS][3];
    int distance;

    for (int k = 0; k < count; k++) /* first guesses: pixels spread evenly over the picture */
        memcpy(colours[k], in->pixels + pixels * (size_t)(2 * k + 1) / (size_t)(2 * count) * 3, 3);
    for (int round = 0; round < ROUNDS; round++) {
        double sums[MAX_COLOURS][4] = {0};
        for (size_t i = 0; i < pixels; i++) {
            const int k = nearest(colours, count, in->pixels + 3 * i, &distance);
            for (size_t c = 0; c < 3; c++)
                sums[k][c] += in->pixels[3 * i + c];
            sums[k][3]++;
        }
        for (int k = 0; k < count; k++)
            for (int c = 0; c < 3 && sums[k][3] > 0; c++)
                colours[k][c] = to_byte((float)(sums[k][c] / sums[k][3]));
    }
    for (size_t i = 0; i < pixels; i++)
        memcpy(out->pixels + 3 * i, colours[nearest(colours, count, in->pixels + 3 * i, &distance)], 3);
    return 0;
}

static void load_colours(struct filter *filter)
{
    filter->strength = fminf(filter->strength, MAX_COLOURS);
}

static const struct kind kinds[] = {
    {"edges", "px", 1, load_gaussian, apply_edges},
    {"bilateral", "px", 3, load_bilateral, apply_bilateral},
    {"posterise", "colours", 6, load_colours, apply_posterise},
    {"sharpen", "px", 2, load_gaussian, apply_sharpen},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

struct filter *filter_load(const char *name, int turn, const char **known)
{
    const struct kind *kind = name ? NULL : &kinds[turn % KINDS];

    *known = "edges, bilateral, posterise, sharpen";
    for (int i = 0; name && i < KINDS; i++)
        if (strcmp(name, kinds[i].name) == 0)
            kind = &kinds[i];
    struct filter *filter = kind ? calloc(1, sizeof *filter) : NULL;
    if (!filter)
        return NULL;
    filter->kind = kind;
    filter->strength = kind->strength * (float)(1 + turn / KINDS);
    kind->load(filter);
    snprintf(filter->label, sizeof filter->label, "%s %g %s", kind->name, (double)filter->strength, kind->unit);
    return filter;
}

const char *filter_label(const struct filter *filter)
{
    return filter->label;
}

int filter_apply(const struct filter *filter, const struct image *in, struct image *out)
{
    return filter->kind->apply(filter, in, out);
}

void filter_for_cuda(const struct filter *filter, struct cuda_filter *out)
{
    static const enum cuda_filter_kind numbers[KINDS] = {CUDA_EDGES, CUDA_BILATERAL, CUDA_POSTERISE, CUDA_SHARPEN};

    *out = (struct cuda_filter){.kind = numbers[filter->kind - kinds],
                                .strength = filter->strength,
                                .radius = filter->radius,
                                .smooth = filter->smooth,
                                .slope = filter->slope,
                                .range = filter->range,
                                .range_steps = RANGE_STEPS};
}

void filter_free(struct filter *filter)
{
    free(filter);
}
