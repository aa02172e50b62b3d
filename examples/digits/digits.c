/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Data-parallel training: every rank learns from its shard of each batch, on its GPU where it has one, gradients are
 * summed over the ranks, and all hold the same network, which `predict` then uses. */

#include <stdlib.h>
#include <string.h>

#include "common/kernels.h"
#include "common/random.h"
#include "common/together.h"
#include "digits.h"
#include "learn_cuda.h"

#define MAX_EPOCHS 1000

/* Setup's arguments: "data", another digits.csv; "checkpoint", a trained network to begin with. */
static int setup(struct rankcall_context *context, const struct rankcall_payload *args)
{
    struct state *state = calloc(1, sizeof *state);
    const char *data = NULL, *checkpoint = NULL;
    char why[FILES_WHY];

    if (!state)
        return rankcall_fail_setup(context, "no memory for the data set");
    rankcall_set_state(context, state);
    if (rankcall_opt_string(args, "data", &data) || rankcall_opt_string(args, "checkpoint", &checkpoint))
        goto fail;
    if (dataset_read(data, &state->data, why) || (checkpoint && checkpoint_read(checkpoint, state->weights, why))) {
        rankcall_fail_setup(context, "%s", why);
        goto fail;
    }
    state->trained = checkpoint != NULL;
    if (rankcall_device_open(context, &state->device))
        goto fail;
    state->learning = kernels_open(context, state->device, "digits-cuda.so", CUDA_LEARNING_SYMBOL);
    return 0;
fail:
    free(state);
    rankcall_set_state(context, NULL);
    return -1;
}

static void teardown(struct rankcall_context *context)
{
    free(rankcall_state(context));
}

struct training {
    int64_t epochs, batch, seed;
    double rate, momentum;
    struct checkpoint checkpoint; /* rank 0 only */
    double weights[PARAMETERS], velocity[PARAMETERS];
    double loss_curve[MAX_EPOCHS];
    double accuracy; /* of the test digits */
    double start;
    struct cuda_learner *learner; /* NULL: on the CPU */
};

/* One step of the whole batch: the sum of all shards' gradients, the same on every rank. The step is that of Polyak,
 * "Some methods of speeding up the convergence of iteration methods", 1964 (the heavy ball). Adds the batch's loss,
 * summed over its digits, to *loss. */
static int learn_batch(struct rankcall_call *call, struct training *training, const int *batch, int count, double *loss)
{
    const struct dataset *data = &((struct state *)rankcall_call_state(call))->data;
    const struct share share = share_of(count, rankcall_call_rank(call), rankcall_call_world_size(call));
    double sums[PARAMETERS + 1] = {0}; /* the gradient, and last the loss: one collective brings both */

    for (int i = share.first; i < share.first + share.count; i++)
        sums[PARAMETERS] += network_learn(training->weights, data->pixels[batch[i]], data->labels[batch[i]], sums);
    if (rankcall_all_reduce(call, sums, sums, PARAMETERS + 1, RANKCALL_FLOAT64, RANKCALL_SUM))
        return -1;
    for (int i = 0; i < PARAMETERS; i++) {
        training->velocity[i] = training->momentum * training->velocity[i] - training->rate * sums[i] / count;
        training->weights[i] += training->velocity[i];
    }
    *loss += sums[PARAMETERS];
    return 0;
}

/* The same on the GPU, where weights and the loss stay until the end of the epoch: nothing here waits. */
static int learn_batch_there(struct rankcall_call *call, struct training *training, const int *batch, int count)
{
    const struct state *state = rankcall_call_state(call);
    const struct share share = share_of(count, rankcall_call_rank(call), rankcall_call_world_size(call));
    const char *what = "";
    double *sums;
    int error = state->learning->learn(training->learner, batch + share.first, share.count, &sums, &what);

    if (error)
        return rankcall_device_error(state->device, error, what);
    if (rankcall_all_reduce(call, sums, sums, PARAMETERS + 1, RANKCALL_FLOAT64, RANKCALL_SUM))
        return -1;
    error = state->learning->step(training->learner, training->rate, training->momentum, count, &what);
    return rankcall_device_error(state->device, error, what);
}

static int begin_there(struct rankcall_call *call, struct training *training)
{
    struct state *state = rankcall_call_state(call);
    const char *what = "";

    if (!state->learning)
        return 0;
    int error = state->learning->begin(state->data.pixels[0], state->data.labels, DIGITS, training->weights,
                                       rankcall_device_stream(state->device), &training->learner, &what);
    return rankcall_device_error(state->device, error, what);
}

/* What an epoch has made of the weights. */
static int read_back(struct rankcall_call *call, struct training *training, double *loss)
{
    const struct state *state = rankcall_call_state(call);
    const char *what = "";
    int error = state->learning->read(training->learner, training->weights, loss, &what);

    return error ? rankcall_device_error(state->device, error, what) : rankcall_wait(call);
}

