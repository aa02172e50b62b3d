/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Deaths of ranks, as a client sees them. Commands, a line each:
 *
 *     start PROGRAM RANKS   a job, in place of the one before; answers when it is READY
 *     grow -                rank 0 takes a GB of memory
 *     kill - RANK           kills that rank while a call runs; -1: all of them. Answers with the nanoseconds from the
 *                           kill to the call's error, and to the result of the call that waited behind it */

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <rankcall/runner.h>

#include "samples.h"

#define RANKS_MAX 64

static struct rankcall_runner *runner;

static void check(int code, const char *what)
{
    if (code)
        bench_die("%s: %s", what, rankcall_last_error()->message);
}

static void start(const char *program, int ranks)
{
    const char *const line[] = {program, NULL}, *const options[] = {"--restarts", "100000", NULL};
    const struct rankcall_start_options start = {
        .ranks = ranks, .program = line, .run_options = options, .quiet = true};
    rankcall_runner_free(runner);
    check(rankcall_start(&start, &runner), "start");
    bench_print_samples(NULL, 0);
}

/* The ranks' processes, of the status' "ranks". */
static int list_pids(int pids[RANKS_MAX])
{
    struct rankcall_payload *status;
    int count = 0;
    check(rankcall_status(runner, &status), "status");
    const char *at = strstr(rankcall_payload_json(status, NULL), "\"ranks\"");
    while (at && count < RANKS_MAX && (at = strstr(at, "\"pid\":")))
        pids[count++] = atoi(at += strlen("\"pid\":"));
    rankcall_payload_free(status);
    return count;
}

static struct rankcall_pending *submit(const char *handler, bool streaming)
{
    const struct rankcall_call_options options = {.handler = handler, .streaming = streaming};
    struct rankcall_pending *pending;
    check(rankcall_submit(runner, &options, NULL, &pending), handler);
    return pending;
}

static void kill_some(int rank)
{
    int pids[RANKS_MAX], count = list_pids(pids), code;
    struct rankcall_item item;
    struct rankcall_pending *running = submit("wait", true), *waiting = submit("empty", false);
    check(rankcall_next(running, -1, &item), "wait"); /* its event: it runs */
    rankcall_payload_free(item.payload);
    uint64_t begun = bench_now();
    for (int i = 0; i < count; i++)
        if (rank < 0 || i == rank)
            kill(pids[i], SIGKILL);
    if ((code = rankcall_next(running, -1, &item)) != RANKCALL_ERANKDIED)
        check(code ? code : RANKCALL_EINTERNAL, "the call of a rank that died");
    uint64_t failed = bench_now();
    check(rankcall_next(waiting, -1, &item), "the next call");
    bench_print_samples((const uint64_t[]){failed - begun, bench_now() - begun}, 2);
    rankcall_payload_free(item.payload);
    rankcall_pending_free(running);
    rankcall_pending_free(waiting);
}

static void grow(void)
{
    struct rankcall_item item;
    struct rankcall_pending *growing = submit("grow", false);
    check(rankcall_next(growing, -1, &item), "grow");
    rankcall_payload_free(item.payload);
    rankcall_pending_free(growing);
    bench_print_samples(NULL, 0);
}

int main(void)
{
    struct bench_command command;
    while (bench_command(&command))
        if (!strcmp(command.word, "start"))
            start(command.name, (int)command.numbers[0]);
        else if (!strcmp(command.word, "grow"))
            grow();
        else if (!strcmp(command.word, "kill"))
            kill_some((int)command.numbers[0]);
        else
            bench_die("unknown command \"%s\"", command.word);
    rankcall_runner_free(runner);
    return 0;
}
