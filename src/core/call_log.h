/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The log of calls. No locks: the IO thread's. */

#ifndef RK_CORE_CALL_LOG_H
#define RK_CORE_CALL_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "wire/frame.h"

#define RK_CALL_LOG_BATCH 64 /* calls noted at most before their lines are written */

/* What a line says. */
struct rk_call_record {
    struct rk_result_head timing; /* slowest_rank -1: what the ranks measured is not known */
    uint64_t number;              /* in the order in which calls ran; 0: it never did */
    uint64_t bytes;               /* of the payload */
    uint64_t leaving_us;          /* from the client's outcome until all ranks were back */
    int64_t over_us;              /* when it was over, by rk_now_us() */
    const char *handler;
    pid_t pid;            /* the client's */
    int code;             /* enum rankcall_code */
    bool streaming, gone; /* gone: the client closed its connection */
};

struct rk_call_log;

/* Appends to a file, "-": standard error. Errors: RANKCALL_ESYSTEM. */
int rk_call_log_open(const char *path, struct rk_call_log **out);
void rk_call_log_close(struct rk_call_log *log); /* writes what is noted; takes NULL */

/* Notes a call. */
void rk_call_log_add(struct rk_call_log *log, const struct rk_call_record *record);

/* Whether so many are noted that they should be written soon. */
bool rk_call_log_full(const struct rk_call_log *log);

/* Writes all that are noted, with one write(2). */
void rk_call_log_write(struct rk_call_log *log);

#endif
