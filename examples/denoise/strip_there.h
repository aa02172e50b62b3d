/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A strip (strip.h) whose values lie on the rank's GPU. */

#ifndef DENOISE_STRIP_THERE_H
#define DENOISE_STRIP_THERE_H

#include <rankcall/mpi.h>

#include <rankcall/device.h>

#include "strip_cuda.h"

struct strip_there;

/* As strip_new, of the call's job. Returns NULL with rankcall's last error set. */
struct strip_there *strip_there_new(struct rankcall_call *call, struct rankcall_device *device,
                                    const struct cuda_strips *kernels, const uint8_t *noisy, int width, int channels,
                                    int first, int rows, int height, double weight);

/* Takes one step. Returns 0, or -1: why the call is to be left, or rankcall's last error. Collective. */
int strip_there_step(struct strip_there *strip);

/* As strip_read, and *squares as strip_step returns it, of the last step. Returns 0 or -1. */
int strip_there_read(struct strip_there *strip, uint8_t *out, double *squares);

/* Takes NULL. */
void strip_there_free(struct strip_there *strip);

#endif
