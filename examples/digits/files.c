/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Reading the data set, writing and reading checkpoints. */

#include "files.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/random.h"

#define SPLIT_SEED 2026 /* of which digits are for training and which for the test */
#define HEADER     "rankcall digits 64-64-10\n"

static int complain(char why[FILES_WHY], const char *path, const char *what)
{
    snprintf(why, FILES_WHY, "%.400s: %.100s", path, what);
    return -1;
}

/* One line: pixels and digit, each followed by a comma or the end. */
static int read_digit(FILE *file, double *pixels, int *label)
{
    for (int i = 0; i < PIXELS; i++) {
        int value;
        if (fscanf(file, "%d,", &value) != 1 || value < 0 || value > 16)
            return -1;
        pixels[i] = value / 16.0;
    }
    return fscanf(file, "%d", label) == 1 && *label >= 0 && *label < CLASSES ? 0 : -1;
}

int dataset_read(const char *path, struct dataset *out, char why[FILES_WHY])
{
    const char *folder = getenv("RANKCALL_DATA_DIR");
    char place[4096];
    int order[DIGITS];

    if (!path) {
        snprintf(place, sizeof place, "%s/digits.csv", folder ? folder : RANKCALL_DATA_DIR);
        path = place;
    }
    FILE *file = fopen(path, "r");
    if (!file)
        return complain(why, path, strerror(errno));
    for (int i = 0; i < DIGITS; i++)
        order[i] = i;
    random_shuffle(SPLIT_SEED, order, DIGITS);
    for (int i = 0; i < DIGITS; i++)
        if (read_digit(file, out->pixels[order[i]], &out->labels[order[i]])) {
            snprintf(why, FILES_WHY, "%.400s: line %d is not 64 pixels of 0 to 16 and a digit", path, i + 1);
            fclose(file);
            return -1;
        }
    fclose(file);
    return 0;
}

int checkpoint_begin(struct checkpoint *checkpoint, const char *path, char why[FILES_WHY])
{
    checkpoint->path = strdup(path);
    if (asprintf(&checkpoint->part, "%s.part", path) < 0)
        checkpoint->part = NULL;
    if (!checkpoint->path || !checkpoint->part)
        return complain(why, path, "no memory");
    checkpoint->file = fopen(checkpoint->part, "w");
    return checkpoint->file ? 0 : complain(why, checkpoint->part, strerror(errno));
}

static int write_weights(FILE *file, const double *weights)
{
    fputs(HEADER, file);
    for (int i = 0; i < PARAMETERS; i++)
        fprintf(file, "%.17g\n", weights[i]); /* 17 digits bring a double back exactly */
    return fflush(file) || fsync(fileno(file)) || ferror(file) ? -1 : 0;
}

int checkpoint_end(struct checkpoint *checkpoint, const double *weights, char why[FILES_WHY])
{
    int status = 0;

    if (checkpoint->file) {
        if (weights && write_weights(checkpoint->file, weights))
            status = complain(why, checkpoint->part, strerror(errno));
        fclose(checkpoint->file);
        if (weights && status == 0 && rename(checkpoint->part, checkpoint->path))
            status = complain(why, checkpoint->path, strerror(errno));
        if (!weights || status)
            unlink(checkpoint->part);
    }
    free(checkpoint->path);
    free(checkpoint->part);
    *checkpoint = (struct checkpoint){0};
    return status;
}

int checkpoint_read(const char *path, double weights[PARAMETERS], char why[FILES_WHY])
{
    char header[sizeof HEADER] = "";
    FILE *file = fopen(path, "r");
    int read = 0;

    if (!file)
        return complain(why, path, strerror(errno));
    if (fgets(header, sizeof header, file) && strcmp(header, HEADER) == 0)
        while (read < PARAMETERS && fscanf(file, "%lf", &weights[read]) == 1 && isfinite(weights[read]))
            read++;
    fclose(file);
    return read == PARAMETERS ? 0 : complain(why, path, "not a whole checkpoint of this network");
}
