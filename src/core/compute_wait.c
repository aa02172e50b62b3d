/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Waiting for a GPU, and what ends such a wait early.
 *
 * A GPU rings no doorbell, so who waits looks, for a while without a pause and then with short naps. */

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/compute.h"

#define LOOK_US     200     /* before the first nap */
#define NAP_US      20      /* the first; then longer each time ... */
#define NAP_US_MAX  500     /* ... up to this */
#define NCCL_US     1000    /* between two looks at NCCL's errors */
#define SIGN_US     1000000 /* between two signs of life */
#define PATIENCE_US 1000000 /* after an error of NCCL's: for what caused it to become known, a death mostly */

struct waiting {
    struct rankcall_device *device;
    int64_t begun_us, nccl_us, sign_us;
    int64_t nap_us;
};

static void nap(struct waiting *waiting, int64_t now)
{
    if (now - waiting->begun_us < LOOK_US) {
        sched_yield();
        return;
    }
    waiting->nap_us = waiting->nap_us ? waiting->nap_us * 5 / 4 : NAP_US;
    if (waiting->nap_us > NAP_US_MAX)
        waiting->nap_us = NAP_US_MAX;
    nanosleep(&(struct timespec){.tv_nsec = waiting->nap_us * 1000}, NULL);
}

/* A rank whose peer has died may hear it from NCCL first. */
static int wait_for_the_cause(struct rankcall_device *device, const char *what)
{
    int64_t until = rk_now_us() + PATIENCE_US;
    int code = RANKCALL_OK;
    while (!(code = rk_mesh_heed(device->context->mesh, what)) && rk_now_us() < until)
        nanosleep(&(struct timespec){.tv_nsec = NAP_US_MAX * 1000}, NULL);
    return code;
}

static int end_badly(struct rankcall_device *device, enum rk_cuda_end end, const char *what, const char *text)
{
    int code = end == RK_CUDA_NCCL ? wait_for_the_cause(device, what) : RANKCALL_OK;
    if (end != RK_CUDA_LOST) /* else this process ends, and NCCL would wait for the GPU */
        rk_compute_forget(device);
    return code ? code : rk_compute_fail(device, end, what, text);
}

/* Between two looks: why the wait is to be left, or RANKCALL_OK. */
static int between(struct waiting *waiting, const char *what, int64_t now)
{
    struct rankcall_device *device = waiting->device;
    char text[RK_CUDA_TEXT] = "";
    int code = device->context->running ? rk_mesh_heed(device->context->mesh, what) : RANKCALL_OK;
    if (code) {
        rk_compute_forget(device);
        return code;
    }
    if (device->nccl && now - waiting->nccl_us >= NCCL_US) {
        waiting->nccl_us = now;
        enum rk_cuda_end end = device->module->nccl_look(device->nccl, text);
        if (end && end != RK_CUDA_BUSY)
            return end_badly(device, end, what, text);
    }
    if (now - waiting->sign_us >= SIGN_US) {
        waiting->sign_us = now;
        rk_mesh_step(device->context->mesh);
    }
    return RANKCALL_OK;
}

int rk_compute_poll(struct rankcall_device *device, enum rk_cuda_end (*ready)(struct rankcall_device *, char *),
                    const char *what)
{
    char text[RK_CUDA_TEXT] = "";
    enum rk_cuda_end end = ready(device, text);
    if (!end)
        return RANKCALL_OK;
    struct waiting waiting = {.device = device, .begun_us = rk_now_us()};
    waiting.nccl_us = waiting.sign_us = waiting.begun_us;
    int code = RANKCALL_OK;
    if (device->context->running)
        rk_mesh_sits(device->context->mesh, true);
    while (!code && (end = ready(device, text)) == RK_CUDA_BUSY) {
        int64_t now = rk_now_us();
        code = between(&waiting, what, now);
        if (!code)
            nap(&waiting, now);
    }
    if (!code && end)
        code = end_badly(device, end, what, text);
    if (device->context->running)
        rk_mesh_sits(device->context->mesh, false);
    return code;
}

static enum rk_cuda_end is_done(struct rankcall_device *device, char *text)
{
    return device->awaited ? device->module->passed(device->cuda, device->awaited, text)
                           : device->module->look(device->cuda, text);
}

