/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What holds unless it is chosen, for the launcher and for the worker program; and how the two ends of a connection
 * wait for each other. */

#ifndef RK_BASE_DEFAULTS_H
#define RK_BASE_DEFAULTS_H

#define RK_RESTARTS_DEFAULT 10 /* deaths that are made good within an hour */
#define RK_GRACE_DEFAULT_S  30 /* for ranks to come back from a call */

#define RK_SPIN_US      50  /* how long a waiter looks again and again before it sleeps ... */
#define RK_COLD_SPIN_US 300 /* ... and behind a call at least, which may find ranks asleep */

/* Tells libevent to use poll. For mpirun alone: a rank takes it out of its environment again, unless it is the user's.
 */
#define RK_NO_EPOLL      "EVENT_NOEPOLL"
#define RK_NO_EPOLL_OURS "mpirun"

#endif
