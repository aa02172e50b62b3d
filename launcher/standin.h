/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Who answers at the job's socket while there is no rank 0: this process, which owns the socket. Clients are told what
 * has happened and which of their calls had begun, and how it stands if they ask; they may stop the job. They and the
 * socket are handed to the next rank 0. */

#ifndef RK_LAUNCHER_STANDIN_H
#define RK_LAUNCHER_STANDIN_H

#include <stdbool.h>
#include <stddef.h>

#include <rankcall/error.h>

#include "base/journal.h"

struct rk_guest;

/* Whose socket it is. */
struct rk_standin_job {
    const char *name, *path;
    int ranks, restarts;
};

struct rk_standin {
    struct rk_standin_job job;
    int listener, journal_fd, poll; /* -1: not open */
    struct rk_journal *journal;
    int64_t since_us;              /* it stands in */
    bool stop;                     /* a guest has asked for the job's end */
    struct rankcall_error *reason; /* while it stands in */
    struct rk_guest *guests;
    size_t count, room;
    bool final; /* there will be no other rank 0 */
};

void rk_standin_init(struct rk_standin *standin);

/* Listens at the job's socket. Errors: those of rk_path_listen. */
int rk_standin_open(struct rk_standin *standin, const struct rk_standin_job *job);

/* Rank 0 is gone: answers from now on, with that reason. */
void rk_standin_begin(struct rk_standin *standin, const struct rankcall_error *reason);

/* The descriptor to poll for reading, -1 while there is nothing to do; and what to do then. */
int rk_standin_fd(const struct rk_standin *standin);
void rk_standin_work(struct rk_standin *standin);

/* Gives everything to a rank 0 that has connected, and stands back. `keeper`: for what it lends. Errors: those of
 * rk_handover_send. */
int rk_standin_hand_over(struct rk_standin *standin, int fd, int keeper);

/* There will be no other: tells those who wait, and whoever comes. */
void rk_standin_finish(struct rk_standin *standin, const struct rankcall_error *error);

/* Closes everything. */
void rk_standin_end(struct rk_standin *standin);

#endif