int rk_compute_wait(struct rankcall_device *device, void *mark, const char *what)
{
    device->awaited = mark;
    return rk_compute_poll(device, is_done, what);
}

/* Only to be interrupted by an end of this process, which those who wait for it see to. */
static void drain(struct rankcall_device *device)
{
    char text[RK_CUDA_TEXT] = "";
    struct waiting waiting = {.device = device, .begun_us = rk_now_us()};
    enum rk_cuda_end end;
    while ((end = device->module->look(device->cuda, text)) == RK_CUDA_BUSY)
        nap(&waiting, rk_now_us());
    if (end)
        rk_compute_fail(device, end, "what was begun before", text);
}

void rk_compute_forget(struct rankcall_device *device)
{
    device->module->nccl_leave(device->nccl);
    device->nccl = NULL;
    device->tag = 0;
    device->agreed = false;
    if (!*device->lost)
        drain(device);
}

bool rk_compute_leave(struct rankcall_device *device)
{
    device->agreed = false; /* numbers of calls begin anew with another rank 0 */
    if (!*device->lost)
        rk_compute_wait(device, NULL, "the end of the handler");
    if (!*device->lost)
        return false;
    rk_error(RANKCALL_ESYSTEM, "rank %d (%s): %s", rankcall_rank(device->context), rankcall_host(device->context),
             device->lost);
    return true;
}

_Noreturn void rk_compute_die(const struct rankcall_device *device)
{
    const struct timespec linger = {.tv_nsec = (long)(RK_LOST_LINGER_S * 1e9)};
    rk_log(RK_LOG_ERROR, "rank %d (%s) ends, its GPU is lost: %s", rankcall_rank(device->context),
           rankcall_host(device->context), device->lost);
    nanosleep(&linger, NULL);
    kill(getpid(), SIGKILL); /* CUDA's own end could hang */
    abort();
}

/* ---- The public side ---- */

int rankcall_wait(struct rankcall_call *call)
{
    struct rankcall_context *context = rankcall_call_context(call);
    if (!context->gpu)
        return rk_mesh_heed(context->mesh, "rankcall_wait");
    return rk_compute_wait(context->gpu, NULL, "rankcall_wait");
}

int rankcall_device_finish(struct rankcall_device *device)
{
    char text[RK_CUDA_TEXT] = "";
    if (!device->cuda)
        return RANKCALL_OK;
    enum rk_cuda_end end = device->module->wait(device->cuda, text);
    return end ? rk_compute_fail(device, end, "rankcall_device_finish", text) : RANKCALL_OK;
}

int rankcall_event_new(struct rankcall_device *device, struct rankcall_event **out)
{
    struct rankcall_event *event = calloc(1, sizeof *event);
    if (!event)
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    event->device = device;
    *out = event;
    return RANKCALL_OK;
}

void rankcall_event_free(struct rankcall_event *event)
{
    if (event && event->mark)
        event->device->module->unmark(event->device->cuda, event->mark);
    free(event);
}

int rankcall_event_record(struct rankcall_event *event)
{
    struct rankcall_device *device = event->device;
    char text[RK_CUDA_TEXT] = "";
    enum rk_cuda_end end = device->cuda ? device->module->mark(device->cuda, &event->mark, text) : RK_CUDA_OK;
    return end ? rk_compute_fail(device, end, "rankcall_event_record", text) : RANKCALL_OK;
}

int rankcall_event_wait(struct rankcall_call *call, struct rankcall_event *event)
{
    if (!event->mark)
        return rk_mesh_heed(rankcall_call_context(call)->mesh, "rankcall_event_wait");
    return rk_compute_wait(event->device, event->mark, "rankcall_event_wait");
}

int rankcall_event_done(struct rankcall_event *event, bool *done)
{
    struct rankcall_device *device = event->device;
    char text[RK_CUDA_TEXT] = "";
    enum rk_cuda_end end = event->mark ? device->module->passed(device->cuda, event->mark, text) : RK_CUDA_OK;
    *done = end == RK_CUDA_OK;
    return end && end != RK_CUDA_BUSY ? rk_compute_fail(device, end, "rankcall_event_done", text) : RANKCALL_OK;
}
