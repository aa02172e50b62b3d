/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The cases of runner_api: each takes the job's name, or the worker program for those that start jobs. */

#ifndef RUNNER_CASES_H
#define RUNNER_CASES_H

struct runner_case {
    const char *name;
    void (*run)(const char *argument);
};

extern const struct runner_case runner_call_cases[]; /* runner_calls.c; ended by a NULL name */
extern const struct runner_case runner_loop_cases[]; /* runner_loops.c */
extern const struct runner_case runner_job_cases[];  /* runner_jobs.c */

#endif
