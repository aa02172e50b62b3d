/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* How many ranks a job has, and what starts them. */

#include "launcher/launch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "launcher/program.h"
#include "launcher/say.h"

#define LIST_MAX 1024 /* of what srun prints */

/* Why there are so many ranks. */
static const char *settle_ranks(const struct rk_allocation *allocation, struct rk_run_values *values)
{
    int nodes = allocation->nodes ? allocation->nodes : 1;
    int slots = allocation->tasks ? allocation->tasks : nodes;
    const char *why = "-n";
    if (!values->ranks && allocation->tasks) {
        values->ranks = allocation->tasks;
        why = "one a task";
    } else if (!values->ranks && allocation->gpus) {
        values->ranks = allocation->gpus * nodes;
        values->ranks_per_node = allocation->gpus;
        why = "one a GPU";
    } else if (!values->ranks) {
        values->ranks = nodes;
        why = "one a node, as neither tasks nor GPUs were asked for";
    }
    values->crowded = values->ranks > slots;
    return why;
}

/* What srun offers to MPI programs, on one line. False when there is no srun, or it doesn't say. */
static bool ask_srun(char list[LIST_MAX])
{
    FILE *pipe = popen("srun --mpi=list 2>&1", "re");
    size_t size = pipe ? fread(list, 1, LIST_MAX - 1, pipe) : 0;
    list[size] = '\0';
    return pipe && pclose(pipe) == 0 && size;
}

/* The names in srun's list, with commas. */
static void list_plugins(const char *list, char names[LIST_MAX])
{
    char copy[LIST_MAX];
    snprintf(copy, sizeof(copy), "%s", list);
    names[0] = '\0';
    for (char *word, *rest = copy; (word = strsep(&rest, "\n\t "));) {
        size_t size = strlen(names);
        if (*word && word[strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0')
            snprintf(names + size, LIST_MAX - size, "%s%s", size ? ", " : "", word);
        else if (*word && strstr(word, "..."))
            names[0] = '\0'; /* a heading */
        else if (*word && strchr(word, ':'))
            names[0] = '\0';
        if (strstr(word, "specific"))
            break;
    }
}

static int check_srun(const struct rk_allocation *allocation)
{
    char list[LIST_MAX], names[LIST_MAX];
    if (allocation->scheduler != RK_SLURM)
        return rk_error(RANKCALL_ELAUNCH, "--launch srun needs an allocation of Slurm's: this is no Slurm job");
    if (!ask_srun(list))
        return rk_error(RANKCALL_ELAUNCH, "there is no srun here that answers `srun --mpi=list`");
    if (strstr(list, "pmix"))
        return RANKCALL_OK;
    list_plugins(list, names);
    return rk_error(RANKCALL_ELAUNCH,
                    "srun cannot start the ranks: this Slurm lacks its plugin mpi/pmix (it has %s); build Slurm with "
                    "PMIx or install mpi_pmix.so, or use --launch mpirun",
                    names[0] ? names : "none");
}

/* mpirun starts its daemons on other nodes through srun. */
static int check_mpirun(const struct rk_allocation *allocation)
{
    char path[PATH_MAX];
    int line, code = rk_program_mpirun(path, &line);
    if (!code && allocation->scheduler == RK_SLURM && allocation->nodes > 1 && !rk_program_on_path("srun"))
        return rk_error(RANKCALL_ELAUNCH, "mpirun needs srun to reach the other nodes, and there is none on PATH");
    return code;
}

static const char *settle_method(const struct rk_allocation *allocation, struct rk_run_values *values, int *code)
{
    const char *wanted = values->launch ? values->launch : "auto";
    values->method = strcmp(wanted, "srun") ? RK_MPIRUN : RK_SRUN;
    if (strcmp(wanted, "auto") && strcmp(wanted, "mpirun") && strcmp(wanted, "srun")) {
        *code = rk_error(RANKCALL_EINVAL, "--launch is \"%s\", but takes auto, mpirun or srun", wanted);
        return "";
    }
    *code = values->method == RK_SRUN ? check_srun(allocation) : check_mpirun(allocation);
    if (!*code && values->method == RK_SRUN)
        return "as --launch says; srun can't replace a rank that dies: then the whole job is started again";
    if (!*code)
        return strcmp(wanted, "auto") ? "as --launch says" : "srun: --launch srun";
    if (strcmp(wanted, "auto") || allocation->scheduler != RK_SLURM)
        return "";
    char missing[512];
    snprintf(missing, sizeof(missing), "%s", rankcall_last_error()->message);
    if (check_srun(allocation)) {
        char both[1200];
        snprintf(both, sizeof(both), "%s; nor does srun do: %s", missing, rankcall_last_error()->message);
        *code = rk_error(RANKCALL_ELAUNCH, "%s", both);
        return "";
    }
    *code = RANKCALL_OK;
    values->method = RK_SRUN;
    return "as there is no mpirun; srun can't replace a rank that dies: then the whole job is started again";
}

int rk_launch_choose(const struct rk_allocation *allocation, struct rk_run_values *values)
{
    int code;
    if (allocation->scheduler == RK_NO_SCHEDULER && !values->launch) {
        values->ranks = values->ranks ? values->ranks : 1;
        return RANKCALL_OK;
    }
    const char *count = settle_ranks(allocation, values);
    const char *method = settle_method(allocation, values, &code);
    if (code || allocation->scheduler == RK_NO_SCHEDULER)
        return code;
    if (allocation->scheduler == RK_SLURM)
        rk_launch_settle_steps(allocation, values);
    rk_say("%s job %s%s%s: %d rank%s (%s), started by %s (%s)", allocation->name, allocation->job,
           allocation->hosts[0] ? " on " : "", allocation->hosts, values->ranks, values->ranks == 1 ? "" : "s", count,
           values->method == RK_SRUN ? "srun --mpi=pmix" : "mpirun", method);
    return RANKCALL_OK;
}
