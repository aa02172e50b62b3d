/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A client: calls the handler "empty" of a running job again and again and prints the median latency. */

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <rankcall/runner.h>

enum { WARM_UP = 200, CALLS = 5000 };

static double now_us(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec * 1e-3;
}

static int by_size(const void *left, const void *right)
{
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static int call_once(struct rankcall_runner *runner, double *us)
{
    struct rankcall_payload *result = NULL;
    const double start = now_us();
    const int code = rankcall_invoke(runner, "empty", NULL, &result);
    *us = now_us() - start;
    rankcall_payload_free(result);
    return code;
}

static int measure(struct rankcall_runner *runner, double us[CALLS])
{
    for (int i = -WARM_UP; i < CALLS; i++) {
        const int code = call_once(runner, &us[i < 0 ? 0 : i]);
        if (code)
            return code;
    }
    qsort(us, CALLS, sizeof(us[0]), by_size);
    return RANKCALL_OK;
}

int main(int argc, char **argv)
{
    static double us[CALLS];
    struct rankcall_runner *runner = NULL;

    if (argc > 2) {
        fprintf(stderr, "usage: ping [JOB]\n");
        return 2;
    }
    int code = rankcall_connect(argc > 1 ? argv[1] : NULL, &runner);
    if (!code)
        code = measure(runner, us);
    if (code)
        fprintf(stderr, "ping: %s\n", rankcall_last_error()->message);
    else
        printf("{\"calls\": %d, \"ranks\": %d, \"median_us\": %.1f, \"p99_us\": %.1f}\n", CALLS,
               rankcall_runner_world_size(runner), us[CALLS / 2], us[CALLS * 99 / 100]);
    rankcall_runner_free(runner);
    return rankcall_code_exit_status(code);
}
