/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Pictures in memory: limits and PNG. JPEG is in jpeg.c. */

#include "common/image.h"

#include <png.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/jpeg.h"

int image_make(struct image *image, long width, long height, int channels, char why[IMAGE_WHY])
{
    *image = (struct image){.channels = channels};
    if (width < 1 || height < 1 || width > IMAGE_MAX_SIDE || height > IMAGE_MAX_SIDE ||
        width * height > IMAGE_MAX_PIXELS) {
        snprintf(why, IMAGE_WHY, "a picture of %ld x %ld pixels is outside the limits: 1 to %d a side, %ld in all",
                 width, height, IMAGE_MAX_SIDE, IMAGE_MAX_PIXELS);
        return -1;
    }
    image->width = (int)width;
    image->height = (int)height;
    image->pixels = calloc(image_size(image), 1);
    if (!image->pixels)
        snprintf(why, IMAGE_WHY, "no memory for a picture of %ld x %ld pixels", width, height);
    return image->pixels ? 0 : -1;
}

size_t image_size(const struct image *image)
{
    return (size_t)image->width * (size_t)image->height * (size_t)image->channels;
}

void image_release(struct image *image)
{
    free(image->pixels);
    *image = (struct image){0};
}

/* libpng is content when it has all pixels; a file that was cut off behind them is refused all the same. */
static bool png_has_end(const void *data, size_t size)
{
    static const uint8_t end[] = {0, 0, 0, 0, 'I', 'E', 'N', 'D', 0xae, 0x42, 0x60, 0x82};

    return memmem(data, size, end, sizeof end) != NULL;
}

/* libpng's simplified interface catches its own long jumps and leaves a message. */
static int decode_png(const void *data, size_t size, struct image *out, char why[IMAGE_WHY])
{
    const png_color white = {255, 255, 255};
    png_image png = {.version = PNG_IMAGE_VERSION};
    int status = -1;

    if (!png_image_begin_read_from_memory(&png, data, size))
        goto out;
    const int channels = png.format & PNG_FORMAT_FLAG_COLOR ? 3 : 1;
    png.format = channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
    status = image_make(out, (long)png.width, (long)png.height, channels, why);
    if (status == 0 && !png_image_finish_read(&png, &white, out->pixels, 0, NULL))
        status = -1;
    if (status == 0 && !png_has_end(data, size)) {
        snprintf(why, IMAGE_WHY, "not a sound PNG: its end is missing");
        status = -1;
    }
out:
    if (PNG_IMAGE_FAILED(png))
        snprintf(why, IMAGE_WHY, "not a sound PNG: %s", png.message);
    png_image_free(&png);
    return status;
}

static int encode_png(const struct image *image, uint8_t **data, size_t *size, char why[IMAGE_WHY])
{
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)image->width,
                     .height = (png_uint_32)image->height,
                     .format = image->channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY};
    png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(png);

    *data = malloc(bytes);
    if (*data && png_image_write_to_memory(&png, *data, &bytes, 0, image->pixels, 0, NULL)) {
        *size = bytes;
        return 0;
    }
    snprintf(why, IMAGE_WHY, "PNG: %s", *data ? png.message : "no memory");
    free(*data);
    *data = NULL;
    return -1;
}

int image_decode(enum image_format format, const void *data, size_t size, struct image *out, char why[IMAGE_WHY])
{
    struct image image = {0};

    if (size == 0) {
        snprintf(why, IMAGE_WHY, "a picture of 0 bytes");
        return -1;
    }
    const int status = format == IMAGE_PNG ? decode_png(data, size, &image, why) : jpeg_decode(data, size, &image, why);

    if (status)
        image_release(&image);
    else
        *out = image;
    return status;
}

int image_encode(enum image_format format, const struct image *image, int quality, uint8_t **data, size_t *size,
                 char why[IMAGE_WHY])
{
    return format == IMAGE_PNG ? encode_png(image, data, size, why) : jpeg_encode(image, quality, data, size, why);
}
