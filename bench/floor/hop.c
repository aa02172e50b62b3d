/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* One message of a tree: rank 0 and rank 1 send 256 bytes back and forth, looking all the time.
 *
 *     mpirun -n 2 hop
 *     hop - COUNT     -> {"ns": [...]}: one way, of each of COUNT round trips */

#include <mpi.h>
#include <stdlib.h>

#include "../samples.h"

#define BYTES 256

static char bytes[BYTES];

static void receive(int from)
{
    MPI_Recv(bytes, BYTES, MPI_BYTE, from, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
}

static void send(int to)
{
    MPI_Send(bytes, BYTES, MPI_BYTE, to, 0, MPI_COMM_WORLD);
}

static void go(long long count)
{
    uint64_t *ns = bench_samples((size_t)count);
    for (long long i = 0; i < count; i++) {
        uint64_t begun = bench_now();
        send(1);
        receive(1);
        ns[i] = (bench_now() - begun) / 2;
    }
    bench_print_samples(ns, (size_t)count);
    free(ns);
}

int main(int argc, char **argv)
{
    struct bench_command command;
    int rank;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank == 0) {
        while (bench_command(&command))
            go(command.numbers[0]);
        bytes[0] = 'e';
        send(1);
    } else {
        for (receive(0); bytes[0] != 'e'; receive(0))
            send(0);
    }
    MPI_Finalize();
    return 0;
}
