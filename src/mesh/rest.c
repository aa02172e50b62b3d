/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Threads that were left in a call of MPI which never returns: they ask MPI again and again. Open MPI lets the first
 * thread that waits do so for all others, so they are needed while a handler may sit in MPI, too; but while the job is
 * idle they sleep, in a function that Open MPI calls each time. Where it offers no such thing they go on. */

#include <dlfcn.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mesh/internal.h"

static _Atomic uint32_t idle;   /* the main thread waits for an announcement; a futex */
static _Atomic bool registered; /* there are such threads */
static _Thread_local const _Atomic bool *mine;

static int rest(void)
{
    while (mine && atomic_load(mine) && atomic_load(&idle))
        syscall(SYS_futex, &idle, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
    return 0;
}

void rk_rest_here(const _Atomic bool *abandoned)
{
    mine = abandoned;
}

void rk_rest_begin(void)
{
    int (*enlist)(int (*)(void)) = (int (*)(int (*)(void)))dlsym(RTLD_DEFAULT, "opal_progress_register");
    if (enlist && !atomic_exchange(&registered, true))
        enlist(rest);
}

void rk_rest_idle(bool now)
{
    if (!atomic_load_explicit(&registered, memory_order_relaxed))
        return;
    atomic_store(&idle, now);
    if (!now)
        syscall(SYS_futex, &idle, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}
