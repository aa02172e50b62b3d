/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The worker's own communicator, for the one file of the runtime that hands it out. */

#ifndef RK_MESH_COMM_H
#define RK_MESH_COMM_H

#include <mpi.h>

#include "mesh/mesh.h"

MPI_Comm rk_mesh_user_comm(const struct rk_mesh *mesh);

#endif
