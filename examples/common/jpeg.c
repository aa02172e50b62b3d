/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* JPEG through libjpeg-turbo, whose errors leave by longjmp.
 *
 * What a jump must not lose lives in the caller's frame, in a struct that the function with setjmp only points to:
 * C leaves changed automatic variables of *that* function indeterminate after the jump. */

#include "common/jpeg.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

#include <jerror.h>

#define MAX_SCANS 100 /* a small progressive file may ask for a thousand passes over a large picture */

struct trap {
    struct jpeg_error_mgr manager; /* first, since libjpeg hands back a pointer to it */
    jmp_buf escape;
    char *why;
};

struct decoder {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_progress_mgr progress;
    struct trap trap;
    struct image *image;
};

struct encoder {
    struct jpeg_compress_struct jpeg;
    struct trap trap;
    unsigned char *data;
    unsigned long size;
};

static void fail(j_common_ptr common)
{
    struct trap *trap = (struct trap *)common->err;
    char text[JMSG_LENGTH_MAX];

    common->err->format_message(common, text);
    snprintf(trap->why, IMAGE_WHY, "not a sound JPEG: %.200s", text);
    longjmp(trap->escape, 1);
}

/* libjpeg paints over damage with a warning; a picture that is not whole is an error here. */
static void heed_warning(j_common_ptr common, int level)
{
    if (level < 0 && common->err->msg_code != JWRN_EXTRANEOUS_DATA)
        fail(common);
}

static void limit_scans(j_common_ptr common)
{
    struct trap *trap = (struct trap *)common->err;

    if (((j_decompress_ptr)common)->input_scan_number > MAX_SCANS) {
        snprintf(trap->why, IMAGE_WHY, "a JPEG of more than %d scans is refused", MAX_SCANS);
        longjmp(trap->escape, 1);
    }
}

static struct jpeg_error_mgr *set_trap(struct trap *trap, char *why)
{
    jpeg_std_error(&trap->manager);
    trap->manager.error_exit = fail;
    trap->manager.emit_message = heed_warning;
    trap->why = why;
    return &trap->manager;
}

static int decode(struct decoder *self, const void *data, size_t size)
{
    struct jpeg_decompress_struct *jpeg = &self->jpeg;

    if (setjmp(self->trap.escape))
        return -1;
    jpeg_create_decompress(jpeg);
    jpeg->progress = &self->progress;
    jpeg_mem_src(jpeg, data, size);
    jpeg_read_header(jpeg, TRUE);
    const int channels = jpeg->jpeg_color_space == JCS_GRAYSCALE ? 1 : 3;
    jpeg->out_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    if (image_make(self->image, (long)jpeg->image_width, (long)jpeg->image_height, channels, self->trap.why))
        return -1;
    jpeg_start_decompress(jpeg);
    while (jpeg->output_scanline < jpeg->output_height) {
        JSAMPROW row = self->image->pixels + (size_t)jpeg->output_scanline * jpeg->output_width * (size_t)channels;
        jpeg_read_scanlines(jpeg, &row, 1);
    }
    jpeg_finish_decompress(jpeg);
    return 0;
}

int jpeg_decode(const void *data, size_t size, struct image *out, char why[IMAGE_WHY])
{
    struct decoder self = {.progress.progress_monitor = limit_scans, .image = out};

    self.jpeg.err = set_trap(&self.trap, why);
    const int status = decode(&self, data, size);
    jpeg_destroy_decompress(&self.jpeg);
    return status;
}

static int encode(struct encoder *self, const struct image *image, int quality)
{
    struct jpeg_compress_struct *jpeg = &self->jpeg;

    if (setjmp(self->trap.escape))
        return -1;
    jpeg_create_compress(jpeg);
    jpeg_mem_dest(jpeg, &self->data, &self->size);
    jpeg->image_width = (JDIMENSION)image->width;
    jpeg->image_height = (JDIMENSION)image->height;
    jpeg->input_components = image->channels;
    jpeg->in_color_space = image->channels == 3 ? JCS_RGB : JCS_GRAYSCALE;
    jpeg_set_defaults(jpeg);
    jpeg_set_quality(jpeg, quality, TRUE);
    jpeg_start_compress(jpeg, TRUE);
    while (jpeg->next_scanline < jpeg->image_height) {
        JSAMPROW row = image->pixels + (size_t)jpeg->next_scanline * (size_t)image->width * (size_t)image->channels;
        jpeg_write_scanlines(jpeg, &row, 1);
    }
    jpeg_finish_compress(jpeg);
    return 0;
}

int jpeg_encode(const struct image *image, int quality, uint8_t **data, size_t *size, char why[IMAGE_WHY])
{
    struct encoder self = {0};

    /* Room for the worst case (the bound of TurboJPEG's tjBufSize without subsampling), so that libjpeg never swaps the
     * buffer for a larger one of its own, which a jump would lose. */
    self.size = (((unsigned long)image->width + 15) & ~15UL) * (((unsigned long)image->height + 15) & ~15UL) * 6 + 2048;
    self.data = malloc(self.size);
    if (!self.data) {
        snprintf(why, IMAGE_WHY, "no memory for a JPEG of %d x %d pixels", image->width, image->height);
        return -1;
    }
    self.jpeg.err = set_trap(&self.trap, why);
    const int status = encode(&self, image, quality);
    jpeg_destroy_compress(&self.jpeg);
    if (status)
        free(self.data);
    *data = status ? NULL : self.data;
    *size = self.size;
    return status;
}
