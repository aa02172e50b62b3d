/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The JPEG part of image.c; others use image_decode and image_encode. */

#ifndef EXAMPLES_JPEG_H
#define EXAMPLES_JPEG_H

#include "common/image.h"

int jpeg_decode(const void *data, size_t size, struct image *out, char why[IMAGE_WHY]);
int jpeg_encode(const struct image *image, int quality, uint8_t **data, size_t *size, char why[IMAGE_WHY]);

#endif
