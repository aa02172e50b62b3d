/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What a killed job leaves on this host: Open MPI's session folder, its shared memory, the job's socket. */

#ifndef RK_LAUNCHER_LEFTOVERS_H
#define RK_LAUNCHER_LEFTOVERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct rk_leftovers {
    char **files; /* shared memory seen in the job's processes */
    size_t count;
};

/* Notes the shared memory that the processes below `root` have mapped, as far as Open MPI made it. */
void rk_leftovers_note(struct rk_leftovers *leftovers, pid_t root);

/* Writes them down, for those who clean up when this process is killed; and takes what was written down, if it is still
 * the same file. Returns that mpirun, 0: nothing is written there. */
void rk_leftovers_record(const struct rk_leftovers *leftovers, pid_t mpirun, const char *path);
pid_t rk_leftovers_recall(struct rk_leftovers *leftovers, const char *path);

/* Whether a living process has some of it; `kill`: those get SIGKILL. */
bool rk_leftovers_used(const struct rk_leftovers *leftovers, bool kill);

/* Removes what is still there once all processes are gone: what was noted, the session folder of that mpirun, and the
 * socket (NULL: none) when nobody listens there. Frees the notes. */
void rk_leftovers_remove(struct rk_leftovers *leftovers, pid_t mpirun, const char *socket);

/* Removes what launchers that are gone have left in the runtime folder, and what they have written down there. */
void rk_leftovers_of_others(void);

#endif
