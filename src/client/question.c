/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Questions to a job: status, ping, and the order to stop. */

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/fd.h"
#include "client/internal.h"

#define STATUS_US     10000000 /* how long rankcall_status waits */
#define PING_US       1000000  /* how long rankcall_is_alive waits */
#define STOP_GRACE_US 10000000 /* how long a job may take to be gone after its drain time */

int64_t rk_deadline(double seconds)
{
    if (!(seconds >= 0) || seconds > 1e12)
        return -1;
    return rk_now_us() + (int64_t)ceil(seconds * 1e6);
}

int rk_runner_ask(struct rankcall_runner *runner, uint8_t type, const uint8_t *head, size_t head_size,
                  struct rankcall_pending **out)
{
    struct rankcall_pending *pending = rk_calls_add(runner, type);
    if (!pending)
        return rk_error(RANKCALL_EINTERNAL, "no memory for a question");
    pending->question_size = (uint8_t)head_size;
    if (head_size)
        memcpy(pending->question, head, head_size);
    int code = rk_runner_send_pending(pending, head, head_size, NULL);
    if (code)
        rk_calls_remove(&runner->calls, pending);
    else
        *out = pending;
    return code;
}

int rk_runner_ask_status(struct rankcall_runner *runner, bool wait_until_ready, struct rankcall_pending **out)
{
    const struct rk_status_head status = {.wait = wait_until_ready};
    uint8_t head[RK_HEAD_CAP];
    return rk_runner_ask(runner, RK_STATUS, head, rk_status_encode(&status, head), out);
}

int rk_runner_ask_ping(struct rankcall_runner *runner, struct rankcall_pending **out)
{
    return rk_runner_ask(runner, RK_PING, NULL, 0, out);
}

int rk_runner_stop_begin(struct rankcall_runner *runner, double drain)
{
    const struct rk_stop_head stop = {.drain_us = drain > 0 ? (uint64_t)fmin(ceil(drain * 1e6), 1e18) : 0};
    uint8_t head[RK_HEAD_CAP];
    runner->stop_asked = true;
    runner->drain = drain;
    return rk_runner_send(runner, RK_STOP, ++runner->last_id, head, rk_stop_encode(&stop, head), NULL);
}

bool rk_runner_stopping(const struct rankcall_runner *runner)
{
    return runner->stopping;
}

/* Waits for a question's answer, and forgets it. */
static int answer_by(struct rankcall_pending *pending, int64_t deadline_us, struct rankcall_payload **payload)
{
    int code;
    struct rankcall_item item = {0};
    do {
        double left = (double)(deadline_us - rk_now_us()) / 1e6;
        code = rankcall_next(pending, left > 0 ? left : 0, &item);
    } while (code == RANKCALL_EAGAIN && rk_now_us() < deadline_us);
    *payload = item.payload;
    rankcall_pending_free(pending);
    if (code == RANKCALL_EAGAIN)
        code = rk_error(RANKCALL_ETIMEOUT, "the job did not answer in time");
    return code;
}

int rk_runner_status_by(struct rankcall_runner *runner, int64_t deadline_us, struct rankcall_payload **out)
{
    struct rankcall_pending *pending;
    *out = NULL;
    int code = rk_runner_ask_status(runner, false, &pending);
    return code ? code : answer_by(pending, deadline_us, out);
}

int rankcall_status(struct rankcall_runner *runner, struct rankcall_payload **out)
{
    return rk_runner_status_by(runner, rk_now_us() + STATUS_US, out);
}

int rk_runner_cancel_by(struct rankcall_runner *runner, uint64_t call, int64_t deadline_us, int64_t *count)
{
    const struct rk_cancel_head cancel = {.call = call};
    struct rankcall_pending *pending;
    struct rankcall_payload *answer = NULL;
    uint8_t head[RK_HEAD_CAP];
    *count = 0;
    int code = rk_runner_ask(runner, RK_CANCEL_CALL, head, rk_cancel_encode(&cancel, head), &pending);
    if (!code)
        code = answer_by(pending, deadline_us, &answer);
    if (!code && answer)
        code = rankcall_opt_int(answer, "cancelled", count);
    rankcall_payload_free(answer);
    return code;
}

bool rankcall_is_alive(struct rankcall_runner *runner)
{
    struct rankcall_pending *pending;
    struct rankcall_payload *nothing;
    return !rk_runner_ask_ping(runner, &pending) && !answer_by(pending, rk_now_us() + PING_US, &nothing);
}

/* Reads until the job closes the connection, which it does when it is gone. */
static int wait_gone(struct rankcall_runner *runner, int64_t deadline_us)
{
    while (!runner->code)
        if (rk_runner_wait(runner, deadline_us) == RANKCALL_EAGAIN)
            return rk_error(RANKCALL_ETIMEOUT,
                            "the job is not gone 10 s after its drain time: a rank's teardown may take "
                            "longer; Ctrl-C twice at its `rankcall run` ends it at once");
    if (runner->code == RANKCALL_EPROTOCOL || runner->code == RANKCALL_ETOOLARGE)
        return rk_runner_end(runner);
    if (runner->child && !rk_child_wait(runner->child, deadline_us))
        return rk_error(RANKCALL_ETIMEOUT, "the job's processes are not gone 10 s after its drain time");
    return runner->code == RANKCALL_ERANKDIED ? rk_runner_end(runner) : RANKCALL_OK;
}

int rankcall_stop(struct rankcall_runner *runner, double drain)
{
    int64_t deadline = rk_deadline(drain < 0 ? -1 : drain);
    if (!runner->code) {
        int code = rk_runner_stop_begin(runner, drain < 0 ? 1e12 : drain);
        if (code)
            return code;
    }
    return wait_gone(runner, deadline < 0 ? -1 : deadline + STOP_GRACE_US);
}
