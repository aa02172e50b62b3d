/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Ends ranks of a node that do not come back: those that rank 0 names, and after a death all where none has. */

#include <signal.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "mesh/links.h"
#include "mesh/sightings.h"

#define MISSING_US    11000000 /* for the living of a node to come back after a death: who has come waits for 10 s */
#define LAST_WORDS_US 500000   /* to tell of the deaths of others, for a first rank that is to die, too */

/* This process dies when the other deaths are told: nobody else might be left to tell them. */
static void kill_one(struct rk_links *links, int local_rank)
{
    struct rk_sightings *sightings = links->sightings;
    const struct rk_place *place = &links->segment->rank[local_rank];
    if (atomic_load(&place->dead))
        return;
    if (local_rank == 0) {
        sightings->dies_us = rk_now_us() + LAST_WORDS_US;
        return;
    }
    kill(atomic_load(&place->pid), SIGKILL);
    pthread_mutex_lock(&sightings->lock);
    if (rk_sightings_have_room(sightings))
        sightings->killed[local_rank] = true;
    pthread_mutex_unlock(&sightings->lock);
}

/* Unless it is back by now. */
void rk_missing_kill(struct rk_links *links, int local_rank, uint64_t number)
{
    pthread_mutex_lock(&links->telling);
    bool back = links->arena && rk_seat_is_back(&links->arena->seats[local_rank], number);
    pthread_mutex_unlock(&links->telling);
    if (!back)
        kill_one(links, local_rank);
}

/* After a death ranks that have come to regroup kill those of their node who don't; this is for a node where none has.
 */
void rk_missing_look(struct rk_links *links)
{
    struct rk_sightings *sightings = links->sightings;
    const struct rk_segment *segment = links->segment;
    int64_t now = rk_now_us();
    if (!links->node || !atomic_load(&segment->deaths) || atomic_load(&segment->stopping))
        return;
    if (!sightings->broken_us)
        sightings->broken_us = now;
    if (now < sightings->broken_us + MISSING_US)
        return;
    sightings->broken_us = INT64_MAX - MISSING_US;
    for (int i = links->local_size - 1; i >= 0; i--) {
        const struct rk_place *place = &segment->rank[i];
        if (atomic_load(&place->arrived) || atomic_load(&place->dead))
            continue;
        rk_log(RK_LOG_ERROR, "rank %d (pid %d) has not come back from its handler: killing it",
               atomic_load(&place->rank), atomic_load(&place->pid));
        kill_one(links, i);
    }
}

/* When all is told. */
void rk_missing_die(const struct rk_links *links)
{
    const struct rk_sightings *sightings = links->sightings;
    bool told = true;
    for (int i = 0; sightings->killed && i < links->local_size; i++)
        told &= !sightings->killed[i] || links->told[i];
    if (told || rk_now_us() >= sightings->dies_us)
        kill(getpid(), SIGKILL);
}
