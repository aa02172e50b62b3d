/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The files of the example: the data set it reads, the checkpoint it writes and reads. */

#ifndef DIGITS_FILES_H
#define DIGITS_FILES_H

#include <stdio.h>

#include "network.h"

enum { DIGITS = 1797, TRAINING = 1437, TEST = DIGITS - TRAINING };

/* The data set in an order drawn once with a fixed seed: the first TRAINING are for training, the rest for the test. */
struct dataset {
    double pixels[DIGITS][PIXELS]; /* 0 to 1 */
    int labels[DIGITS];
};

#define FILES_WHY 512 /* bytes of a reason */

/* All return 0, or -1 with the reason in `why`. */

/* Reads digits.csv: a line a picture, 64 pixels of 0 to 16 and the digit. `path` NULL: digits.csv in the folder
 * RANKCALL_DATA_DIR of the environment, or in the one that the example was built for. */
int dataset_read(const char *path, struct dataset *out, char why[FILES_WHY]);

/* A checkpoint is text: a header line, then a parameter a line. It is written beside its place and then renamed, so the
 * name never shows half a file. `begin` finds out early whether that will work; `end` with weights NULL gives up and
 * removes what was begun. One that was not begun, {0}, may be ended. */
struct checkpoint {
    FILE *file;
    char *path, *part;
};
int checkpoint_begin(struct checkpoint *checkpoint, const char *path, char why[FILES_WHY]);
int checkpoint_end(struct checkpoint *checkpoint, const double *weights, char why[FILES_WHY]);
int checkpoint_read(const char *path, double weights[PARAMETERS], char why[FILES_WHY]);

#endif
