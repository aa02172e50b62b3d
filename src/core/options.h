/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The worker program's command line. */

#ifndef RK_CORE_OPTIONS_H
#define RK_CORE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include <rankcall/worker.h>

#include "base/defaults.h"
#include "base/path.h"
#include "device/placement.h"

#define RK_QUEUE_DEFAULT  256
#define RK_CLIENT_STALL_S 60

struct rk_options {
    char name[65];            /* of the job */
    char socket[RK_PATH_MAX]; /* where it listens */
    const char *call_log;     /* file that gets a line a call, "-": standard error; or NULL */
    const char *launcher;     /* socket of the launcher to report to, or NULL */
    struct rankcall_payload *setup;
    unsigned queue;    /* calls that may wait */
    unsigned restarts; /* in an hour */
    int64_t grace_us;  /* for ranks to come back from a call; 0: no limit */
    uint64_t payload_cap;
    int64_t client_stall_us; /* how long calls wait for a client that reads nothing; 0: for ever */
    enum rk_bind bind;
    double walltime_drain_s; /* before the end of the allocation; negative: the default */
    const char *gpus;        /* that ranks may use; NULL: all */
    bool debug;
    int argc; /* what followed "--" */
    char **argv;
};

enum rk_options_end { RK_OPTIONS_RUN, RK_OPTIONS_EXIT, RK_OPTIONS_FAIL };

/* Reads the command line. `chief`: this process is the one that prints (help, errors); all ranks read the same line.
 * RK_OPTIONS_EXIT: --help or --version was served. RK_OPTIONS_FAIL: the error has been printed. */
enum rk_options_end rk_options_read(int argc, char **argv, const struct rankcall_worker *worker, bool chief,
                                    struct rk_options *options);
void rk_options_free(struct rk_options *options);

#endif
