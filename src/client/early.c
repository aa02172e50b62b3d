/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The early ring: a client on rank 0's node wakes the sleeping ranks itself while its call is on its way to the IO
 * thread, so that they wake up beside it and not after it.
 *
 * The WELCOME tells a descriptor of rank 0's: memory of which the first word is the futex that main threads sleep on,
 * and eight bytes at MARK_AT prove that it is that memory. Whatever does not fit, the call is only later. */

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "client/internal.h"

#define MARK_AT   64
#define MARK_BITS ((UINT64_C(1) << 52) - 1)
#define MAPPED    4096
#define AWAKE_US  100 /* ranks look for about so long behind a call */

void rk_early_close(struct rankcall_runner *runner)
{
    if (runner->bell)
        munmap(runner->bell, MAPPED);
    runner->bell = NULL;
}

void rk_early_open(struct rankcall_runner *runner, const struct rankcall_payload *welcome)
{
    int64_t pid = 0, number = -1, mark = 0;
    uint64_t found = 0;
    char path[64];
    rk_early_close(runner);
    if (!welcome || rankcall_opt_int(welcome, "pid", &pid) || rankcall_opt_int(welcome, "/bell/fd", &number) ||
        rankcall_opt_int(welcome, "/bell/mark", &mark) || pid <= 0 || number < 0)
        return;
    snprintf(path, sizeof path, "/proc/%lld/fd/%lld", (long long)pid, (long long)number);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return;
    if (pread(fd, &found, sizeof found, MARK_AT) == sizeof found && (found & MARK_BITS) == (uint64_t)mark)
        runner->bell = mmap(NULL, MAPPED, PROT_READ, MAP_SHARED, fd, 0);
    if (runner->bell == MAP_FAILED)
        runner->bell = NULL;
    rk_fd_close(&fd);
}

void rk_early_ring(struct rankcall_runner *runner, int64_t now_us)
{
    if (runner->bell && now_us - runner->used_us > AWAKE_US)
        syscall(SYS_futex, runner->bell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    runner->used_us = now_us;
}
