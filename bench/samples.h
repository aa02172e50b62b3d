/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* How the programs of the benchmark talk to bench/run: a command a line on standard input, an answer of one line of
 * JSON on standard output. */

#ifndef BENCH_SAMPLES_H
#define BENCH_SAMPLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_NUMBERS 4 /* of a command at most */

struct bench_command {
    char word[32], name[64];          /* what to do, and with what ("-": nothing) */
    long long numbers[BENCH_NUMBERS]; /* 0 where none was given */
};

/* Nanoseconds of a clock that never jumps. */
uint64_t bench_now(void);

/* The next command; false at the end of standard input. */
bool bench_command(struct bench_command *command);

/* Answers {"ns": [...]}. */
void bench_print_samples(const uint64_t *ns, size_t count);

/* Answers {"events": count, "ns": duration}. */
void bench_print_rate(uint64_t events, uint64_t ns);

/* Memory for `count` samples; ends the program when there is none. */
uint64_t *bench_samples(size_t count);

/* Prints "PROGRAM: message" and ends the program. */
_Noreturn void bench_die(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));

#endif
