/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Sightings: what the ranks of other nodes are doing, asked for over the links.
 *
 * A question goes down the tree of nodes. The thread of a node's links reads the seats of its ranks and sends a word
 * for each up, as fast as the link takes them; so a rank is not disturbed, and may be stuck or stopped (but the first
 * of its node, whose thread it is). Stacks and kills go the same way. */

#ifndef RK_MESH_SIGHTINGS_H
#define RK_MESH_SIGHTINGS_H

#include "mesh/collect_internal.h"

#define RK_SEEN_CPUS 128 /* bytes of a mask: 1,024 CPUs */

/* Of one rank. Plain bytes: travels on links, without the end of `cpus` that is 0. */
struct rk_sighting {
    int64_t asked_us, heard_us; /* by rank 0's clock; 0: never */
    int64_t age_us;             /* since its handler began */
    uint64_t number, sequence, signs;
    uint8_t activity, kind, process; /* as in struct rk_whereabouts */
    uint8_t cpu_bytes;
    char mark[RK_MARK_SIZE];
    uint8_t cpus[RK_SEEN_CPUS];
};

struct rk_links;
struct rk_word;
struct rk_sightings;

struct rk_sightings *rk_sightings_new(const struct rk_links *links); /* NULL: out of memory */
void rk_sightings_free(struct rk_sightings *sightings);              /* takes NULL */

/* A word of theirs has come. The thread of the links, as the next. */
void rk_sightings_hear(struct rk_links *links, const struct rk_word *word, const void *bytes);
/* Sends up what the link has room for. Returns when it is to be called at the latest. */
int64_t rk_sightings_work(struct rk_links *links);

#endif
