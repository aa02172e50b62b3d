/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Four classical picture filters that stand where neural networks would: loaded once with their weights, then applied
 * to any number of photographs. */

#ifndef PHOTOGRID_FILTERS_H
#define PHOTOGRID_FILTERS_H

#include "common/image.h"

struct filter;

/* Loads a filter: computes its weights. `name` NULL: the one whose turn it is at position `turn`, whose later rounds
 * get stronger parameters.
 * Returns: NULL when there is no filter of that name (*known then lists them) or memory is out. */
struct filter *filter_load(const char *name, int turn, const char **known);

/* Name and parameters: "bilateral 3.0 px". Ownership: the filter's. */
const char *filter_label(const struct filter *filter);

/* Filters an RGB picture into `out`, of the same size. Returns 0, or -1 when memory is out. */
int filter_apply(const struct filter *filter, const struct image *in, struct image *out);

/* The same weights for a GPU. Ownership: the filter's. */
struct cuda_filter;
void filter_for_cuda(const struct filter *filter, struct cuda_filter *out);

/* Takes NULL. */
void filter_free(struct filter *filter);

#endif
