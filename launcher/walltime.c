/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The end of a batch job's time, as the launcher sees it. */

#include "launcher/walltime.h"

#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/walltime.h"
#include "launcher/say.h"

#define PATIENCE_US 2000000 /* for Slurm's answer, before rank 0 asks itself */
#define SLACK_US    1000000 /* rank 0's clock may be ahead of this one's */

extern char **environ;

void rk_limit_learn(struct rk_limit *limit, const struct rk_run_values *values)
{
    int64_t end_us = rk_walltime_end_us(PATIENCE_US);
    limit->job = getenv("SLURM_JOB_ID");
    limit->requeue = values->requeue;
    if (values->requeue && !limit->job)
        rk_say("--requeue has no effect: this is no Slurm job");
    if (!end_us)
        return;
    limit->drain_us = end_us - rk_walltime_drain_us(end_us - rk_now_us(), values->walltime_drain);
    rk_walltime_pass_on(end_us);
}

bool rk_limit_warn(struct rk_limit *limit, int rank0)
{
    if (!limit->job)
        return false;
    limit->warned = true;
    rk_say("Slurm warns of the job's end");
    if (rank0 > 0)
        kill(rank0, SIGUSR1);
    return true;
}

void rk_limit_requeue(const struct rk_limit *limit, bool interrupted)
{
    char *const argv[] = {"scontrol", "requeue", (char *)limit->job, NULL};
    bool over = limit->warned || (limit->drain_us && rk_now_us() + SLACK_US >= limit->drain_us);
    pid_t pid;
    int status = -1;
    if (!limit->requeue || !limit->job || !over || interrupted)
        return;
    rk_say("job %s goes back into Slurm's queue", limit->job);
    if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) || waitpid(pid, &status, 0) != pid || status)
        rk_say("scontrol has not taken it: was it submitted by sbatch, with --requeue allowed?");
}
