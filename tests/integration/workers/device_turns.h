/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Collectives on device memory whose results are known. */

#ifndef DEVICE_TURNS_H
#define DEVICE_TURNS_H

#include <stddef.h>
#include <stdint.h>

#define TURN_LARGEST ((size_t)9 << 20) /* more than two slots of staging */

struct rankcall_call;
struct rankcall_device;

/* Returns 0, or -1 with the call failed: what was wrong in which turn. All ranks draw the same. */
int turn_many(struct rankcall_call *call, struct rankcall_device *device, uint64_t seed, int turns, size_t largest);

#endif
