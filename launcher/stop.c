/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* rankcall stop: ends a job in order. */

#include <stdio.h>

#include <rankcall/runner.h>

#include "base/fd.h"
#include "client/runner.h"
#include "launcher/commands.h"
#include "launcher/describe.h"
#include "launcher/say.h"
#include "launcher/via.h"

#define DEFAULT_DRAIN 30.0
#define LOOK_US       2000000 /* for what runs, before the stop */

struct values {
    struct rk_reach reach;
    double drain;
    bool now;
};

/* Says what the stop will wait for, when there is something. */
static void say_running(struct rankcall_runner *runner, double drain)
{
    struct rankcall_payload *status;
    char text[320];
    if (drain <= 0 || rk_runner_status_by(runner, rk_now_us() + LOOK_US, &status))
        return;
    rk_describe_running(status, text, sizeof(text));
    if (rankcall_has(status, "running"))
        rk_say("waiting up to %.3g s for the running call (%s)", drain, text);
    rankcall_payload_free(status);
}

/* A job without a rank 0 has not told its name. */
static const char *name_of(const struct rankcall_runner *runner, const char *job)
{
    const char *name = rankcall_runner_job_name(runner);
    return name[0] ? name : job ? job : "the job";
}

static int stop(const struct values *values)
{
    struct rankcall_runner *runner;
    double drain = values->now ? 0 : values->drain;
    int code = rk_reach_connect(&values->reach, 0, &runner);
    if (!code) {
        if (rk_runner_greeted(runner))
            say_running(runner, drain);
        code = rankcall_stop(runner, drain);
    }
    if (!code)
        rk_say("%s has stopped", name_of(runner, values->reach.job));
    int status = code ? rk_say_error() : 0;
    rankcall_runner_free(runner);
    return status;
}

static int run(int argc, char **argv)
{
    struct values values = {.drain = DEFAULT_DRAIN};
    int status, at = rk_options_parse(&rk_command_stop, argc, argv, &values, &status);
    if (at >= 0 && argv[at] && !values.reach.job)
        values.reach.job = argv[at];
    return at < 0 ? status : stop(&values);
}

static const struct rk_option options[] = {
    RK_REACH_OPTIONS(struct values),
    {"drain", 'd', "SECONDS", RK_OPTION_SECONDS, offsetof(struct values, drain),
     "how long the running call may take before it is\ncancelled (default: 30)"},
    {"now", 0, NULL, RK_OPTION_FLAG, offsetof(struct values, now), "cancels the running call at once: --drain 0"},
    {0},
};

const struct rk_command rk_command_stop = {
    .name = "stop",
    .usage = "[OPTION…] [JOB]",
    .help = "Stops a job and waits until it is gone: teardown runs on every rank.\n\n"
            "New calls are refused, queued ones get \"shutting_down\", the running one may finish\n"
            "within the drain time.",
    .options = options,
    .max_arguments = 1,
    .run = run,
};
