/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* MPI for handlers: the communicator that rankcall duplicated for them. */

#ifndef RANKCALL_MPI_H
#define RANKCALL_MPI_H

/* MPI's C++ bindings, which are gone since MPI 3, would need a library of their own. */
#ifndef OMPI_SKIP_MPICXX
#define OMPI_SKIP_MPICXX 1
#endif
#ifndef MPICH_SKIP_MPICXX
#define MPICH_SKIP_MPICXX 1
#endif
#include <mpi.h>

#include <rankcall/worker.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

/* A duplicate of MPI_COMM_WORLD for the worker's own use: rankcall never communicates on it. Rank numbers are those
 * of rankcall_rank. A handler that blocks in MPI on it because a peer failed cannot be interrupted.
 * Ownership: rankcall's; don't free it. Threads: MPI_THREAD_MULTIPLE. */
MPI_Comm rankcall_comm(const struct rankcall_context *context);
MPI_Comm rankcall_call_comm(const struct rankcall_call *call);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop
#endif
