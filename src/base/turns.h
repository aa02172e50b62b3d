/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* How a thread that waits shares CPUs with threads that compute. */

#ifndef RK_BASE_TURNS_H
#define RK_BASE_TURNS_H

#include <stdbool.h>
#include <stdint.h>

/* As sched_setattr(2) takes it; the C library has none yet. */
struct rk_turns {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t slice_ns, deadline, period;
};

/* Gives the CPU to others that want it. True: somebody has computed there for a millisecond or more. Then it is better
 * to sleep: who wakes up gets a CPU sooner than who comes back from here. */
bool rk_give_way(void);

/* Those of this thread. False: they are not known, or somebody has chosen uncommon ones. */
bool rk_turns_get(struct rk_turns *turns);
bool rk_turns_set(const struct rk_turns *turns);

/* Short ones, which the scheduler grants soon after a wake-up (Linux 6.12 or later; earlier ones ignore it). For who
 * sleeps: a spinning thread that had them would get the CPU back from each of its yields at once. */
void rk_turns_shorten(struct rk_turns *turns);

#endif
