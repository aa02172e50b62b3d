/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The smallest worker: greets, with every rank's name, and answers the empty call that examples/ping measures. */

#include <rankcall/worker.h>

static int hello(struct rankcall_call *call)
{
    const char *who = "world";
    if (rankcall_opt_string(rankcall_args(call), "who", &who))
        return -1;
    rankcall_emit_json(call, "{\"here\": %d}", rankcall_call_rank(call));
    struct rankcall_payload *result = rankcall_payload_new();
    rankcall_set_string(result, "hello", who);
    rankcall_set_int(result, "ranks", rankcall_call_world_size(call));
    return rankcall_result(call, result);
}

static int empty(struct rankcall_call *call)
{
    (void)call;
    return 0;
}

static const struct rankcall_handler handlers[] = {
    {"hello", hello, "greets \"who\"; each rank says that it is here"},
    {"empty", empty, "does nothing: what a call costs"},
    {0},
};

RANKCALL_WORKER(.name = "hello", .handlers = handlers)
