/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A call from the command line: what invoke and stream have in common. */

#ifndef RK_LAUNCHER_CALL_H
#define RK_LAUNCHER_CALL_H

#include <stdbool.h>

#include <rankcall/runner.h>

#include "launcher/options.h"
#include "launcher/save.h"
#include "launcher/via.h"

struct rk_call_values {
    struct rk_reach reach;
    const char *handler, *folder;
    struct rk_list attachments;
    double timeout, streaming_timeout, duration;
    bool json, timing, idempotent;
};

/* The options of both, for their tables; the values are a struct rk_call_values. */
#define RK_CALL_OPTIONS                                                                                             \
    RK_REACH_OPTIONS(struct rk_call_values), RK_WAIT_OPTION(struct rk_call_values),                                 \
        {"handler",                                                                                                 \
         'H',                                                                                                       \
         "NAME",                                                                                                    \
         RK_OPTION_TEXT,                                                                                            \
         offsetof(struct rk_call_values, handler),                                                                  \
         "which handler runs (default: the worker's first)"},                                                       \
        {"attach",                                                                                                  \
         'a',                                                                                                       \
         "NAME=FILE",                                                                                               \
         RK_OPTION_LIST,                                                                                            \
         offsetof(struct rk_call_values, attachments),                                                              \
         "attaches a file (-: standard input): PNG, JPEG and\n.npy are told by their first bytes; NAME:TYPE=FILE\n" \
         "forces bytes, png, jpeg or npy; may be repeated"},                                                        \
        {"output",                                                                                                  \
         'o',                                                                                                       \
         "FOLDER",                                                                                                  \
         RK_OPTION_TEXT,                                                                                            \
         offsetof(struct rk_call_values, folder),                                                                   \
         "writes attachments that come back into FOLDER"},                                                          \
        {"timeout",                                                                                                 \
         't',                                                                                                       \
         "SECONDS",                                                                                                 \
         RK_OPTION_SECONDS,                                                                                         \
         offsetof(struct rk_call_values, timeout),                                                                  \
         "for the whole call, queueing included"},                                                                  \
        {"streaming-timeout", 0, "SECONDS", RK_OPTION_SECONDS, offsetof(struct rk_call_values, streaming_timeout),  \
         "between two events"},                                                                                     \
        {"duration",                                                                                                \
         0,                                                                                                         \
         "SECONDS",                                                                                                 \
         RK_OPTION_SECONDS,                                                                                         \
         offsetof(struct rk_call_values, duration),                                                                 \
         "that the call takes at most: refused at once where a batch\njob ends before"},                            \
        {"timing",                                                                                                  \
         0,                                                                                                         \
         NULL,                                                                                                      \
         RK_OPTION_FLAG,                                                                                            \
         offsetof(struct rk_call_values, timing),                                                                   \
         "tells where the time went: queue, broadcast, handlers,\nreply; with --json as JSON"},                     \
    {                                                                                                               \
        "idempotent", 0, NULL, RK_OPTION_FLAG, offsetof(struct rk_call_values, idempotent),                         \
            "the call may run again when a rank dies: 3 times at most"                                              \
    }

struct rk_call_view {
    void *context;
    bool streaming;
    int (*event)(void *context, const struct rankcall_item *item); /* NULL: none are asked for */
    /* Both return a code. `timing` is NULL unless it is asked for and known. */
    int (*result)(void *context, const struct rankcall_payload *result, const struct rankcall_timing *timing);
    void (*failed)(void *context); /* the thread's last error is why; may be NULL */
    void (*idle)(void *context);   /* nothing more has come; may be NULL */
};

/* Calls with the JSON argument `json` (may be NULL) and tells the view what comes. Ctrl-C cancels the call, a second
 * one leaves at once. Returns the exit status. */
int rk_call(const struct rk_call_values *values, const char *json, const struct rk_call_view *view);

#endif
