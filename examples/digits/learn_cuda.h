/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Learning on a GPU: what digits-cuda.so offers. No CUDA is needed to include this. */

#ifndef DIGITS_LEARN_CUDA_H
#define DIGITS_LEARN_CUDA_H

#ifdef __cplusplus
extern "C" {
#endif

struct cuda_learner;

/* Functions that return int return 0 or a cudaError_t; *call is what gave it. */
#define CUDA_LEARNING_SYMBOL "digits_cuda"
struct cuda_learning {
    /* Takes the digits, count times 64 pixels and a label each, and the first weights to the GPU that is current. */
    int (*begin)(const double *pixels, const int *labels, int count, const double *weights, void *stream,
                 struct cuda_learner **out, const char **call);

    /* The sum of the gradients of some digits, and behind it that of their losses, into *sums: device memory of the
     * learner's. */
    int (*learn)(struct cuda_learner *learner, const int *digits, int count, double **sums, const char **call);

    /* A step by the sums over `count` digits. */
    int (*step)(struct cuda_learner *learner, double rate, double momentum, int count, const char **call);

    /* Begins to copy the weights, and the sum of losses since it was last asked, to the host. */
    int (*read)(struct cuda_learner *learner, double *weights, double *loss, const char **call);

    /* Takes NULL. */
    void (*end)(struct cuda_learner *learner);
};

#ifdef __cplusplus
}
#endif
#endif
