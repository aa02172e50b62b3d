/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Descriptors and the clock. */

#ifndef RK_BASE_FD_H
#define RK_BASE_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Microseconds of CLOCK_MONOTONIC. */
int64_t rk_now_us(void);

/* So many microseconds from now, at most a second, as timed waits for mutexes and semaphores take it. */
struct timespec rk_limit_after(long us);

/* Sets O_NONBLOCK and FD_CLOEXEC. Errors: RANKCALL_ESYSTEM. */
int rk_fd_prepare(int fd);

/* Closes unless -1, sets *fd to -1, keeps errno. */
void rk_fd_close(int *fd);

/* Waits until `fd` has one of `events` (POLLIN, POLLOUT) or `deadline_us` of rk_now_us() has come (negative: never).
 * Returns: revents, 0 at the deadline; EINTR is retried. */
short rk_fd_wait(int fd, short events, int64_t deadline_us);

/* Raises the soft limit of open files to the hard one. */
void rk_fd_raise_limit(void);

#endif
