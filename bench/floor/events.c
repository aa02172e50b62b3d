/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The floor of events: a raw Unix socket between two processes, frames written one at a time or several together, read
 * in large pieces.
 *
 *     events
 *     events - BYTES FRAMES TOGETHER      -> {"events": n, "ns": t}: from the first bytes to the last */

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../samples.h"

#define PIECE      (256u << 10) /* read at a time at most */
#define FRAMES_MAX (2u << 20)   /* bytes written at a time at most */

static void write_frames(int fd, size_t bytes, long long frames, long long together)
{
    static uint8_t buffer[FRAMES_MAX];
    memset(buffer, 'x', sizeof buffer);
    for (long long left = frames; left > 0;) {
        long long now = left < together ? left : together;
        size_t size = bytes * (size_t)now;
        for (size_t done = 0; done < size;) {
            ssize_t written = send(fd, buffer + done, size - done, MSG_NOSIGNAL);
            if (written < 0)
                _exit(1);
            done += (size_t)written;
        }
        left -= now;
    }
}

/* Reads `total` bytes; returns how long it took from the first that came. */
static uint64_t read_all(int fd, size_t total)
{
    static uint8_t buffer[PIECE];
    uint64_t first = 0;
    for (size_t done = 0; done < total;) {
        ssize_t got = recv(fd, buffer, sizeof buffer, 0);
        if (got <= 0)
            bench_die("%zu of %zu bytes came", done, total);
        if (!first)
            first = bench_now();
        done += (size_t)got;
    }
    return bench_now() - first;
}

static void measure(size_t bytes, long long frames, long long together)
{
    int fds[2];
    if (together < 1 || bytes * (size_t)together > FRAMES_MAX)
        bench_die("%zu bytes, %lld together: too many", bytes, together);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
        bench_die("cannot make a socket");
    pid_t child = fork();
    if (child < 0)
        bench_die("cannot fork");
    if (child == 0) {
        write_frames(fds[1], bytes, frames, together);
        _exit(0);
    }
    close(fds[1]);
    uint64_t ns = read_all(fds[0], bytes * (size_t)frames);
    close(fds[0]);
    waitpid(child, NULL, 0);
    bench_print_rate((uint64_t)frames, ns);
}

int main(void)
{
    struct bench_command command;
    while (bench_command(&command))
        measure((size_t)command.numbers[0], command.numbers[1], command.numbers[2]);
    return 0;
}
