/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Descriptors and the clock. */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"

int64_t rk_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

struct timespec rk_limit_after(long us)
{
    struct timespec limit;

    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_nsec += us * 1000;
    limit.tv_sec += limit.tv_nsec / 1000000000;
    limit.tv_nsec %= 1000000000;
    return limit;
}

int rk_fd_prepare(int fd)
{
    int status = fcntl(fd, F_GETFL), flags = fcntl(fd, F_GETFD);

    if (status < 0 || flags < 0 || fcntl(fd, F_SETFL, status | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0)
        return rk_error_system("fcntl of descriptor %d", fd);
    return RANKCALL_OK;
}

void rk_fd_close(int *fd)
{
    int kept = errno;

    if (*fd != -1)
        close(*fd);
    *fd = -1;
    errno = kept;
}

/* poll()'s timeout in ms, rounded up so that a deadline is never met early. */
static int poll_timeout(int64_t deadline_us)
{
    int64_t left;

    if (deadline_us < 0)
        return -1;
    left = deadline_us - rk_now_us();
    if (left <= 0)
        return 0;
    left = (left + 999) / 1000;
    return left > INT_MAX ? INT_MAX : (int)left;
}

short rk_fd_wait(int fd, short events, int64_t deadline_us)
{
    struct pollfd waiting = {.fd = fd, .events = events};

    for (;;) {
        int timeout = poll_timeout(deadline_us), ready = poll(&waiting, 1, timeout);

        if (ready > 0)
            return waiting.revents;
        if (ready < 0 && errno != EINTR)
            return POLLERR; /* the caller's next read or write tells more */
        if (ready == 0 && deadline_us >= 0 && rk_now_us() >= deadline_us)
            return 0;
    }
}

void rk_fd_raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}
