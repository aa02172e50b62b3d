/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* One GPU for each rank: a part of the planning of placement.h. */

#ifndef RK_DEVICE_MATCHING_H
#define RK_DEVICE_MATCHING_H

#include "device/placement.h"

/* Sets `gpu` of all places. As many ranks as possible get one of their own; where all see the same, rank i
 * gets the i-th. */
void rk_matching_make(int gpu_count, const struct rk_request *requests, int count, struct rk_place *places);

#endif
