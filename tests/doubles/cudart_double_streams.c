/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The double of CUDA's run time: streams, events, copies. */

#include "cudart_double_inside.h"

#include <stdlib.h>
#include <string.h>

/* ---- Streams ---- */

static _Thread_local struct CUstream_st *serving;

bool double_stream_ends(void)
{
    return serving && serving->ending;
}

/* With the lock, which is given up while the work runs. */
static void run_first(struct CUstream_st *stream)
{
    struct work *work = stream->first;
    stream->first = work->next;
    if (!stream->first)
        stream->end = &stream->first;
    pthread_mutex_unlock(&double_now.lock);
    work->run(work->context);
    free(work);
    pthread_mutex_lock(&double_now.lock);
    stream->waiting--;
    pthread_cond_broadcast(&double_now.changed);
}

static void *serve(void *context)
{
    struct CUstream_st *stream = serving = context;
    pthread_mutex_lock(&double_now.lock);
    while (!stream->ending)
        if (stream->first && !double_now.hangs)
            run_first(stream);
        else
            pthread_cond_wait(&double_now.changed, &double_now.lock);
    pthread_mutex_unlock(&double_now.lock);
    return NULL;
}

/* With the lock: until all is done. */
static void finish(struct CUstream_st *stream)
{
    while (stream->waiting)
        if (stream->threaded)
            pthread_cond_wait(&double_now.changed, &double_now.lock);
        else
            run_first(stream);
}

bool double_enqueue(struct CUstream_st *stream, void (*run)(void *), void *context)
{
    struct work *work = malloc(sizeof *work);
    if (!work)
        return false;
    *work = (struct work){.run = run, .context = context};
    pthread_mutex_lock(&double_now.lock);
    *stream->end = work;
    stream->end = &work->next;
    stream->waiting++;
    pthread_cond_broadcast(&double_now.changed);
    pthread_mutex_unlock(&double_now.lock);
    return true;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    cudaError_t error =
        double_end("cudaStreamCreateWithFlags", flags == cudaStreamNonBlocking ? cudaSuccess : cudaErrorInvalidValue);
    struct CUstream_st *made = error ? NULL : calloc(1, sizeof *made);
    if (error)
        return error;
    made->end = &made->first;
    made->threaded = !double_now.lazy && !pthread_create(&made->thread, NULL, serve, made);
    pthread_mutex_lock(&double_now.lock);
    made->next = double_now.all;
    double_now.all = made;
    double_now.streams++;
    pthread_mutex_unlock(&double_now.lock);
    *stream = made;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    pthread_mutex_lock(&double_now.lock);
    if (!stream->threaded)
        finish(stream);
    stream->ending = true;
    pthread_cond_broadcast(&double_now.changed);
    for (struct CUstream_st **link = &double_now.all; *link; link = &(*link)->next)
        if (*link == stream) {
            *link = stream->next;
            double_now.streams--;
            break;
        }
    pthread_mutex_unlock(&double_now.lock);
    if (stream->threaded)
        pthread_join(stream->thread, NULL);
    while (stream->first) {
        struct work *work = stream->first;
        stream->first = work->next;
        free(work);
    }
    free(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    cudaError_t error = double_end("cudaStreamSynchronize", stream ? cudaSuccess : cudaErrorInvalidValue);
    pthread_mutex_lock(&double_now.lock);
    if (stream && (!error || !stream->threaded))
        finish(stream);
    pthread_mutex_unlock(&double_now.lock);
    return error;
}

/* Lazy streams do one piece of work for each look, so that somebody who looks on sees an end. */
static bool is_done(struct CUstream_st *stream, const int *pending)
{
    pthread_mutex_lock(&double_now.lock);
    bool done = !*pending;
    if (!done && stream && !stream->threaded && stream->first)
        run_first(stream);
    pthread_mutex_unlock(&double_now.lock);
    return done;
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    cudaError_t error = double_end("cudaStreamQuery", cudaSuccess);
    return error ? error : is_done(stream, &stream->waiting) ? cudaSuccess : cudaErrorNotReady;
}

/* ---- Events ---- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    cudaError_t error =
        double_end("cudaEventCreateWithFlags", flags == cudaEventDisableTiming ? cudaSuccess : cudaErrorInvalidValue);
    if (error)
        return error;
    *event = calloc(1, sizeof **event);
    pthread_mutex_lock(&double_now.lock);
    double_now.events++;
    pthread_mutex_unlock(&double_now.lock);
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    pthread_mutex_lock(&double_now.lock);
    double_now.events--;
    bool pending = event->pending;
    pthread_mutex_unlock(&double_now.lock);
    if (!pending) /* else it is lost: its stream still has it */
        free(event);
    return cudaSuccess;
}

static void pass(void *context)
{
    struct CUevent_st *event = context;
    pthread_mutex_lock(&double_now.lock);
    event->pending--;
    pthread_mutex_unlock(&double_now.lock);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    cudaError_t error = double_end("cudaEventRecord", event && stream ? cudaSuccess : cudaErrorInvalidValue);
    if (error)
        return error;
    pthread_mutex_lock(&double_now.lock);
    event->pending++;
    pthread_mutex_unlock(&double_now.lock);
    return double_enqueue(stream, pass, event) ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    cudaError_t error = double_end("cudaEventQuery", event ? cudaSuccess : cudaErrorInvalidValue);
    return error ? error : is_done(double_now.all, &event->pending) ? cudaSuccess : cudaErrorNotReady;
}

/* ---- Copies ---- */

struct copy {
    void *to;
    const void *from;
    size_t size;
};

static void run_copy(void *context)
{
    struct copy *copy = context;
    memmove(copy->to, copy->from, copy->size);
    free(copy);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t size, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    void *real_to = to ? double_real(to, size) : NULL;
    const void *real_from = from ? double_real(from, size) : NULL;
    bool good = real_to && real_from && stream && kind == cudaMemcpyDefault;
    cudaError_t error = double_end("cudaMemcpyAsync", good ? cudaSuccess : cudaErrorInvalidValue);
    struct copy *copy = error ? NULL : malloc(sizeof *copy);
    if (error)
        return error;
    *copy = (struct copy){real_to, real_from, size};
    return double_enqueue(stream, run_copy, copy) ? cudaSuccess : cudaErrorMemoryAllocation;
}
