/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Data-parallel inference: every rank runs its own filter on the same photograph, on its GPU where it has one; a gather
 * brings the pictures to rank 0, which answers with one contact sheet. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rankcall/device.h>

#include "common/kernels.h"
#include "common/together.h"
#include "filters.h"
#include "filters_cuda.h"

#define GAP   8   /* pixels between the sheet's pictures and around them */
#define PAPER 255 /* its grey level */

/* What a rank keeps between calls. */
struct state {
    struct filter *filter;
    struct rankcall_device *device;
    const struct cuda_filters *kernels; /* NULL: the CPU filters */
};

/* Loads this rank's filter, once: the name at "/filters/RANK" of the setup's arguments, or the one whose turn it is. */
static int setup(struct rankcall_context *context, const struct rankcall_payload *args)
{
    const int rank = rankcall_rank(context);
    const char *name = NULL, *known;
    char key[32];

    snprintf(key, sizeof key, "/filters/%d", rank);
    if (rankcall_opt_string(args, key, &name))
        return -1;
    struct filter *filter = filter_load(name, rank, &known);
    if (!filter)
        return rankcall_fail_setup(context, "no filter '%s': there are %s", name ? name : "", known);
    struct state *state = calloc(1, sizeof *state);
    if (!state || rankcall_device_open(context, &state->device)) {
        filter_free(filter);
        free(state);
        return -1;
    }
    state->filter = filter;
    state->kernels = kernels_open(context, state->device, "photogrid-cuda.so", CUDA_FILTERS_SYMBOL);
    rankcall_set_state(context, state);
    rankcall_print(context, "loaded %s", filter_label(filter));
    return 0;
}

static void teardown(struct rankcall_context *context)
{
    struct state *state = rankcall_state(context);

    filter_free(state->filter);
    free(state);
}

/* What a rank says of its picture; gathered as bytes. */
struct caption {
    char label[48];
    double milliseconds;
};

struct grid {
    struct image photo, tile;
    int64_t columns, size;
    struct rankcall_device *device;
    void *tile_there;         /* this rank's tile where its device has it */
    void *tiles_there;        /* these four on rank 0 only: every rank's, there */
    uint8_t *tiles;           /* and here, */
    struct caption *captions; /* every rank's caption, */
    struct image sheet;       /* and the sheet of them */
};

/* Makes the photograph an RGB one whose sides have at most `size` pixels: means of squares, leaving out what remains.
 */
static int fit(struct image *photo, int size, char why[IMAGE_WHY])
{
    const int longer = photo->width > photo->height ? photo->width : photo->height;
    const int factor = (longer + size - 1) / size, channels = photo->channels;
    struct image small;

    if (photo->width < factor || photo->height < factor) {
        snprintf(why, IMAGE_WHY, "a picture of %d x %d pixels is too thin to be shrunk to %d", photo->width,
                 photo->height, size);
        return -1;
    }
    if (image_make(&small, photo->width / factor, photo->height / factor, 3, why))
        return -1;
    for (size_t i = 0; i < image_size(&small); i++) {
        const size_t x = i / 3 % (size_t)small.width, y = i / 3 / (size_t)small.width;
        long sum = 0;
        for (size_t v = y * (size_t)factor; v < (y + 1) * (size_t)factor; v++)
            for (size_t u = x * (size_t)factor; u < (x + 1) * (size_t)factor; u++)
                sum += photo->pixels[(v * (size_t)photo->width + u) * (size_t)channels + (channels == 3 ? i % 3 : 0)];
        small.pixels[i] = (uint8_t)((sum + factor * factor / 2) / (factor * factor));
    }
    image_release(photo);
    *photo = small;
    return 0;
}

/* Everything that can fail before the gather. */
static int prepare(struct rankcall_call *call, struct grid *grid)
{
    const int ranks = rankcall_call_world_size(call);
    const struct rankcall_payload *args = rankcall_args(call);
    char why[IMAGE_WHY];

    while (grid->columns * grid->columns < ranks)
        grid->columns++;
    if (rankcall_opt_int_in(args, "columns", 1, ranks, &grid->columns) ||
        rankcall_opt_int_in(args, "size", 16, 4096, &grid->size) || picture_from_args(call, "image", &grid->photo))
        return -1;
    if (fit(&grid->photo, (int)grid->size, why) ||
        image_make(&grid->tile, grid->photo.width, grid->photo.height, 3, why))
        return rankcall_fail(call, "attachment 'image': %s", why);
    if (rankcall_device_alloc(grid->device, image_size(&grid->tile), &grid->tile_there))
        return -1;
    if (rankcall_call_rank(call) > 0)
        return 0;
    const int rows = (ranks + (int)grid->columns - 1) / (int)grid->columns;
    if (image_make(&grid->sheet, GAP + (int)grid->columns * (grid->tile.width + GAP),
                   GAP + rows * (grid->tile.height + GAP), 3, why))
        return rankcall_fail(call, "the contact sheet: %s", why);
    grid->captions = calloc((size_t)ranks, sizeof *grid->captions);
    grid->tiles = malloc((size_t)ranks * image_size(&grid->tile));
    if (!grid->captions || !grid->tiles)
        return rankcall_fail(call, "no memory for %d pictures", ranks);
    return rankcall_device_alloc(grid->device, (size_t)ranks * image_size(&grid->tile), &grid->tiles_there);
}

