/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* How a process is, and how one ended that is not one's own child. */

#ifndef RK_BASE_ENDED_H
#define RK_BASE_ENDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Its state as in proc(5): 'R', 'S', 'T' …; '?': it is gone, or nobody knows. */
char rk_process_state(int pid);

/* By a signal, or by a debugger. */
static inline bool rk_is_stopped(char state)
{
    return state == 'T' || state == 't';
}

/* Whether it has work to do. One that passes on what others print and that sleeps has passed on all that there was. */
bool rk_process_busy(int pid);

/* Nanoseconds that its threads have run, and that they have waited for a CPU; 0: nobody knows. */
void rk_process_work(int pid, uint64_t *run_ns, uint64_t *waited_ns);

/* As waitpid(2) would say; -1: not known. `pidfd`: a descriptor of the process, opened while it lived, or -1. Right
 * after its end: from its line in /proc, where it stays until its parent has taken note, or on Linux 6.15 and later
 * from the descriptor. */
int rk_ended_how(int pid, int pidfd);

/* "was killed by signal 9 (Killed)", "ended with exit status 3", "has died". */
void rk_ended_text(int wait_status, char *text, size_t size);

#endif
