/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Starts jobs the way a client does, and says how long it took until every rank was READY.
 *
 *     start
 *     start PROGRAM RANKS      -> {"ns": [t]} */

#include <rankcall/runner.h>

#include <string.h>

#include "samples.h"

#define LIMIT_S 60

static void start(const struct bench_command *command, char **run_options)
{
    const char *const program[] = {command->name, NULL};
    const struct rankcall_start_options options = {.ranks = (int)command->numbers[0],
                                                   .program = program,
                                                   .run_options = (const char *const *)run_options,
                                                   .timeout = LIMIT_S,
                                                   .quiet = true};
    struct rankcall_runner *runner = NULL;
    const uint64_t begin = bench_now();
    if (rankcall_start(&options, &runner))
        bench_die("%s", rankcall_last_error()->message);
    const uint64_t taken = bench_now() - begin;
    rankcall_runner_free(runner); /* ends the job and waits until it is gone */
    bench_print_samples(&taken, 1);
}

int main(int argc, char **argv)
{
    struct bench_command command;
    (void)argc;
    while (bench_command(&command)) {
        if (strcmp(command.word, "start"))
            bench_die("unknown command \"%s\"", command.word);
        start(&command, argv + 1);
    }
    return 0;
}
