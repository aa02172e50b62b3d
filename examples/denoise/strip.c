/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The solver. The denoised picture u minimises (Rudin, Osher and Fatemi, "Nonlinear total variation based noise removal
 * algorithms", 1992)
 *
 *     TV(u) + lambda / 2 |u - noisy|^2,    lambda = 1 / weight,
 *
 * where TV sums the length of the gradient over the pixels, all channels together (Bresson and Chan, "Fast dual
 * minimization of the vectorial total variation norm", 2008), so that channels keep their edges in the same places.
 * It is found by algorithm 2 of Chambolle and Pock, "A first-order primal-dual algorithm for convex problems with
 * applications to imaging", 2011, with the differences of their section 6.1 and gamma = lambda.
 *
 * Every value is computed by the same operations whatever the number of strips, so the picture is the same too. */

#include "strip.h"

#include <math.h>
#include <stdlib.h>

struct strip {
    MPI_Comm comm;
    int above, below; /* ranks, or MPI_PROC_NULL */
    int channels, rows;
    int row; /* values of a row: width times channels */
    float *noisy, *u;
    float *lead;               /* u extrapolated (u bar in the paper), and one row of the strip below */
    float *across, *down;      /* the dual variable; `down` begins with one row of the strip above */
    double lambda, tau, sigma; /* step lengths of u and of the dual */
};

struct strip *strip_new(MPI_Comm comm, const uint8_t *noisy, int width, int channels, int first, int rows, int height,
                        double weight)
{
    struct strip *strip = calloc(1, sizeof *strip);
    int rank;

    if (!strip)
        return NULL;
    const size_t row = (size_t)width * (size_t)channels, size = row * (size_t)rows;
    MPI_Comm_rank(comm, &rank);
    *strip = (struct strip){.comm = comm, .channels = channels, .rows = rows, .row = (int)row, .lambda = 1 / weight};
    strip->above = rows > 0 && first > 0 ? rank - 1 : MPI_PROC_NULL;
    strip->below = rows > 0 && first + rows < height ? rank + 1 : MPI_PROC_NULL;
    strip->tau = strip->sigma = 1 / sqrt(8); /* tau sigma L^2 <= 1 with L^2 = 8, the bound on the gradient's norm */
    strip->noisy = calloc(size + 1, sizeof(float));
    strip->u = calloc(size + 1, sizeof(float));
    strip->lead = calloc(size + row, sizeof(float));
    strip->across = calloc(size + 1, sizeof(float));
    strip->down = calloc(size + row, sizeof(float));
    if (!strip->noisy || !strip->u || !strip->lead || !strip->across || !strip->down) {
        strip_free(strip);
        return NULL;
    }
    for (size_t i = 0; i < size; i++)
        strip->noisy[i] = strip->u[i] = strip->lead[i] = (float)noisy[i] / 255;
    return strip;
}

void strip_free(struct strip *strip)
{
    if (!strip)
        return;
    free(strip->noisy);
    free(strip->u);
    free(strip->lead);
    free(strip->across);
    free(strip->down);
    free(strip);
}

/* Moves the dual of one row along the gradient, and back into the unit ball. At the picture's right and lower border
 * the gradient is 0. */
static void ascend_row(struct strip *strip, const float *lead, const float *next, float *across, float *down)
{
    const int channels = strip->channels, row = strip->row;
    const float sigma = (float)strip->sigma;

    for (int x = 0; x < row; x += channels) {
        float square = 0;
        for (int i = x; i < x + channels; i++) {
            if (x + channels < row)
                across[i] += sigma * (lead[i + channels] - lead[i]);
            if (next)
                down[i] += sigma * (next[i] - lead[i]);
            square += across[i] * across[i] + down[i] * down[i];
        }
        if (square > 1) {
            const float shrink = 1 / sqrtf(square);
            for (int i = x; i < x + channels; i++) {
                across[i] *= shrink;
                down[i] *= shrink;
            }
        }
    }
}

/* Moves one row of u along the divergence of the dual and towards the noisy picture. */
static double descend_row(struct strip *strip, size_t y, float theta)
{
    const int channels = strip->channels, row = strip->row;
    const size_t at = y * (size_t)row;
    const float *across = strip->across + at, *down = strip->down + at + row, *above = strip->down + at;
    const float tau = (float)strip->tau, pull = (float)(strip->tau * strip->lambda), scale = 1 / (1 + pull);
    float *u = strip->u + at, *lead = strip->lead + at;
    double change = 0;

    for (int i = 0; i < row; i++) {
        const float divergence = across[i] - (i < channels ? 0 : across[i - channels]) + down[i] - above[i];
        const float moved = scale * (u[i] + tau * divergence + pull * strip->noisy[at + (size_t)i]);
        const float step = moved - u[i];
        lead[i] = moved + theta * step;
        u[i] = moved;
        change += (double)step * (double)step;
    }
    return change;
}

double strip_step(struct strip *strip)
{
    const size_t row = (size_t)strip->row, rows = (size_t)strip->rows;
    const float theta = (float)(1 / sqrt(1 + 2 * strip->lambda * strip->tau));
    double change = 0;

    MPI_Sendrecv(strip->lead, strip->row, MPI_FLOAT, strip->above, 0, strip->lead + rows * row, strip->row, MPI_FLOAT,
                 strip->below, 0, strip->comm, MPI_STATUS_IGNORE);
    for (size_t y = 0; y < rows; y++) {
        float *lead = strip->lead + y * row;
        const float *next = y + 1 < rows || strip->below != MPI_PROC_NULL ? lead + row : NULL;
        ascend_row(strip, lead, next, strip->across + y * row, strip->down + (y + 1) * row);
    }
    MPI_Sendrecv(strip->down + rows * row, strip->row, MPI_FLOAT, strip->below, 1, strip->down, strip->row, MPI_FLOAT,
                 strip->above, 1, strip->comm, MPI_STATUS_IGNORE);
    for (size_t y = 0; y < rows; y++)
        change += descend_row(strip, y, theta);
    strip->tau *= (double)theta;
    strip->sigma /= (double)theta;
    return change;
}

void strip_read(const struct strip *strip, uint8_t *out)
{
    const size_t size = (size_t)strip->row * (size_t)strip->rows;

    for (size_t i = 0; i < size; i++)
        out[i] = (uint8_t)lrintf(255 * fminf(fmaxf(strip->u[i], 0), 1));
}
