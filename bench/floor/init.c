/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The floor of starting a job: MPI_Init and MPI_Finalize.
 *
 *     mpirun -n N init           says "up" and ends at once
 *     mpirun -n N init --stay    sleeps in between until it is killed: the floor of an idle job */

#include <mpi.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int rank;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (rank == 0) {
        puts("up");
        fflush(stdout);
    }
    if (argc > 1 && !strcmp(argv[1], "--stay"))
        pause();
    MPI_Finalize();
    return 0;
}
