/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Streaming: a photograph is denoised step by step, split in strips over the ranks; a client that streams sees it
 * become clear. The worker adds the noise itself unless told otherwise, so it can say how much better the picture is.
 */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/kernels.h"
#include "common/random.h"
#include "common/together.h"
#include "strip.h"
#include "strip_there.h"

#define PREVIEW_QUALITY 80 /* of JPEG previews */

/* What a rank keeps between calls. */
struct state {
    struct rankcall_device *device;
    const struct cuda_strips *kernels; /* NULL: the CPU denoises */
};

static int setup(struct rankcall_context *context, const struct rankcall_payload *args)
{
    struct state *state = calloc(1, sizeof *state);

    (void)args;
    if (!state)
        return rankcall_fail_setup(context, "out of memory");
    rankcall_set_state(context, state);
    if (rankcall_device_open(context, &state->device))
        return -1;
    state->kernels = kernels_open(context, state->device, "denoise-cuda.so", CUDA_STRIPS_SYMBOL);
    return 0;
}

static void teardown(struct rankcall_context *context)
{
    free(rankcall_state(context));
}

struct job {
    struct rankcall_call *call;
    int64_t steps, every, seed;
    bool noise;                /* whether the worker adds it; then `clean` is what it should come back to */
    double sigma, weight;      /* of values 0 to 1 */
    struct image clean;        /* the attachment, whole, on every rank */
    struct image whole;        /* rank 0: where strips are gathered */
    struct share share;        /* this rank's rows */
    uint8_t *noisy, *now;      /* this rank's rows: before the first step and at present */
    struct strip *strip;       /* on the CPU, or */
    struct strip_there *there; /* on the GPU */
    int *counts, *places;      /* bytes of each rank's strip, and where they go */
    double start;
};

static int read_options(struct job *job)
{
    const struct rankcall_payload *args = rankcall_args(job->call);

    if (rankcall_opt_int_in(args, "steps", 1, 100000, &job->steps) ||
        rankcall_opt_int_in(args, "every", 1, 100000, &job->every) ||
        rankcall_opt_int_in(args, "seed", 0, INT32_MAX, &job->seed) || rankcall_opt_bool(args, "noise", &job->noise) ||
        rankcall_opt_double_in(args, "sigma", 0.001, 1, &job->sigma))
        return -1;
    job->weight = job->sigma; /* the stronger the noise, the more smoothness has to count */
    return rankcall_opt_double_in(args, "weight", 1e-4, 100, &job->weight);
}

/* The rows of each rank. When there are more ranks than rows, the last ones have none. */
static void split_rows(struct job *job)
{
    const int rank = rankcall_call_rank(job->call), ranks = rankcall_call_world_size(job->call);
    const int height = job->clean.height, parts = ranks < height ? ranks : height;
    const int row = job->clean.width * job->clean.channels;

    for (int i = 0; i < ranks; i++) {
        const struct share share = i < parts ? share_of(height, i, parts) : (struct share){height, 0};
        job->counts[i] = share.count * row;
        job->places[i] = share.first * row;
        if (i == rank)
            job->share = share;
    }
}

/* Noise is drawn by the value's place in the picture, so it is the same however the picture is split. */
static void add_noise(struct job *job)
{
    const size_t first = (size_t)job->places[rankcall_call_rank(job->call)];
    const size_t count = (size_t)job->counts[rankcall_call_rank(job->call)];

    for (size_t i = 0; i < count; i++) {
        double value = job->clean.pixels[first + i];
        if (job->noise)
            value += 255 * job->sigma * random_normal((uint64_t)job->seed, first + i);
        job->noisy[i] = (uint8_t)lrint(fmin(fmax(value, 0), 255));
    }
}

