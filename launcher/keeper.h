/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Clients hear of rank 0's death when their connections end, and the kernel ends those only when it has taken the
 * memory of the dead process down, which takes long where that is much. So rank 0 lends this process a copy of each
 * connection, and this process, which hears of the death at once, ends them all. It lets go of one that either side has
 * ended. */

#ifndef RK_LAUNCHER_KEEPER_H
#define RK_LAUNCHER_KEEPER_H

#include <stdbool.h>
#include <stddef.h>

struct rk_keeper {
    int poll, socket, death; /* -1: not open */
    bool *kept;              /* by descriptor */
    size_t room;
};

void rk_keeper_init(struct rk_keeper *keeper);

/* For a rank 0 that has connected. `end`: gets what that lends its connections through, the caller's.
 * Errors: RANKCALL_ESYSTEM. */
int rk_keeper_open(struct rk_keeper *keeper, int *end);

/* That rank 0 has taken its place in the journal: from now on its death is noticed. */
void rk_keeper_watch(struct rk_keeper *keeper, int journal_fd);

/* The descriptor to poll for reading, -1: none; and what to do then. Returns whether rank 0 has died. */
int rk_keeper_fd(const struct rk_keeper *keeper);
bool rk_keeper_work(struct rk_keeper *keeper);

/* Ends the connections, whoever else has them. */
void rk_keeper_end_all(struct rk_keeper *keeper);

/* Lets go of everything. */
void rk_keeper_close(struct rk_keeper *keeper);

#endif