/* Every training digit once, in an order that is the same on every rank. */
static int learn_epoch(struct rankcall_call *call, struct training *training, int epoch)
{
    int order[TRAINING];
    double loss = 0;

    for (int i = 0; i < TRAINING; i++)
        order[i] = i;
    random_shuffle(random_bits((uint64_t)training->seed, (uint64_t)epoch), order, TRAINING);
    for (int first = 0; first < TRAINING; first += (int)training->batch) {
        const int left = TRAINING - first, count = left < training->batch ? left : (int)training->batch;
        if (training->learner ? learn_batch_there(call, training, order + first, count)
                              : learn_batch(call, training, order + first, count, &loss))
            return -1;
    }
    if (training->learner && read_back(call, training, &loss))
        return -1;
    training->loss_curve[epoch] = loss / TRAINING;
    return 0;
}

/* The part of the test digits that is classified right; every rank tests its share. By rankcall's collectives, like all
 * that follows the first of them: who sat in MPI's would wait for ever for a rank that an interrupt has let go. */
static int test_accuracy(struct rankcall_call *call, const double *weights, double *accuracy)
{
    const struct dataset *data = &((struct state *)rankcall_call_state(call))->data;
    const struct share share = share_of(TEST, rankcall_call_rank(call), rankcall_call_world_size(call));
    double probability[CLASSES];
    int32_t right = 0;

    for (int i = TRAINING + share.first; i < TRAINING + share.first + share.count; i++)
        right += network_classify(weights, data->pixels[i], probability) == data->labels[i];
    if (rankcall_all_reduce(call, &right, &right, 1, RANKCALL_INT32, RANKCALL_SUM))
        return -1;
    *accuracy = (double)right / TEST;
    return 0;
}

static int read_options(struct rankcall_call *call, struct training *training)
{
    const struct rankcall_payload *args = rankcall_args(call);
    const char *path = NULL;
    char why[FILES_WHY];

    if (rankcall_opt_int_in(args, "epochs", 1, MAX_EPOCHS, &training->epochs) ||
        rankcall_opt_int_in(args, "batch", 1, TRAINING, &training->batch) ||
        rankcall_opt_int_in(args, "seed", 0, INT32_MAX, &training->seed) ||
        rankcall_opt_double_in(args, "rate", 1e-6, 10, &training->rate) ||
        rankcall_opt_double_in(args, "momentum", 0, 0.999, &training->momentum) ||
        rankcall_opt_string(args, "checkpoint", &path))
        return -1;
    network_init(training->weights, (uint64_t)training->seed);
    if (path && rankcall_call_rank(call) == 0 && checkpoint_begin(&training->checkpoint, path, why))
        return rankcall_fail(call, "checkpoint: %s", why);
    return 0;
}

/* Trains until the end or a cancel, which all ranks see at the same epoch. Returns: 1 when it came to the end; else
 * what the handler returns. */
static int run_epochs(struct rankcall_call *call, struct training *training)
{
    for (int epoch = 0; epoch < training->epochs; epoch++) {
        if (rankcall_cancelled(call))
            return 0;
        if (learn_epoch(call, training, epoch) || test_accuracy(call, training->weights, &training->accuracy))
            return -1;
        if (rankcall_call_rank(call) == 0)
            rankcall_emit_json(call, "{\"epoch\": %d, \"loss\": %.17g, \"accuracy\": %.6f, \"progress\": %.6f}",
                               epoch + 1, training->loss_curve[epoch], training->accuracy,
                               (double)(epoch + 1) / (double)training->epochs);
    }
    return 1;
}

/* Writes the checkpoint at rank 0, which the others wait for. */
static int keep(struct rankcall_call *call, struct training *training)
{
    char why[FILES_WHY];

    if (checkpoint_end(&training->checkpoint, training->weights, why))
        return rankcall_fail(call, "checkpoint: %s", why);
    return rankcall_barrier(call);
}

static int answer_training(struct rankcall_call *call, const struct training *training)
{
    struct rankcall_payload *result = rankcall_payload_new();

    if (!result || rankcall_set_double(result, "accuracy", training->accuracy) ||
        rankcall_set_doubles(result, "loss_curve", training->loss_curve, (size_t)training->epochs) ||
        rankcall_set_double(result, "seconds", MPI_Wtime() - training->start)) {
        rankcall_payload_free(result);
        return -1;
    }
    return rankcall_result(call, result);
}

static int train(struct rankcall_call *call)
{
    struct state *state = rankcall_call_state(call);
    struct training training = {
        .epochs = 30, .batch = 64, .seed = 1, .rate = 0.1, .momentum = 0.9, .start = MPI_Wtime()};
    char why[FILES_WHY];
    int status = read_options(call, &training);

    if (!status)
        status = begin_there(call, &training);
    if (!all_well(call, status) || (status = run_epochs(call, &training)) <= 0)
        goto out;
    if ((status = keep(call, &training)))
        goto out;
    memcpy(state->weights, training.weights, sizeof state->weights);
    state->trained = true;
    status = answer_training(call, &training);
out:
    if (training.learner)
        state->learning->end(training.learner);
    checkpoint_end(&training.checkpoint, NULL, why);
    return status;
}

static const struct rankcall_handler handlers[] = {
    {"train", train, "trains on the data set; streams loss and accuracy"},
    {"predict", predict, "classifies the ndarray 'digits', [n, 64] or [n, 8, 8] of 0 to 16"},
    {0},
};

RANKCALL_WORKER(.name = "digits", .handlers = handlers, .setup = setup, .teardown = teardown)
