/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The collectives' inside.
 *
 * Stamps. A call's collectives are cut into rounds, which all ranks count alike. A stamp has the call's number in its
 * upper 16 bits and the round in its lower 48. A rank sets its stamps when it enters a call, and no rank enters a call
 * before all have left the one before; so a stamp is of this call or of the last, and what an abandoned collective left
 * behind is below every stamp of the next call. */

#ifndef RK_MESH_COLLECT_INTERNAL_H
#define RK_MESH_COLLECT_INTERNAL_H

#include "mesh/collect.h"
#include "mesh/internal.h"

#define RK_BOXES       8           /* of a rank: so many rounds it may be ahead of the slowest */
#define RK_BOX_SIZE    (32u << 10) /* bytes of a box, where shared memory is not short */
#define RK_BOX_LEAST   (2u << 10)  /* ... and where it is */
#define RK_COPY_RATE   4096u       /* bytes a microsecond that a rank copies at least */
#define RK_COPY_US_MAX 10000       /* a waiter looks no longer than this for a copy to end */
#define RK_DIRECT_MIN  (16u << 10) /* parts above this are read from the other rank's memory, where that is allowed */

/* One rank, as the ranks of its node see it. */
struct rk_seat {
    _Alignas(64) _Atomic uint64_t posted;  /* the rounds before this stamp lie in the rank's boxes */
    _Alignas(64) _Atomic uint64_t done;    /* the rank has read all that it needs of the rounds before this stamp */
    _Alignas(64) _Atomic uint32_t waiting; /* it sleeps, or is about to */
    _Atomic uint64_t number, place, steps; /* whereabouts.c */
    _Atomic int64_t since_us;
    _Atomic uint64_t mark_version, mark[RK_MARK_SIZE / 8];
};

struct rk_arena {
    _Alignas(64) _Atomic uint64_t interrupt; /* a call's number in the upper 56 bits, the code in the lower 8 */
    _Alignas(64) _Atomic uint32_t waiters;   /* seats that wait */
    _Alignas(64) _Atomic uint64_t checked;   /* checkpoints that rank 0 has passed: a stamp */
    _Atomic uint64_t left;                   /* the first one at which the call is to be left */
    struct rk_seat seats[];                  /* by local rank; then all boxes */
};

/* What a rank gives in one round. */
struct rk_box {
    _Alignas(64) uint32_t kind;
    int32_t root;
    uint64_t size;    /* of the rank's part, or what the round is for */
    uint64_t address; /* in the rank's own memory, for direct reads */
    _Alignas(64) uint8_t bytes[];
};

struct rk_packets;
struct rk_aware;
struct rk_tidings;

/* A rank's own state. */
struct rk_collect {
    struct rk_arena *arena;
    size_t arena_size, box_size;
    uint8_t *boxes;
    bool direct;       /* this node's ranks may read each other's memory */
    bool stubborn;     /* nothing but a death ends what it waits for */
    uint64_t number;   /* of the call */
    uint64_t base;     /* its first stamp */
    uint64_t round;    /* the stamp of the next round */
    uint64_t freed;    /* all ranks are done with the rounds before it */
    uint64_t sequence; /* collectives of this call */
    uint64_t checkpoints;
    int64_t copy_us;     /* what the collective may take a rank to copy */
    uint8_t *scratch;    /* a box's bytes */
    uint64_t *addresses; /* by rank */
    MPI_Comm comm;       /* several nodes: */
    struct rk_packets *packets;
    struct rk_tidings *tidings;
    struct rk_aware *aware; /* NULL: MPI reads no device's memory */
};

/* Why this rank is to leave what it is in, or 0. */
static inline int rk_must_leave(const struct rk_mesh *mesh)
{
    if (mesh->collect->stubborn)
        return rk_mesh_broken(mesh) ? RANKCALL_ERANKDIED : 0;
    return rk_mesh_interrupted(mesh, mesh->collect->number);
}

static inline bool rk_stamp_reached(uint64_t stamp, uint64_t target)
{
    return (int64_t)(stamp - target) >= 0;
}

/* interrupt.c: sets it in the memory of a node, unless there is one of this call or a later one. */
void rk_interrupt_set(struct rk_arena *arena, uint64_t word);

