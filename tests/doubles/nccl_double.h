/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* How a test speaks with the double of NCCL, beside NCCL's own functions.
 *
 * RANKCALL_DOUBLE_NCCL_VERSION in the environment is its version, as 22809, or of one rank, as 1:22703. */

#ifndef RK_TESTS_NCCL_DOUBLE_H
#define RK_TESTS_NCCL_DOUBLE_H

#include <stdbool.h>

/* The call of that name fails with a result of NCCL's when it has succeeded so many times more. "async": an error comes
 * while nobody calls. */
void nccl_double_fail(const char *call, int result, int after);

/* Collectives do not end on this rank until the communicator is aborted. */
void nccl_double_hang(bool hangs);

/* Communicators that were made in this process, those that are left, and aborts. */
int nccl_double_made(void);
int nccl_double_open(void);

#endif
