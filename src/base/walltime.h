/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* When the allocation ends that a batch scheduler has given this process. */

#ifndef RK_BASE_WALLTIME_H
#define RK_BASE_WALLTIME_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The end in seconds since 1970, for processes below: who finds it there asks nobody. */
#define RK_WALLTIME_VARIABLE "RANKCALL_WALLTIME_END"

#define RK_WALLTIME_DRAIN_S   60 /* before the end no further call begins */
#define RK_WALLTIME_RESERVE_S 10 /* of these are for teardown: the running call ends before */

struct rk_walltime_question {
    pid_t pid;
    int fd;         /* to be waited for; -1: nobody was asked */
    int64_t end_us; /* of rk_now_us(), where the environment says so; 0 */
};

/* Looks into the environment, and asks Slurm where that does not say. Never blocks. */
void rk_walltime_ask(struct rk_walltime_question *question);

/* What Slurm answers, when fd is readable; closes it. The end by rk_now_us(); 0: there is none, or nobody knows. */
int64_t rk_walltime_answer(struct rk_walltime_question *question);

/* Asks and waits for the answer, for a limited time. */
int64_t rk_walltime_end_us(int64_t patience_us);

/* Tells processes below. */
void rk_walltime_pass_on(int64_t end_us);

/* Seconds of Slurm's "1-02:03:04", "02:03:04", "03:04" or "04"; negative: no such text, as UNLIMITED. */
int64_t rk_walltime_parse(const char *text);

/* How much of the end is for ending, in all and for teardown: less where there is little. `wanted_s` negative: the
 * default. */
int64_t rk_walltime_drain_us(int64_t left_us, double wanted_s);
int64_t rk_walltime_reserve_us(int64_t drain_us);

#endif
