/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A Unix socket between the floor of a call and its client; who waits for it spins, and yields as MPI's waiters do. */

#ifndef BENCH_FLOOR_SOCKET_H
#define BENCH_FLOOR_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLOOR_PAYLOAD 256 /* bytes of a payload that travel with the header */
#define FLOOR_OVER    UINT64_MAX

struct floor_header {
    uint64_t size;   /* of the payload; FLOOR_OVER: the end */
    uint64_t wanted; /* bytes that follow the answer's header */
    uint64_t unused[2];
};

struct floor_request {
    struct floor_header header;
    uint8_t payload[FLOOR_PAYLOAD]; /* all of it, or its beginning */
};

/* Waits for one client at the path. */
int floor_accept(const char *path);

/* Connects, waiting until somebody listens there. */
int floor_connect(const char *path);

/* Reads one request, as far as it has room, or one answer, with as few system calls as can be. False when the peer has
 * closed. */
bool floor_read_request(int fd, struct floor_request *request);
bool floor_read_answer(int fd, struct floor_header *answer);

/* Reads so many bytes. False when the peer has closed. */
bool floor_read(int fd, void *bytes, size_t size);

void floor_write(int fd, const void *bytes, size_t size);

#endif
