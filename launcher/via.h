/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Reaching a job from where the user is: on this host, on another one, or not yet there. */

#ifndef RK_LAUNCHER_VIA_H
#define RK_LAUNCHER_VIA_H

#include <stdint.h>

#include "client/runner.h"

struct rk_reach {
    const char *job; /* its name or path; or NULL */
    const char *via; /* "ssh:HOST" or "srun:JOB" with a number of Slurm's, "srun:JOB+1" for a component; NULL: it is on
                        this host */
    double wait;     /* seconds for a job to be there; 0: it must be */
};

/* The options, for a command's table; `type` has a struct rk_reach named `reach`. */
#define RK_REACH_OPTIONS(type)                                                                           \
    {"job",                                                                                              \
     'j',                                                                                                \
     "JOB",                                                                                              \
     RK_OPTION_TEXT,                                                                                     \
     offsetof(type, reach.job),                                                                          \
     "the job: its name, or its socket's path\n(default: $RANKCALL_JOB, or the only job that runs)"},    \
    {                                                                                                    \
        "via", 0, "HOW", RK_OPTION_TEXT, offsetof(type, reach.via),                                      \
            "the job is on another host: ssh:HOST, or srun:N of Slurm's job N\n(default: $RANKCALL_VIA)" \
    }
#define RK_WAIT_OPTION(type)                                                                     \
    {                                                                                            \
        "wait", 0, "SECONDS", RK_OPTION_SECONDS, offsetof(type, reach.wait),                     \
            "for a job of that name to be there, also when it leaves\nbefore the call has begun" \
    }

/* As rk_runner_connect. Errors: the same; RANKCALL_EINVAL: no such way. */
int rk_reach_connect(const struct rk_reach *reach, int64_t away_until_us, struct rankcall_runner **out);

/* Rests before another try; false when the time is over, at `until_us` of rk_now_us(), or `code` is no reason for one.
 */
bool rk_reach_again(int code, int64_t until_us);

#endif
