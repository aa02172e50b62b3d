/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The Unix socket of the floor of a call. */

#include "socket.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../samples.h"

#define CONNECT_NS 60000000000u

static int make_socket(const char *path, struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(address->sun_path, sizeof address->sun_path, "%s", path);
    if (fd < 0)
        bench_die("cannot make a socket (errno %d)", errno);
    return fd;
}

int floor_accept(const char *path)
{
    struct sockaddr_un address;
    int listener = make_socket(path, &address), fd = -1;
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1))
        bench_die("cannot listen at %s (errno %d)", path, errno);
    fd = accept(listener, NULL, NULL);
    if (fd < 0)
        bench_die("cannot accept (errno %d)", errno);
    close(listener);
    return fd;
}

int floor_connect(const char *path)
{
    struct sockaddr_un address;
    const uint64_t deadline = bench_now() + CONNECT_NS;
    int fd = make_socket(path, &address);
    while (connect(fd, (struct sockaddr *)&address, sizeof address)) {
        if (bench_now() > deadline)
            bench_die("cannot connect to %s (errno %d)", path, errno);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    return fd;
}

/* What is there, at least one byte; 0 when the peer has closed. */
static size_t read_some(int fd, void *bytes, size_t size)
{
    for (;;) {
        ssize_t got = recv(fd, bytes, size, MSG_DONTWAIT);
        if (got >= 0)
            return (size_t)got;
        if (errno != EAGAIN && errno != EINTR)
            bench_die("cannot read (errno %d)", errno);
        sched_yield();
    }
}

bool floor_read_request(int fd, struct floor_request *request)
{
    uint8_t *bytes = (uint8_t *)request;
    size_t done = 0, wanted = sizeof request->header;
    while (done < wanted) {
        size_t got = read_some(fd, bytes + done, sizeof *request - done);
        if (!got)
            return false;
        done += got;
        if (done >= sizeof request->header)
            wanted =
                sizeof request->header + (request->header.size < FLOOR_PAYLOAD ? request->header.size : FLOOR_PAYLOAD);
    }
    return true;
}

bool floor_read(int fd, void *bytes, size_t size)
{
    size_t done = 0, got;
    while (done < size && (got = read_some(fd, (uint8_t *)bytes + done, size - done)))
        done += got;
    return done == size;
}

bool floor_read_answer(int fd, struct floor_header *answer)
{
    return floor_read(fd, answer, sizeof *answer);
}

void floor_write(int fd, const void *bytes, size_t size)
{
    ssize_t written;
    for (size_t done = 0; done < size; done += (size_t)written)
        if ((written = send(fd, (const uint8_t *)bytes + done, size - done, MSG_NOSIGNAL)) < 0)
            bench_die("cannot write (errno %d)", errno);
}
