/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* rankcall ps: the jobs of the runtime folder, all asked at once. */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fd.h"
#include "client/runner.h"
#include "launcher/commands.h"
#include "launcher/describe.h"
#include "launcher/json_print.h"
#include "launcher/ps.h"
#include "launcher/say.h"
#include "launcher/table.h"

#define ANSWER_US 2000000 /* for all jobs together */

struct values {
    bool json, slurm;
};

struct row {
    const struct rk_job_entry *job;
    struct rankcall_runner *runner;
    struct rankcall_pending *pending; /* the question, until it is answered */
    struct rankcall_payload *status;  /* NULL: `state` is all that is known */
    const char *state;
};

static void ask(struct row *row)
{
    int fd;
    int code = rk_jobs_dial(row->job->path, &fd);
    row->state = code == RANKCALL_ENOJOB ? "stale" : code == RANKCALL_EFORBIDDEN ? "forbidden" : "no answer";
    if (!code && !rk_runner_attach(fd, &row->runner))
        rk_runner_ask_status(row->runner, false, &row->pending);
}

static void collect(struct row *row)
{
    struct rankcall_item item;
    rankcall_process(row->runner);
    int code = rankcall_next(row->pending, 0, &item);
    if (code == RANKCALL_EAGAIN && rk_runner_away(row->runner))
        row->state = "restarting"; /* and the launcher is about to tell more */
    if (code == RANKCALL_EAGAIN)
        return;
    if (!code)
        row->status = item.payload;
    rankcall_pending_free(row->pending);
    row->pending = NULL;
}

/* Waits for something from any job. Returns false when no job is left to wait for, or at the deadline. */
static bool wait_for_any(struct row *rows, size_t count, struct pollfd *fds, int64_t deadline_us)
{
    size_t waiting = 0;
    int64_t left = deadline_us - rk_now_us();
    for (size_t i = 0; i < count; i++) {
        bool open = rows[i].pending != NULL;
        fds[i] = (struct pollfd){.fd = open ? rankcall_runner_fd(rows[i].runner) : -1,
                                 .events = open ? rankcall_runner_poll_events(rows[i].runner) : 0};
        waiting += open;
    }
    return waiting && left > 0 && poll(fds, count, (int)(left / 1000 + 1)) > 0;
}

static int ask_all(struct row *rows, size_t count)
{
    struct pollfd *fds = calloc(count + 1, sizeof(*fds));
    int64_t deadline = rk_now_us() + ANSWER_US;
    if (!fds)
        return rk_error(RANKCALL_EINTERNAL, "no memory for the list of jobs");
    for (size_t i = 0; i < count; i++)
        ask(&rows[i]);
    while (wait_for_any(rows, count, fds, deadline))
        for (size_t i = 0; i < count; i++)
            if (fds[i].revents)
                collect(&rows[i]);
    free(fds);
    return RANKCALL_OK;
}

static void print_table(const struct row *rows, size_t count)
{
    static const char *const titles[] = {"JOB", "STATE", "RANKS", "WORKER", "HOST", "PID", "UP", "QUEUE", "RUNNING"};
    struct rk_table table = {.columns = sizeof(titles) / sizeof(titles[0])};
    for (size_t i = 0; i < table.columns; i++)
        rk_table_add(&table, "%s", titles[i]);
    for (size_t i = 0; i < count; i++) {
        const struct rankcall_payload *status = rows[i].status;
        char up[32], running[320];
        double uptime = 0;
        rk_table_add(&table, "%s", rows[i].job->name);
        if (!status || rankcall_has(status, "restart")) {
            rk_table_add(&table, "%s", status ? rk_describe_text(status, "state") : rows[i].state);
            for (int cell = 2; cell < 9; cell++)
                rk_table_add(&table, "-");
            continue;
        }
        rankcall_opt_double(status, "uptime", &uptime);
        rk_describe_time(uptime, up, sizeof(up));
        rk_describe_running(status, running, sizeof(running));
        rk_table_add(&table, "%s", rk_describe_text(status, "state"));
        rk_table_add(&table, "%lld", (long long)rk_describe_int(status, "world_size"));
        rk_table_add(&table, "%s", rk_describe_text(status, "worker"));
        rk_table_add(&table, "%s", rk_describe_text(status, "host"));
        rk_table_add(&table, "%lld", (long long)rk_describe_int(status, "pid"));
        rk_table_add(&table, "%s", up);
        rk_table_add(&table, "%lld", (long long)rk_describe_int(status, "/queue/length"));
        rk_table_add(&table, "%s", running);
    }
    rk_table_print(&table, stdout, "");
}

static void print_json(const struct row *rows, size_t count)
{
    putchar('[');
    for (size_t i = 0; i < count; i++) {
        size_t size;
        const char *json = rows[i].status ? rankcall_payload_json(rows[i].status, &size) : NULL;
        fputs(i ? ", " : "", stdout);
        if (json) {
            rk_json_print_line(stdout, json, size);
        } else {
            printf("{\"state\": \"%s\", \"job\": \"%s\", \"socket\": ", rows[i].state, rows[i].job->name);
            rk_json_print_string(stdout, rows[i].job->path);
            putchar('}');
        }
    }
    puts("]");
}

static void say_stale(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!rows[i].status && rows[i].state[0] == 's') {
            rk_say("a stale socket is left by a job that was killed; the next job of that name replaces it");
            return;
        }
}

static int list(const struct values *values)
{
    struct rk_job_entry *jobs;
    size_t count;
    if (rk_jobs_list(&jobs, &count))
        return rk_say_error();
    struct row *rows = calloc(count + 1, sizeof(*rows));
    for (size_t i = 0; rows && i < count; i++)
        rows[i].job = &jobs[i];
    int status = rows && !ask_all(rows, count) ? 0 : rk_say_error();
    if (!status && values->json)
        print_json(rows, count);
    else if (!status)
        print_table(rows, count);
    if (!status && !values->json)
        say_stale(rows, count);
    for (size_t i = 0; rows && i < count; i++) {
        rankcall_payload_free(rows[i].status);
        rankcall_runner_free(rows[i].runner);
    }
    free(rows);
    free(jobs);
    return rk_finish_stdout(status);
}

static int run(int argc, char **argv)
{
    struct values values = {0};
    int status, at = rk_options_parse(&rk_command_ps, argc, argv, &values, &status);
    if (at >= 0 && values.slurm)
        return rk_finish_stdout(rk_ps_slurm(values.json));
    return at < 0 ? status : list(&values);
}

static const struct rk_option options[] = {
    {"json", 0, NULL, RK_OPTION_FLAG, offsetof(struct values, json),
     "one JSON line: an array of what `status --json` prints;\nof jobs that do not answer: state, job, socket"},
    {"slurm", 0, NULL, RK_OPTION_FLAG, offsetof(struct values, slurm),
     "this user's jobs in Slurm instead, on any host: what squeue\nsays; `--via srun:N` of the other commands reaches "
     "them"},
    {0},
};

const struct rk_command rk_command_ps = {
    .name = "ps",
    .usage = "[OPTION…]",
    .help = "Lists the jobs of this user on this host, those that were started with a name.\n\n"
            "Their sockets lie in $RANKCALL_RUNTIME_DIR, or /tmp/rankcall-UID. A socket where nobody\n"
            "listens any more is shown as stale.",
    .options = options,
    .run = run,
};
