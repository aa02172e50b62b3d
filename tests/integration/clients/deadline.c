/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A call that must end by its timeout: prints how many microseconds after the deadline its caller had the error.
 *
 *     deadline JOB HANDLER JSON TIMEOUT STREAMING_TIMEOUT     seconds; 0: without */

#include <time.h>

#include "check.h"

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    struct rankcall_runner *runner;
    struct rankcall_pending *pending;
    struct rankcall_item item;
    if (argc != 6)
        return fprintf(stderr, "usage: deadline JOB HANDLER JSON TIMEOUT STREAMING_TIMEOUT\n"), 2;
    struct rankcall_call_options options = {
        .handler = argv[2], .timeout = atof(argv[4]), .streaming_timeout = atof(argv[5])};
    options.streaming = options.streaming_timeout > 0;
    OK(rankcall_connect(argv[1], &runner));
    double deadline = now() + (options.streaming ? options.streaming_timeout : options.timeout);
    OK(rankcall_submit(runner, &options, json_payload(argv[3]), &pending));
    CODE(rankcall_next(pending, 60, &item), RANKCALL_ETIMEOUT);
    printf("%.0f\n", (now() - deadline) * 1e6);
    rankcall_pending_free(pending);
    rankcall_runner_free(runner);
    return 0;
}
