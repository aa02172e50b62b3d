/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The floor of a wake-up: a process sleeps on a futex, another one wakes it. And of the wake-ups of a call to a job
 * that sleeps, with no work in between: one process wakes a second, which wakes all others at once and waits for their
 * answers, looking and yielding, as the first does for its.
 *
 *     wake OTHERS
 *     wake -       -> {"ns": [...]}: from just before the waking until the second one runs
 *     chain -      -> {"ns": [...]}: until the first one has the answer */

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../samples.h"

struct shared {
    _Atomic uint32_t bell, others_bell;
    _Atomic uint32_t answers, done;
    _Atomic uint64_t awake; /* when */
    bool chain;
};

static void ring(_Atomic uint32_t *bell)
{
    atomic_fetch_add(bell, 1);
    syscall(SYS_futex, bell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static void sleep_until(_Atomic uint32_t *bell, uint32_t rung)
{
    while (atomic_load(bell) == rung)
        syscall(SYS_futex, bell, FUTEX_WAIT, rung, NULL, NULL, 0);
}

static void answer(struct shared *shared)
{
    for (uint32_t rung = 0;; rung++) {
        sleep_until(&shared->others_bell, rung);
        atomic_fetch_add(&shared->answers, 1);
    }
}

static void relay(struct shared *shared, uint32_t others)
{
    for (uint32_t rung = 0;; rung++) {
        sleep_until(&shared->bell, rung);
        atomic_store(&shared->awake, bench_now());
        if (!shared->chain)
            continue;
        ring(&shared->others_bell);
        while (atomic_load(&shared->answers) < others)
            sched_yield();
        atomic_store(&shared->done, 1);
    }
}

static void wake(struct shared *shared, bool chain)
{
    uint64_t begun = bench_now(), end;
    atomic_store(&shared->awake, 0);
    atomic_store(&shared->answers, 0);
    atomic_store(&shared->done, 0);
    shared->chain = chain;
    ring(&shared->bell);
    while (!(end = atomic_load(&shared->awake)))
        sched_yield();
    while (chain && !atomic_load(&shared->done))
        sched_yield();
    end = (chain ? bench_now() : end) - begun;
    bench_print_samples(&end, 1);
}

static void begin(pid_t *child)
{
    if ((*child = fork()) < 0)
        bench_die("cannot fork");
    if (*child == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
}

int main(int argc, char **argv)
{
    struct bench_command command;
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const int others = argc == 2 ? atoi(argv[1]) : 0;
    pid_t children[65];
    if (shared == MAP_FAILED || others < 0 || others > 64)
        bench_die("usage: wake OTHERS, at most 64; or no shared memory");
    for (int i = 0; i <= others; i++) {
        begin(&children[i]);
        if (children[i] == 0 && i == 0)
            relay(shared, (uint32_t)others);
        else if (children[i] == 0)
            answer(shared);
    }
    while (bench_command(&command))
        wake(shared, !strcmp(command.word, "chain"));
    for (int i = 0; i <= others; i++)
        kill(children[i], SIGKILL);
    return 0;
}
