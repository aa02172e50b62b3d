/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Descriptors handed from the launcher to rank 0, over the connection between them and before anything else on it:
 * the listening socket, the journal, and the clients that have waited for a rank 0. */

#ifndef RK_BASE_HANDOVER_H
#define RK_BASE_HANDOVER_H

#include <stddef.h>

#include "base/journal.h"

struct rk_handover {
    int listener, journal;
    int *clients; /* connections whose HELLO has not been read */
    size_t client_count;
};

/* Sends copies; the caller keeps its own. Blocking, at most 5 s. Errors: RANKCALL_ESYSTEM, RANKCALL_ECLOSED. */
int rk_handover_send(int fd, const struct rk_handover *handover);

/* Blocking, at most 5 s. Ownership: everything is the caller's; `clients` by free().
 * Errors: RANKCALL_EPROTOCOL, RANKCALL_ESYSTEM, RANKCALL_ECLOSED, RANKCALL_ETIMEOUT. */
int rk_handover_receive(int fd, struct rk_handover *handover);

#endif
