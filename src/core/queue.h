/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The bounded first-in-first-out queue of calls. A place is reserved when a call's head has arrived and is taken when
 * its payload is whole, so calls run in the order in which they became complete. No locks, no I/O. */

#ifndef RK_CORE_QUEUE_H
#define RK_CORE_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#define RK_QUEUE_SMALL (1u << 20)

/* Embedded in what is queued. */
struct rk_queue_node {
    struct rk_queue_node *next, *previous;
};

struct rk_queue {
    struct rk_queue_node head; /* of the ring; its next is the oldest */
    unsigned capacity;         /* places */
    unsigned reserved;         /* places of calls still arriving */
    unsigned length;           /* places of calls waiting */
    uint64_t bytes_cap, bytes; /* payload bytes of the reserved and the waiting */
};

void rk_queue_init(struct rk_queue *queue, unsigned capacity, uint64_t bytes_cap);

/* Reserves a place for a call of that payload size: false when the queue is full. An empty queue takes a call of any
 * size, and a call of at most RK_QUEUE_SMALL bytes needs only a place: large ones that are slow to arrive must not keep
 * small ones out. */
bool rk_queue_reserve(struct rk_queue *queue, uint64_t bytes);
void rk_queue_unreserve(struct rk_queue *queue, uint64_t bytes);

/* The same for a call that had a place before its job was restarted: those may be as many once more. */
bool rk_queue_reserve_again(struct rk_queue *queue, uint64_t bytes);

/* Turns a reservation into the last place. */
void rk_queue_push(struct rk_queue *queue, struct rk_queue_node *node);

/* The same with the place before another one that waits. */
void rk_queue_insert(struct rk_queue *queue, struct rk_queue_node *node, struct rk_queue_node *before);

/* Gives one that was taken out the first place. */
void rk_queue_return(struct rk_queue *queue, struct rk_queue_node *node);

/* The oldest one that waits, and the one behind another; NULL: none. */
struct rk_queue_node *rk_queue_oldest(const struct rk_queue *queue);
struct rk_queue_node *rk_queue_behind(const struct rk_queue *queue, const struct rk_queue_node *node);

/* Takes one out. Its payload's bytes go back by rk_queue_release when it is freed. */
void rk_queue_remove(struct rk_queue *queue, struct rk_queue_node *node);
void rk_queue_release(struct rk_queue *queue, uint64_t bytes);

#endif
