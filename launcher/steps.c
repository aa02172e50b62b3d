/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Slurm's variables, as the steps below this process are to find them. What was asked for the whole job is taken by
 * srun for each step, and mpirun starts its daemons on the other nodes by an srun of its own, whose complaints nobody
 * sees. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "launcher/launch.h"

#define GPUS     "SLURM_GPUS"
#define PER_GPU  "SLURM_NTASKS_PER_GPU"
#define GPUS_MAX 1000000

static long elsewhere; /* GPUs of the other nodes, before any was lost */

static long number_of(const char *text)
{
    long number = text ? strtol(text, NULL, 10) : 0;
    return number > 0 && number < GPUS_MAX ? number : 0;
}

/* "4" or "a100:4"; of several types nothing is known. The kind is what is before the number. */
static long read_gpus(const char *text, size_t *kind)
{
    const char *colon = text ? strrchr(text, ':') : NULL;
    *kind = colon ? (size_t)(colon + 1 - text) : 0;
    return text && !strchr(text, ',') ? number_of(text + *kind) : 0;
}

static void set_gpus(const char *text, size_t kind, long gpus)
{
    char *changed = NULL;
    if (asprintf(&changed, "%.*s%ld", (int)kind, text, gpus) < 0)
        return;
    setenv(GPUS, changed, 1);
    free(changed);
}

/* mpirun's daemons are on all nodes but this one: theirs are the GPUs of those. */
static void leave_own_gpus(void)
{
    size_t kind;
    const char *text = getenv(GPUS);
    long gpus = read_gpus(text, &kind), own = number_of(getenv("SLURM_GPUS_ON_NODE"));
    elsewhere = gpus > own ? gpus - own : 0;
    if (gpus && gpus >= own)
        set_gpus(text, kind, gpus - own);
}

/* --ntasks-per-gpu says how many GPUs the job has; srun does not take it together with what mpirun says. */
static void count_gpus(const struct rk_allocation *allocation)
{
    long tasks = number_of(getenv(PER_GPU));
    if (tasks && !getenv(GPUS))
        set_gpus("", 0, (allocation->tasks + tasks - 1) / tasks);
    unsetenv(PER_GPU);
}

void rk_launch_settle_steps(const struct rk_allocation *allocation, const struct rk_run_values *values)
{
    const char *export = getenv("SLURM_EXPORT_ENV");
    if (export && !strcmp(export, "NONE")) /* sbatch --export=NONE: the ranks are to have what the script has */
        setenv("SLURM_EXPORT_ENV", "ALL", 1);
    if (!getenv("SLURM_EXCLUSIVE")) /* another of the allocation's steps may hold the CPUs */
        setenv("SLURM_OVERLAP", "1", 1);
    if (values->method != RK_MPIRUN)
        return;
    count_gpus(allocation);
    leave_own_gpus();
}

void rk_launch_lose_nodes(int nodes, int left)
{
    size_t kind;
    const char *text = getenv(GPUS);
    if (elsewhere && read_gpus(text, &kind) && nodes > 1 && left > 0 && left < nodes)
        set_gpus(text, kind, elsewhere * (left - 1) / (nodes - 1));
}

void rk_launch_settle_one_step(const struct rk_allocation *allocation)
{
    size_t kind;
    count_gpus(allocation);
    const char *text = getenv(GPUS);
    long gpus = read_gpus(text, &kind);
    if (gpus && allocation->nodes)
        set_gpus(text, kind, gpus / allocation->nodes);
}

int rk_launch_check_step(void)
{
    const char *tasks = getenv("SLURM_STEP_NUM_TASKS"), *step = getenv("SLURM_STEP_ID");
    if (!step || number_of(tasks) <= 1)
        return RANKCALL_OK;
    return rk_error(
        RANKCALL_ELAUNCH,
        "this is one of %s tasks of a step of Slurm's, and `rankcall run` starts all ranks by itself: run it "
        "once, in the batch script without srun (or by srun -N1 -n1)",
        tasks);
}
