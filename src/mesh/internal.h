/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The mesh's inside: what its files share. */

#ifndef RK_MESH_INTERNAL_H
#define RK_MESH_INTERNAL_H

#include <mpi.h>
#include <pthread.h>
#include <stdatomic.h>

#include "mesh/mesh.h"

enum rk_tag { RK_TAG_TALLY = 1, RK_TAG_CHECKPOINT, RK_TAG_RING, RK_TAG_EVENT, RK_TAG_BULK, RK_TAG_CREDIT };

/* A doorbell in the node's shared memory: `rung` counts, `sleepers` tells ringers whether a system call is worth it. */
struct rk_bell {
    _Alignas(64) _Atomic uint32_t rung;
    _Atomic uint32_t sleepers;
};

/* The memory that the ranks of a node share. */
struct rk_segment {
    struct rk_bell all;                      /* announcements: `rung` counts them */
    _Alignas(64) _Atomic uint64_t sent;      /* messages given to MPI for the funnel by the ranks of this node */
    _Alignas(64) _Atomic uint32_t io_asleep; /* rank 0's IO thread waits for its descriptor */
    struct rk_bell rank[];                   /* by local rank */
};

/* A word that goes down the tree. */
struct rk_checkpoint {
    uint64_t number, answer;
};

/* What rank 0 answers to a sender. */
struct rk_credit {
    uint64_t bytes;
    uint64_t verdict; /* enum rk_verdict */
};
enum rk_verdict { RK_VERDICT_NONE, RK_VERDICT_GO, RK_VERDICT_SKIP };

/* A rank's end of the funnel. */
struct rk_sender {
    uint64_t window, used;
    struct rk_credit credit; /* being received */
    MPI_Request request;
    uint64_t verdict;
};

/* What rank 0 owes a rank. */
struct rk_debt {
    uint64_t bytes;          /* of its window */
    uint64_t verdict;        /* enum rk_verdict: an answer that must go */
    struct rk_credit credit; /* being sent */
    MPI_Request request;
};

#define RK_SLOTS      32          /* receives that wait for messages */
#define RK_BULK_CHUNK (64u << 20) /* bytes of a piece of a bulk message at most */

/* A posted receive of an inline message. */
struct rk_slot {
    MPI_Request request;
    uint8_t bytes[RK_INLINE_MAX];
};

/* Rank 0's end. */
struct rk_receiver {
    struct rk_slot *slots; /* a ring */
    int oldest;
    uint64_t taken;        /* messages */
    struct rk_debt *debts; /* by rank */
    bool unpaid;           /* an answer waits for an earlier one to leave */
    uint8_t *bulk;         /* being received: envelope and payload; NULL: none */
    struct rk_envelope envelope;
    uint64_t received;
    MPI_Request request;
};

struct rk_collect;

struct rk_mesh {
    int rank, size, local_rank, local_size, nodes;
    bool initialised_mpi, mpi_yields;
    MPI_Comm control, events, user, local;
    struct rk_rank_info *ranks;
    struct rk_segment *segment;
    size_t segment_size;
    uint32_t rings_seen, looks;
    int io_fifo;                /* rank 0: both ends; ranks of its node: the write end; else -1 */
    struct rk_checkpoint early; /* heard before the handler asked; number 0: none */
    struct rk_sender sender;
    struct rk_receiver receiver;
    struct rk_collect *collect; /* collect_internal.h */
};

/* segment.c: the node's shared memory and the IO thread's bell. Collective over mesh->local. */
int rk_segment_open(struct rk_mesh *mesh);
void rk_segment_close(struct rk_mesh *mesh);
/* `size` zeroed bytes of memory that all ranks of the node have: all get it, or none. */
int rk_segment_share(struct rk_mesh *mesh, size_t size, void **memory);

/* bell.c */
void rk_bell_ring(struct rk_bell *bell);
/* How a waiter waits. */
struct rk_patience {
    int64_t nap_max_us; /* how long it may sleep at most before it looks by itself */
    bool looks_yield;   /* a look gives the CPU away already, as MPI's do with mpi_yield_when_idle */
};
struct rk_patience rk_mesh_patience(const struct rk_mesh *mesh, bool looks_ask_mpi);
void rk_bell_wait(struct rk_bell *bell, const struct rk_patience *patience, bool (*ready)(void *), void *context);

/* Gives a message to MPI and rings its receiver: the rank, or for the funnel's tags rank 0's IO thread. Sleeps, ringing
 * now and then, while MPI needs the receiver before it lets go of `bytes`. Main or handler's threads. */
void rk_mesh_send(struct rk_mesh *mesh, int rank, enum rk_tag tag, const void *bytes, int size);

/* events.c: both ends; events_send.c: a rank's; events_receive.c: rank 0's */
int rk_events_open(struct rk_mesh *mesh);
void rk_events_close(struct rk_mesh *mesh);
void rk_sender_await(struct rk_mesh *mesh); /* posts the receive of what rank 0 answers next */
int rk_receiver_open(struct rk_mesh *mesh);
void rk_receiver_close(struct rk_mesh *mesh);

/* What a message takes of its rank's window. */
uint64_t rk_events_cost(uint64_t payload_size);

#endif
