/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* How a test speaks with the double of CUDA's run time, beside CUDA's own functions. */

#ifndef RK_TESTS_CUDART_DOUBLE_H
#define RK_TESTS_CUDART_DOUBLE_H

#include <stdbool.h>
#include <stddef.h>

#define DOUBLE_DEVICES 3

/* Forgets everything: there are that many devices, and nothing is to fail. From now on streams do their work when
 * somebody waits, so that who does not is found out; before, each has a thread, as in a job. */
void double_reset(int devices);

/* The call of that name fails with a number of CUDA's when it has succeeded so many times more. From then on everything
 * fails the same where CUDA's error sticks. */
void double_fail(const char *call, int error, int after);

/* Streams stand still, as behind a kernel that does not end, or go on. */
void double_hang(bool hangs);

/* Blocks of memory, events and streams that have not been given back; bytes of the device's memory; work that no one
 * has waited for. */
int double_held(void);
size_t double_bytes(void);
int double_pending(void);

/* Where the bytes of memory really are: nobody but the double can touch the device's under its own address. NULL: that
 * many bytes are not there. */
void *double_real(const void *memory, size_t size);

/* Work of a stream's. `work` may be long, and must then look at double_stream_ends(). */
struct CUstream_st;
bool double_enqueue(struct CUstream_st *stream, void (*work)(void *), void *context);
bool double_stream_ends(void);

#endif
