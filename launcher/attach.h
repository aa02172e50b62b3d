/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A call's arguments from the command line: JSON, and files as attachments. */

#ifndef RK_LAUNCHER_ATTACH_H
#define RK_LAUNCHER_ATTACH_H

#include <rankcall/payload.h>

#include "launcher/options.h"

/* JSON from an argument: the text itself, @FILE, "-" for standard input, NULL for {}.
 * Errors: RANKCALL_EPAYLOAD, RANKCALL_ESYSTEM, RANKCALL_EINVAL. Ownership: *out is the caller's. */
int rk_attach_json(const char *argument, struct rankcall_payload **out);

/* Adds the attachments of `name=file` and `name:type=file` arguments. Files are mapped, not copied; "-" is standard
 * input. Errors: as above, naming the argument. */
int rk_attach_files(struct rankcall_payload *payload, const struct rk_list *arguments);

#endif
