/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What the ranks of a node tell each other by shared words: interrupts, checkpoints, whereabouts. Two ranks in one
 * process, without MPI. */

#include "unit.h"

#include "mesh/collect_internal.h"

enum { RANKS = 2 };

struct node {
    struct rk_arena *arena;
    struct rk_segment *segment; /* its bells */
    struct rk_rank_info infos[RANKS];
    struct rk_collect collects[RANKS];
    struct rk_mesh ranks[RANKS];
};

static int make_node(void **state)
{
    struct node *node = calloc(1, sizeof *node);
    node->arena = aligned_alloc(64, sizeof(struct rk_arena) + RANKS * sizeof(struct rk_seat));
    memset(node->arena, 0, sizeof(struct rk_arena) + RANKS * sizeof(struct rk_seat));
    size_t size = (sizeof *node->segment + RANKS * sizeof *node->segment->rank + 63) / 64 * 64;
    node->segment = aligned_alloc(64, size);
    memset(node->segment, 0, size);
    for (int rank = 0; rank < RANKS; rank++) {
        node->infos[rank].local_rank = rank;
        node->ranks[rank].segment = node->segment;
        node->collects[rank].arena = node->arena;
        node->ranks[rank].rank = node->ranks[rank].local_rank = rank;
        node->ranks[rank].size = node->ranks[rank].local_size = RANKS;
        node->ranks[rank].nodes = 1;
        node->ranks[rank].ranks = node->infos;
        node->ranks[rank].collect = &node->collects[rank];
    }
    *state = node;
    return 0;
}

static int free_node(void **state)
{
    struct node *node = *state;
    free(node->arena);
    free(node->segment);
    free(node);
    return 0;
}

static void enter(struct node *node, uint64_t number)
{
    for (int rank = 0; rank < RANKS; rank++)
        rk_mesh_enter(&node->ranks[rank], number, 0);
}

static void an_interrupt_is_of_one_call_and_its_first_reason_counts(void **state)
{
    struct node *node = *state;
    struct rk_mesh *mesh = &node->ranks[0], *other = &node->ranks[1];
    assert_int_equal(rk_mesh_interrupted(other, 5), 0);
    rk_mesh_interrupt(mesh, 5, RANKCALL_ETIMEOUT);
    rk_mesh_interrupt(mesh, 5, RANKCALL_ECANCELLED);
    rk_mesh_interrupt_node(other, 4, RANKCALL_EWORKER);
    assert_int_equal(rk_mesh_interrupted(other, 5), RANKCALL_ETIMEOUT);
    assert_int_equal(rk_mesh_interrupted(other, 4), 0);
    assert_int_equal(rk_mesh_interrupted(other, 6), 0);
    rk_mesh_interrupt_node(other, 6, RANKCALL_EWORKER);
    assert_int_equal(rk_mesh_interrupted(mesh, 6), RANKCALL_EWORKER);
}

static void a_collective_of_an_interrupted_call_ends_at_once(void **state)
{
    struct node *node = *state;
    const struct rk_collective barrier = {.kind = RK_BARRIER, .element = 1};
    enter(node, 7);
    rk_mesh_interrupt(&node->ranks[0], 7, RANKCALL_ECANCELLED);
    assert_fails(rk_mesh_collect(&node->ranks[1], &barrier), RANKCALL_ECANCELLED, "barrier, collective 1 of call 7");
}

static void all_ranks_get_the_same_answer_at_the_same_checkpoint(void **state)
{
    struct node *node = *state;
    const bool answers[] = {false, false, true, false};
    enter(node, 1);
    for (int i = 0; i < 4; i++) /* rank 0 runs ahead, and does not go back on its word */
        assert_int_equal(rk_checkpoint_shared(&node->ranks[0], answers[i]), i >= 2);
    for (int i = 0; i < 4; i++)
        assert_int_equal(rk_checkpoint_shared(&node->ranks[1], false), i >= 2);
}

static void a_rank_0_that_leaves_answers_all_later_checkpoints(void **state)
{
    struct node *node = *state;
    enter(node, 1);
    assert_false(rk_checkpoint_shared(&node->ranks[0], false));
    rk_checkpoint_leave(&node->ranks[0]);
    for (int i = 0; i < 10; i++)
        assert_int_equal(rk_checkpoint_shared(&node->ranks[1], false), i >= 1);
    enter(node, 2);
    assert_false(rk_checkpoint_shared(&node->ranks[0], false));
    assert_false(rk_checkpoint_shared(&node->ranks[1], false));
}

