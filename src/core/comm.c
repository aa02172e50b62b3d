/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The worker's communicator (rankcall/mpi.h). */

#include <rankcall/mpi.h>

#include "core/context.h"
#include "mesh/comm.h"

MPI_Comm rankcall_comm(const struct rankcall_context *context)
{
    return rk_mesh_user_comm(context->mesh);
}

MPI_Comm rankcall_call_comm(const struct rankcall_call *call)
{
    return rankcall_comm(rankcall_call_context(call));
}
