/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Kills clients with SIGKILL in mid-stream, and checks that the next call is always right: killer JOB KILLS SECONDS
 *
 * Each victim streams an endless burst and tells the parent when it has seen some events; the parent kills it there.
 * Prints the number of kills. */

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "burst.h"
#include "check.h"

/* Victims differ in the events they read before they tell, in checkpoints, and in whether they read on after telling.
 */
static void be_a_victim(const char *job, int number, int tell)
{
    struct rankcall_runner *runner;
    struct rankcall_pending *pending;
    OK(rankcall_connect(job, &runner));
    struct burst burst =
        burst_of(1000000u + (uint32_t)number, 5000, number % 3 ? 64 : 5000, rankcall_runner_world_size(runner));
    burst.check = number % 5 ? 50 : 0;
    burst_submit(&burst, runner, &pending);
    uint64_t seen = (uint64_t)(number * 7 % 400);
    while (burst.events < seen)
        CHECK(burst_step(&burst, pending));
    CHECK(write(tell, "x", 1) == 1);
    while (number % 2 == 0 && burst_step(&burst, pending))
        ;
    for (;;)
        pause();
}

static void kill_one(const char *job, int number)
{
    int tell[2];
    char byte;
    CHECK(pipe(tell) == 0);
    pid_t victim = fork();
    CHECK(victim >= 0);
    if (victim == 0) {
        close(tell[0]);
        be_a_victim(job, number, tell[1]);
    }
    close(tell[1]);
    CHECK(read(tell[0], &byte, 1) == 1);
    CHECK(kill(victim, SIGKILL) == 0);
    CHECK(waitpid(victim, NULL, 0) == victim);
    close(tell[0]);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return fprintf(stderr, "usage: killer JOB KILLS SECONDS\n"), 2;
    struct rankcall_runner *runner;
    OK(rankcall_connect(argv[1], &runner));
    int kills = 0, wanted = atoi(argv[2]);
    for (time_t end = time(NULL) + atoi(argv[3]); kills < wanted && time(NULL) < end; kills++) {
        kill_one(argv[1], kills);
        struct burst burst = burst_of((uint32_t)kills, 20, 64, rankcall_runner_world_size(runner));
        burst_run(&burst, runner);
    }
    printf("%d\n", kills);
    rankcall_runner_free(runner);
    return 0;
}
