/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Pages of private views of shared memory. */

#ifndef RK_MESH_PAGES_H
#define RK_MESH_PAGES_H

#include <stdbool.h>
#include <stdint.h>

/* Gives back the pages that this process has written there (its own copies of them). Returns whether the others are
 * still at hand; false: those are given back, too, as there are many pieces or the kernel (before Linux 6.7) does not
 * tell which is which. One thread at a time. */
bool rk_pages_unwrite(uint8_t *bytes, uint64_t size);

#endif
