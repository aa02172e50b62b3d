/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The bounded queue of calls. */

#include "unit.h"

#include "core/queue.h"

#define MIB (UINT64_C(1) << 20)

struct item {
    struct rk_queue_node node; /* first: a node is its item */
    int number;
};

static void push(struct rk_queue *queue, struct item *item, int number)
{
    item->number = number;
    assert_true(rk_queue_reserve(queue, 0));
    rk_queue_push(queue, &item->node);
}

static int oldest(const struct rk_queue *queue)
{
    const struct item *item = (const struct item *)rk_queue_oldest(queue);
    return item ? item->number : -1;
}

static void calls_leave_in_the_order_in_which_they_became_complete(void **state)
{
    struct rk_queue queue;
    struct item items[3];
    (void)state;
    rk_queue_init(&queue, 3, MIB);
    assert_int_equal(oldest(&queue), -1);
    for (int i = 0; i < 3; i++)
        push(&queue, &items[i], i);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(oldest(&queue), i);
        rk_queue_remove(&queue, rk_queue_oldest(&queue));
    }
    assert_int_equal(oldest(&queue), -1);
    assert_int_equal(queue.length, 0);
}

static void a_call_in_the_middle_can_be_taken_out(void **state)
{
    struct rk_queue queue;
    struct item items[3];
    (void)state;
    rk_queue_init(&queue, 3, MIB);
    for (int i = 0; i < 3; i++)
        push(&queue, &items[i], i);
    rk_queue_remove(&queue, &items[1].node);
    assert_int_equal(oldest(&queue), 0);
    rk_queue_remove(&queue, &items[0].node);
    assert_int_equal(oldest(&queue), 2);
}

static void reservations_count_as_places_until_they_are_given_back(void **state)
{
    struct rk_queue queue;
    struct item item;
    (void)state;
    rk_queue_init(&queue, 2, MIB);
    push(&queue, &item, 0);
    assert_true(rk_queue_reserve(&queue, 10));
    assert_false(rk_queue_reserve(&queue, 0));
    rk_queue_unreserve(&queue, 10);
    assert_int_equal(queue.bytes, 0);
    assert_true(rk_queue_reserve(&queue, 0));
}

static void large_payloads_share_the_bytes_and_small_ones_pass_them(void **state)
{
    struct rk_queue queue;
    (void)state;
    rk_queue_init(&queue, 100, 8 * MIB);
    assert_true(rk_queue_reserve(&queue, 6 * MIB));
    assert_false(rk_queue_reserve(&queue, 3 * MIB));
    assert_true(rk_queue_reserve(&queue, RK_QUEUE_SMALL));
    assert_true(rk_queue_reserve(&queue, 0));
    assert_false(rk_queue_reserve(&queue, UINT64_MAX));
    rk_queue_unreserve(&queue, 6 * MIB);
    assert_true(rk_queue_reserve(&queue, 7 * MIB));
}

static void calls_of_a_job_that_was_restarted_find_their_places(void **state)
{
    struct rk_queue queue;
    struct item items[6];
    (void)state;
    rk_queue_init(&queue, 2, MIB);
    push(&queue, &items[3], 3);
    push(&queue, &items[4], 4);
    assert_false(rk_queue_reserve(&queue, 0));
    assert_true(rk_queue_reserve_again(&queue, 0)); /* it had a place before */
    items[2].number = 2;
    rk_queue_insert(&queue, &items[2].node, &items[3].node);
    assert_true(rk_queue_reserve_again(&queue, 0));
    assert_false(rk_queue_reserve_again(&queue, 0));
    items[5].number = 5;
    rk_queue_push(&queue, &items[5].node);
    items[1].number = 1;
    rk_queue_return(&queue, &items[1].node);
    assert_int_equal(queue.length, 5);
    for (int i = 1; i <= 5; i++) {
        assert_int_equal(oldest(&queue), i);
        rk_queue_remove(&queue, rk_queue_oldest(&queue));
    }
    assert_int_equal(queue.reserved, 0);
}

static void an_empty_queue_takes_a_payload_over_its_bytes(void **state)
{
    struct rk_queue queue;
    struct item item;
    (void)state;
    rk_queue_init(&queue, 2, MIB);
    assert_true(rk_queue_reserve(&queue, 50 * MIB));
    rk_queue_push(&queue, &item.node);
    assert_false(rk_queue_reserve(&queue, 2 * MIB));
    rk_queue_remove(&queue, &item.node);
    assert_false(rk_queue_reserve(&queue, 2 * MIB)); /* it runs, and still holds its payload */
    rk_queue_release(&queue, 50 * MIB);
    assert_true(rk_queue_reserve(&queue, 2 * MIB));
}

UNIT_MAIN(cmocka_unit_test(calls_leave_in_the_order_in_which_they_became_complete),
          cmocka_unit_test(a_call_in_the_middle_can_be_taken_out),
          cmocka_unit_test(reservations_count_as_places_until_they_are_given_back),
          cmocka_unit_test(large_payloads_share_the_bytes_and_small_ones_pass_them),
          cmocka_unit_test(calls_of_a_job_that_was_restarted_find_their_places),
          cmocka_unit_test(an_empty_queue_takes_a_payload_over_its_bytes))
