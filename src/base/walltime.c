/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* When the allocation ends: by the environment, or by squeue, which is asked once. */

#include "base/walltime.h"

#include <ctype.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/spawn.h"

#define US 1000000

static double real_now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* From a time since 1970 to one of rk_now_us(); one that has passed is as good as now. */
static int64_t from_real(const char *text)
{
    char *end;
    double left = text ? strtod(text, &end) - real_now_s() : NAN;
    if (!text || end == text || *end || !isfinite(left) || left > 1e9)
        return 0;
    return rk_now_us() + (left > 0 ? (int64_t)(left * US) : 0);
}

int64_t rk_walltime_parse(const char *text)
{
    int64_t days = 0, parts[3] = {0};
    int count = 0;
    char *end;
    while (*text == ' ')
        text++;
    if (strchr(text, '-')) {
        days = strtol(text, &end, 10);
        if (end == text || *end != '-')
            return -1;
        text = end + 1;
    }
    do {
        if (!isdigit((unsigned char)*text) || count == 3)
            return -1;
        parts[count++] = strtol(text, &end, 10);
        text = end + 1;
    } while (*end == ':');
    if (*end && !isspace((unsigned char)*end))
        return -1;
    int64_t seconds = 0;
    for (int i = 0; i < count; i++)
        seconds = 60 * seconds + parts[i];
    return days * 86400 + seconds;
}

static pid_t start_squeue(const char *job, int out)
{
    const char *const argv[] = {"squeue", "--noheader", "--jobs", job, "--format", "%L", NULL};
    return rk_spawn_aside(argv, out);
}

void rk_walltime_ask(struct rk_walltime_question *question)
{
    const char *job = getenv("SLURM_JOB_ID");
    int ends[2];
    *question = (struct rk_walltime_question){.fd = -1};
    question->end_us = from_real(getenv("RANKCALL_WALLTIME_END"));
    if (!question->end_us)
        question->end_us = from_real(getenv("SLURM_JOB_END_TIME"));
    if (question->end_us || !job || !*job || pipe2(ends, O_CLOEXEC | O_NONBLOCK))
        return;
    question->pid = start_squeue(job, ends[1]);
    close(ends[1]);
    question->fd = ends[0];
    if (!question->pid)
        rk_fd_close(&question->fd);
}

int64_t rk_walltime_answer(struct rk_walltime_question *question)
{
    char text[64] = "";
    int64_t left;
    if (question->fd < 0)
        return question->end_us;
    ssize_t size = read(question->fd, text, sizeof(text) - 1);
    rk_fd_close(&question->fd);
    if (size <= 0)
        kill(question->pid, SIGKILL); /* it was too slow, or has gone without a word */
    waitpid(question->pid, NULL, 0);
    text[size > 0 ? size : 0] = '\0';
    left = rk_walltime_parse(text);
    return left < 0 ? 0 : rk_now_us() + left * US;
}

int64_t rk_walltime_end_us(int64_t patience_us)
{
    struct rk_walltime_question question;
    rk_walltime_ask(&question);
    if (question.fd >= 0)
        rk_fd_wait(question.fd, POLLIN, rk_now_us() + patience_us);
    return rk_walltime_answer(&question);
}

void rk_walltime_pass_on(int64_t end_us)
{
    char text[32];
    snprintf(text, sizeof(text), "%.3f", real_now_s() + (double)(end_us - rk_now_us()) / US);
    setenv(RK_WALLTIME_VARIABLE, text, 1);
}

int64_t rk_walltime_drain_us(int64_t left_us, double wanted_s)
{
    int64_t drain = (int64_t)((wanted_s < 0 ? RK_WALLTIME_DRAIN_S : wanted_s) * US);
    return wanted_s < 0 && drain > left_us / 4 ? left_us / 4 : drain;
}

int64_t rk_walltime_reserve_us(int64_t drain_us)
{
    const int64_t reserve = INT64_C(1) * RK_WALLTIME_RESERVE_S * US;
    return drain_us / 2 < reserve ? drain_us / 2 : reserve;
}