/* The filter as a kernel, behind the copy of the photograph. */
static int filter_there(struct rankcall_call *call, const struct state *state, struct grid *grid)
{
    const size_t size = image_size(&grid->photo);
    const char *what = "";
    struct cuda_filter filter;
    void *photo = NULL, *work = NULL;
    int status = -1;

    filter_for_cuda(state->filter, &filter);
    if (rankcall_device_alloc(state->device, size, &photo) ||
        rankcall_device_alloc(state->device, state->kernels->work_size(&filter, grid->photo.width, grid->photo.height),
                              &work) ||
        rankcall_device_copy(state->device, photo, grid->photo.pixels, size))
        goto out;
    status = rankcall_device_error(state->device,
                                   state->kernels->apply(&filter, photo, grid->tile_there, grid->photo.width,
                                                         grid->photo.height, work,
                                                         rankcall_device_stream(state->device), &what),
                                   what);
    if (!status)
        status = rankcall_wait(call);
out:
    rankcall_device_free(state->device, photo);
    rankcall_device_free(state->device, work);
    return status;
}

/* Runs this rank's filter, and says so at once to a client that streams. */
static int infer(struct rankcall_call *call, struct grid *grid, struct caption *caption)
{
    const struct state *state = rankcall_call_state(call);
    const struct filter *filter = state->filter;
    const double start = MPI_Wtime();

    if (state->kernels) {
        if (filter_there(call, state, grid))
            return -1;
    } else if (filter_apply(filter, &grid->photo, &grid->tile)) {
        return rankcall_fail(call, "no memory for filter %s", filter_label(filter));
    } else if (rankcall_device_copy(state->device, grid->tile_there, grid->tile.pixels, image_size(&grid->tile))) {
        return -1;
    }
    caption->milliseconds = 1000 * (MPI_Wtime() - start);
    snprintf(caption->label, sizeof caption->label, "%s", filter_label(filter));
    return rankcall_emit_json(call, "{\"label\": \"%s\", \"milliseconds\": %.3f}", caption->label,
                              caption->milliseconds);
}

static void place_tile(struct grid *grid, int rank)
{
    const size_t row = (size_t)grid->tile.width * 3, pitch = (size_t)grid->sheet.width * 3;
    const int left = GAP + rank % (int)grid->columns * (grid->tile.width + GAP);
    const int top = GAP + rank / (int)grid->columns * (grid->tile.height + GAP);
    const uint8_t *from = grid->tiles + (size_t)rank * image_size(&grid->tile);

    for (int y = 0; y < grid->tile.height; y++)
        memcpy(grid->sheet.pixels + (size_t)(top + y) * pitch + (size_t)left * 3, from + (size_t)y * row, row);
}

/* {"columns": …, "tiles": [{"rank", "label", "milliseconds"} …]} and the attachment "sheet". */
static int answer(struct rankcall_call *call, struct grid *grid)
{
    const int ranks = rankcall_call_world_size(call);
    struct rankcall_payload *result = rankcall_payload_new();
    char *json = NULL;
    size_t size;
    FILE *text = open_memstream(&json, &size);
    int status = -1;

    if (!result || !text) {
        rankcall_fail(call, "no memory for the result");
        goto out;
    }
    memset(grid->sheet.pixels, PAPER, image_size(&grid->sheet));
    for (int rank = 0; rank < ranks; rank++) {
        place_tile(grid, rank);
        fprintf(text, "%s{\"rank\": %d, \"label\": \"%s\", \"milliseconds\": %.3f}", rank ? ", " : "[", rank,
                grid->captions[rank].label, grid->captions[rank].milliseconds);
    }
    fputc(']', text);
    fflush(text);
    if (rankcall_set_int(result, "columns", grid->columns) || rankcall_set_json(result, "tiles", json) ||
        picture_attach(call, result, "sheet", IMAGE_PNG, &grid->sheet, 0))
        goto out;
    status = rankcall_result(call, result);
    result = NULL;
out:
    if (text)
        fclose(text);
    free(json);
    rankcall_payload_free(result);
    return status;
}

/* Device memory or the host's: the gather goes where the tiles are. */
static int gather(struct rankcall_call *call, struct grid *grid, const struct caption *caption)
{
    const size_t size = image_size(&grid->tile), ranks = (size_t)rankcall_call_world_size(call);

    if (rankcall_gather(call, grid->tile_there, size, grid->tiles_there, 0) ||
        rankcall_gather(call, caption, sizeof *caption, grid->captions, 0))
        return -1;
    if (rankcall_call_rank(call) == 0 &&
        rankcall_device_copy(grid->device, grid->tiles, grid->tiles_there, ranks * size))
        return -1;
    return rankcall_wait(call);
}

static int photogrid(struct rankcall_call *call)
{
    struct grid grid = {.columns = 1, .size = 640};
    struct caption caption = {0};
    grid.device = ((struct state *)rankcall_call_state(call))->device;
    int status = prepare(call, &grid);

    if (status == 0)
        status = infer(call, &grid, &caption);
    if (!all_well(call, status))
        goto out;
    status = gather(call, &grid, &caption);
    if (!status && rankcall_call_rank(call) == 0)
        status = answer(call, &grid);
out:
    rankcall_device_free(grid.device, grid.tile_there);
    rankcall_device_free(grid.device, grid.tiles_there);
    image_release(&grid.photo);
    image_release(&grid.tile);
    image_release(&grid.sheet);
    free(grid.captions);
    free(grid.tiles);
    return status;
}

static const struct rankcall_handler handlers[] = {
    {"photogrid", photogrid, "a contact sheet of the picture 'image', one filter a rank"}, {0}};

RANKCALL_WORKER(.name = "photogrid", .handlers = handlers, .setup = setup, .teardown = teardown)
