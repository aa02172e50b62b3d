/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Streams one burst and checks every byte: receive JOB SEED COUNT SIZE ATTACH RANK,RANK,… [PAUSE-AT]
 *
 * After PAUSE-AT events it prints "paused" and reads nothing from the job until a line comes on standard input. At the
 * end it prints the number of events and the seconds that they took. */

#include <time.h>

#include "burst.h"
#include "check.h"

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static struct burst read_burst(char **argv)
{
    struct burst burst =
        burst_of((uint32_t)strtoul(argv[2], NULL, 10), strtoull(argv[3], NULL, 10), strtoul(argv[4], NULL, 10), 0);
    burst.attach = strtoul(argv[5], NULL, 10);
    for (char *rank = strtok(argv[6], ","); rank; rank = strtok(NULL, ","))
        burst.emits[atoi(rank)] = true;
    return burst;
}

static void pause_here(void)
{
    char line[16];
    puts("paused");
    fflush(stdout);
    CHECK(fgets(line, sizeof line, stdin));
}

int main(int argc, char **argv)
{
    if (argc < 7)
        return fprintf(stderr, "usage: receive JOB SEED COUNT SIZE ATTACH RANKS [PAUSE-AT]\n"), 2;
    struct rankcall_runner *runner;
    struct rankcall_pending *pending;
    struct burst burst = read_burst(argv);
    uint64_t pause_at = argc > 7 ? strtoull(argv[7], NULL, 10) : 0;
    OK(rankcall_connect(argv[1], &runner));
    double began = now();
    burst_submit(&burst, runner, &pending);
    while (burst_step(&burst, pending))
        if (burst.events == pause_at)
            pause_here();
    struct rankcall_item item;
    CODE(rankcall_next(pending, 0, &item), RANKCALL_EINVAL);
    printf("%llu %.3f\n", (unsigned long long)burst.events, now() - began);
    rankcall_pending_free(pending);
    rankcall_runner_free(runner);
    return 0;
}
