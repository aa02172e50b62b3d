/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Steps on the GPU. The rows at the borders go through pinned memory of the host: a row is small. */

#include "strip_there.h"

#include <math.h>
#include <stdlib.h>

struct strip_there {
    struct rankcall_call *call;
    struct rankcall_device *device;
    const struct cuda_strips *kernels;
    struct cuda_strip *strip;
    struct cuda_rows edges;
    float *out, *in; /* a row each, pinned */
    int row, above, below;
    double lambda, tau, sigma;
};

static int check(struct strip_there *strip, int error, const char *what)
{
    return error ? rankcall_device_error(strip->device, error, what) : 0;
}

struct strip_there *strip_there_new(struct rankcall_call *call, struct rankcall_device *device,
                                    const struct cuda_strips *kernels, const uint8_t *noisy, int width, int channels,
                                    int first, int rows, int height, double weight)
{
    struct strip_there *strip = calloc(1, sizeof *strip);
    const int rank = rankcall_call_rank(call);
    const char *what = "";
    void *out = NULL, *in = NULL;

    if (!strip)
        return NULL;
    *strip = (struct strip_there){.call = call, .device = device, .kernels = kernels, .row = width * channels};
    strip->above = rows > 0 && first > 0 ? rank - 1 : MPI_PROC_NULL;
    strip->below = rows > 0 && first + rows < height ? rank + 1 : MPI_PROC_NULL;
    strip->lambda = 1 / weight;
    strip->tau = strip->sigma = 1 / sqrt(8);
    const size_t bytes = (size_t)strip->row * sizeof(float);
    int code = rankcall_pinned_alloc(device, bytes, &out) || rankcall_pinned_alloc(device, bytes, &in);
    strip->out = out;
    strip->in = in;
    if (!code)
        code = check(strip,
                     kernels->begin(noisy, strip->row, channels, rows, rankcall_device_stream(device), &strip->strip,
                                    &strip->edges, &what),
                     what);
    if (!code)
        return strip;
    strip_there_free(strip);
    return NULL;
}

void strip_there_free(struct strip_there *strip)
{
    if (!strip)
        return;
    rankcall_pinned_free(strip->device, strip->out);
    rankcall_pinned_free(strip->device, strip->in);
    strip->kernels->end(strip->strip);
    free(strip);
}

/* A row of the device's to one neighbour, and one of the other's to the device. */
static int pass_row(struct strip_there *strip, const float *row, int to, float *other, int from, int tag)
{
    const size_t size = (size_t)strip->row * sizeof(float);

    if (to != MPI_PROC_NULL && rankcall_device_copy(strip->device, strip->out, row, size))
        return -1;
    if (rankcall_wait(strip->call)) /* the last copy from `in` is done, too */
        return -1;
    MPI_Sendrecv(strip->out, strip->row, MPI_FLOAT, to, tag, strip->in, strip->row, MPI_FLOAT, from, tag,
                 rankcall_call_comm(strip->call), MPI_STATUS_IGNORE);
    return from == MPI_PROC_NULL ? 0 : rankcall_device_copy(strip->device, other, strip->in, size);
}

int strip_there_step(struct strip_there *strip)
{
    const float theta = (float)(1 / sqrt(1 + 2 * strip->lambda * strip->tau));
    const char *what = "";

    if (pass_row(strip, strip->edges.lead_first, strip->above, strip->edges.lead_below, strip->below, 0) ||
        check(strip, strip->kernels->ascend(strip->strip, (float)strip->sigma, strip->below != MPI_PROC_NULL, &what),
              what) ||
        pass_row(strip, strip->edges.down_last, strip->below, strip->edges.down_above, strip->above, 1) ||
        check(
            strip,
            strip->kernels->descend(strip->strip, (float)strip->tau, (float)(strip->tau * strip->lambda), theta, &what),
            what))
        return -1;
    strip->tau *= (double)theta;
    strip->sigma /= (double)theta;
    return 0;
}

int strip_there_read(struct strip_there *strip, uint8_t *out, double *squares)
{
    const char *what = "";
    int code = check(strip, strip->kernels->read(strip->strip, out, &what), what);

    if (!code)
        code = check(strip, strip->kernels->change(strip->strip, squares, &what), what);
    return code ? -1 : rankcall_wait(strip->call);
}
