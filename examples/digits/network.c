/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The network: forward, backward. Its parameters lie in a row: hidden weights and bias of each hidden unit, then output
 * weights and bias of each class. */

#include "network.h"

#include <math.h>

#include "common/random.h"

enum { OUTPUT = HIDDEN * (PIXELS + 1) }; /* where the output layer's parameters begin */

/* Uniform within sqrt(6 / (inputs + outputs)): Glorot and Bengio, "Understanding the difficulty of training deep
 * feedforward neural networks", 2010, equation 16. Biases are 0. */
void network_init(double weights[PARAMETERS], uint64_t seed)
{
    for (int i = 0; i < PARAMETERS; i++) {
        const int inputs = i < OUTPUT ? PIXELS : HIDDEN, outputs = i < OUTPUT ? HIDDEN : CLASSES;
        const int column = i < OUTPUT ? i % (PIXELS + 1) : (i - OUTPUT) % (HIDDEN + 1);
        const double bound = sqrt(6.0 / (inputs + outputs));
        weights[i] = column == inputs ? 0 : bound * (2 * random_uniform(seed, (uint64_t)i) - 1);
    }
}

/* out[j] = bias[j] + sum of weights[j][i] in[i] */
static void apply_layer(const double *weights, const double *in, int inputs, double *out, int outputs)
{
    for (int j = 0; j < outputs; j++) {
        const double *row = weights + j * (inputs + 1);
        double sum = row[inputs];
        for (int i = 0; i < inputs; i++)
            sum += row[i] * in[i];
        out[j] = sum;
    }
}

static void forward(const double *weights, const double *pixels, double *hidden, double *probability)
{
    double total = 0, most = -INFINITY;

    apply_layer(weights, pixels, PIXELS, hidden, HIDDEN);
    for (int j = 0; j < HIDDEN; j++)
        hidden[j] = tanh(hidden[j]);
    apply_layer(weights + OUTPUT, hidden, HIDDEN, probability, CLASSES);
    for (int k = 0; k < CLASSES; k++)
        most = fmax(most, probability[k]);
    for (int k = 0; k < CLASSES; k++)
        total += probability[k] = exp(probability[k] - most); /* softmax, shifted so that exp can't overflow */
    for (int k = 0; k < CLASSES; k++)
        probability[k] /= total;
}

int network_classify(const double weights[PARAMETERS], const double pixels[PIXELS], double probability[CLASSES])
{
    double hidden[HIDDEN];
    int best = 0;

    forward(weights, pixels, hidden, probability);
    for (int k = 1; k < CLASSES; k++)
        if (probability[k] > probability[best])
            best = k;
    return best;
}

/* Back-propagation, with softmax and cross-entropy taken together: Bishop, "Pattern recognition and machine learning",
 * 2006, equations 5.53 to 5.56 and, for the output, 4.109. */
double network_learn(const double weights[PARAMETERS], const double pixels[PIXELS], int label,
                     double gradient[PARAMETERS])
{
    double hidden[HIDDEN], probability[CLASSES], back[HIDDEN] = {0};

    forward(weights, pixels, hidden, probability);
    for (int k = 0; k < CLASSES; k++) {
        const double delta = probability[k] - (k == label);
        const double *row = weights + OUTPUT + k * (HIDDEN + 1);
        double *slope = gradient + OUTPUT + k * (HIDDEN + 1);
        for (int j = 0; j < HIDDEN; j++) {
            slope[j] += delta * hidden[j];
            back[j] += delta * row[j];
        }
        slope[HIDDEN] += delta;
    }
    for (int j = 0; j < HIDDEN; j++) {
        const double delta = back[j] * (1 - hidden[j] * hidden[j]);
        double *slope = gradient + j * (PIXELS + 1);
        for (int i = 0; i < PIXELS; i++)
            slope[i] += delta * pixels[i];
        slope[PIXELS] += delta;
    }
    return -log(fmax(probability[label], 1e-300));
}
