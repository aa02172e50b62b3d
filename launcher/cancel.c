/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* rankcall cancel: ends a call, whoever's it is. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/fd.h"
#include "client/runner.h"
#include "launcher/commands.h"
#include "launcher/say.h"
#include "launcher/via.h"

#define ANSWER_US 10000000

struct values {
    struct rk_reach reach;
    bool all;
    uint64_t call;
};

static int cancel(const struct values *values)
{
    struct rankcall_runner *runner;
    int64_t count = 0;
    int code = rk_reach_connect(&values->reach, 0, &runner);
    if (!code)
        code = rk_runner_cancel_by(runner, values->call, rk_now_us() + ANSWER_US, &count);
    int status = code ? rk_say_error() : 0;
    if (!code && values->all)
        rk_say("cancelled %lld call%s", (long long)count, count == 1 ? "" : "s");
    else if (!code)
        rk_say("cancelled call %llu", (unsigned long long)values->call);
    rankcall_runner_free(runner);
    return status;
}

static bool read_call(const char *text, uint64_t *call)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    *call = number;
    return !errno && *text >= '0' && *text <= '9' && !*end && number;
}

/* [JOB] CALL, or [JOB] with --all. */
static int check(struct values *values, char **argv)
{
    int count = 0, calls = values->all ? 0 : 1;
    while (argv[count])
        count++;
    if (count < calls)
        return rk_error(RANKCALL_EINVAL,
                        "cancel: which call? `rankcall status` shows their numbers; --all is all of them");
    if (count > calls + 1 || (count > calls && values->reach.job))
        return rk_error(RANKCALL_EINVAL, "cancel: too many arguments: rankcall cancel %s", rk_command_cancel.usage);
    if (count > calls)
        values->reach.job = argv[0];
    if (calls && !read_call(argv[count - 1], &values->call))
        return rk_error(RANKCALL_EINVAL, "cancel: \"%s\" is no call's number", argv[count - 1]);
    return RANKCALL_OK;
}

static int run(int argc, char **argv)
{
    struct values values = {0};
    int status, at = rk_options_parse(&rk_command_cancel, argc, argv, &values, &status);
    if (at < 0)
        return status;
    return check(&values, argv + at) ? rk_say_error() : cancel(&values);
}

static const struct rk_option options[] = {
    RK_REACH_OPTIONS(struct values),
    {"all", 0, NULL, RK_OPTION_FLAG, offsetof(struct values, all), "the running call and all that wait"},
    {0},
};

const struct rk_command rk_command_cancel = {
    .name = "cancel",
    .usage = "[OPTION…] [JOB] CALL | --all",
    .help = "Cancels a call, whichever client's it is.\n\n"
            "CALL is the job's number of the call, as `rankcall status` shows it. Its client gets\n"
            "\"cancelled\"; ranks that run it leave at their next checkpoint or collective.",
    .options = options,
    .max_arguments = 2,
    .run = run,
};
