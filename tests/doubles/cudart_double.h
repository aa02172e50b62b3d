/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* How a test speaks with the double of CUDA's run time, beside CUDA's own functions. */

#ifndef RK_TESTS_CUDART_DOUBLE_H
#define RK_TESTS_CUDART_DOUBLE_H

#include <stddef.h>

#define DOUBLE_DEVICES 3

/* Forgets everything: there are that many devices, and nothing is to fail. */
void double_reset(int devices);

/* The call of that name fails with a number of CUDA's when it has succeeded so many times more. From then on everything
 * fails the same where CUDA's error sticks. */
void double_fail(const char *call, int error, int after);

/* Blocks of memory and streams that have not been given back; copies that no one has waited for. */
int double_held(void);
int double_pending(void);

#endif
