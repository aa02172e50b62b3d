/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Finding programs: the worker, and mpirun. */

#ifndef RK_LAUNCHER_PROGRAM_H
#define RK_LAUNCHER_PROGRAM_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

/* The absolute path of a worker program: as given when it has a '/', else on PATH, else among the installed examples.
 * Errors: RANKCALL_EINVAL: it is not there, or may not be executed. */
int rk_program_find(const char *name, char path[PATH_MAX]);

/* Whether there is a program of that name on PATH. */
bool rk_program_on_path(const char *name);

/* The path of mpirun: RANKCALL_MPIRUN, the one that rankcall was built with, or PATH's. `line` gets the first digit of
 * Open MPI's version: 4, 5. Errors: RANKCALL_ELAUNCH: there is none, or it is not Open MPI's. */
int rk_program_mpirun(char path[PATH_MAX], int *line);

#endif
