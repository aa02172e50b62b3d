/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Descriptors handed from the launcher to rank 0, over the connection between them and before anything else on it:
 * the listening socket, the journal, and the clients that have waited for a rank 0. And from rank 0 to the launcher:
 * its clients' connections. */

#ifndef RK_BASE_HANDOVER_H
#define RK_BASE_HANDOVER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/journal.h"

struct rk_handover {
    int listener, journal;
    int keeper;   /* takes what rk_handover_lend sends */
    int *clients; /* connections whose HELLO has not been read */
    size_t client_count;
};

/* Sends copies; the caller keeps its own. Blocking, at most 5 s. Errors: RANKCALL_ESYSTEM, RANKCALL_ECLOSED. */
int rk_handover_send(int fd, const struct rk_handover *handover);

/* Blocking, at most 5 s. Ownership: everything is the caller's; `clients` by free().
 * Errors: RANKCALL_EPROTOCOL, RANKCALL_ESYSTEM, RANKCALL_ECLOSED, RANKCALL_ETIMEOUT. */
int rk_handover_receive(int fd, struct rk_handover *handover);

/* Afterwards, over a stream socket of its own: a copy of a descriptor, now or never. Returns whether it is on its way.
 */
bool rk_handover_lend(int fd, int lent);

/* The next one that has come: the caller's. -1 and *over: none will come any more, -1 alone: not now, or it was lost
 * for want of descriptors. */
int rk_handover_borrow(int fd, bool *over);

#endif
