/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The worker's handlers by name. */

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "core/inside.h"

static int no_handler(const struct rankcall_handler *handlers, const char *name)
{
    char known[256] = "";
    size_t size = 0;
    for (unsigned i = 0; handlers[i].name && size < sizeof known; i++)
        size += (size_t)snprintf(known + size, sizeof known - size, "%s%s", i ? ", " : "", handlers[i].name);
    return rk_error(RANKCALL_ENOHANDLER, "the job has no handler \"%s\"; it has: %s%s", name, known,
                    size < sizeof known ? "" : "...");
}

int rk_handler_find(const struct rankcall_handler *handlers, const char *name, unsigned *index)
{
    for (*index = 0; handlers[*index].name; ++*index)
        if (!*name || !strcmp(handlers[*index].name, name))
            return RANKCALL_OK;
    return no_handler(handlers, name);
}
