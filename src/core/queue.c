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

void rk_queue_unreserve(struct rk_queue *queue, uint64_t bytes)
{
    queue->reserved--;
    queue->bytes -= bytes;
}

void rk_queue_push(struct rk_queue *queue, struct rk_queue_node *node)
{
    queue->reserved--;
    queue->length++;
    node->next = &queue->head;
    node->previous = queue->head.previous;
    node->previous->next = node;
    queue->head.previous = node;
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