/* Returns -1 with rankcall's last error when the GPU fails; no memory on the CPU is seen by the caller. */
static int begin_strip(struct job *job)
{
    const struct state *state = rankcall_call_state(job->call);
    const int width = job->clean.width, height = job->clean.height, channels = job->clean.channels;
    const int first = job->share.first, rows = job->share.count;

    if (state->kernels) {
        job->there = strip_there_new(job->call, state->device, state->kernels, job->noisy, width, channels, first, rows,
                                     height, job->weight);
        return job->there ? 0 : -1;
    }
    job->strip =
        strip_new(rankcall_call_comm(job->call), job->noisy, width, channels, first, rows, height, job->weight);
    return 0;
}

/* Everything that can fail before the first collective. */
static int prepare(struct job *job)
{
    const size_t ranks = (size_t)rankcall_call_world_size(job->call);
    const int rank = rankcall_call_rank(job->call);
    char why[IMAGE_WHY];

    if (read_options(job) || picture_from_args(job->call, "image", &job->clean))
        return -1;
    const int width = job->clean.width, height = job->clean.height, channels = job->clean.channels;
    if (rank == 0 && image_make(&job->whole, width, height, channels, why))
        return rankcall_fail(job->call, "%s", why);
    job->counts = calloc(ranks, sizeof *job->counts);
    job->places = calloc(ranks, sizeof *job->places);
    if (!job->counts || !job->places)
        return rankcall_fail(job->call, "no memory for %zu ranks", ranks);
    split_rows(job);
    job->noisy = malloc((size_t)job->counts[rank] + 1);
    job->now = malloc((size_t)job->counts[rank] + 1);
    if (job->noisy && job->now) {
        add_noise(job);
        if (begin_strip(job))
            return -1;
    }
    return job->strip || job->there
               ? 0
               : rankcall_fail(job->call, "no memory for a picture of %d x %d pixels", width, height);
}

/* Brings all strips to rank 0's `whole`. */
static void gather(struct job *job, const uint8_t *strip)
{
    const int rank = rankcall_call_rank(job->call);

    MPI_Gatherv(strip, job->counts[rank], MPI_BYTE, job->whole.pixels, job->counts, job->places, MPI_BYTE, 0,
                rankcall_call_comm(job->call));
}

/* The peak signal-to-noise ratio in dB of a picture whose strips are given, 10 log10(255^2 / mean squared error); the
 * sum is of integers, so it does not depend on the split. Infinite for the clean picture itself. */
static double psnr(struct job *job, const uint8_t *strip)
{
    const int rank = rankcall_call_rank(job->call);
    int64_t sum = 0, total = 0;

    for (int i = 0; i < job->counts[rank]; i++) {
        const int difference = strip[i] - job->clean.pixels[job->places[rank] + i];
        sum += (int64_t)difference * difference;
    }
    MPI_Allreduce(&sum, &total, 1, MPI_INT64_T, MPI_SUM, rankcall_call_comm(job->call));
    return 10 * log10(255.0 * 255.0 * (double)image_size(&job->clean) / (double)total);
}

/* {"step", "progress", "change"} and the attachment "preview"; `change` is the step's root mean square in values 0
 * to 1. */
static int emit_preview(struct job *job, int64_t step, double change)
{
    struct rankcall_payload *event = rankcall_payload_new();

    if (!event || rankcall_set_int(event, "step", step) ||
        rankcall_set_double(event, "progress", (double)step / (double)job->steps) ||
        rankcall_set_double(event, "change", change) ||
        picture_attach(job->call, event, "preview", IMAGE_JPEG, &job->whole, PREVIEW_QUALITY)) {
        rankcall_payload_free(event);
        return -1;
    }
    return rankcall_emit(job->call, event);
}

static int read_strip(struct job *job, double *squares)
{
    if (job->there)
        return strip_there_read(job->there, job->now, squares);
    strip_read(job->strip, job->now);
    return 0;
}

