/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What handlers on many ranks do together. */

#include "common/together.h"

#include <string.h>

bool all_well(struct rankcall_call *call, int status)
{
    int failed = status != 0, any = 0;

    MPI_Allreduce(&failed, &any, 1, MPI_INT, MPI_MAX, rankcall_call_comm(call));
    return !any;
}

struct share share_of(int total, int rank, int ranks)
{
    const int first = (int)((long)total * rank / ranks);

    return (struct share){first, (int)((long)total * (rank + 1) / ranks) - first};
}

int picture_from_args(struct rankcall_call *call, const char *name, struct image *out)
{
    struct rankcall_attachment attachment;
    char why[IMAGE_WHY];

    if (rankcall_attachment(rankcall_args(call), name, &attachment))
        return rankcall_fail(call, "attach a picture as '%s': -a %s=photo.png", name, name);
    if (attachment.type != RANKCALL_IMAGE_PNG && attachment.type != RANKCALL_IMAGE_JPEG)
        return rankcall_fail(call, "attachment '%s' is of type %s: give image/png or image/jpeg", name,
                             rankcall_type_name(attachment.type));
    if (image_decode(attachment.type == RANKCALL_IMAGE_PNG ? IMAGE_PNG : IMAGE_JPEG, attachment.data, attachment.size,
                     out, why))
        return rankcall_fail(call, "attachment '%s': %s", name, why);
    return 0;
}

int picture_attach(struct rankcall_call *call, struct rankcall_payload *payload, const char *name,
                   enum image_format format, const struct image *image, int quality)
{
    struct rankcall_attachment attachment = {.name = name,
                                             .type = format == IMAGE_PNG ? RANKCALL_IMAGE_PNG : RANKCALL_IMAGE_JPEG};
    char why[IMAGE_WHY];
    uint8_t *data;
    size_t size;

    if (image_encode(format, image, quality, &data, &size, why))
        return rankcall_fail(call, "attachment '%s': %s", name, why);
    attachment.data = data;
    attachment.size = size;
    if (rankcall_attach_take(payload, &attachment))
        return rankcall_fail(call, "attachment '%s': %s", name, rankcall_last_error()->message);
    return 0;
}
