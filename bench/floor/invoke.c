/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The floor of a call: rank 0 reads a request from a Unix socket, broadcasts it, reduces one int, writes an answer; the
 * other ranks sit in MPI_Bcast. Nobody ever sleeps, nothing is checked, there is one client and nothing else to serve,
 * and memory that was once taken is used again. With `io` rank 0 has a thread for the socket, as a job needs that
 * answers while it computes; then payloads have FLOOR_PAYLOAD bytes at most.
 *
 *     mpirun -n N invoke SOCKET [io] */

#include <mpi.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../samples.h"
#include "socket.h"

#define PIECE (1u << 30) /* bytes of a broadcast at most */

/* The same on every rank: memory for the large ones, with its pages. */
static char *room_for(size_t size)
{
    static char *room;
    static size_t there;
    if (size > there) {
        free(room);
        if (!(room = malloc(size)))
            bench_die("no memory for %zu bytes", size);
        memset(room, 'x', size);
        there = size;
    }
    return room;
}

/* What did not fit into the request. */
static void broadcast_rest(int rank, int fd, size_t size)
{
    char *bytes = room_for(size);
    if (rank == 0 && !floor_read(fd, bytes, size))
        bench_die("the client hung up");
    for (size_t done = 0; done < size; done += PIECE)
        MPI_Bcast(bytes + done, (int)(size - done < PIECE ? size - done : PIECE), MPI_BYTE, 0, MPI_COMM_WORLD);
}

/* ---- Rank 0's thread for the socket ---- */

static struct {
    int fd;
    _Atomic bool filled; /* else the thread has it */
    struct floor_request request;
} desk;

static void await(bool filled)
{
    while (atomic_load(&desk.filled) != filled)
        sched_yield();
}

static void send_answer(int fd, size_t wanted)
{
    const struct floor_header answer = {0};
    floor_write(fd, &answer, sizeof answer);
    if (wanted)
        floor_write(fd, room_for(wanted), wanted);
}

static void *io_main(void *context)
{
    while (floor_read_request(desk.fd, &desk.request)) {
        atomic_store(&desk.filled, true);
        await(false);
        send_answer(desk.fd, desk.request.header.wanted);
    }
    desk.request.header.size = FLOOR_OVER;
    atomic_store(&desk.filled, true);
    return context;
}

/* ---- A call ---- */

/* The next one; false when the client has gone. */
static bool take(int fd, bool by_thread, struct floor_request *request)
{
    if (!by_thread)
        return floor_read_request(fd, request);
    await(true);
    *request = desk.request;
    return request->header.size != FLOOR_OVER;
}

static void answer(int fd, bool by_thread, const struct floor_request *request)
{
    if (by_thread)
        atomic_store(&desk.filled, false);
    else
        send_answer(fd, request->header.wanted);
}

static void serve(int rank, int fd, bool by_thread)
{
    struct floor_request request;
    for (;;) {
        int mine = 0, sum = 0;
        if (rank == 0 && !take(fd, by_thread, &request))
            request.header.size = FLOOR_OVER;
        MPI_Bcast(&request, sizeof request, MPI_BYTE, 0, MPI_COMM_WORLD);
        if (request.header.size == FLOOR_OVER)
            return;
        if (request.header.size > FLOOR_PAYLOAD)
            broadcast_rest(rank, fd, request.header.size - FLOOR_PAYLOAD);
        MPI_Reduce(&mine, &sum, 1, MPI_INT, MPI_SUM, 0, MPI_COMM_WORLD);
        if (rank == 0)
            answer(fd, by_thread, &request);
    }
}

int main(int argc, char **argv)
{
    int rank, fd = -1;
    pthread_t thread;
    const bool by_thread = argc > 2;
    if (argc < 2)
        bench_die("usage: invoke SOCKET [io]");
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank == 0)
        fd = floor_accept(argv[1]);
    desk.fd = fd;
    if (by_thread && rank == 0 && pthread_create(&thread, NULL, io_main, NULL))
        bench_die("cannot make a thread");
    serve(rank, fd, by_thread);
    if (by_thread && rank == 0)
        pthread_join(thread, NULL);
    if (rank == 0)
        close(fd);
    MPI_Finalize();
    return 0;
}
