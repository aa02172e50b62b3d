/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The funnel's book of one running call. */

#include "unit.h"

#include "core/ledger.h"

static int make_ledger(void **state)
{
    struct rk_ledger *ledger = rk_ledger_new(3);
    *state = ledger;
    if (ledger)
        rk_ledger_begin(ledger, 7);
    return !ledger;
}

static int free_ledger(void **state)
{
    rk_ledger_free(*state);
    return 0;
}

static void a_call_is_complete_when_the_ranks_are_back_and_all_messages_are(void **state)
{
    struct rk_ledger *ledger = *state;
    assert_false(rk_ledger_complete(ledger));
    assert_int_equal(rk_ledger_event(ledger, 7, 0, 0), RK_LEDGER_NEXT);
    rk_ledger_expect(ledger, 3);
    assert_false(rk_ledger_complete(ledger));
    assert_int_equal(rk_ledger_event(ledger, 7, 2, 0), RK_LEDGER_NEXT);
    assert_int_equal(rk_ledger_message(ledger, 7), RK_LEDGER_NEXT);
    assert_true(rk_ledger_complete(ledger));
}

static void a_call_without_messages_is_complete_when_the_ranks_are_back(void **state)
{
    struct rk_ledger *ledger = *state;
    rk_ledger_expect(ledger, 0);
    assert_true(rk_ledger_complete(ledger));
    rk_ledger_begin(ledger, 8);
    assert_false(rk_ledger_complete(ledger));
}

static void each_rank_counts_its_events_from_0_in_every_call(void **state)
{
    struct rk_ledger *ledger = *state;
    for (uint64_t call = 7; call < 10; call++) {
        rk_ledger_begin(ledger, call);
        for (uint32_t rank = 0; rank < 3; rank++)
            for (uint64_t sequence = 0; sequence < 4; sequence++)
                assert_int_equal(rk_ledger_event(ledger, call, rank, sequence), RK_LEDGER_NEXT);
    }
}

static void gaps_and_repetitions_are_noticed(void **state)
{
    struct rk_ledger *ledger = *state;
    assert_int_equal(rk_ledger_event(ledger, 7, 1, 1), RK_LEDGER_DISORDER);
    assert_int_equal(rk_ledger_event(ledger, 7, 2, 0), RK_LEDGER_NEXT);
    assert_int_equal(rk_ledger_event(ledger, 7, 2, 0), RK_LEDGER_DISORDER);
}

static void messages_of_other_calls_and_ranks_count_nowhere(void **state)
{
    struct rk_ledger *ledger = *state;
    assert_int_equal(rk_ledger_event(ledger, 6, 0, 0), RK_LEDGER_STRANGER);
    assert_int_equal(rk_ledger_event(ledger, 7, 3, 0), RK_LEDGER_STRANGER);
    assert_int_equal(rk_ledger_message(ledger, 8), RK_LEDGER_STRANGER);
    rk_ledger_expect(ledger, 0);
    assert_true(rk_ledger_complete(ledger));
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, make_ledger, free_ledger)

UNIT_MAIN(CASE(a_call_is_complete_when_the_ranks_are_back_and_all_messages_are),
          CASE(a_call_without_messages_is_complete_when_the_ranks_are_back),
          CASE(each_rank_counts_its_events_from_0_in_every_call), CASE(gaps_and_repetitions_are_noticed),
          CASE(messages_of_other_calls_and_ranks_count_nowhere))
