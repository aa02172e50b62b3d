/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Learning on a GPU: matrices by cuBLAS, the rest by kernels. The arithmetic is network.c's, a whole batch at once.
 *
 * cuBLAS stores columns one after the other. So a layer's parameters, a row of inputs + 1 for each output, are a matrix
 * with a column for each output; a batch is one with a column for each digit, whose last row is 1, for the biases. */

#include "learn_cuda.h"

#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <stdlib.h>

extern "C" {
#include "network.h"
}

enum { IN = PIXELS + 1, MID = HIDDEN + 1, OUTPUT = HIDDEN * IN, THREADS = 128 };

struct cuda_learner {
    cudaStream_t stream;
    cublasHandle_t blas;
    int room; /* digits of a batch */
    double *pixels, *weights, *velocity, *sums, *loss;
    int *labels, *digits;
    double *input, *hidden, *output, *back, *losses; /* of a batch */
};

/* The columns of the batch. */
__global__ static void load(const double *pixels, const int *digits, int count, double *input)
{
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x), row = i % IN, column = i / IN;

    if (column < count)
        input[i] = row < PIXELS ? pixels[digits[column] * PIXELS + row] : 1;
}

/* From 64 sums a column to 65 values: in place this could not be. */
__global__ static void squash(const double *sums, int count, double *hidden)
{
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x), row = i % MID, column = i / MID;

    if (column < count)
        hidden[i] = row < HIDDEN ? tanh(sums[column * HIDDEN + row]) : 1;
}

/* Softmax; then `output` is the loss's derivative by it. A thread a digit. */
__global__ static void judge(const int *labels, const int *digits, int count, double *output, double *losses)
{
    const int column = (int)(blockIdx.x * blockDim.x + threadIdx.x);

    if (column >= count)
        return;
    double *value = output + column * CLASSES, most = value[0], total = 0;
    const int label = labels[digits[column]];
    for (int k = 1; k < CLASSES; k++)
        most = fmax(most, value[k]);
    for (int k = 0; k < CLASSES; k++)
        total += value[k] = exp(value[k] - most);
    losses[column] = -log(fmax(value[label] / total, 1e-300));
    for (int k = 0; k < CLASSES; k++)
        value[k] = value[k] / total - (k == label);
}

__global__ static void unsquash(const double *hidden, int count, double *back)
{
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x), row = i % HIDDEN, column = i / HIDDEN;

    if (column < count)
        back[i] *= 1 - hidden[column * MID + row] * hidden[column * MID + row];
}

/* In order, so that every run gives the same bits. */
__global__ static void add_losses(const double *losses, int count, double *sum)
{
    *sum = 0;
    for (int i = 0; i < count; i++)
        *sum += losses[i];
}

__global__ static void move(double *weights, double *velocity, const double *sums, double *loss, double rate,
                            double momentum, int count)
{
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);

    if (i < PARAMETERS) {
        velocity[i] = momentum * velocity[i] - rate * sums[i] / count;
        weights[i] += velocity[i];
    }
    if (i == PARAMETERS)
        *loss += sums[PARAMETERS];
}

static unsigned blocks_for(int things)
{
    return (unsigned)((things + THREADS - 1) / THREADS);
}

/* ---- The host's side ---- */

static cudaError_t from_blas(cublasStatus_t status)
{
    return status == CUBLAS_STATUS_SUCCESS        ? cudaSuccess
           : status == CUBLAS_STATUS_ALLOC_FAILED ? cudaErrorMemoryAllocation
                                                  : cudaErrorUnknown;
}

static void end(struct cuda_learner *learner)
{
    if (!learner)
        return;
    double *const numbers[] = {learner->pixels, learner->weights, learner->velocity, learner->sums,  learner->loss,
                               learner->input,  learner->hidden,  learner->output,   learner->back, learner->losses};
    for (double *memory : numbers)
        cudaFree(memory);
    cudaFree(learner->labels);
    cudaFree(learner->digits);
    if (learner->blas)
        cublasDestroy(learner->blas);
    free(learner);
}

static cudaError_t allocate(struct cuda_learner *learner, int count)
{
    const size_t digits = (size_t)count;
    struct {
        double **to;
        size_t count;
    } const wanted[] = {{&learner->pixels, digits * PIXELS}, {&learner->weights, PARAMETERS},
                        {&learner->velocity, PARAMETERS},    {&learner->sums, PARAMETERS + 1},
                        {&learner->loss, 1},                 {&learner->input, digits * IN},
                        {&learner->hidden, digits * MID},    {&learner->output, digits * CLASSES},
                        {&learner->back, digits * HIDDEN},   {&learner->losses, digits}};
    cudaError_t error = cudaSuccess;

    for (const auto &one : wanted)
        if (!error)
            error = cudaMalloc(one.to, one.count * sizeof(double));
    if (!error)
        error = cudaMalloc(&learner->labels, digits * sizeof(int));
    return error ? error : cudaMalloc(&learner->digits, digits * sizeof(int));
}

static int begin(const double *pixels, const int *labels, int count, const double *weights, void *stream,
                 struct cuda_learner **out, const char **call)
{
    struct cuda_learner *learner = (struct cuda_learner *)calloc(1, sizeof *learner);
    const size_t digits = (size_t)count;
    cudaError_t error = learner ? cudaSuccess : cudaErrorMemoryAllocation;

