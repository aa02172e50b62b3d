/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Pictures in memory, decoded from and encoded to PNG and JPEG by libpng and libjpeg-turbo. Bytes that are not a whole,
 * sound picture are refused with a reason, never trusted. */

#ifndef EXAMPLES_IMAGE_H
#define EXAMPLES_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#define IMAGE_MAX_SIDE   32768      /* pixels */
#define IMAGE_MAX_PIXELS (1L << 25) /* 33.5 megapixels: checked before memory is taken */
#define IMAGE_WHY        256        /* bytes of a reason */

struct image {
    int width, height;
    int channels;    /* 1: grey, 3: RGB */
    uint8_t *pixels; /* rows from the top without gaps; from malloc() */
};

enum image_format { IMAGE_PNG, IMAGE_JPEG };

/* All functions that return int return 0, or -1 with the reason in `why`. */

/* Makes a black picture. Ownership: the caller's, see image_release. */
int image_make(struct image *image, long width, long height, int channels, char why[IMAGE_WHY]);

/* Decodes to 8 bits a channel; transparency is laid over white. *out is untouched on failure. */
int image_decode(enum image_format format, const void *data, size_t size, struct image *out, char why[IMAGE_WHY]);

/* Encodes; *data is from malloc() and the caller's. `quality`: 1 to 100, for JPEG only. */
int image_encode(enum image_format format, const struct image *image, int quality, uint8_t **data, size_t *size,
                 char why[IMAGE_WHY]);

/* Bytes of its pixels. */
size_t image_size(const struct image *image);

/* Frees the pixels and empties the picture; an empty one is allowed. */
void image_release(struct image *image);

#endif
