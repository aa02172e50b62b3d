/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A job's status in words. */

#ifndef RK_LAUNCHER_DESCRIBE_H
#define RK_LAUNCHER_DESCRIBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <rankcall/payload.h>
#include <rankcall/runner.h>

/* A member of the status as text, "?" when it lacks it. Ownership: the payload's. */
const char *rk_describe_text(const struct rankcall_payload *status, const char *key);
int64_t rk_describe_int(const struct rankcall_payload *status, const char *key);

/* Seconds as "45s", "12m", "3h05m", "2d04h". */
void rk_describe_time(double seconds, char *text, size_t size);

/* What runs: "denoise for 3s, call 17", or "-". */
void rk_describe_running(const struct rankcall_payload *status, char *text, size_t size);

/* Where a call's time went, on standard error. */
void rk_describe_timing(const struct rankcall_timing *timing);

/* The table of the calls that run and wait, the first ones; nothing where there are none. */
void rk_describe_calls(const struct rankcall_payload *status, FILE *out, const char *indent);

/* The table of ranks: rank, host, pid, cpus, those of the IO thread, binding, memory, device; with `where` also what
 * each was last seen doing.
 */
void rk_describe_ranks(const struct rankcall_payload *status, bool where, FILE *out, const char *indent);

#endif
