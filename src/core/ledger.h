/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The funnel's book of one running call: which messages have come, and whether all have. No locks, no I/O. */

#ifndef RK_CORE_LEDGER_H
#define RK_CORE_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

struct rk_ledger;

struct rk_ledger *rk_ledger_new(int ranks); /* NULL when memory is out */
void rk_ledger_free(struct rk_ledger *ledger);

/* A call begins: nothing has come. */
void rk_ledger_begin(struct rk_ledger *ledger, uint64_t number);

enum rk_ledger_verdict {
    RK_LEDGER_NEXT,     /* the next message of that rank */
    RK_LEDGER_STRANGER, /* of another call: counted nowhere */
    RK_LEDGER_DISORDER, /* a gap or repetition in the rank's events */
};

/* Books an event, or a message that has no number of its own (an error). */
enum rk_ledger_verdict rk_ledger_event(struct rk_ledger *ledger, uint64_t number, uint32_t rank, uint64_t sequence);
enum rk_ledger_verdict rk_ledger_message(struct rk_ledger *ledger, uint64_t number);

/* The ranks have come back and say how many messages they sent. */
void rk_ledger_expect(struct rk_ledger *ledger, uint64_t messages);

/* Whether the ranks have come back and every message has come. */
bool rk_ledger_complete(const struct rk_ledger *ledger);

#endif
