/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Whether the mpirun that has started this process belongs to the MPI of the build. The two lines of Open MPI
 * understand each other well enough to begin, but not to replace a rank. */

#include <stdbool.h>
#include <stdlib.h>

#include "base/error.h"
#include "mesh/internal.h"

/* 4 or 5; 0: started by something else, or by one from within the other. */
static int line_of_mpirun(void)
{
    bool four = getenv("OMPI_MCA_orte_launch") != NULL, five = getenv("PRTE_LAUNCHED") != NULL;
    return four == five ? 0 : five ? 5 : 4;
}

int rk_mpirun_check_line(void)
{
    int mpirun = line_of_mpirun();
    if (!mpirun || (OMPI_MAJOR_VERSION >= 5) == (mpirun >= 5))
        return RANKCALL_OK;
    return rk_error(RANKCALL_ELAUNCH,
                    "rankcall was built with Open MPI %d, but an mpirun of Open MPI %d has started this program: take "
                    "the one beside that mpicc (with `rankcall run`: RANKCALL_MPIRUN)",
                    OMPI_MAJOR_VERSION, mpirun);
}

int rk_mpirun_check_size(int size)
{
    const char *started = getenv("OMPI_COMM_WORLD_SIZE");
    if (!started || atoi(started) <= 0 || atoi(started) == size)
        return RANKCALL_OK;
    return rk_error(RANKCALL_ELAUNCH,
                    "mpirun has started %s processes, but this program's MPI knows of %d: is it of the "
                    "same MPI?",
                    started, size);
}