static int show(struct job *job, int64_t step, double squares)
{
    double total = 0;
    const int status = read_strip(job, &squares);

    MPI_Reduce(&squares, &total, 1, MPI_DOUBLE, MPI_SUM, 0, rankcall_call_comm(job->call));
    gather(job, job->now);
    if (status || rankcall_call_rank(job->call) > 0)
        return status;
    return emit_preview(job, step, sqrt(total / (double)image_size(&job->clean)));
}

/* Steps until the end or a cancel, which all ranks see at the same step. When a preview fails, rank 0 goes on with
 * the others and they end together. Returns: 1 when all is well after the last step; else what the handler returns. */
static int run_steps(struct job *job)
{
    int status = 0;

    for (int64_t step = 1; step <= job->steps; step++) {
        if (rankcall_cancelled(job->call))
            return 0;
        double squares = 0;
        if (!job->there)
            squares = strip_step(job->strip);
        else if (strip_there_step(job->there))
            return -1; /* the others hear of it in their next wait */
        if (rankcall_streaming(job->call) && (step % job->every == 0 || step == job->steps) && show(job, step, squares))
            status = -1;
    }
    return all_well(job->call, status) ? 1 : status;
}

static int set_psnr(struct rankcall_payload *result, const char *key, double value)
{
    return isfinite(value) ? rankcall_set_double(result, key, value) : rankcall_set_json(result, key, "null");
}

/* The numbers of the result; PSNRs only when the clean picture is known. */
static int set_numbers(struct job *job, struct rankcall_payload *result, double psnr_noisy, double psnr_now)
{
    if (rankcall_set_int(result, "steps", job->steps) || rankcall_set_double(result, "weight", job->weight) ||
        rankcall_set_double(result, "seconds", MPI_Wtime() - job->start))
        return -1;
    if (!job->noise)
        return 0;
    return rankcall_set_double(result, "sigma", job->sigma) || set_psnr(result, "psnr_noisy", psnr_noisy) ||
                   set_psnr(result, "psnr", psnr_now)
               ? -1
               : 0;
}

/* {"steps", "weight", "seconds", "sigma", "psnr_noisy", "psnr"} and the attachments "image" and, where the worker made
 * it, "noisy". What fails on rank 0 is kept until the last gather is over. */
static int answer(struct job *job)
{
    const bool root = rankcall_call_rank(job->call) == 0;
    struct rankcall_payload *result = root ? rankcall_payload_new() : NULL;
    int status = root && !result ? rankcall_fail(job->call, "no memory for the result") : 0;

    double squares;
    if (read_strip(job, &squares))
        status = -1;
    const double psnr_noisy = psnr(job, job->noisy), psnr_now = psnr(job, job->now);
    gather(job, job->now);
    if (root && status == 0)
        status = picture_attach(job->call, result, "image", IMAGE_PNG, &job->whole, 0);
    gather(job, job->noisy);
    if (root && status == 0 && job->noise)
        status = picture_attach(job->call, result, "noisy", IMAGE_PNG, &job->whole, 0);
    if (root && status == 0)
        status = set_numbers(job, result, psnr_noisy, psnr_now);
    if (!root)
        return status;
    if (status == 0)
        return rankcall_result(job->call, result);
    rankcall_payload_free(result);
    return status;
}

static int denoise(struct rankcall_call *call)
{
    struct job job = {
        .call = call, .steps = 60, .every = 5, .seed = 1, .noise = true, .sigma = 0.1, .start = MPI_Wtime()};
    int status = prepare(&job);

    if (all_well(call, status)) {
        status = run_steps(&job);
        if (status > 0)
            status = answer(&job);
    }
    image_release(&job.clean);
    image_release(&job.whole);
    strip_free(job.strip);
    strip_there_free(job.there);
    free(job.noisy);
    free(job.now);
    free(job.counts);
    free(job.places);
    return status;
}

static const struct rankcall_handler handlers[] = {
    {"denoise", denoise, "adds noise to the picture 'image' (unless \"noise\" is false) and removes it"}, {0}};

RANKCALL_WORKER(.name = "denoise", .handlers = handlers, .setup = setup, .teardown = teardown)
