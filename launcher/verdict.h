/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What mpirun's end means for a job of which nobody has said more. */

#ifndef RK_LAUNCHER_VERDICT_H
#define RK_LAUNCHER_VERDICT_H

#include <stdbool.h>
#include <stddef.h>

/* Returns RANKCALL_OK for the orderly end of a job that was READY, else a code, with the rank and host that mpirun
 * names where it does. `wait_status`: mpirun's, as waitpid gives it; `last`: the last lines of its output. `lost`: the
 * ranks did not say goodbye, whatever mpirun thinks of that. */
int rk_verdict(int wait_status, const char *last, bool was_ready, bool lost);

/* Whether a line of srun's tells of a rank's end that was none in order: "srun: error: node2: task 3: Killed". */
bool rk_verdict_is_end(const char *line, size_t size);

/* Sets the last error to RANKCALL_ERANKDIED by such a line. */
void rk_verdict_of_end(const char *line);

#endif
