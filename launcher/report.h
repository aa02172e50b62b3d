/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* How `rankcall run` tells of a job's start and end: to people, to scripts (--json), and to the process that started it
 * through the runner library. */

#ifndef RK_LAUNCHER_REPORT_H
#define RK_LAUNCHER_REPORT_H

#include <rankcall/payload.h>

#include "launcher/plan.h"
#include "launcher/relay.h"

struct rk_report {
    const struct rk_run_values *values;
    const struct rk_plan *plan;
    struct rk_relay *relay;
    int supervisor; /* descriptor of the process that started this one; -1 */
};

/* All ranks are READY: `status` is the job's. */
void rk_report_ready(const struct rk_report *report, const struct rankcall_payload *status, double seconds);

/* The job could not be started, or died: `error` says why. `last`: the last lines of its output, or "". */
void rk_report_failure(const struct rk_report *report, const struct rankcall_error *error, const char *last,
                       bool was_ready);

/* The job ended in order. */
void rk_report_end(const struct rk_report *report);

#endif
