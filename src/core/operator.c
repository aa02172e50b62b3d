/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Calls that an operator cancels, by their numbers in the job. */

#include "base/error.h"
#include "core/inside.h"

static struct rk_job_call *find_serial(const struct rk_frontend *frontend, uint64_t serial)
{
    if (frontend->running && frontend->running->serial == serial)
        return frontend->running;
    struct rk_queue_node *node = rk_queue_oldest(&frontend->queue);
    while (node && rk_call_of_node(node)->serial != serial)
        node = rk_queue_behind(&frontend->queue, node);
    return node ? rk_call_of_node(node) : NULL;
}

static void cancel_for(const struct rk_client *by, struct rk_job_call *call)
{
    rk_error(RANKCALL_ECANCELLED, "an operator cancelled the call (process %d, %s)", (int)by->pid,
             *by->name ? by->name : "of no name");
    rk_call_cancel_it(by->frontend, call);
}

int rk_calls_cancel(struct rk_client *by, uint64_t serial, uint64_t *count)
{
    struct rk_frontend *frontend = by->frontend;
    struct rk_queue_node *node;
    struct rk_job_call *call = serial ? find_serial(frontend, serial) : frontend->running;
    *count = 0;
    if (serial && !call)
        return rk_error(RANKCALL_EINVAL, "no call %llu runs or waits", (unsigned long long)serial);
    if (serial && (call->ended || call->cancelled))
        return rk_error(RANKCALL_EINVAL, "call %llu has ended already; not all ranks are back from it",
                        (unsigned long long)serial);
    while (!serial && (node = rk_queue_oldest(&frontend->queue))) {
        cancel_for(by, rk_call_of_node(node));
        ++*count;
    }
    if (call && !call->ended && !call->cancelled) {
        cancel_for(by, call);
        ++*count;
    }
    return RANKCALL_OK;
}
