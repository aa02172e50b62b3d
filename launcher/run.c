/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* rankcall run: starts a job and stays with it. */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fd.h"
#include "launcher/commands.h"
#include "launcher/launch.h"
#include "launcher/plan.h"
#include "launcher/report.h"
#include "launcher/say.h"
#include "launcher/supervise.h"

#define START_TIMEOUT 1800.0

static void say_plan(const struct rk_plan *plan)
{
    char *text = rk_plan_text(plan);
    if (text)
        rk_say("%s", text);
    free(text);
}

/* Nothing was started: says why, also to the process that waits for it. */
static int refuse(const struct rk_run_values *values, const struct rk_plan *plan)
{
    struct rankcall_error *error = rk_error_clone(rankcall_last_error());
    struct rk_relay relay;
    rk_relay_open(&relay);
    const struct rk_report report = {values, plan, &relay, values->supervisor_fd ? values->supervisor_fd : -1};
    int status = rankcall_code_exit_status(error ? error->code : RANKCALL_EINTERNAL);
    if (error)
        rk_report_failure(&report, error, "", false);
    rk_relay_close(&relay);
    rk_error_free(error);
    return status;
}

static int start(struct rk_run_values *values)
{
    struct rk_plan plan;
    int status;
    if (values->supervisor_fd)
        fcntl(values->supervisor_fd, F_SETFD, FD_CLOEXEC);
    if (rk_plan_make(values, &plan)) {
        status = refuse(values, &plan);
    } else {
        if (values->verbose)
            say_plan(&plan);
        status = rk_supervise(values, &plan);
    }
    rk_plan_free(&plan);
    return status;
}

static int refuse_early(const struct rk_run_values *values)
{
    const struct rk_plan none = {0};
    return refuse(values, &none);
}

/* In what a scheduler has given, or without one. */
static int launch(struct rk_run_values *values, char **argv)
{
    struct rk_allocation allocation;
    values->arrived = rk_launch_arrive();
    if (rk_launch_check_step())
        return refuse_early(values);
    if (!values->arrived && values->het_group >= 0 && rk_launch_component(values->het_group))
        return refuse_early(values);
    rk_allocation_read(&allocation);
    if (rk_launch_elsewhere(&allocation))
        return rk_launch_there(&allocation, values, argv);
    return rk_launch_choose(&allocation, values) ? refuse_early(values) : start(values);
}

static int run(int argc, char **argv)
{
    struct rk_run_values values = {.timeout = START_TIMEOUT,
                                   .restarts = RK_RESTARTS_DEFAULT,
                                   .grace = -1,
                                   .client_stall = -1,
                                   .het_group = -1,
                                   .walltime_drain = -1};
    int status, at = rk_options_parse(&rk_command_run, argc, argv, &values, &status);
    if (at >= 0) {
        values.program = argv + at;
        status = launch(&values, argv);
    }
    free(values.launcher_arguments.items);
    return status;
}

