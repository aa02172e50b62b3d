/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A network of 64 pixels, one hidden layer and 10 classes; the arithmetic alone, without ranks. */

#ifndef DIGITS_NETWORK_H
#define DIGITS_NETWORK_H

#include <stdint.h>

enum {
    PIXELS = 64,
    HIDDEN = 64,
    CLASSES = 10,
    PARAMETERS = HIDDEN * (PIXELS + 1) + CLASSES * (HIDDEN + 1), /* weights and biases */
};

/* Draws first weights. */
void network_init(double weights[PARAMETERS], uint64_t seed);

/* The probability of each class for pixels of 0 to 1. Returns: the likeliest class. */
int network_classify(const double weights[PARAMETERS], const double pixels[PIXELS], double probability[CLASSES]);

/* Adds the gradient of one picture's loss to `gradient`. Returns: the loss, -log(probability of `label`). */
double network_learn(const double weights[PARAMETERS], const double pixels[PIXELS], int label,
                     double gradient[PARAMETERS]);

#endif
