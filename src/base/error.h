/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The thread's last error: set where something fails, read by rankcall_last_error(). */

#ifndef RK_BASE_ERROR_H
#define RK_BASE_ERROR_H

#include <rankcall/error.h>

#define RK_PRINTF(format, first) __attribute__((__format__(__printf__, format, first)))

/* Set the thread's last error and return `code`, so that `return rk_error(RANKCALL_EINVAL, …)` reads well.
 * The arguments may point into the last error itself (for adding context to a message). */
int rk_error(int code, const char *format, ...) RK_PRINTF(2, 3);

/* The same with code RANKCALL_ESYSTEM and ": strerror(errno)" at the end. */
int rk_error_system(const char *format, ...) RK_PRINTF(1, 2);

/* Copies a whole error (its strings too) into the thread's last error; returns its code. */
int rk_error_copy(const struct rankcall_error *error);

/* An error that owns its strings, for passing one between threads. */
struct rankcall_error *rk_error_clone(const struct rankcall_error *error); /* NULL when memory is out */
void rk_error_free(struct rankcall_error *error);                          /* takes NULL; keeps errno */

/* Forgets the thread's last error (code RANKCALL_OK, empty message). */
void rk_error_clear(void);

#endif
