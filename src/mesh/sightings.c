/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

#include "mesh/sightings.h"

#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ended.h"
#include "base/fd.h"
#include "mesh/links.h"

#define STACK_TEXT    4000             /* bytes of a stack on a link, at most */
#define ORDER_MAX     1000             /* ranks that one order names */
#define STACK_US      300000           /* for a rank to write its stack */
#define LAST_WORDS_US 500000           /* to tell of the deaths of others, for a first rank that is to die, too */
#define LOOK_US       2000             /* between two looks whether it has */
#define LEFT_FREE     RK_LINK_ROOM / 2 /* of a link, for words that can't wait */

enum due { DUE_SIGHTING = 1, DUE_STACK = 2 };

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
    uint64_t back_from;      /* the call that the last one who was idle is back from */
    bool *asked_stack;       /* by local rank: is to write its stack ... */
    int64_t stacks_until_us; /* ... until then; 0: nobody */
    bool *killed;            /* by local rank: by an order, before this process ... */
    int64_t dies_us;         /* ... which is to die at the latest then; 0: it is not */
};

/* What is ordered of some ranks. */
struct order {
    uint64_t number; /* of the call */
    int32_t ranks[ORDER_MAX];
};

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

/* Memory for all ranks, when somebody asks for the first time. With the lock held. False: there is none. */
static bool has_room(struct rk_sightings *sightings)
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
    for (int i = 0; links->arena && has_room(sightings) && i < links->local_size; i++) {
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
    struct order order;
    if (word->size > sizeof order || word->size < offsetof(struct order, ranks))
        return;
    memcpy(&order, bytes, word->size);
    size_t count = (word->size - offsetof(struct order, ranks)) / sizeof *order.ranks;
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
    if (has_room(sightings)) {
        rk_place_ask_stack(&links->segment->rank[local_rank]);
        sightings->asked_stack[local_rank] = true;
        sightings->stacks_until_us = rk_now_us() + STACK_US;
    }
    pthread_mutex_unlock(&sightings->lock);
}

/* Unless it is back by now. This process dies when the other deaths are told: nobody else might be left to tell them.
 */
static void kill_rank(struct rk_links *links, int local_rank, uint64_t number)
{
    struct rk_sightings *sightings = links->sightings;
    const struct rk_place *place = &links->segment->rank[local_rank];
    pthread_mutex_lock(&links->telling);
    bool back = links->arena && rk_seat_is_back(&links->arena->seats[local_rank], number);
    pthread_mutex_unlock(&links->telling);
    if (back || atomic_load(&place->dead))
        return;
    if (local_rank == 0) {
        sightings->dies_us = rk_now_us() + LAST_WORDS_US;
        return;
    }
    kill(atomic_load(&place->pid), SIGKILL);
    pthread_mutex_lock(&sightings->lock);
    if (has_room(sightings))
        sightings->killed[local_rank] = true;
    pthread_mutex_unlock(&sightings->lock);
}

/* When all is told. */
static void die(const struct rk_links *links)
{
    const struct rk_sightings *sightings = links->sightings;
    bool told = true;
    for (int i = 0; sightings->killed && i < links->local_size; i++)
        told &= !sightings->killed[i] || links->told[i];
    if (told || rk_now_us() >= sightings->dies_us)
        kill(getpid(), SIGKILL);
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
        if (!depth && !over) {
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
    if (has_room(sightings)) {
        struct rk_sighting *known = &sightings->of[word->rank];
        if (known->asked_us < sightings->asked_us && sighting.asked_us == sightings->asked_us)
            complete = --sightings->missing == 0;
        *known = sighting;
        if (sighting.activity == RK_IDLE)
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
    if (text && has_room(sightings)) {
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
        obey(links, word, bytes, kill_rank);
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
    pthread_mutex_lock(&sightings->lock);
    if (sightings->stacks_until_us)
        take_stacks(links);
    if (sightings->dies_us)
        die(links);
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

/* ---- At rank 0: the IO thread ---- */

static struct rk_sightings *sightings_of(const struct rk_mesh *mesh)
{
    return mesh->links ? mesh->links->sightings : NULL;
}

bool rk_mesh_is_far(const struct rk_mesh *mesh, int rank)
{
    return mesh->ranks[rank].node != mesh->ranks[mesh->rank].node;
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
    bool new = has_room(sightings) && sightings->asked_us < now_us;
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
    struct order order = {.number = number};
    for (int rank = 0, count = 0; rank <= mesh->size; rank++) {
        if (rank < mesh->size && ranks[rank] && rk_mesh_is_far(mesh, rank))
            order.ranks[count++] = rank;
        if (!count || (count < ORDER_MAX && rank < mesh->size))
            continue;
        struct rk_word word = {.kind = (uint8_t)kind};
        word.size = (uint16_t)(offsetof(struct order, ranks) + (size_t)count * sizeof *order.ranks);
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
    for (int rank = 0; has_room(sightings) && rank < mesh->size; rank++) {
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
