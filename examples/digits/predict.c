/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The handler `predict`: each rank classifies its share of the digits, rank 0 gathers. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/together.h"
#include "digits.h"

#define MAX_DIGITS 100000

struct prediction {
    struct rankcall_attachment digits;
    int count;
    double *mine;         /* this rank's probabilities, CLASSES a digit */
    double *all;          /* every rank's, for rank 0 */
    int *counts, *places; /* doubles from each rank, and where they go */
};

/* How many digits an ndarray holds: [64] and [8, 8] one, [n, 64] and [n, 8, 8] n; -1 for other shapes and too many. */
static int count_digits(const struct rankcall_attachment *digits)
{
    const int ndim = digits->ndim;
    const uint64_t *shape = digits->shape;
    const bool flat = ndim >= 1 && shape[ndim - 1] == PIXELS;
    const bool square = ndim >= 2 && shape[ndim - 1] == 8 && shape[ndim - 2] == 8;
    const int inner = flat ? 1 : square ? 2 : 0;

    if (inner == 0 || ndim > inner + 1)
        return -1;
    if (ndim == inner)
        return 1;
    return shape[0] <= MAX_DIGITS ? (int)shape[0] : -1;
}

/* Everything that can be wrong before a digit is looked at. */
static int prepare(struct rankcall_call *call, struct prediction *self)
{
    const struct state *state = rankcall_call_state(call);
    const size_t ranks = (size_t)rankcall_call_world_size(call);

    if (!state->trained)
        return rankcall_fail(call, "no trained network yet: call `train`, or start with --setup '{\"checkpoint\": …}'");
    if (rankcall_attachment_of(rankcall_args(call), "digits", RANKCALL_NDARRAY, RANKCALL_DTYPE_NONE, &self->digits))
        return -1;
    self->count = count_digits(&self->digits);
    if (self->count < 0)
        return rankcall_fail(call, "'digits' has not the shape [64], [8, 8], [n, 64] or [n, 8, 8] with n <= %d",
                             MAX_DIGITS);
    if (self->digits.dtype != RANKCALL_UINT8 && self->digits.dtype != RANKCALL_FLOAT32 &&
        self->digits.dtype != RANKCALL_FLOAT64)
        return rankcall_fail(call, "'digits' is of %s: give uint8, float32 or float64",
                             rankcall_dtype_name(self->digits.dtype));
    const size_t digits = (size_t)self->count + 1; /* calloc(0) may be NULL */
    self->mine = calloc(digits, CLASSES * sizeof *self->mine);
    self->all = calloc(digits, CLASSES * sizeof *self->all);
    self->counts = calloc(ranks, sizeof *self->counts);
    self->places = calloc(ranks, sizeof *self->places);
    if (!self->mine || !self->all || !self->counts || !self->places)
        return rankcall_fail(call, "no memory for %d digits", self->count);
    return 0;
}

static double pixel_at(const struct rankcall_attachment *digits, size_t i)
{
    switch (digits->dtype) {
    case RANKCALL_UINT8: return ((const uint8_t *)digits->data)[i] / 16.0;
    case RANKCALL_FLOAT32: return (double)((const float *)digits->data)[i] / 16.0;
    default: return ((const double *)digits->data)[i] / 16.0;
    }
}

static int classify(struct rankcall_call *call, struct prediction *self)
{
    const struct state *state = rankcall_call_state(call);
    const struct share share = share_of(self->count, rankcall_call_rank(call), rankcall_call_world_size(call));
    double pixels[PIXELS];

    for (int i = 0; i < share.count; i++) {
        for (int j = 0; j < PIXELS; j++) {
            pixels[j] = pixel_at(&self->digits, (size_t)(share.first + i) * PIXELS + (size_t)j);
            if (!isfinite(pixels[j]))
                return rankcall_fail(call, "'digits' holds a number that is not finite in digit %d", share.first + i);
        }
        network_classify(state->weights, pixels, self->mine + (size_t)i * CLASSES);
    }
    return 0;
}

static void gather(struct rankcall_call *call, struct prediction *self)
{
    const int ranks = rankcall_call_world_size(call);
    const struct share share = share_of(self->count, rankcall_call_rank(call), ranks);

    for (int rank = 0; rank < ranks; rank++) {
        self->counts[rank] = share_of(self->count, rank, ranks).count * CLASSES;
        self->places[rank] = share_of(self->count, rank, ranks).first * CLASSES;
    }
    MPI_Gatherv(self->mine, share.count * CLASSES, MPI_DOUBLE, self->all, self->counts, self->places, MPI_DOUBLE, 0,
                rankcall_call_comm(call));
}

/* [7, 2, …]: the likeliest class of each digit. Returns: text for free(), NULL when memory is out. */
static char *list_labels(const struct prediction *self)
{
    char *json = NULL;
    size_t size;
    FILE *text = open_memstream(&json, &size);

    if (!text)
        return NULL;
    fputc('[', text);
    for (int i = 0; i < self->count; i++) {
        const double *probability = self->all + (size_t)i * CLASSES;
        int best = 0;
        for (int k = 1; k < CLASSES; k++)
            if (probability[k] > probability[best])
                best = k;
        fprintf(text, "%s%d", i > 0 ? ", " : "", best);
    }
    fputc(']', text);
    if (fclose(text) == 0)
        return json;
    free(json);
    return NULL;
}

/* {"labels": […]} and the attachment "probabilities" [n, 10]. */
static int answer(struct rankcall_call *call, struct prediction *self)
{
    const struct rankcall_attachment probabilities = {.name = "probabilities",
                                                      .type = RANKCALL_NDARRAY,
                                                      .dtype = RANKCALL_FLOAT64,
                                                      .ndim = 2,
                                                      .shape = {(uint64_t)self->count, CLASSES},
                                                      .data = self->all,
                                                      .size = (uint64_t)self->count * CLASSES * sizeof *self->all};
    struct rankcall_payload *result = rankcall_payload_new();
    char *labels = list_labels(self);
    int status;

    if (!result || !labels)
        status = rankcall_fail(call, "no memory for the result");
    else if (rankcall_set_json(result, "labels", labels) || rankcall_attach_copy(result, &probabilities))
        status = -1;
    else {
        status = rankcall_result(call, result);
        result = NULL;
    }
    rankcall_payload_free(result);
    free(labels);
    return status;
}

int predict(struct rankcall_call *call)
{
    struct prediction self = {0};
    int status = prepare(call, &self);

    if (status == 0)
        status = classify(call, &self);
    if (all_well(call, status)) {
        gather(call, &self);
        if (rankcall_call_rank(call) == 0)
            status = answer(call, &self);
    }
    free(self.mine);
    free(self.all);
    free(self.counts);
    free(self.places);
    return status;
}
