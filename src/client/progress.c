/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Bytes in and out of a runner's connection, and how its callers wait for them. */

#include <poll.h>
#include <string.h>

#include "base/defaults.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/turns.h"
#include "client/internal.h"

#define SPIN_LOOKS 50      /* at least, where CPUs are short: time alone passes without a look */
#define ROUNDS     64      /* of reading in one rankcall_process: about 64 MiB */
#define VERDICT_US 2000000 /* how long a dead job's launcher has to say why */
#define HANG_UP_US 100000  /* how long a dying job's socket may still accept */

/* Nothing can be written any more. The reason comes by reading: an error frame may precede the end. */
static int why_closed(struct rankcall_runner *runner)
{
    int64_t deadline = rk_now_us() + VERDICT_US;
    runner->unwritable = true;
    while (!runner->code && runner->unwritable && rk_now_us() < deadline)
        if (rk_runner_wait(runner, deadline) == RANKCALL_EAGAIN)
            break;
    if (!runner->unwritable) /* it has come back */
        return RANKCALL_OK;
    return runner->code ? rk_runner_end(runner) : rk_error(RANKCALL_ECLOSED, "the job has closed the connection");
}

int rk_runner_queue(struct rankcall_runner *runner, uint8_t type, uint64_t id, const uint8_t *head, size_t head_size,
                    struct rankcall_payload *payload)
{
    uint64_t before = rk_conn_queued(runner->conn);
    int code = rk_conn_send(runner->conn, type, id, head, head_size, payload);
    if (code)
        return code;
    runner->queued += rk_conn_queued(runner->conn) - before;
    if (rk_conn_flush(runner->conn))
        runner->unwritable = true;
    return RANKCALL_OK;
}

int rk_runner_send(struct rankcall_runner *runner, uint8_t type, uint64_t id, const uint8_t *head, size_t head_size,
                   struct rankcall_payload *payload)
{
    if (runner->code)
        return rk_runner_end(runner);
    int code = rk_runner_queue(runner, type, id, head, head_size, payload);
    return code == RANKCALL_ECLOSED ? why_closed(runner) : code;
}

int rk_runner_send_pending(struct rankcall_pending *pending, const uint8_t *head, size_t head_size,
                           struct rankcall_payload *payload)
{
    struct rankcall_runner *runner = pending->runner;
    bool launcher_knows = pending->type == RK_STATUS && !pending->question[0];
    if (runner->resuming && !runner->code && !launcher_knows)
        return RANKCALL_OK;
    unsigned resumes = runner->generation;
    int code = rk_runner_send(runner, pending->type, pending->id, head, head_size, payload);
    if (!code && resumes == runner->generation) {
        pending->written_at = runner->queued;
        pending->sent = true;
    }
    return code;
}

uint64_t rk_runner_written(const struct rankcall_runner *runner)
{
    return runner->queued - rk_conn_queued(runner->conn);
}

/* Whether nobody accepts at the job's socket any more, or whoever does hangs up at once, as a dying process does. */
static bool job_is_gone(const struct rankcall_runner *runner)
{
    int fd;
    if (!runner->dialled)
        return false;
    int code = rk_jobs_dial(runner->path, &fd);
    if (code)
        return code == RANKCALL_ENOJOB;
    bool hung_up = rk_fd_wait(fd, POLLIN, rk_now_us() + HANG_UP_US) & POLLHUP;
    rk_fd_close(&fd);
    return hung_up;
}

/* The connection was closed: says as much as can be known about why. */
static int explain_close(struct rankcall_runner *runner)
{
    char how[512];
    strncpy(how, rankcall_last_error()->message, sizeof(how) - 1);
    how[sizeof(how) - 1] = '\0';
    struct rankcall_payload *line;
    if (runner->stopping)
        return rk_error(RANKCALL_ESHUTTINGDOWN, "the job has stopped");
    if (runner->child && !rk_child_read(runner->child, rk_now_us() + VERDICT_US, &line)) {
        int code = rk_child_failure(line);
        rankcall_payload_free(line);
        if (code)
            return code;
    }
    if (job_is_gone(runner))
        return rk_error(RANKCALL_EJOBDIED, "the job at %s ended (%s)", runner->path, how);
    return rk_error(RANKCALL_ECLOSED, "%s", how);
}

