/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What the handlers of the example share. */

#ifndef DIGITS_DIGITS_H
#define DIGITS_DIGITS_H

#include <stdbool.h>

#include <rankcall/device.h>
#include <rankcall/worker.h>

#include "files.h"
#include "network.h"

struct cuda_learning; /* learn_cuda.h */

/* What a rank keeps between calls; the weights are the same on every rank. */
struct state {
    struct dataset data;
    double weights[PARAMETERS];
    bool trained;
    struct rankcall_device *device;
    const struct cuda_learning *learning; /* NULL: on the CPU */
};

/* The handler in predict.c. */
int predict(struct rankcall_call *call);

#endif
