/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* rankcall status: all that a job says of itself. */

#include <stdio.h>

#include <rankcall/runner.h>

#include "client/runner.h"
#include "launcher/commands.h"
#include "launcher/describe.h"
#include "launcher/json_print.h"
#include "launcher/say.h"
#include "launcher/via.h"

struct values {
    struct rk_reach reach;
    bool json;
};

static void print_handlers(const struct rankcall_payload *status)
{
    char key[64];
    for (int i = 0;; i++) {
        snprintf(key, sizeof(key), "/handlers/%d", i);
        if (!rankcall_has(status, key))
            return;
        snprintf(key, sizeof(key), "/handlers/%d/name", i);
        printf("%-13s%s", i ? "" : "handlers", rk_describe_text(status, key));
        snprintf(key, sizeof(key), "/handlers/%d/help", i);
        const char *help = "";
        rankcall_opt_string(status, key, &help);
        printf("%s%s\n", help[0] ? ": " : "", help);
    }
}

/* Of a batch job whose end is known. */
static void print_walltime(const struct rankcall_payload *status)
{
    char left[32], drain[32];
    double left_s, drain_s;
    if (rankcall_get_double(status, "/walltime/left", &left_s) ||
        rankcall_get_double(status, "/walltime/drain", &drain_s))
        return;
    rk_describe_time(left_s, left, sizeof(left));
    rk_describe_time(drain_s, drain, sizeof(drain));
    printf("time left    %s of the allocation; in the last %s no call begins\n", left, drain);
}

static void print_status(const struct rankcall_payload *status)
{
    char text[320];
    double uptime = 0;
    rankcall_opt_double(status, "uptime", &uptime);
    printf("job          %s\n", rk_describe_text(status, "job"));
    printf("state        %s\n", rk_describe_text(status, "state"));
    printf("worker       %s, rankcall %s\n", rk_describe_text(status, "worker"), rk_describe_text(status, "version"));
    printf("socket       %s\n", rk_describe_text(status, "socket"));
    printf("host, pid    %s, %lld\n", rk_describe_text(status, "host"), (long long)rk_describe_int(status, "pid"));
    rk_describe_time(uptime, text, sizeof(text));
    printf("up           %s\n", text);
    print_walltime(status);
    printf("connections  %lld\n", (long long)rk_describe_int(status, "connections"));
    printf("queue        %lld of %lld\n", (long long)rk_describe_int(status, "/queue/length"),
           (long long)rk_describe_int(status, "/queue/capacity"));
    rk_describe_running(status, text, sizeof(text));
    printf("running      %s\n", text);
    rk_describe_calls(status, stdout, "  ");
    printf("calls        %lld completed, %lld failed, %lld cancelled, %lld refused\n",
           (long long)rk_describe_int(status, "/calls/completed"), (long long)rk_describe_int(status, "/calls/failed"),
           (long long)rk_describe_int(status, "/calls/cancelled"),
           (long long)rk_describe_int(status, "/calls/refused"));
    print_handlers(status);
    printf("ranks        %lld\n", (long long)rk_describe_int(status, "world_size"));
    rk_describe_ranks(status, true, stdout, "  ");
}

/* There is no rank 0 now: what its launcher knows. */
static void print_restart(const struct rankcall_payload *status)
{
    char text[64];
    double since = 0;
    rankcall_opt_double(status, "/restart/since", &since);
    rk_describe_time(since, text, sizeof(text));
    printf("job          %s\n", rk_describe_text(status, "job"));
    printf("state        %s, for %s\n", rk_describe_text(status, "state"), text);
    printf("because      %s\n", rk_describe_text(status, "/restart/reason"));
    printf("deaths       %lld within this hour, %lld are made good\n",
           (long long)rk_describe_int(status, "/restart/deaths"),
           (long long)rk_describe_int(status, "/restart/allowed"));
    printf("socket       %s\n", rk_describe_text(status, "socket"));
    printf("host, pid    %s, %lld (launcher)\n", rk_describe_text(status, "host"),
           (long long)rk_describe_int(status, "pid"));
    printf("ranks        %lld\n", (long long)rk_describe_int(status, "world_size"));
}

static int show(const struct values *values)
{
    struct rankcall_runner *runner;
    struct rankcall_payload *status = NULL;
    int code = rk_reach_connect(&values->reach, 0, &runner);
    if (!code)
        code = rankcall_status(runner, &status);
    if (!code && values->json) {
        size_t size;
        const char *json = rankcall_payload_json(status, &size);
        rk_json_print_line(stdout, json, size);
        putchar('\n');
    } else if (!code && rankcall_has(status, "restart")) {
        print_restart(status);
    } else if (!code) {
        print_status(status);
    }
    int result = code ? rk_say_error() : 0;
    rankcall_payload_free(status);
    rankcall_runner_free(runner);
    return rk_finish_stdout(result);
}

static int run(int argc, char **argv)
{
    struct values values = {0};
    int status, at = rk_options_parse(&rk_command_status, argc, argv, &values, &status);
    if (at >= 0 && argv[at] && !values.reach.job)
        values.reach.job = argv[at];
    return at < 0 ? status : show(&values);
}

static const struct rk_option options[] = {
    RK_REACH_OPTIONS(struct values),
    RK_WAIT_OPTION(struct values),
    {"json", 0, NULL, RK_OPTION_FLAG, offsetof(struct values, json), "one JSON line, as the job sent it"},
    {0},
};

const struct rk_command rk_command_status = {
    .name = "status",
    .usage = "[OPTION…] [JOB]",
    .help = "Shows all that a job says of itself: state, queue, calls, handlers, ranks.",
    .options = options,
    .max_arguments = 1,
    .run = run,
};
