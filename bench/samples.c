/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Commands in, measurements out: what every program of the benchmark shares. */

#include "samples.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t bench_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

bool bench_command(struct bench_command *command)
{
    char line[256];
    *command = (struct bench_command){0};
    if (!fgets(line, sizeof line, stdin))
        return false;
    long long *numbers = command->numbers;
    if (sscanf(line, "%31s %63s %lld %lld %lld %lld", command->word, command->name, &numbers[0], &numbers[1],
               &numbers[2], &numbers[3]) < 1)
        bench_die("an empty command");
    return true;
}

void bench_print_samples(const uint64_t *ns, size_t count)
{
    printf("{\"ns\": [");
    for (size_t i = 0; i < count; i++)
        printf("%s%llu", i ? "," : "", (unsigned long long)ns[i]);
    printf("]}\n");
    fflush(stdout);
}

void bench_print_rate(uint64_t events, uint64_t ns)
{
    printf("{\"events\": %llu, \"ns\": %llu}\n", (unsigned long long)events, (unsigned long long)ns);
    fflush(stdout);
}

uint64_t *bench_samples(size_t count)
{
    uint64_t *ns = calloc(count ? count : 1, sizeof *ns);
    if (!ns)
        bench_die("no memory for %zu samples", count);
    return ns;
}

void bench_die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}
