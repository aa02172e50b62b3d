/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The runner inside: what the launcher may use beyond <rankcall/runner.h>. */

#ifndef RK_CLIENT_RUNNER_H
#define RK_CLIENT_RUNNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rankcall/runner.h>

#include "base/path.h"

/* Speaks HELLO on a connected descriptor, which is taken, also on failure. Returns at once: the greeting arrives while
 * the runner is processed. Errors: RANKCALL_EINTERNAL, RANKCALL_ECLOSED. */
int rk_runner_attach(int fd, struct rankcall_runner **out);

/* How to come back when the connection of an attached runner ends: as rk_jobs_dial does. `context` is malloc()ed, and
 * the runner's from now on. */
void rk_runner_redial(struct rankcall_runner *runner, int (*dial)(void *context, int *fd), void *context);

/* As rankcall_connect; but while the job is being restarted it waits until `away_until_us` of rk_now_us(); negative:
 * for as long as that takes; 0: not at all, the runner is had without a greeting then: the launcher answers its
 * questions for the status and takes its order to stop. */
int rk_runner_connect(const char *job, int64_t away_until_us, struct rankcall_runner **out);

/* Why there is no rank 0 now, as its launcher says, or NULL. */
const struct rankcall_error *rk_runner_away(const struct rankcall_runner *runner);

/* Whether the job has greeted. */
bool rk_runner_greeted(const struct rankcall_runner *runner);

/* Waits for the greeting until `deadline_us` of rk_now_us(). Errors: RANKCALL_ETIMEOUT, or why the connection ended. */
int rk_runner_greet(struct rankcall_runner *runner, int64_t deadline_us);

/* Questions. They are sent at once and answered like a call: rankcall_next gives RANKCALL_ITEM_RESULT, with the
 * answer's payload or NULL when it has none, or the job's error. */
int rk_runner_ask_status(struct rankcall_runner *runner, bool wait_until_ready, struct rankcall_pending **out);
int rk_runner_ask_ping(struct rankcall_runner *runner, struct rankcall_pending **out);

/* Sends STOP without waiting for anything. */
int rk_runner_stop_begin(struct rankcall_runner *runner, double drain);

/* Whether the job has said that it stops. */
bool rk_runner_stopping(const struct rankcall_runner *runner);

/* Asks for the status and waits for it until `deadline_us`. Errors: RANKCALL_ETIMEOUT among others. */
int rk_runner_status_by(struct rankcall_runner *runner, int64_t deadline_us, struct rankcall_payload **out);

/* Cancels a call of any client by the job's number, 0: all of them, and waits for the answer until `deadline_us`.
 * *count: how many were. Errors: RANKCALL_EINVAL: no such call; RANKCALL_ETIMEOUT among others. */
int rk_runner_cancel_by(struct rankcall_runner *runner, uint64_t call, int64_t deadline_us, int64_t *count);

/* Seconds from now as a deadline of rk_now_us(), negative (never) when `seconds` is negative or beyond counting. */
int64_t rk_deadline(double seconds);

/* ---- Jobs of the runtime folder ---- */

struct rk_job_entry {
    char name[RK_PATH_MAX];
    char path[RK_PATH_MAX];
};

/* The sockets of the runtime folder, sorted by name; *count may be 0. Ownership: *jobs is the caller's, free(). */
int rk_jobs_list(struct rk_job_entry **jobs, size_t *count);

/* Connects as rk_path_connect does, but only to a socket of the same user or of root (root connects to anyone's).
 * Errors: those of rk_path_connect; RANKCALL_EFORBIDDEN. */
int rk_jobs_dial(const char *path, int *fd);

/* The socket's path that rankcall_connect(job) uses: NULL is the environment's RANKCALL_JOB or the only live job.
 * Errors: RANKCALL_ENOJOB; RANKCALL_EINVAL, which names the jobs when several are live. */
int rk_jobs_resolve(const char *job, char path[RK_PATH_MAX]);

#endif
