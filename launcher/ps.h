/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* rankcall ps: its parts. */

#ifndef RK_LAUNCHER_PS_H
#define RK_LAUNCHER_PS_H

#include <stdbool.h>

/* Prints the user's jobs in Slurm. Returns the exit status. */
int rk_ps_slurm(bool json);

#endif
