/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

#include "mesh/sightings.h"

#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ended.h"
#include "base/fd.h"
#include "mesh/links.h"

#define STACK_TEXT 4000             /* bytes of a stack on a link, at most */
#define STACK_US   1000000          /* for a rank to write its stack */
#define LOOK_US    2000             /* between two looks whether it has */
#define LEFT_FREE  RK_LINK_ROOM / 2 /* of a link, for words that can't wait */

enum due { DUE_SIGHTING = 1, DUE_STACK = 2 };

struct rk_sightings *rk_sightings_new(const struct rk_links *links)
{
    struct rk_sightings *sightings = calloc(1, sizeof *sightings);
    if (!sightings)
        return NULL;
    sightings->size = links->size;
    sightings->far = links->size - links->local_size;
    pthread_mutex_init(&sightings->lock, NULL);
    return sightings;
}

void rk_sightings_free(struct rk_sightings *sightings)
{
    if (!sightings)
        return;
    for (int rank = 0; sightings->stacks && rank < sightings->size; rank++)
        free(sightings->stacks[rank]);
    free(sightings->of);
    free(sightings->stacks);
    free(sightings->due);
    free(sightings->queue);
    free(sightings->asked_stack);
    free(sightings->killed);
    pthread_mutex_destroy(&sightings->lock);
    free(sightings);
}

bool rk_sightings_have_room(struct rk_sightings *sightings)
{
    size_t size = (size_t)sightings->size;
    if (sightings->of)
        return true;
    free(sightings->stacks);
    free(sightings->due);
    free(sightings->queue);
    free(sightings->asked_stack);
    free(sightings->killed);
    sightings->stacks = calloc(size, sizeof *sightings->stacks);
    sightings->due = calloc(size, sizeof *sightings->due);
    sightings->queue = calloc(size, sizeof *sightings->queue);
    sightings->asked_stack = calloc(size, sizeof *sightings->asked_stack);
    sightings->killed = calloc(size, sizeof *sightings->killed);
    if (sightings->stacks && sightings->due && sightings->queue && sightings->asked_stack && sightings->killed)
        sightings->of = calloc(size, sizeof *sightings->of);
    return sightings->of != NULL;
}

/* With the lock held. */
static void send_up(struct rk_sightings *sightings, int rank, enum due due)
{
    if (!sightings->due[rank])
        sightings->queue[(sightings->first + sightings->count++) % sightings->size] = rank;
    sightings->due[rank] |= due;
}

/* ---- A node's own ranks ---- */

static void see_cpus(struct rk_sighting *sighting, int pid)
{
    cpu_set_t set;
    _Static_assert(sizeof set == RK_SEEN_CPUS, "a mask of the C library's size");
    if (sched_getaffinity(pid, sizeof set, &set))
        return;
    memcpy(sighting->cpus, &set, sizeof set);
    sighting->cpu_bytes = RK_SEEN_CPUS;
    while (sighting->cpu_bytes && !sighting->cpus[sighting->cpu_bytes - 1])
        sighting->cpu_bytes--;
}

static struct rk_sighting see(const struct rk_seat *seat, int pid, int64_t asked_us)
{
    struct rk_whereabouts where = {0};
    rk_seat_read(seat, &where);
    struct rk_sighting sighting = {.asked_us = asked_us,
                                   .age_us = rk_now_us() - where.since_us,
                                   .number = where.number,
                                   .sequence = where.sequence,
                                   .signs = rk_seat_signs(seat),
                                   .activity = (uint8_t)where.activity,
                                   .kind = (uint8_t)where.kind,
                                   .process = (uint8_t)rk_process_state(pid)};
    memcpy(sighting.mark, where.mark, sizeof sighting.mark);
    see_cpus(&sighting, pid);
    return sighting;
}