static const struct rk_option options[] = {
    {"ranks", 'n', "N", RK_OPTION_COUNT, offsetof(struct rk_run_values, ranks),
     "how many ranks (default: in a batch job one a task, or one a\nGPU; else 1)"},
    {"launch", 0, "METHOD", RK_OPTION_TEXT, offsetof(struct rk_run_values, launch),
     "what starts the ranks: mpirun; srun, in a Slurm job; auto\n(default): mpirun where there is one"},
    {"het-group", 0, "N", RK_OPTION_NUMBER, offsetof(struct rk_run_values, het_group),
     "which component of a heterogeneous Slurm job the ranks run in"},
    {"name", 0, "NAME", RK_OPTION_TEXT, offsetof(struct rk_run_values, name),
     "the job's name (default: the program's)"},
    {"socket", 0, "PATH", RK_OPTION_TEXT, offsetof(struct rk_run_values, socket),
     "listen at PATH instead of under a name"},
    {"setup", 0, "JSON", RK_OPTION_TEXT, offsetof(struct rk_run_values, setup),
     "arguments of every rank's setup: a JSON object, @FILE,\nor - for standard input (default: {})"},
    {"queue", 0, "N", RK_OPTION_COUNT, offsetof(struct rk_run_values, queue),
     "calls that may wait; further ones are answered \"busy\""},
    {"payload-cap", 0, "SIZE", RK_OPTION_SIZE, offsetof(struct rk_run_values, payload_cap),
     "the largest payload, result or event (default: 1G)"},
    {"client-stall", 0, "SECONDS", RK_OPTION_SECONDS, offsetof(struct rk_run_values, client_stall),
     "how long calls wait for a client that does not read what it\ngot (default: 60); 0: for ever"},
    {"call-log", 0, "FILE", RK_OPTION_TEXT, offsetof(struct rk_run_values, call_log),
     "append a line a call to FILE (-: standard error):\noutcome, sizes, and times in microseconds"},
    {"restarts", 0, "N", RK_OPTION_NUMBER, offsetof(struct rk_run_values, restarts),
     "how often in an hour ranks that died are replaced (default: 10);\n0: a rank's death ends the job"},
    {"on-node-loss", 0, "MODE", RK_OPTION_TEXT, offsetof(struct rk_run_values, on_node_loss),
     "when a node does not answer any more and the others have no\n"
     "places for all ranks: fail, end (default); shrink, start again\n"
     "with as many ranks as there are places"},
    {"grace", 0, "SECONDS", RK_OPTION_SECONDS, offsetof(struct rk_run_values, grace),
     "for ranks to come back from a call that has ended, or that others\nhave returned from, before they are killed "
     "(default: 30;\n0: no limit)"},
    {"walltime-drain", 0, "SECONDS", RK_OPTION_SECONDS, offsetof(struct rk_run_values, walltime_drain),
     "before the end of a batch job, in which no further call begins\n(default: 60, or a quarter of what there is)"},
    {"requeue", 0, NULL, RK_OPTION_FLAG, offsetof(struct rk_run_values, requeue),
     "at the end of its time the Slurm job goes back into the queue"},
    {"bind", 0, "POLICY", RK_OPTION_TEXT, offsetof(struct rk_run_values, bind),
     "where ranks run: auto, on cores of their own next to their GPUs\n(default); numa, on those of a NUMA node; none, "
     "wherever "
     "the\nsystem puts them"},
    {"gpus", 0, "LIST", RK_OPTION_TEXT, offsetof(struct rk_run_values, gpus),
     "the GPUs of each node that ranks may use: numbers, UUIDs or PCI\naddresses; none; all (default)"},
    {"launcher-arg", 0, "ARG", RK_OPTION_LIST, offsetof(struct rk_run_values, launcher_arguments),
     "a further argument for mpirun or srun; may be repeated"},
    {"timeout", 't', "SECONDS", RK_OPTION_SECONDS, offsetof(struct rk_run_values, timeout),
     "how long until every rank must be READY (default: 1800)"},
    {"debug", 0, NULL, RK_OPTION_FLAG, offsetof(struct rk_run_values, debug), "debug lines of every rank"},
    {"json", 0, NULL, RK_OPTION_FLAG, offsetof(struct rk_run_values, json),
     "when READY, the job's status as one JSON line on standard\noutput; ranks' output goes to standard error"},
    {"verbose", 'v', NULL, RK_OPTION_FLAG, offsetof(struct rk_run_values, verbose), "shows the mpirun line"},
    {"supervisor-fd", 0, "N", RK_OPTION_COUNT, offsetof(struct rk_run_values, supervisor_fd), NULL},
    {0},
};

const struct rk_command rk_command_run = {
    .name = "run",
    .usage = "[OPTION…] [--] PROGRAM [ARGUMENT…]",
    .help = "Starts a job under mpirun or srun and stays with it until it ends.\n\n"
            "PROGRAM is a worker: a path, a program on PATH, or an installed example; an interpreter\n"
            "takes {} where the worker's options go (python3 -m rankcall.worker {} module:Class).\n"
            "Its ranks' output appears with their numbers. Ctrl-C or SIGTERM stops the job in order: the running\n"
            "call may finish within 10 s; a second one kills it.",
    .options = options,
    .epilogue = "Example: rankcall run -n 4 --name demo -- denoise",
    .greedy = true,
    .min_arguments = 1,
    .max_arguments = -1,
    .run = run,
};
