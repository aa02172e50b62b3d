/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What handlers on many ranks do together: fail together, split work, take and give pictures. */

#ifndef EXAMPLES_TOGETHER_H
#define EXAMPLES_TOGETHER_H

#include <stdbool.h>

#include <rankcall/mpi.h>
#include <rankcall/worker.h>

#include "common/image.h"

/* Whether every rank's `status` is 0. Ask it after work that may fail on one rank alone and before the next collective:
 *
 *     if (!all_well(call, status))
 *         return status;
 *
 * The rank that failed returns its error, the others 0, so the client gets the one message that matters and no rank
 * waits in a collective for one that has left.
 * Collective: every rank of the call. */
bool all_well(struct rankcall_call *call, int status);

/* The part of `total` things that is `rank`'s when `ranks` share them: neighbours in order, sizes differ by at most 1.
 */
struct share {
    int first, count;
};
struct share share_of(int total, int rank, int ranks);

/* Decodes the attachment `name`, an image/png or image/jpeg. Returns 0, or -1 after rankcall_fail. */
int picture_from_args(struct rankcall_call *call, const char *name, struct image *out);

/* Encodes and attaches a picture; `quality` 1 to 100 is for JPEG. Returns 0, or -1 after rankcall_fail. */
int picture_attach(struct rankcall_call *call, struct rankcall_payload *payload, const char *name,
                   enum image_format format, const struct image *image, int quality);

#endif
