/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The floor of replacing a rank: MPI alone. mpirun --enable-recovery -n N regroup
 *
 * Waits for a line on standard input; then the last rank ends, and the others make a group without it, start another
 * one and merge with it, so that every rank has its number. Answers with the nanoseconds of that. */

#include <inttypes.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static MPI_Comm world; /* the ranks by number */

static int64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void forgive(MPI_Comm comm)
{
    MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN);
}

static void merge(MPI_Comm others, int late, int rank)
{
    MPI_Comm merged;
    forgive(others);
    MPI_Intercomm_merge(others, late, &merged);
    forgive(merged);
    MPI_Comm_split(merged, 0, rank, &world);
    forgive(world);
}

static void replace(const char *program, int rank, int size)
{
    MPI_Group all, living;
    MPI_Comm alive, others;
    MPI_Info info;
    int dead = size - 1;
    char number[16], *arguments[] = {number, NULL};
    snprintf(number, sizeof number, "%d", dead);
    MPI_Comm_group(world, &all);
    MPI_Group_excl(all, 1, &dead, &living);
    MPI_Comm_create_group(world, living, 1, &alive);
    forgive(alive);
    MPI_Info_create(&info);
    MPI_Info_set(info, "map_by", ":OVERSUBSCRIBE");
    MPI_Comm_spawn(program, arguments, 1, info, 0, alive, &others, MPI_ERRCODES_IGNORE);
    MPI_Info_free(&info);
    merge(others, 0, rank);
}

static void serve(const char *program, int rank, int size)
{
    char line[16] = "";
    for (;;) {
        if (rank == 0 && !fgets(line, sizeof line, stdin))
            line[0] = '\0';
        MPI_Bcast(line, sizeof line, MPI_BYTE, 0, world);
        if (!line[0])
            return;
        MPI_Barrier(world);
        int64_t begun = now_ns();
        if (rank == size - 1)
            _exit(0);
        usleep(2000); /* until it is dead */
        begun = now_ns();
        replace(program, rank, size);
        MPI_Barrier(world);
        if (rank == 0) {
            printf("{\"ns\": [%" PRId64 "]}\n", now_ns() - begun);
            fflush(stdout);
        }
    }
}

int main(int argc, char **argv)
{
    int rank, size;
    MPI_Comm parent;
    MPI_Init(&argc, &argv);
    forgive(MPI_COMM_WORLD);
    forgive(MPI_COMM_SELF);
    MPI_Comm_get_parent(&parent);
    world = MPI_COMM_WORLD;
    if (parent != MPI_COMM_NULL) {
        merge(parent, 1, atoi(argv[1]));
        MPI_Barrier(world);
    }
    MPI_Comm_rank(world, &rank);
    MPI_Comm_size(world, &size);
    serve(argv[0], rank, size);
    _exit(0); /* MPI_Finalize would wait for the dead */
}
