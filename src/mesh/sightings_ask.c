/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Sightings at rank 0: its IO thread asks, and looks at what has been answered. */

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/links.h"
#include "mesh/sightings.h"

static struct rk_sightings *sightings_of(const struct rk_mesh *mesh)
{
    return mesh->links ? mesh->links->sightings : NULL;
}

bool rk_mesh_may_ask(const struct rk_mesh *mesh)
{
    return sightings_of(mesh) != NULL;
}

void rk_mesh_ask(struct rk_mesh *mesh, int64_t now_us)
{
    struct rk_sightings *sightings = sightings_of(mesh);
    const struct rk_word word = {.kind = RK_WORD_ASK, .size = sizeof now_us};
    pthread_mutex_lock(&sightings->lock);
    bool new = rk_sightings_have_room(sightings) && sightings->asked_us < now_us;
    if (new) {
        sightings->asked_us = now_us;
        sightings->missing = sightings->far;
    }
    pthread_mutex_unlock(&sightings->lock);
    if (new)
        rk_links_say_down(mesh->links, &word, &now_us);
}

int64_t rk_mesh_asked_us(const struct rk_mesh *mesh)
{
    return sightings_of(mesh)->asked_us; /* nobody else writes it */
}

bool rk_mesh_answered(const struct rk_mesh *mesh, int64_t asked_us)
{
    struct rk_sightings *sightings = sightings_of(mesh);
    pthread_mutex_lock(&sightings->lock);
    bool answered = sightings->complete_us >= asked_us;
    pthread_mutex_unlock(&sightings->lock);
    return answered;
}

/* What is known of a rank. False: it never answered. */
static bool look_up(const struct rk_mesh *mesh, int rank, struct rk_sighting *out)
{
    struct rk_sightings *sightings = sightings_of(mesh);
    if (!sightings)
        return false;
    pthread_mutex_lock(&sightings->lock);
    bool known = sightings->of && sightings->of[rank].heard_us;
    if (known)
        *out = sightings->of[rank];
    pthread_mutex_unlock(&sightings->lock);
    return known;
}

static bool is_back(const struct rk_sighting *sighting, uint64_t number)
{
    return sighting->number == number && sighting->activity == RK_IDLE;
}

bool rk_mesh_far_is_back(const struct rk_mesh *mesh, int rank, uint64_t number, uint64_t *signs, int64_t *asked_us)
{
    struct rk_sighting sighting = {0};
    bool known = look_up(mesh, rank, &sighting);
    *signs = sighting.signs;
    *asked_us = sighting.asked_us;
    return known && is_back(&sighting, number);
}

bool rk_mesh_far_some_back(const struct rk_mesh *mesh, uint64_t number)
{
    struct rk_sightings *sightings = sightings_of(mesh);
    pthread_mutex_lock(&sightings->lock);
    bool some = sightings->back_from == number;
    pthread_mutex_unlock(&sightings->lock);
    return some;
}

void rk_far_whereabouts(const struct rk_mesh *mesh, int rank, struct rk_whereabouts *out)
{
    struct rk_sighting sighting;
    if (!look_up(mesh, rank, &sighting))
        return;
    out->known = true;
    out->asked_us = sighting.asked_us;
    out->activity = (enum rk_activity)sighting.activity;
    out->number = sighting.number;
    out->since_us = sighting.heard_us - sighting.age_us;
    out->kind = (enum rk_collective_kind)sighting.kind;
    out->sequence = sighting.sequence;
    out->process = (char)sighting.process;
    memcpy(out->mark, sighting.mark, sizeof out->mark);
    memcpy(out->cpus, sighting.cpus, sighting.cpu_bytes);
}

/* To those of these ranks that are on other nodes. */
static void order(struct rk_mesh *mesh, enum rk_word_kind kind, uint64_t number, const bool *ranks)
{
    struct rk_order order = {.number = number};
    for (int rank = 0, count = 0; rank <= mesh->size; rank++) {
        if (rank < mesh->size && ranks[rank] && rk_mesh_is_far(mesh, rank))
            order.ranks[count++] = rank;
        if (!count || (count < RK_ORDER_MAX && rank < mesh->size))
            continue;
        struct rk_word word = {.kind = (uint8_t)kind};
        word.size = (uint16_t)(offsetof(struct rk_order, ranks) + (size_t)count * sizeof *order.ranks);
        rk_links_say_down(mesh->links, &word, &order);
        count = 0;
    }
}

void rk_mesh_ask_far_stacks(struct rk_mesh *mesh, const bool *ranks)
{
    struct rk_sightings *sightings = sightings_of(mesh);
    if (!sightings)
        return;
    pthread_mutex_lock(&sightings->lock);
    for (int rank = 0; rk_sightings_have_room(sightings) && rank < mesh->size; rank++) {
        free(sightings->stacks[rank]);
        sightings->stacks[rank] = NULL;
    }
    pthread_mutex_unlock(&sightings->lock);
    order(mesh, RK_WORD_ASK_STACKS, 0, ranks);
}

bool rk_mesh_has_far_stack(const struct rk_mesh *mesh, int rank)
{
    char *text = rk_mesh_far_stack(mesh, rank);
    free(text);
    return text != NULL;
}

char *rk_mesh_far_stack(const struct rk_mesh *mesh, int rank)
{
    struct rk_sightings *sightings = sightings_of(mesh);
    if (!sightings)
        return NULL;
    pthread_mutex_lock(&sightings->lock);
    char *text = sightings->stacks && sightings->stacks[rank] ? strdup(sightings->stacks[rank]) : NULL;
    pthread_mutex_unlock(&sightings->lock);
    return text;
}

void rk_mesh_kill_far(struct rk_mesh *mesh, uint64_t number, const bool *ranks)
{
    if (sightings_of(mesh))
        order(mesh, RK_WORD_KILL, number, ranks);
}