static void stamps_of_the_last_call_are_below_those_of_the_next(void **state)
{
    struct node *node = *state;
    for (uint64_t number = 65534; number < 65540; number++) { /* across the wrap */
        enter(node, number);
        uint64_t last = node->collects[0].base + ((UINT64_C(1) << 47) - 1);
        enter(node, number + 1);
        assert_false(rk_stamp_reached(last, node->collects[0].base));
        assert_true(rk_stamp_reached(node->collects[0].base + 1, node->collects[0].base));
    }
}

static void whereabouts_tell_call_collective_and_marker(void **state)
{
    struct node *node = *state;
    struct rk_whereabouts where;
    enter(node, 9);
    rk_mesh_whereabouts(&node->ranks[0], 1, &where);
    assert_true(where.known && where.activity == RK_IN_HANDLER && where.number == 9 && where.kind == RK_NO_COLLECTIVE);
    assert_string_equal(where.mark, "");
    rk_place_set(&node->ranks[1], RK_IN_COLLECTIVE, RK_ALL_REDUCE, 12);
    rk_mesh_mark(&node->ranks[1], "a marker of more than sixty-three bytes is cut, and what is kept ends with a zero");
    rk_mesh_whereabouts(&node->ranks[0], 1, &where);
    assert_true(where.activity == RK_IN_COLLECTIVE && where.kind == RK_ALL_REDUCE && where.sequence == 12);
    assert_int_equal(strlen(where.mark), RK_MARK_SIZE - 1);
    rk_mesh_exit(&node->ranks[1]);
    rk_mesh_whereabouts(&node->ranks[0], 1, &where);
    assert_true(where.activity == RK_IDLE && where.kind == RK_ALL_REDUCE && where.sequence == 12);
    node->infos[1].node = 1;
    rk_mesh_whereabouts(&node->ranks[0], 1, &where);
    assert_false(where.known);
}

/* How the signs of rank 1 change, seen by rank 0. */
static bool has_moved(struct node *node, uint64_t *signs)
{
    uint64_t before = *signs;
    assert_false(rk_mesh_is_back(&node->ranks[0], 1, 9, signs));
    return *signs != before;
}

static void whatever_a_rank_does_is_a_sign_of_life(void **state)
{
    struct node *node = *state;
    uint64_t signs = 0;
    assert_false(rk_mesh_is_back(&node->ranks[0], 1, 9, &signs)); /* it has not begun */
    enter(node, 9);
    assert_true(has_moved(node, &signs));
    assert_false(has_moved(node, &signs));
    rk_mesh_mark(&node->ranks[1], "here");
    assert_true(has_moved(node, &signs));
    rk_place_set(&node->ranks[1], RK_IN_COLLECTIVE, RK_BARRIER, 1);
    assert_true(has_moved(node, &signs));
    rk_mesh_step(&node->ranks[1]);
    assert_true(has_moved(node, &signs));
    rk_checkpoint_shared(&node->ranks[0], false);
    assert_false(has_moved(node, &signs));
    rk_checkpoint_shared(&node->ranks[1], false);
    assert_true(has_moved(node, &signs));
    rk_mesh_exit(&node->ranks[1]);
    assert_true(rk_mesh_is_back(&node->ranks[0], 1, 9, &signs));
    assert_false(rk_mesh_is_back(&node->ranks[0], 1, 10, &signs));
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, make_node, free_node)

UNIT_MAIN(CASE(an_interrupt_is_of_one_call_and_its_first_reason_counts),
          CASE(a_collective_of_an_interrupted_call_ends_at_once),
          CASE(all_ranks_get_the_same_answer_at_the_same_checkpoint),
          CASE(a_rank_0_that_leaves_answers_all_later_checkpoints),
          CASE(stamps_of_the_last_call_are_below_those_of_the_next), CASE(whereabouts_tell_call_collective_and_marker),
          CASE(whatever_a_rank_does_is_a_sign_of_life))
