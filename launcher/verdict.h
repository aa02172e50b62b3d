/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What mpirun's end means for a job of which nobody has said more. */

#ifndef RK_LAUNCHER_VERDICT_H
#define RK_LAUNCHER_VERDICT_H

#include <stdbool.h>

/* Returns RANKCALL_OK for the orderly end of a job that was READY, else a code, with the rank and host that mpirun
 * names where it does. `wait_status`: mpirun's, as waitpid gives it; `last`: the last lines of its output. `lost`: the
 * ranks did not say goodbye, whatever mpirun thinks of that. */
int rk_verdict(int wait_status, const char *last, bool was_ready, bool lost);

#endif