static void answer(struct rk_links *links, int64_t asked_us)
{
    struct rk_sightings *sightings = links->sightings;
    pthread_mutex_lock(&links->telling);
    pthread_mutex_lock(&sightings->lock);
    for (int i = 0; links->arena && rk_sightings_have_room(sightings) && i < links->local_size; i++) {
        const struct rk_place *place = &links->segment->rank[i];
        int rank = atomic_load(&place->rank);
        if (atomic_load(&place->dead))
            continue;
        sightings->of[rank] = see(&links->arena->seats[i], atomic_load(&place->pid), asked_us);
        send_up(sightings, rank, DUE_SIGHTING);
    }
    pthread_mutex_unlock(&sightings->lock);
    pthread_mutex_unlock(&links->telling);
}

/* Calls act(links, local rank, number) for those of this node that an order names. */
static void obey(struct rk_links *links, const struct rk_word *word, const void *bytes,
                 void (*act)(struct rk_links *, int, uint64_t))
{
    struct rk_order order;
    if (word->size > sizeof order || word->size < offsetof(struct rk_order, ranks))
        return;
    memcpy(&order, bytes, word->size);
    size_t count = (word->size - offsetof(struct rk_order, ranks)) / sizeof *order.ranks;
    for (int i = links->local_size - 1; i >= 0; i--) /* this process is the last */
        for (size_t k = 0; k < count; k++)
            if (order.ranks[k] == atomic_load(&links->segment->rank[i].rank))
                act(links, i, order.number);
}

static void ask_stack(struct rk_links *links, int local_rank, uint64_t number)
{
    struct rk_sightings *sightings = links->sightings;
    (void)number;
    pthread_mutex_lock(&sightings->lock);
    if (rk_sightings_have_room(sightings)) {
        rk_place_ask_stack(&links->segment->rank[local_rank]);
        sightings->asked_stack[local_rank] = true;
        sightings->stacks_until_us = rk_now_us() + STACK_US;
    }
    pthread_mutex_unlock(&sightings->lock);
}

static char *stack_text(int pid, const uint64_t *frames, unsigned depth)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (!stream)
        return NULL;
    rk_mesh_print_frames(stream, pid, frames, depth);
    fclose(stream);
    if (size > STACK_TEXT)
        text[STACK_TEXT] = '\0';
    return text;
}

static bool is_stopped(const struct rk_place *place)
{
    return rk_is_stopped(rk_process_state(atomic_load(&place->pid)));
}

/* Takes what the ranks that were asked have written; of the others, when their time is over, that they give none. */
static void take_stacks(struct rk_links *links)
{
    struct rk_sightings *sightings = links->sightings;
    uint64_t frames[RK_STACK_DEPTH];
    bool over = rk_now_us() >= sightings->stacks_until_us, waits = false;
    for (int i = 0; i < links->local_size; i++) {
        const struct rk_place *place = &links->segment->rank[i];
        unsigned depth = sightings->asked_stack[i] ? rk_place_stack(place, frames) : 0;
        if (!sightings->asked_stack[i])
            continue;
        if (!depth && !over && !is_stopped(place)) {
            waits = true;
            continue;
        }
        int rank = atomic_load(&place->rank);
        sightings->asked_stack[i] = false;
        free(sightings->stacks[rank]);
        sightings->stacks[rank] = stack_text(atomic_load(&place->pid), frames, depth);
        if (sightings->stacks[rank])
            send_up(sightings, rank, DUE_STACK);
    }
    if (!waits)
        sightings->stacks_until_us = 0;
}

/* ---- On the way up ---- */

