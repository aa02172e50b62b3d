/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A rank's context: the worker's view of the job. */

#ifndef RK_CORE_CONTEXT_H
#define RK_CORE_CONTEXT_H

#include <rankcall/worker.h>

#include "core/options.h"
#include "mesh/mesh.h"

struct rk_device;
struct rk_frontend;

/* What keeps the main threads of ranks on CPUs of their own: apart.c. */
struct rk_apart {
    bool wanted;
    unsigned calls;   /* since it was so */
    long switches;    /* of this thread, at the last look */
    unsigned crowded; /* looks in a row that found this CPU shared with a stranger */
};

struct rankcall_context {
    const struct rankcall_worker *worker;
    unsigned handlers; /* how many */
    const struct rk_options *options;
    struct rk_mesh *mesh;
    struct rk_device *device;         /* where this rank computes */
    struct rk_frontend *frontend;     /* rank 0 only */
    struct rankcall_device *computer; /* NULL: not opened; rankcall/device.h */
    struct rankcall_device *gpu;      /* the same where it is one */
    struct rk_apart apart;
    uint64_t running; /* number of the call whose handler runs; 0: none */
    void *state;
    char *setup_failure; /* of rankcall_fail_setup, or NULL */
    char *setup_traceback;
};

/* This rank's own error, RANKCALL_EWORKER, for sending; rank and host filled in. `traceback` may be NULL.
 * Ownership: the caller's; NULL when memory is out. */
struct rankcall_payload *rk_context_error(const struct rankcall_context *context, const char *message,
                                          const char *traceback);

/* Once this rank is where it may run, and when a call is over: apart.c. Main thread. */
void rk_apart_open(struct rankcall_context *context);
void rk_apart_look(struct rankcall_context *context);

/* Sends a message to rank 0's funnel from any rank. */
bool rk_context_send(struct rankcall_context *context, enum rk_message_kind kind, uint64_t number, uint64_t sequence,
                     struct rankcall_payload *payload);

#endif
