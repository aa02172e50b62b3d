/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Interrupts: a word in each node's shared memory says which call is to be left, and why.
 *
 * It need not be reset: the next call has another number. To other nodes it goes down the links; where there are none
 * rank 0's IO thread sends the word to every rank, since any one may be alone in a collective while the rest of its
 * node computes. */

#include <stdlib.h>

#include "base/error.h"
#include "mesh/collect_internal.h"
#include "mesh/links.h"

#define CODE_BITS 8
#define CODE_MASK ((UINT64_C(1) << CODE_BITS) - 1)

/* A word on its way to one rank. */
struct tiding {
    struct tiding *next;
    uint64_t word;
    MPI_Request request;
};

struct rk_tidings {
    struct tiding *sent; /* rank 0's IO thread */
    uint64_t heard;      /* other nodes: being received */
    MPI_Request hearing;
};

int rk_mesh_interrupted(const struct rk_mesh *mesh, uint64_t number)
{
    if (rk_mesh_broken(mesh))
        return RANKCALL_ERANKDIED;
    uint64_t word = atomic_load_explicit(&mesh->collect->arena->interrupt, memory_order_acquire);
    return word >> CODE_BITS == number ? (int)(word & CODE_MASK) : 0;
}

uint64_t rk_mesh_last_interrupted(const struct rk_mesh *mesh)
{
    return atomic_load_explicit(&mesh->collect->arena->interrupt, memory_order_acquire) >> CODE_BITS;
}

/* The first word for a call stays, and none of an earlier call comes after it. */
void rk_interrupt_set(struct rk_arena *arena, uint64_t word)
{
    uint64_t old = atomic_load(&arena->interrupt);
    while (old >> CODE_BITS < word >> CODE_BITS)
        if (atomic_compare_exchange_weak(&arena->interrupt, &old, word))
            break;
}

static void set_word(struct rk_mesh *mesh, uint64_t word)
{
    struct rk_arena *arena = mesh->collect->arena;
    rk_interrupt_set(arena, word);
    if (atomic_load(&arena->waiters))
        rk_wake_waiters(mesh);
}

static uint64_t make_word(uint64_t number, int code)
{
    return number << CODE_BITS | ((uint64_t)code & CODE_MASK);
}

void rk_mesh_interrupt_node(struct rk_mesh *mesh, uint64_t number, int code)
{
    set_word(mesh, make_word(number, code));
}

/* Frees what has left. */
static void reap(struct rk_tidings *tidings)
{
    struct tiding **link = &tidings->sent;
    while (*link) {
        struct tiding *tiding = *link;
        int left = 0;
        MPI_Test(&tiding->request, &left, MPI_STATUS_IGNORE);
        if (left) {
            *link = tiding->next;
            free(tiding);
        } else {
            link = &tiding->next;
        }
    }
}

static void send_word(struct rk_mesh *mesh, int rank, uint64_t word)
{
    struct rk_tidings *tidings = mesh->collect->tidings;
    struct tiding *tiding = malloc(sizeof *tiding);
    if (!tiding)
        return; /* that rank goes on until its collective does */
    tiding->word = word;
    tiding->next = tidings->sent;
    tidings->sent = tiding;
    MPI_Isend(&tiding->word, 1, MPI_UINT64_T, rank, RK_TAG_INTERRUPT, mesh->collect->comm, &tiding->request);
}

void rk_mesh_interrupt(struct rk_mesh *mesh, uint64_t number, int code)
{
    uint64_t word = make_word(number, code);
    set_word(mesh, word);
    if (!mesh->collect->tidings || rk_mesh_broken(mesh)) /* then all leave by that */
        return;
    if (mesh->links) {
        const struct rk_word down = {.kind = RK_WORD_INTERRUPT, .size = sizeof word};
        rk_links_say_down(mesh->links, &down, &word);
        rk_bell_ring_all(mesh->segment, mesh->local_size);
        return;
    }
    reap(mesh->collect->tidings);
    for (int rank = 0; rank < mesh->size; rank++)
        if (rk_mesh_is_far(mesh, rank))
            send_word(mesh, rank, word);
    for (int rank = 0; rank < mesh->size; rank++)
        rk_mesh_ring(mesh, rank); /* waiters in MPI don't say that they wait */
}

static void listen(struct rk_mesh *mesh)
{
    struct rk_tidings *tidings = mesh->collect->tidings;
    MPI_Irecv(&tidings->heard, 1, MPI_UINT64_T, 0, RK_TAG_INTERRUPT, mesh->collect->comm, &tidings->hearing);
}

void rk_tidings_look(struct rk_mesh *mesh)
{
    struct rk_tidings *tidings = mesh->collect->tidings;
    int arrived = 1;
    while (tidings->hearing != MPI_REQUEST_NULL) {
        MPI_Test(&tidings->hearing, &arrived, MPI_STATUS_IGNORE);
        if (!arrived)
            return;
        set_word(mesh, tidings->heard);
        listen(mesh);
    }
}

int rk_tidings_open(struct rk_mesh *mesh)
{
    struct rk_tidings *tidings = mesh->collect->tidings = calloc(1, sizeof *tidings);
    if (!tidings)
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    tidings->hearing = MPI_REQUEST_NULL;
    if (mesh->ranks[mesh->rank].node != 0 && !mesh->links)
        listen(mesh);
    return RANKCALL_OK;
}

void rk_tidings_close(struct rk_mesh *mesh)
{
    struct rk_tidings *tidings = mesh->collect->tidings;
    if (!tidings)
        return;
    while (tidings->sent) {
        struct tiding *tiding = tidings->sent;
        tidings->sent = tiding->next;
        if (rk_mesh_broken(mesh))
            continue;                                  /* its receiver may be dead: MPI keeps it */
        MPI_Wait(&tiding->request, MPI_STATUS_IGNORE); /* a few bytes: they have left long ago */
        free(tiding);
    }
    if (tidings->hearing != MPI_REQUEST_NULL) {
        MPI_Cancel(&tidings->hearing);
        MPI_Wait(&tidings->hearing, MPI_STATUS_IGNORE);
    }
    free(tidings);
}
