/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

#include "base/turns.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

#define LONG_US  1000
#define SHORT_NS 100000

bool rk_give_way(void)
{
    int64_t began = rk_now_us();
    sched_yield();
    return rk_now_us() >= began + LONG_US;
}

bool rk_turns_get(struct rk_turns *turns)
{
    *turns = (struct rk_turns){0};
    return syscall(SYS_sched_getattr, 0, turns, sizeof *turns, 0) == 0 && turns->policy == SCHED_OTHER;
}

bool rk_turns_set(const struct rk_turns *turns)
{
    return syscall(SYS_sched_setattr, 0, turns, 0) == 0;
}

void rk_turns_shorten(struct rk_turns *turns)
{
    turns->slice_ns = SHORT_NS;
}
