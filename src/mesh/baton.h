/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Who does the frontend's work (core/baton.c): a word in the memory of rank 0's node, whose ranks may give it to the IO
 * thread. */

#ifndef RK_MESH_BATON_H
#define RK_MESH_BATON_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "mesh/mesh.h"

enum rk_holder {
    RK_HOLDER_IO,     /* the IO thread */
    RK_HOLDER_WANTED, /* the same, and the main thread waits for it */
    RK_HOLDER_MAIN,   /* the main thread, and the IO thread sleeps */
    RK_HOLDER_NONE,   /* the main thread is in a handler: rk_io_ring gives it to the IO thread */
};

_Atomic uint32_t *rk_baton_holder(const struct rk_mesh *mesh);

/* Whether short calls come one by one, each when the one before has been answered: who has the work says so, and any
 * rank of a job on one node asks. Never true while the IO thread has it. */
void rk_baton_show_single(struct rk_mesh *mesh, bool single);
bool rk_baton_is_single(const struct rk_mesh *mesh);

/* From one to another. False: somebody else has it. */
bool rk_baton_take(_Atomic uint32_t *holder, enum rk_holder from, enum rk_holder to);

/* Sleeps while it says `holds`, until rk_baton_wake or for so long at most. */
void rk_baton_sleep(_Atomic uint32_t *holder, uint32_t holds, int64_t limit_us);
void rk_baton_wake(_Atomic uint32_t *holder);

#endif
