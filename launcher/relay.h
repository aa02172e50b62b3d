/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What mpirun prints, passed on line by line with each rank's prefix. */

#ifndef RK_LAUNCHER_RELAY_H
#define RK_LAUNCHER_RELAY_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/journal.h"
#include "launcher/output.h"
#include "launcher/sink.h"

#define RK_RELAY_LAST 20 /* lines that are remembered */
#define RK_RELAY_FDS  4  /* that it polls */

struct rk_relay;

struct rk_relay_stream {
    int fd; /* what mpirun writes to; -1 at its end */
    struct rk_relay *relay;
    struct rk_output *output;
    struct rk_sink *sink;
};

struct rk_relay {
    struct rk_sink out, err; /* this process's */
    struct rk_relay_stream streams[2];
    char *end_of_rank;          /* what srun said first of a rank's end; NULL */
    struct rk_journal *journal; /* where ranks' last words go; NULL: nowhere */
    char *last[RK_RELAY_LAST];
    size_t lines;
};

/* From here on rk_say's lines go this way too. */
void rk_relay_open(struct rk_relay *relay);

/* Takes mpirun's two descriptors. `on_stderr`: ranks' standard output goes to standard error as well. */
int rk_relay_attach(struct rk_relay *relay, int out, int err, int ranks, enum rk_tags tags, bool on_stderr);

void rk_relay_poll(const struct rk_relay *relay, struct pollfd fds[RK_RELAY_FDS]);

/* Waits for a moment for what is on its way through this mpirun. */
void rk_relay_catch_up(struct rk_relay *relay, int mpirun);

void rk_relay_move(struct rk_relay *relay, const struct pollfd fds[RK_RELAY_FDS]);

/* mpirun is gone: passes on what is left. */
void rk_relay_end(struct rk_relay *relay);

/* The last lines, each with a newline. Ownership: the caller's, free(); NULL when memory is out. */
char *rk_relay_last(const struct rk_relay *relay);

/* Writes what is held, and gives rk_say back. */
void rk_relay_close(struct rk_relay *relay);

#endif
