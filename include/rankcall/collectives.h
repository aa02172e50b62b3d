/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Collectives for handlers that can be interrupted: a rank that sits in one comes back when the call is cancelled, its
 * time is over, its client is gone, or a handler has failed on another rank. (A rank that is blocked in MPI on
 * rankcall_comm does not.)
 *
 *     double sum;
 *     if (rankcall_all_reduce(call, &mine, &sum, 1, RANKCALL_FLOAT64, RANKCALL_SUM))
 *         return -1;
 *
 * What holds for all of them:
 *
 * Every rank calls the same collectives in the same order, with the same root, size, count, type and operation.
 * Sizes are in bytes, counts in elements; both may be 0, and then nothing is waited for except in a barrier. Pointers
 * to 0 bytes may be NULL. Memory is the host's. Returns RANKCALL_OK, or why the call is to be left:
 * RANKCALL_ECANCELLED, RANKCALL_ETIMEOUT, RANKCALL_EWORKER (a handler failed on another rank), RANKCALL_ERANKDIED,
 * RANKCALL_EWEDGED (others have returned long ago, or never will), RANKCALL_EINVAL (an argument is wrong, or the ranks
 * are not in the same collective). After an interrupt every further collective of the call fails at once with the same
 * code; the handler should clean up and return, 0 or a failure as it likes. Results are then undefined. Of a collective
 * that ends while the call is interrupted some ranks may see success; they see the code at the next one, so that must
 * not be one of MPI's own: there they would wait for ever for those that have left. Nothing reads
 * or writes the buffers after the return, whatever it was. Collective: all ranks of the job. Threads: the handler's,
 * one collective of a rank at a time. Blocking: as its meaning asks; a rank may leave before others have come. */

#ifndef RANKCALL_COLLECTIVES_H
#define RANKCALL_COLLECTIVES_H

#include <stddef.h>
#include <stdint.h>

#include <rankcall/error.h>
#include <rankcall/payload.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

struct rankcall_call;

/* Integers wrap around. The smaller or larger of a number and a NaN is either. */
enum rankcall_op {
    RANKCALL_SUM = 0,
    RANKCALL_PRODUCT = 1,
    RANKCALL_MIN = 2,
    RANKCALL_MAX = 3,
};

/* Nobody returns before all have come. */
int rankcall_barrier(struct rankcall_call *call);

/* The root's `size` bytes to all. */
int rankcall_broadcast(struct rankcall_call *call, void *buffer, size_t size, int root);

/* `size` bytes of each rank to the root, which gets them in the order of ranks: world size times `size` bytes at
 * `receive`, which only the root needs. In place: at the root `send` may be its own part of `receive`. */
int rankcall_gather(struct rankcall_call *call, const void *send, size_t size, void *receive, int root);

/* The same with parts of different sizes. The root alone gives `sizes` and `offsets`, by rank, in bytes: rank r's
 * `size` must be sizes[r] there, and goes to `receive` plus offsets[r]. In place as above. */
int rankcall_gatherv(struct rankcall_call *call, const void *send, size_t size, void *receive, const size_t *sizes,
                     const size_t *offsets, int root);

/* `size` bytes of each rank to all. In place: `send` may be the rank's own part of `receive`. */
int rankcall_all_gather(struct rankcall_call *call, const void *send, size_t size, void *receive);

/* `size` bytes to each rank from the root, which has world size times as many at `send`; only the root needs `send`.
 * In place: at the root `receive` may be its own part of `send`. */
int rankcall_scatter(struct rankcall_call *call, const void *send, void *receive, size_t size, int root);

/* Reduces `count` elements of all ranks, element by element, to the root; only the root needs `receive`. In place:
 * `send` may be `receive`. Integers of 8 to 64 bits, RANKCALL_FLOAT32 and RANKCALL_FLOAT64. Elements are combined in
 * the order of ranks, ((0 op 1) op 2) and so on, so every run gives the same bits. Both are aligned to the type. */
int rankcall_reduce(struct rankcall_call *call, const void *send, void *receive, size_t count, enum rankcall_dtype type,
                    enum rankcall_op op, int root);

/* The same to all: all ranks get the same bits. */
int rankcall_all_reduce(struct rankcall_call *call, const void *send, void *receive, size_t count,
                        enum rankcall_dtype type, enum rankcall_op op);

/* Says what this rank is doing ("epoch 3"), for those who ask where a call hangs. The last one counts, its first 63
 * bytes are kept; a call begins without. Cheap, and not collective. Threads: the handler's, one at a time. */
void rankcall_mark(struct rankcall_call *call, const char *format, ...) RANKCALL_PRINTF(2, 3);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop
#endif