static void take_sighting(struct rk_links *links, const struct rk_word *word, const void *bytes)
{
    struct rk_sightings *sightings = links->sightings;
    struct rk_sighting sighting = {0};
    bool complete = false;
    if (word->size > sizeof sighting || word->size < offsetof(struct rk_sighting, cpus))
        return;
    memcpy(&sighting, bytes, word->size);
    sighting.heard_us = rk_now_us();
    sighting.mark[RK_MARK_SIZE - 1] = '\0';
    pthread_mutex_lock(&sightings->lock);
    if (rk_sightings_have_room(sightings)) {
        struct rk_sighting *known = &sightings->of[word->rank];
        if (known->asked_us < sightings->asked_us && sighting.asked_us == sightings->asked_us)
            complete = --sightings->missing == 0;
        *known = sighting;
        if (sighting.activity == RK_IDLE && sighting.number > sightings->back_from)
            sightings->back_from = sighting.number;
        if (complete)
            sightings->complete_us = sightings->asked_us;
        if (links->node)
            send_up(sightings, word->rank, DUE_SIGHTING);
    }
    pthread_mutex_unlock(&sightings->lock);
    if (complete)
        rk_liveness_ring(links->watch);
}

static void take_stack(struct rk_links *links, const struct rk_word *word, const void *bytes)
{
    struct rk_sightings *sightings = links->sightings;
    char *text = strndup(bytes, word->size);
    pthread_mutex_lock(&sightings->lock);
    if (text && rk_sightings_have_room(sightings)) {
        free(sightings->stacks[word->rank]);
        sightings->stacks[word->rank] = text;
        text = NULL;
        if (links->node)
            send_up(sightings, word->rank, DUE_STACK);
    }
    pthread_mutex_unlock(&sightings->lock);
    free(text);
}

void rk_sightings_hear(struct rk_links *links, const struct rk_word *word, const void *bytes)
{
    int64_t asked_us;
    switch ((enum rk_word_kind)word->kind) {
    case RK_WORD_SIGHTING: take_sighting(links, word, bytes); return;
    case RK_WORD_STACK: take_stack(links, word, bytes); return;
    case RK_WORD_ASK:
        rk_links_say_down(links, word, bytes);
        if (word->size == sizeof asked_us) {
            memcpy(&asked_us, bytes, sizeof asked_us);
            answer(links, asked_us);
        }
        return;
    case RK_WORD_ASK_STACKS:
        rk_links_say_down(links, word, bytes);
        obey(links, word, bytes, ask_stack);
        return;
    case RK_WORD_KILL:
        rk_links_say_down(links, word, bytes);
        obey(links, word, bytes, rk_missing_kill);
        return;
    default: return;
    }
}

static void say_what_is_due(struct rk_links *links, int rank)
{
    struct rk_sightings *sightings = links->sightings;
    const struct rk_sighting *sighting = &sightings->of[rank];
    struct rk_word word = {.rank = rank};
    if (sightings->due[rank] & DUE_SIGHTING) {
        word.kind = RK_WORD_SIGHTING;
        word.size = (uint16_t)(offsetof(struct rk_sighting, cpus) + sighting->cpu_bytes);
        rk_link_say(&links->links[0], &word, sighting);
    }
    if (sightings->due[rank] & DUE_STACK) {
        word.kind = RK_WORD_STACK;
        word.size = (uint16_t)strlen(sightings->stacks[rank]);
        rk_link_say(&links->links[0], &word, sightings->stacks[rank]);
    }
    sightings->due[rank] = 0;
}

int64_t rk_sightings_work(struct rk_links *links)
{
    struct rk_sightings *sightings = links->sightings;
    int64_t next_us = INT64_MAX;
    rk_missing_look(links);
    pthread_mutex_lock(&sightings->lock);
    if (sightings->stacks_until_us)
        take_stacks(links);
    if (sightings->dies_us)
        rk_missing_die(links);
    if (sightings->stacks_until_us || sightings->dies_us)
        next_us = rk_now_us() + LOOK_US;
    while (links->node && sightings->count && rk_link_waiting(&links->links[0]) < LEFT_FREE) {
        int rank = sightings->queue[sightings->first];
        sightings->first = (sightings->first + 1) % sightings->size;
        sightings->count--;
        say_what_is_due(links, rank);
    }
    pthread_mutex_unlock(&sightings->lock);
    return next_us;
}
