/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Total-variation denoising of a picture that is split into horizontal strips, one a rank: the arithmetic and the
 * exchange of border rows. */

#ifndef DENOISE_STRIP_H
#define DENOISE_STRIP_H

#include <mpi.h>
#include <stdint.h>

struct strip;

/* Begins with a rank's rows of the noisy picture, 8 bits a channel. `first` and `rows` place them in the picture, whose
 * `height` counts all rows; ranks with rows are 0, 1, 2 …, further ones have none. `weight`: how much smoothness
 * counts against closeness to the noisy picture of values 0 to 1.
 * Returns: NULL when memory is out. */
struct strip *strip_new(MPI_Comm comm, const uint8_t *noisy, int width, int channels, int first, int rows, int height,
                        double weight);

/* Takes one step. Returns: the sum of squared changes of this rank's values.
 * Collective: every rank of the communicator. */
double strip_step(struct strip *strip);

/* Writes this rank's rows as 8 bits a channel. */
void strip_read(const struct strip *strip, uint8_t *out);

/* Takes NULL. */
void strip_free(struct strip *strip);

#endif
