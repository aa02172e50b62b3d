/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The funnel's book of one running call. */

#include "core/ledger.h"

#include <stdlib.h>

/* A rank's row is of an earlier call until its first event of this one, so that a call begins in constant time. */
struct row {
    uint64_t number, next;
};

struct rk_ledger {
    uint64_t number, arrived, expected;
    bool expecting;
    uint32_t ranks;
    struct row rows[];
};

struct rk_ledger *rk_ledger_new(int ranks)
{
    struct rk_ledger *ledger = calloc(1, sizeof *ledger + (size_t)ranks * sizeof *ledger->rows);
    if (ledger)
        ledger->ranks = (uint32_t)ranks;
    return ledger;
}

void rk_ledger_free(struct rk_ledger *ledger)
{
    free(ledger);
}

void rk_ledger_begin(struct rk_ledger *ledger, uint64_t number)
{
    ledger->number = number;
    ledger->arrived = ledger->expected = 0;
    ledger->expecting = false;
}

enum rk_ledger_verdict rk_ledger_event(struct rk_ledger *ledger, uint64_t number, uint32_t rank, uint64_t sequence)
{
    if (number != ledger->number || rank >= ledger->ranks)
        return RK_LEDGER_STRANGER;
    struct row *row = &ledger->rows[rank];
    if (row->number != number)
        *row = (struct row){number, 0};
    ledger->arrived++;
    return sequence == row->next++ ? RK_LEDGER_NEXT : RK_LEDGER_DISORDER;
}

enum rk_ledger_verdict rk_ledger_message(struct rk_ledger *ledger, uint64_t number)
{
    if (number != ledger->number)
        return RK_LEDGER_STRANGER;
    ledger->arrived++;
    return RK_LEDGER_NEXT;
}

void rk_ledger_expect(struct rk_ledger *ledger, uint64_t messages)
{
    ledger->expected = messages;
    ledger->expecting = true;
}

bool rk_ledger_complete(const struct rk_ledger *ledger)
{
    return ledger->expecting && ledger->arrived == ledger->expected;
}
