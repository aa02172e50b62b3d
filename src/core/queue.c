/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The bounded first-in-first-out queue of calls. */

#include "core/queue.h"

#include <stddef.h>

void rk_queue_init(struct rk_queue *queue, unsigned capacity, uint64_t bytes_cap)
{
    *queue = (struct rk_queue){.capacity = capacity, .bytes_cap = bytes_cap};
    queue->head.next = queue->head.previous = &queue->head;
}

bool rk_queue_reserve(struct rk_queue *queue, uint64_t bytes)
{
    if (queue->length + queue->reserved >= queue->capacity)
        return false;
    if (bytes > RK_QUEUE_SMALL && queue->bytes && (bytes > queue->bytes_cap || queue->bytes > queue->bytes_cap - bytes))
        return false;
    queue->reserved++;
    queue->bytes += bytes;
    return true;
}

bool rk_queue_reserve_again(struct rk_queue *queue, uint64_t bytes)
{
    queue->capacity *= 2;
    queue->bytes_cap *= 2;
    bool reserved = rk_queue_reserve(queue, bytes);
    queue->capacity /= 2;
    queue->bytes_cap /= 2;
    return reserved;
}

void rk_queue_unreserve(struct rk_queue *queue, uint64_t bytes)
{
    queue->reserved--;
    queue->bytes -= bytes;
}

static void link_before(struct rk_queue *queue, struct rk_queue_node *node, struct rk_queue_node *before)
{
    queue->length++;
    node->next = before;
    node->previous = before->previous;
    node->previous->next = node;
    before->previous = node;
}

void rk_queue_push(struct rk_queue *queue, struct rk_queue_node *node)
{
    rk_queue_insert(queue, node, &queue->head);
}

void rk_queue_insert(struct rk_queue *queue, struct rk_queue_node *node, struct rk_queue_node *before)
{
    queue->reserved--;
    link_before(queue, node, before);
}

void rk_queue_return(struct rk_queue *queue, struct rk_queue_node *node)
{
    link_before(queue, node, queue->head.next);
}

struct rk_queue_node *rk_queue_oldest(const struct rk_queue *queue)
{
    return queue->head.next == &queue->head ? NULL : queue->head.next;
}

struct rk_queue_node *rk_queue_behind(const struct rk_queue *queue, const struct rk_queue_node *node)
{
    return node->next == &queue->head ? NULL : node->next;
}

void rk_queue_remove(struct rk_queue *queue, struct rk_queue_node *node)
{
    node->previous->next = node->next;
    node->next->previous = node->previous;
    node->next = node->previous = NULL;
    queue->length--;
}

void rk_queue_release(struct rk_queue *queue, uint64_t bytes)
{
    queue->bytes -= bytes;
}
