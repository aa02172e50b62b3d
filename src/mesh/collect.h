/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Collectives that can be interrupted, the interrupts, and where each rank was last seen. */

#ifndef RK_MESH_COLLECT_H
#define RK_MESH_COLLECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mesh/fold.h"
#include "mesh/mesh.h"

#define RK_MARK_SIZE 64 /* bytes of a marker, with the zero at its end */

enum rk_collective_kind {
    RK_NO_COLLECTIVE,
    RK_BARRIER,
    RK_BROADCAST,
    RK_GATHER,
    RK_ALL_GATHER,
    RK_SCATTER,
    RK_REDUCE,
    RK_ALL_REDUCE
};

/* What one rank brings to a collective. A part is what one rank gives to or gets from a gather, scatter or all-gather,
 * and all of the others' data. */
struct rk_collective {
    enum rk_collective_kind kind;
    int root;
    size_t size;                   /* bytes of this rank's part */
    const void *send;              /* this rank's part; of a scatter's root all parts */
    void *receive;                 /* the result; NULL where this rank gets none */
    bool uneven;                   /* a gather whose parts differ in size: the root gives */
    const size_t *sizes, *offsets; /* ... each rank's bytes, and where they go */
    rk_fold_fn fold;               /* of reductions */
    size_t element;                /* bytes of an element of reductions, else 1 */
    int type, op;                  /* of reductions: enum rankcall_dtype, rankcall_op */
};

/* Opens and closes what collectives need: memory shared by the node, a communicator between nodes. Collective. */
int rk_collect_open(struct rk_mesh *mesh);
void rk_collect_close(struct rk_mesh *mesh); /* takes a mesh without */

/* A call begins and ends on this rank. Main thread. */
void rk_mesh_enter(struct rk_mesh *mesh, uint64_t number, int64_t now_us);
void rk_mesh_exit(struct rk_mesh *mesh);

/* Takes part in a collective of the call that was entered. Nothing touches the buffers after the return.
 * Returns RANKCALL_OK, or why the call is to be left, with the error set; RANKCALL_EINVAL: the ranks are not in the
 * same collective. Collective. Threads: the handler's, one at a time. */
int rk_mesh_collect(struct rk_mesh *mesh, const struct rk_collective *collective);

/* A collective that goes another way, over GPUs: counts it as this rank's last. */
void rk_mesh_count(struct rk_mesh *mesh, enum rk_collective_kind kind);

/* This rank begins or ends to wait for such a one. */
void rk_mesh_sits(struct rk_mesh *mesh, bool sits);

/* Lets MPI move what it can, and tells why the call is to be left, or RANKCALL_OK: for waits that are not the mesh's.
 * With that as the error, for `what`: RANKCALL_OK leaves the error. The handler's threads. */
int rk_mesh_heed(struct rk_mesh *mesh, const char *what);

/* ---- Of memory that MPI can reach and we cannot: a device's ---- */

/* Whether all ranks have an MPI that is CUDA-aware, and a use for it. */
bool rk_mesh_passes(const struct rk_mesh *mesh);

/* Takes part in a broadcast, gather, all-gather or scatter whose buffers are on the device; a rank's own part stays
 * where it is. rk_mesh_pass_step until *done, without waiting; nothing else is passed meanwhile. Errors:
 * RANKCALL_EINVAL: the ranks are not in the same collective. Threads: the handler's, one at a time. */
int rk_mesh_pass_begin(struct rk_mesh *mesh, const struct rk_collective *collective);
int rk_mesh_pass_step(struct rk_mesh *mesh, bool *done);

/* Leaves it before it is done. Whether MPI still uses the buffers: `settled` is called when it does not any more, with
 * ranks that die never. */
bool rk_mesh_pass_leave(struct rk_mesh *mesh, void (*settled)(void *context), void *context);

/* Takes in what was left in earlier calls. */
int rk_mesh_pass_tidy(struct rk_mesh *mesh);

/* `settled` is not to be called any more. */
void rk_mesh_pass_forget(struct rk_mesh *mesh);

/* ---- Names ---- */

/* The kind's name, as in the API ("all_reduce"). */
const char *rk_collective_name(enum rk_collective_kind kind);

/* ---- Interrupts ---- */

