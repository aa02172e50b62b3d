/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The device on which a rank computes: its GPU, or where the job has none the host. A handler is written once for both:
 *
 *     struct rankcall_device *device;
 *     struct rankcall_attachment image;
 *     float *sums;
 *     if (rankcall_device_open(rankcall_call_context(call), &device) ||
 *         rankcall_attachment_to_device(call, "image", RANKCALL_FLOAT32, &image) ||
 *         rankcall_device_alloc(device, size, (void **)&sums))
 *         return -1;
 *     compute(image.data, sums, rankcall_device_stream(device));
 *     if (rankcall_all_reduce(call, sums, sums, count, RANKCALL_FLOAT32, RANKCALL_SUM) || rankcall_wait(call))
 *         return -1;
 *
 * On a GPU everything goes in one stream, the rank's: copies, kernels that the handler starts there, and collectives
 * whose memory is on the device. They begin when what was begun before is done, and the functions that begin them do
 * not wait; rankcall_wait and rankcall_event_wait do. On the host everything is done when the function returns.
 *
 * All ranks of a job compute on GPUs, or none: where a rank has none, or this rankcall was built without CUDA, all use
 * the host. Ranks that share a GPU each have a stream of their own on it.
 *
 * Errors name the rank, its host, the GPU's UUID, the call and what CUDA or NCCL says. After one from which a GPU does
 * not recover (an illegal address, a GPU that has fallen off the bus) the call fails with it and the rank ends; it is
 * replaced like any rank that dies. Every function that returns int returns RANKCALL_OK (0) or a code. Threads: the
 * handler's, one function at a time. */

#ifndef RANKCALL_DEVICE_H
#define RANKCALL_DEVICE_H

#include <stdbool.h>
#include <stddef.h>

#include <rankcall/error.h>
#include <rankcall/payload.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

struct rankcall_call;
struct rankcall_context;
struct rankcall_device;
struct rankcall_event;

enum rankcall_device_type {
    RANKCALL_HOST = 0,
    RANKCALL_CUDA = 1,
};

/* The rank's device, which is opened when this is called first: with a GPU that takes a while and some of its memory,
 * so it is best done in setup. Errors: RANKCALL_ESYSTEM: the GPU cannot be used. Ownership: the context's. */
int rankcall_device_open(struct rankcall_context *context, struct rankcall_device **out);

enum rankcall_device_type rankcall_device_kind(const struct rankcall_device *device);

/* CUDA's number of the GPU in this process, for cudaSetDevice, which was called; -1 on the host. */
int rankcall_device_index(const struct rankcall_device *device);

/* The stream: a cudaStream_t (see rankcall/cuda.h); NULL on the host. */
void *rankcall_device_stream(const struct rankcall_device *device);

/* Memory on the device, aligned to 64 bytes at least; it holds anything. Stays until it is freed, also beyond the call.
 * Free takes NULL and waits until the stream is done. Errors: RANKCALL_ESYSTEM. */
int rankcall_device_alloc(struct rankcall_device *device, size_t size, void **out);
int rankcall_device_free(struct rankcall_device *device, void *memory);

/* The host's memory that a GPU copies to and from at full speed, without keeping the caller. The same otherwise. */
int rankcall_pinned_alloc(struct rankcall_device *device, size_t size, void **out);
int rankcall_pinned_free(struct rankcall_device *device, void *memory);

/* Begins to copy between any two kinds of memory. Both must stay as they are until it is done. */
int rankcall_device_copy(struct rankcall_device *device, void *to, const void *from, size_t size);

/* ---- Waiting ---- */

/* Waits until the stream is done. Returns, as collectives do, why the call is to be left, when that is so: what was
 * under way on the GPU, collectives included, has then come to an end, and results are undefined. A handler that
 * returns without it waits, too. Blocking. */
int rankcall_wait(struct rankcall_call *call);

/* The same without a call, in setup, regroup and teardown; nothing interrupts it. */
int rankcall_device_finish(struct rankcall_device *device);

/* A mark in the stream. Recording, which may be done again, puts it behind all that was begun before; to wait for it
 * does not wait for what was begun after. One that was never recorded is done. Free takes NULL. */
int rankcall_event_new(struct rankcall_device *device, struct rankcall_event **out);
void rankcall_event_free(struct rankcall_event *event);
int rankcall_event_record(struct rankcall_event *event);
int rankcall_event_wait(struct rankcall_call *call, struct rankcall_event *event);

/* Whether it is done. Does not wait. */
int rankcall_event_done(struct rankcall_event *event, bool *done);

/* What any rank begins in its stream after this is done after what all ranks have begun before it. Collective, does not
 * wait on GPUs; on the host it is rankcall_barrier. */
int rankcall_device_barrier(struct rankcall_call *call);

/* ---- Payloads ---- */

/* An ndarray of the call's payload in device memory: *out is its description, whose `data` is on the device and the
 * caller's, to be freed by rankcall_device_free. Begins the copy. dtype: RANKCALL_DTYPE_NONE takes any.
 * Errors: as rankcall_attachment_of, rankcall_device_alloc. */
int rankcall_attachment_to_device(struct rankcall_call *call, const char *name, int dtype,
                                  struct rankcall_attachment *out);

/* Attaches a copy of what `attachment->data` on the device will hold when the stream has come there, and waits for
 * that. Errors: as rankcall_wait, rankcall_attach. */
int rankcall_attach_from_device(struct rankcall_call *call, struct rankcall_payload *payload,
                                const struct rankcall_attachment *attachment);

/* ---- CUDA's own functions ---- */

/* Tells of an error (a cudaError_t) that one of them gave in `what`, as this library tells of its own: RANKCALL_OK for
 * 0, else RANKCALL_ESYSTEM; a rank whose GPU does not recover ends after the call. RANKCALL_EINVAL on the host. */
int rankcall_device_error(struct rankcall_device *device, int error, const char *what);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop
#endif
