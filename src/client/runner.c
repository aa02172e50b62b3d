/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A runner's life: connected, greeted, freed. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "client/internal.h"

#define FREE_GRACE   5.0 /* seconds that a started job has when its runner is freed */
#define CONNECTS_MAX 10

static struct rankcall_payload *introduction(void)
{
    struct rankcall_payload *payload = rankcall_payload_new();
    if (payload)
        rankcall_set_string(payload, "client", program_invocation_short_name);
    if (payload)
        rankcall_set_string(payload, "version", rankcall_version());
    return payload;
}

int rk_runner_hello(struct rankcall_runner *runner)
{
    const struct rk_hello hello = {.min_version = RK_VERSION,
                                   .max_version = RK_VERSION,
                                   .features = RK_FEATURE_RESUME,
                                   .token = runner->welcome.token};
    uint8_t head[RK_HEAD_CAP];
    struct rankcall_payload *payload = introduction();
    runner->hello_us = rk_now_us();
    int code = rk_runner_send(runner, RK_HELLO, 0, head, rk_hello_encode(&hello, head), payload);
    rankcall_payload_free(payload);
    return code;
}

/* `path`: where to come back to; NULL: nowhere. */
static int attach(int fd, const char *path, struct rankcall_runner **out)
{
    *out = NULL;
    struct rankcall_runner *runner = calloc(1, sizeof(*runner));
    if (!runner) {
        rk_fd_close(&fd);
        return rk_error(RANKCALL_EINTERNAL, "no memory for a runner");
    }
    runner->conn = rk_conn_new(fd, &rk_receive_callbacks, runner);
    if (path)
        runner->path = strdup(path);
    runner->dialled = runner->path != NULL;
    int code = runner->conn ? rk_runner_hello(runner) : rk_error(RANKCALL_EINTERNAL, "no memory for a connection");
    if (code)
        rankcall_runner_free(runner);
    else
        *out = runner;
    return code;
}

int rk_runner_attach(int fd, struct rankcall_runner **out)
{
    return attach(fd, NULL, out);
}

void rk_runner_redial(struct rankcall_runner *runner, int (*dial)(void *context, int *fd), void *context)
{
    runner->dial = dial;
    runner->dial_context = context;
}

const struct rankcall_error *rk_runner_away(const struct rankcall_runner *runner)
{
    return runner->away;
}

bool rk_runner_greeted(const struct rankcall_runner *runner)
{
    return runner->greeted;
}

int rk_runner_greet(struct rankcall_runner *runner, int64_t deadline_us)
{
    while (!runner->greeted) {
        int code = rk_runner_wait(runner, deadline_us);
        if (code == RANKCALL_EAGAIN && runner->away)
            return rk_error(RANKCALL_ETIMEOUT, "the job is being restarted: %s", runner->away->message);
        if (code == RANKCALL_EAGAIN)
            return rk_error(RANKCALL_ETIMEOUT, "the job%s%s accepts but did not greet in time: it may hang",
                            runner->path ? " at " : "", runner->path ? runner->path : "");
        if (code)
            return code;
    }
    return RANKCALL_OK;
}

/* Until rank 0 greets, or the launcher says why there is none. */
static int meet(struct rankcall_runner *runner, int64_t deadline_us)
{
    int code = RANKCALL_OK;
    while (!code && !runner->greeted && !runner->away)
        code = rk_runner_wait(runner, deadline_us);
    return code == RANKCALL_EAGAIN ? rk_runner_greet(runner, deadline_us) : code;
}

/* How long to wait while rank 0 is away: until a time, 0: not at all, negative: for ever. */
static int connect_once(const char *path, int64_t away_until_us, struct rankcall_runner **out)
{
    int64_t deadline_us = rk_now_us() + RK_GREETING_US;
    int fd, code = rk_jobs_dial(path, &fd);
    if (away_until_us > 0 && away_until_us < deadline_us)
        deadline_us = away_until_us;
    if (!code)
        code = attach(fd, path, out);
    if (code)
        return code;
    code = meet(*out, deadline_us);
    if (!code && !(*out)->greeted && away_until_us)
        code = rk_runner_greet(*out, away_until_us);
    if (code) {
        rankcall_runner_free(*out);
        *out = NULL;
    }
    return code;
}

int rk_runner_connect(const char *job, int64_t away_until_us, struct rankcall_runner **out)
{
    char path[RK_PATH_MAX];
    *out = NULL;
    int code = rk_jobs_resolve(job, path);
    if (code)
        return code;
    /* Closed before the greeting, though somebody listens: a rank 0 that dies; the launcher is there instead. */
    for (int tries = 0; tries <= CONNECTS_MAX; tries++)
        if ((code = connect_once(path, away_until_us, out)) != RANKCALL_ECLOSED)
            break;
    return code;
}

int rankcall_connect(const char *job, struct rankcall_runner **out)
{
    return rk_runner_connect(job, rk_now_us() + RK_GREETING_US, out);
}

void rankcall_runner_free(struct rankcall_runner *runner)
{
    if (!runner)
        return;
    if (runner->child)
        rankcall_terminate(runner, FREE_GRACE);
    rk_child_free(runner->child);
    rk_conn_free(runner->conn);
    rk_calls_free(&runner->calls);
    rk_error_free(runner->error);
    rk_error_free(runner->away);
    free(runner->job);
    free(runner->path);
    free(runner->dial_context);
    free(runner);
}

const char *rankcall_runner_job_name(const struct rankcall_runner *runner)
{
    return runner->job ? runner->job : "";
}

const char *rankcall_runner_path(const struct rankcall_runner *runner)
{
    return runner->path ? runner->path : "";
}

int rankcall_runner_world_size(const struct rankcall_runner *runner)
{
    return (int)runner->welcome.world_size;
}

uint64_t rankcall_runner_payload_cap(const struct rankcall_runner *runner)
{
    return runner->welcome.payload_cap;
}
