/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A job without ranks for tests of clients: a thread that speaks the job's side of the protocol.
 *
 * What it does with a call is the handler's name: "echo", "fail", "wait" (for a cancel), "busy" (refused before its
 * payload is read), "close", "garbage", "bad_json", "late" (answers two calls in the other order), "events" ({"count":
 * N} from each of two ranks). */

#ifndef RK_TESTS_FAKE_JOB_H
#define RK_TESTS_FAKE_JOB_H

#include <stdbool.h>
#include <stdint.h>

struct fake_job;

/* Serves one connection on `fd`, which is taken. `cap`: the payload cap that it greets with. */
struct fake_job *fake_job_start(int fd, uint64_t cap);

/* Serves at `path` one client after the other. */
struct fake_job *fake_job_listen(const char *path);

/* From now on it neither reads nor writes; or does again. */
void fake_job_freeze(struct fake_job *job, bool frozen);

/* How many CANCEL frames have come. */
int fake_job_cancels(struct fake_job *job);

/* Ends the thread. */
void fake_job_end(struct fake_job *job);

#endif
