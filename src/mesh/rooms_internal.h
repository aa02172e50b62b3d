/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What rank 0's side of the rooms and the others' share. */

#ifndef RK_MESH_ROOMS_INTERNAL_H
#define RK_MESH_ROOMS_INTERNAL_H

#include <stdatomic.h>
#include <stdint.h>

#define RK_ROOM_PAGE 65536 /* a multiple of every machine's pages */

/* In the first page of a room. */
struct rk_room_head {
    _Atomic uint32_t holders; /* payloads of other ranks that lie there */
    _Atomic uint32_t emptied; /* how often it has given its pages back */
};

#endif