int rk_runner_break(struct rankcall_runner *runner, int code)
{
    if (runner->code)
        return runner->code;
    if (code == RANKCALL_ECLOSED && rk_resume_begin(runner))
        return RANKCALL_OK;
    if (code == RANKCALL_ECLOSED)
        code = explain_close(runner);
    runner->code = code;
    runner->error = rk_error_clone(rankcall_last_error());
    return code;
}

int rk_runner_end(const struct rankcall_runner *runner)
{
    return runner->error ? rk_error_copy(runner->error) : rk_error(runner->code, "the connection is over");
}

int rk_runner_pump(struct rankcall_runner *runner)
{
    if (runner->code)
        return rk_runner_end(runner);
    if (!runner->unwritable && rk_conn_queued(runner->conn) && rk_conn_flush(runner->conn))
        runner->unwritable = true;
    int code = rk_conn_read(runner->conn);
    if (runner->code)
        return rk_runner_end(runner);
    runner->more = code == RANKCALL_EAGAIN;
    return code && code != RANKCALL_EAGAIN ? rk_runner_break(runner, code) : code;
}

static short wanted(const struct rankcall_runner *runner)
{
    return rk_conn_queued(runner->conn) && !runner->unwritable ? POLLIN | POLLOUT : POLLIN;
}

/* Changes with every frame that comes and every byte that leaves: callers wait for both. */
static uint64_t moved(const struct rankcall_runner *runner)
{
    return runner->frames + rk_runner_written(runner);
}

/* Looks for a moment without sleeping: an answer that is on its way is had sooner, and its sender need not wake us. */
static int spin(struct rankcall_runner *runner, int64_t until_us)
{
    uint64_t before = moved(runner);
    int looks = 0;
    if (runner->just_called)
        rk_give_way();
    runner->just_called = false;
    do {
        int code = rk_runner_pump(runner);
        if (code == RANKCALL_EAGAIN || moved(runner) != before)
            return RANKCALL_OK;
        if (code)
            return code;
        if (rk_give_way())
            break;
    } while (looks++ < SPIN_LOOKS || rk_now_us() < until_us);
    return RANKCALL_EAGAIN;
}

/* Sleeps; where ranks compute on all CPUs, who wakes up for an answer must not wait for their turns to end. */
static short sleep_for(const struct rankcall_runner *runner, int64_t deadline_us)
{
    struct rk_turns usual, brief;
    bool shares = rk_turns_get(&usual);
    if (shares) {
        brief = usual;
        rk_turns_shorten(&brief);
        rk_turns_set(&brief);
    }
    short events = rk_fd_wait(rk_conn_fd(runner->conn), wanted(runner), deadline_us);
    if (shares)
        rk_turns_set(&usual);
    return events;
}

int rk_runner_wait(struct rankcall_runner *runner, int64_t deadline_us)
{
    int64_t until = rk_now_us() + RK_SPIN_US;
    if (until < runner->spin_until_us)
        until = runner->spin_until_us;
    int code = spin(runner, deadline_us >= 0 && deadline_us < until ? deadline_us : until);
    if (code != RANKCALL_EAGAIN)
        return code;
    if (!sleep_for(runner, deadline_us))
        return rk_error(RANKCALL_EAGAIN, "nothing came in time");
    return RANKCALL_OK;
}

int rankcall_runner_fd(const struct rankcall_runner *runner)
{
    return rk_conn_fd(runner->conn);
}

short rankcall_runner_poll_events(const struct rankcall_runner *runner)
{
    /* What has been read and not yet looked at wakes no poll: asking for room to write does, at once. */
    return runner->more ? POLLIN | POLLOUT : wanted(runner);
}

int rankcall_process(struct rankcall_runner *runner)
{
    int code = RANKCALL_EAGAIN;
    for (int round = 0; code == RANKCALL_EAGAIN && round < ROUNDS; round++)
        code = rk_runner_pump(runner);
    return code == RANKCALL_EAGAIN ? RANKCALL_OK : code;
}
