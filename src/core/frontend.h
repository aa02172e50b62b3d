/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The frontend as rank 0's main thread sees it: an IO thread that serves the socket, keeps the queue and the deadlines,
 * and funnels events. It never runs a worker's code. While short calls follow closely the main thread does its work. */

#ifndef RK_CORE_FRONTEND_H
#define RK_CORE_FRONTEND_H

#include "core/context.h"

struct rk_frontend;

/* Listens and starts the thread; setup may still be under way. Errors: those of rk_path_listen. */
int rk_frontend_start(struct rankcall_context *context, struct rk_frontend **out);

/* After setup's tally, or that of a regroup: READY, or failed (then the job only tells those who wait, and ends by
 * rk_frontend_finish). */
void rk_frontend_set_up(struct rk_frontend *frontend, const struct rk_tally *tally);

/* Before rk_mesh_await and after it: the main thread may do the frontend's work while it waits for the next call. */
void rk_baton_await(struct rk_frontend *frontend);
void rk_baton_leave(struct rk_frontend *frontend, const struct rk_announcement *announcement);

/* The payload of what rk_mesh_await has heard. Ownership: the caller's; NULL for a stop, and when asked twice. */
struct rankcall_payload *rk_frontend_args(struct rk_frontend *frontend);

/* Waits until the frontend keeps off the broken mesh, which it does until rk_frontend_set_up. `again`: it does so
 * already, but the mesh has been put together since, and is broken anew: it is to take note of that. False: it ends the
 * job. */
bool rk_frontend_release_mesh(struct rk_frontend *frontend, bool again);

/* While it keeps off: one more death is to be made good. Does not return when that is one too many. */
void rk_frontend_count_death(struct rk_frontend *frontend);

/* Whether the running call is to be left at the next checkpoint. */
bool rk_frontend_cancelled(struct rk_frontend *frontend);

/* Rank 0's own messages into the funnel. Takes a reference of its own. Blocks while the window is used up. */
void rk_frontend_message(struct rk_frontend *frontend, enum rk_message_kind kind, uint64_t number, uint64_t sequence,
                         struct rankcall_payload *payload);

/* The handler of the running call has returned on rank 0. Takes `result` (NULL: {}). */
void rk_frontend_done(struct rk_frontend *frontend, const struct rk_tally *tally, struct rankcall_payload *result);

/* After teardown: tells the clients, removes the socket, ends the thread, frees. Takes NULL. */
void rk_frontend_finish(struct rk_frontend *frontend);

#endif