/* arena.c: the shared memory, and who may read whose. Collective over mesh->local. */
int rk_arena_open(struct rk_mesh *mesh);
void rk_arena_close(struct rk_mesh *mesh);
static inline struct rk_seat *rk_seat(const struct rk_mesh *mesh, int local_rank)
{
    return &mesh->collect->arena->seats[local_rank];
}

/* await.c: publishing a stamp, and waiting for one. */
void rk_publish(struct rk_mesh *mesh, _Atomic uint64_t *word, uint64_t stamp);
void rk_wake_waiters(struct rk_mesh *mesh);
int rk_await(struct rk_mesh *mesh, const _Atomic uint64_t *word, uint64_t stamp); /* 0, or why the call is to be left */
int rk_await_checkpoint(struct rk_mesh *mesh, uint64_t stamp);                    /* of rank 0; the same */

/* rounds.c: boxes in, boxes out. */
int rk_round_claim(struct rk_mesh *mesh, const struct rk_collective *collective, struct rk_box **box);
void rk_round_post(struct rk_mesh *mesh);
int rk_round_await(struct rk_mesh *mesh, const struct rk_collective *collective, int rank, const struct rk_box **box);
void rk_round_done(struct rk_mesh *mesh);             /* this rank is done with this round ... */
int rk_round_all_done(struct rk_mesh *mesh);          /* ... and now all are */
int rk_round_done_by(struct rk_mesh *mesh, int rank); /* ... and now that rank is */
static inline void rk_round_next(struct rk_mesh *mesh)
{
    mesh->collect->round++;
}

/* collect_boxes.c, collect_direct.c: on one node; collect_remote.c: on several. */
int rk_collect_boxes(struct rk_mesh *mesh, const struct rk_collective *collective);
int rk_collect_direct(struct rk_mesh *mesh, const struct rk_collective *collective);
int rk_collect_remote(struct rk_mesh *mesh, const struct rk_collective *collective);

/* collect_direct.c: copies from a rank's memory. */
int rk_pull(struct rk_mesh *mesh, int rank, void *to, uint64_t from, size_t size);

/* collect_boxes.c */
void rk_copy(void *to, const void *from, size_t size); /* unless both are the same, or nothing */
void *rk_part(const struct rk_collective *collective, int rank, size_t *size); /* of a gather's result */

/* packets.c: messages between ranks of several nodes, which an interrupt leaves where they are. */
int rk_packets_open(struct rk_mesh *mesh);
void rk_packets_close(struct rk_mesh *mesh);
void rk_packets_enter(struct rk_mesh *mesh);
void rk_packets_leave(struct rk_mesh *mesh); /* the handler has returned: lets the last messages go, for a moment */
int rk_packets_put(struct rk_mesh *mesh, int rank, const void *bytes, size_t size);
int rk_packets_take(struct rk_mesh *mesh, int rank, void *bytes, size_t size);

/* aware.c */
int rk_aware_open(struct rk_mesh *mesh);
void rk_aware_close(struct rk_mesh *mesh);

/* interrupt.c */
int rk_tidings_open(struct rk_mesh *mesh);
void rk_tidings_close(struct rk_mesh *mesh);
void rk_tidings_look(struct rk_mesh *mesh); /* takes in interrupts from rank 0's node */

/* whereabouts.c */
void rk_place_set(struct rk_mesh *mesh, enum rk_activity activity, enum rk_collective_kind kind, uint64_t sequence);
void rk_place_change(struct rk_mesh *mesh, enum rk_activity activity); /* the collective stays */
void rk_place_enter(struct rk_mesh *mesh, uint64_t number, int64_t now_us);
void rk_place_exit(struct rk_mesh *mesh);
uint64_t rk_seat_signs(const struct rk_seat *seat);                        /* as rk_mesh_is_back gives them */
bool rk_seat_is_back(const struct rk_seat *seat, uint64_t number);         /* the same */
void rk_seat_read(const struct rk_seat *seat, struct rk_whereabouts *out); /* into a cleared one */

/* sightings.c: what a rank of another node has answered last. */
void rk_far_whereabouts(const struct rk_mesh *mesh, int rank, struct rk_whereabouts *out); /* into a cleared one */

/* checkpoint.c: checkpoints of a job on one node. */
void rk_checkpoint_enter(struct rk_mesh *mesh);
bool rk_checkpoint_shared(struct rk_mesh *mesh, bool answer);
void rk_checkpoint_leave(struct rk_mesh *mesh);

#endif
