/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

#ifndef RK_BASE_SPAWN_H
#define RK_BASE_SPAWN_H

#include <sys/types.h>

/* A command that asks the system something: a process of its own group, so that Ctrl-C is none of its business. It
 * reads and complains to nobody; what it prints goes to `out`, or nowhere (-1). 0: it could not be started. */
pid_t rk_spawn_aside(const char *const argv[], int out);

#endif