    *call = "cudaMalloc";
    if (!error)
        error = allocate(learner, count);
    if (!error) {
        *call = "cublasCreate";
        learner->stream = (cudaStream_t)stream;
        learner->room = count;
        error = from_blas(cublasCreate(&learner->blas));
    }
    if (!error)
        error = from_blas(cublasSetStream(learner->blas, learner->stream));
    if (!error) {
        *call = "cudaMemcpyAsync";
        error = cudaMemcpyAsync(learner->pixels, pixels, digits * PIXELS * sizeof(double), cudaMemcpyDefault,
                                learner->stream);
    }
    if (!error)
        error = cudaMemcpyAsync(learner->labels, labels, digits * sizeof(int), cudaMemcpyDefault, learner->stream);
    if (!error)
        error = cudaMemcpyAsync(learner->weights, weights, PARAMETERS * sizeof(double), cudaMemcpyDefault,
                                learner->stream);
    if (!error)
        error = cudaMemsetAsync(learner->velocity, 0, PARAMETERS * sizeof(double), learner->stream);
    if (!error)
        error = cudaMemsetAsync(learner->loss, 0, sizeof(double), learner->stream);
    if (error)
        end(learner);
    else
        *out = learner;
    return (int)error;
}

static cublasStatus_t multiply(struct cuda_learner *learner, cublasOperation_t left, cublasOperation_t right, int rows,
                               int columns, int inner, const double *a, int a_rows, const double *b, int b_rows,
                               double *c, int c_rows)
{
    const double one = 1, zero = 0;

    return cublasDgemm(learner->blas, left, right, rows, columns, inner, &one, a, a_rows, b, b_rows, &zero, c, c_rows);
}

/* Forwards and back through both layers. */
static cublasStatus_t propagate(struct cuda_learner *learner, int count)
{
    cudaStream_t stream = learner->stream;
    double *first = learner->weights, *second = learner->weights + OUTPUT;
    cublasStatus_t status = multiply(learner, CUBLAS_OP_T, CUBLAS_OP_N, HIDDEN, count, IN, first, IN, learner->input,
                                     IN, learner->back, HIDDEN);

    squash<<<blocks_for(count * MID), THREADS, 0, stream>>>(learner->back, count, learner->hidden);
    if (!status)
        status = multiply(learner, CUBLAS_OP_T, CUBLAS_OP_N, CLASSES, count, MID, second, MID, learner->hidden, MID,
                          learner->output, CLASSES);
    judge<<<blocks_for(count), THREADS, 0, stream>>>(learner->labels, learner->digits, count, learner->output,
                                                     learner->losses);
    if (!status)
        status = multiply(learner, CUBLAS_OP_N, CUBLAS_OP_T, MID, CLASSES, count, learner->hidden, MID,
                          learner->output, CLASSES, learner->sums + OUTPUT, MID);
    if (!status)
        status = multiply(learner, CUBLAS_OP_N, CUBLAS_OP_N, HIDDEN, count, CLASSES, second, MID, learner->output,
                          CLASSES, learner->back, HIDDEN);
    unsquash<<<blocks_for(count * HIDDEN), THREADS, 0, stream>>>(learner->hidden, count, learner->back);
    if (!status)
        status = multiply(learner, CUBLAS_OP_N, CUBLAS_OP_T, IN, HIDDEN, count, learner->input, IN, learner->back,
                          HIDDEN, learner->sums, IN);
    add_losses<<<1, 1, 0, stream>>>(learner->losses, count, learner->sums + PARAMETERS);
    return status;
}

static int learn(struct cuda_learner *learner, const int *digits, int count, double **sums, const char **call)
{
    cudaStream_t stream = learner->stream;

    *call = "cudaMemcpyAsync";
    *sums = learner->sums;
    if (count == 0) /* more ranks than digits in the batch */
        return (int)cudaMemsetAsync(learner->sums, 0, (PARAMETERS + 1) * sizeof(double), stream);
    cudaError_t error =
        cudaMemcpyAsync(learner->digits, digits, (size_t)count * sizeof(int), cudaMemcpyDefault, stream);
    if (error)
        return (int)error;
    load<<<blocks_for(count * IN), THREADS, 0, stream>>>(learner->pixels, learner->digits, count, learner->input);
    *call = "cublasDgemm";
    if ((error = from_blas(propagate(learner, count))))
        return (int)error;
    *call = "a kernel of the network";
    return (int)cudaGetLastError();
}

static int step(struct cuda_learner *learner, double rate, double momentum, int count, const char **call)
{
    *call = "the kernel of a step";
    move<<<blocks_for(PARAMETERS + 1), THREADS, 0, learner->stream>>>(
        learner->weights, learner->velocity, learner->sums, learner->loss, rate, momentum, count);
    return (int)cudaGetLastError();
}

static int read(struct cuda_learner *learner, double *weights, double *loss, const char **call)
{
    *call = "cudaMemcpyAsync";
    cudaError_t error = cudaMemcpyAsync(weights, learner->weights, PARAMETERS * sizeof(double), cudaMemcpyDefault,
                                        learner->stream);
    if (!error)
        error = cudaMemcpyAsync(loss, learner->loss, sizeof *loss, cudaMemcpyDefault, learner->stream);
    return (int)(error ? error : cudaMemsetAsync(learner->loss, 0, sizeof(double), learner->stream));
}

extern "C" const struct cuda_learning digits_cuda;
const struct cuda_learning digits_cuda = {begin, learn, step, read, end};
