/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The floor of a wake-up: a process sleeps on a futex, another one wakes it.
 *
 *     wake
 *     wake -      -> {"ns": [...]}: from just before the waking until the sleeper runs */

#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../samples.h"

struct shared {
    _Atomic uint32_t bell;
    _Atomic uint64_t awake; /* when */
};

static void sleep_and_tell(struct shared *shared)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (uint32_t rung = 0;; rung++) {
        while (atomic_load(&shared->bell) == rung)
            syscall(SYS_futex, &shared->bell, FUTEX_WAIT, rung, NULL, NULL, 0);
        atomic_store(&shared->awake, bench_now());
    }
}

static void wake(struct shared *shared)
{
    uint64_t begun = bench_now(), awake;
    atomic_store(&shared->awake, 0);
    atomic_fetch_add(&shared->bell, 1);
    syscall(SYS_futex, &shared->bell, FUTEX_WAKE, 1, NULL, NULL, 0);
    while (!(awake = atomic_load(&shared->awake)))
        sched_yield();
    awake -= begun;
    bench_print_samples(&awake, 1);
}

int main(void)
{
    struct bench_command command;
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        bench_die("no shared memory");
    pid_t child = fork();
    if (child < 0)
        bench_die("cannot fork");
    if (child == 0)
        sleep_and_tell(shared);
    while (bench_command(&command))
        wake(shared);
    kill(child, SIGKILL);
    return 0;
}
