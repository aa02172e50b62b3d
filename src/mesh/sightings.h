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

struct rk_sightings {
    pthread_mutex_t lock;
    int size, far;           /* ranks of the job, and of other nodes */
    struct rk_sighting *of;  /* by rank; NULL: nobody has asked yet */
    char **stacks;           /* by rank; NULL: none has come */
    uint8_t *due;            /* by rank: enum due, what is to go up ... */
    int *queue;              /* ... of whom, a ring */
    int first, count;        /* in that */
    int64_t asked_us;        /* at rank 0: last, ... */
    int missing;             /* ... and ranks that have not answered that ... */
    int64_t complete_us;     /* ... and the newest question that all have answered */
    uint64_t back_from;      /* the latest call that somebody was back from */
    bool *asked_stack;       /* by local rank: is to write its stack ... */
    int64_t stacks_until_us; /* ... until then; 0: nobody */
    int64_t broken_us;       /* since when ranks are known to be dead */
    bool *killed;            /* by local rank: before this process ... */
    int64_t dies_us;         /* ... which is to die at the latest then; 0: it is not */
};

#define RK_ORDER_MAX 1000 /* ranks that one order names */

/* What is ordered of some ranks. */
struct rk_order {
    uint64_t number; /* of the call */
    int32_t ranks[RK_ORDER_MAX];
};

struct rk_sightings *rk_sightings_new(const struct rk_links *links); /* NULL: out of memory */
void rk_sightings_free(struct rk_sightings *sightings);              /* takes NULL */

/* A word of theirs has come. The thread of the links, as the next. */
void rk_sightings_hear(struct rk_links *links, const struct rk_word *word, const void *bytes);
/* Sends up what the link has room for. Returns when it is to be called at the latest. */
int64_t rk_sightings_work(struct rk_links *links);

/* Memory for all ranks, when somebody asks for the first time. With the lock held. False: there is none. */
bool rk_sightings_have_room(struct rk_sightings *sightings);

/* missing.c: ends those who do not come back. The thread of the links. */
void rk_missing_kill(struct rk_links *links, int local_rank, uint64_t number); /* unless it is back from that call */
void rk_missing_look(struct rk_links *links); /* after a death, whether nobody of this node comes back to regroup */
void rk_missing_die(const struct rk_links *links); /* this process, when it has told of the others or takes too long */

#endif
