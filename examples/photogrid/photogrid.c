/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Data-parallel inference: every rank runs its own filter on the same photograph; a gather brings the pictures to rank
 * 0, which answers with one contact sheet. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/together.h"
#include "filters.h"

#define GAP   8   /* pixels between the sheet's pictures and around them */
#define PAPER 255 /* its grey level */

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
    rankcall_set_state(context, filter);
    rankcall_print(context, "loaded %s", filter_label(filter));
    return 0;
}

static void teardown(struct rankcall_context *context)
{
    filter_free(rankcall_state(context));
}

/* What a rank says of its picture; gathered as bytes. */
struct caption {
    char label[48];
    double milliseconds;
};

struct grid {
    struct image photo, tile;
    int64_t columns, size;
    uint8_t *tiles;           /* these three on rank 0 only: every rank's tile, */
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
    if (rankcall_call_rank(call) > 0)
        return 0;
    const int rows = (ranks + (int)grid->columns - 1) / (int)grid->columns;
    if (image_make(&grid->sheet, GAP + (int)grid->columns * (grid->tile.width + GAP),
                   GAP + rows * (grid->tile.height + GAP), 3, why))
        return rankcall_fail(call, "the contact sheet: %s", why);
    grid->captions = calloc((size_t)ranks, sizeof *grid->captions);
    grid->tiles = malloc((size_t)ranks * image_size(&grid->tile));
    return grid->captions && grid->tiles ? 0 : rankcall_fail(call, "no memory for %d pictures", ranks);
}

/* Runs this rank's filter, and says so at once to a client that streams. */
static int infer(struct rankcall_call *call, struct grid *grid, struct caption *caption)
{
    const struct filter *filter = rankcall_call_state(call);
    const double start = MPI_Wtime();

    if (filter_apply(filter, &grid->photo, &grid->tile))
        return rankcall_fail(call, "no memory for filter %s", filter_label(filter));
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

static int photogrid(struct rankcall_call *call)
{
    struct grid grid = {.columns = 1, .size = 640};
    struct caption caption = {0};
    MPI_Comm comm = rankcall_call_comm(call);
    int status = prepare(call, &grid);

    if (status == 0)
        status = infer(call, &grid, &caption);
    if (!all_well(call, status))
        goto out;
    const int bytes = (int)image_size(&grid.tile);
    MPI_Gather(grid.tile.pixels, bytes, MPI_BYTE, grid.tiles, bytes, MPI_BYTE, 0, comm);
    MPI_Gather(&caption, sizeof caption, MPI_BYTE, grid.captions, sizeof caption, MPI_BYTE, 0, comm);
    if (rankcall_call_rank(call) == 0)
        status = answer(call, &grid);
out:
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
