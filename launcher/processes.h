/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* mpirun and everything below it: spawned in a process group of its own, signalled, reaped to the last orphan. */

#ifndef RK_LAUNCHER_PROCESSES_H
#define RK_LAUNCHER_PROCESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct rk_processes {
    pid_t mpirun;    /* also its process group */
    bool running;    /* not yet reaped */
    int wait_status; /* as waitpid gives it */
    int out, err;    /* what it prints; non-blocking */
    bool by_srun;    /* `mpirun` is srun, whose ranks are not below it */
    int kills;       /* that srun got */
    pid_t spared;    /* a process below this one that gets no signal; 0 */
};

/* Makes this process the parent of orphans below it. */
void rk_processes_adopt(void);

/* Starts mpirun with /dev/null as its input and `environment` added to this process's. It gets SIGTERM when this
 * process dies. Errors: RANKCALL_ELAUNCH. */
int rk_processes_start(struct rk_processes *processes, char *const argv[], char *const environment[]);

/* How many children mpirun has: the ranks, once it has started them all. */
size_t rk_processes_children(const struct rk_processes *processes);

/* Reaps what has ended. Returns true when mpirun is among it. */
bool rk_processes_reap(struct rk_processes *processes);

/* Sends a signal to mpirun alone. */
void rk_processes_signal(const struct rk_processes *processes, int signal);

/* Sends a signal to everything below this process; `spare_mpirun`: but not to mpirun. Returns how many there were. Of
 * srun, which ends its ranks when it is interrupted, it is asked for that. */
size_t rk_processes_signal_all(struct rk_processes *processes, int signal, bool spare_mpirun);

/* The processes below `root`. Ownership: *pids is the caller's, free(). Returns their number. */
size_t rk_processes_list(pid_t root, pid_t **pids);

/* Whether a process runs: it is there and no zombie. */
bool rk_processes_alive(pid_t pid);

/* Kills and reaps everything that is left below this process. */
void rk_processes_sweep(struct rk_processes *processes);

#endif