/* Call `number` is to be left for reason `code` (enum rankcall_code): all ranks that sit in a collective of it, or come
 * to one, get that code. The first reason counts. Rank 0's IO thread. Never blocks. */
void rk_mesh_interrupt(struct rk_mesh *mesh, uint64_t number, int code);

/* The same for the ranks of this node alone: a rank that failed, whose error is on its way. Any thread. */
void rk_mesh_interrupt_node(struct rk_mesh *mesh, uint64_t number, int code);

/* The reason why call `number` is to be left as far as this node knows, or 0. Any thread. */
int rk_mesh_interrupted(const struct rk_mesh *mesh, uint64_t number);

/* The last call that was to be left, 0: none since the mesh was put together. Any thread. */
uint64_t rk_mesh_last_interrupted(const struct rk_mesh *mesh);

/* ---- Whereabouts ---- */

enum rk_activity { RK_IDLE, RK_IN_HANDLER, RK_IN_COLLECTIVE, RK_AT_CHECKPOINT, RK_TAKING_PAYLOAD };

struct rk_whereabouts {
    bool known; /* false: the rank is on another node, and has never answered */
    enum rk_activity activity;
    uint64_t number;              /* of the call, or of the last one when idle; 0: none yet */
    int64_t since_us;             /* when it began with that, by the node's monotonic clock */
    enum rk_collective_kind kind; /* of the last collective of that call, or RK_NO_COLLECTIVE */
    uint64_t sequence;            /* its number within the call, from 1 */
    char mark[RK_MARK_SIZE];      /* the handler's last marker in that call, or "" */
    /* Of ranks of other nodes: */
    int64_t asked_us;  /* the question that it answered */
    char process;      /* its process's state, as rk_process_state says */
    uint8_t cpus[128]; /* a mask of where it may run; all 0: not known */
};

/* This rank does something: for who looks whether it still does. The handler's threads. */
void rk_mesh_step(struct rk_mesh *mesh);

/* Whether a rank is back from call `number`; if not, *signs changes whenever it enters a collective, passes a
 * checkpoint, takes a step or sets a marker. Ranks of this node. Any thread; cheap. */
bool rk_mesh_is_back(const struct rk_mesh *mesh, int rank, uint64_t number, uint64_t *signs);

/* Notes a marker of this rank. The handler's threads, one at a time. */
void rk_mesh_mark(struct rk_mesh *mesh, const char *text);

/* What a rank was last seen doing; of other nodes, as they answered last. Any thread. */
void rk_mesh_whereabouts(const struct rk_mesh *mesh, int rank, struct rk_whereabouts *out);
char rk_mesh_process(const struct rk_mesh *mesh, int rank); /* its process's state, as rk_process_state says */

/* ---- Ranks of other nodes. Rank 0's IO thread ---- */

bool rk_mesh_may_ask(const struct rk_mesh *mesh); /* there are some, and links to them */

/* Asks all of them what they do. Nobody waits: rank 0's IO thread is rung when all have answered. */
void rk_mesh_ask(struct rk_mesh *mesh, int64_t now_us);
int64_t rk_mesh_asked_us(const struct rk_mesh *mesh);                /* when that was done last; 0: never */
bool rk_mesh_answered(const struct rk_mesh *mesh, int64_t asked_us); /* all have, what was asked then or later */
/* The same as rk_mesh_is_back, by the rank's last answer, to what was asked at *asked_us; 0: it never answered. */
bool rk_mesh_far_is_back(const struct rk_mesh *mesh, int rank, uint64_t number, uint64_t *signs, int64_t *asked_us);
bool rk_mesh_far_some_back(const struct rk_mesh *mesh, uint64_t number); /* from that call, as far as is known */
void rk_mesh_ask_far_stacks(struct rk_mesh *mesh, const bool *ranks);    /* of those among these */
bool rk_mesh_has_far_stack(const struct rk_mesh *mesh, int rank);        /* it has come, or that it gives none */
char *rk_mesh_far_stack(const struct rk_mesh *mesh, int rank);           /* the lines, malloc()ed; NULL: not yet */
void rk_mesh_kill_far(struct rk_mesh *mesh, uint64_t number, const bool *ranks); /* those not back from that call */

#endif
