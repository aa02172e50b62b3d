/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What the command says to people, on standard error; and how it ends. */

#ifndef RK_LAUNCHER_SAY_H
#define RK_LAUNCHER_SAY_H

#include <stdbool.h>

#include <rankcall/error.h>

#include "base/error.h"

/* "rankcall: text" on standard error. Keeps the thread's last error. */
void rk_say(const char *format, ...) RK_PRINTF(1, 2);

/* Where rk_say's lines go instead of standard error, NULL for back: `line` has its newline. */
void rk_say_through(void (*write)(void *context, const char *line, unsigned long size), void *context);

/* Says the thread's last error, with its rank, host and traceback. Returns the exit status of its code. */
int rk_say_error(void);

/* Flushes stdout. Returns `status`, or a failure's status when not everything could be written (the disk is full). */
int rk_finish_stdout(int status);

#endif
