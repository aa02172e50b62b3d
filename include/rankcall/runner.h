/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The runner API: the client's handle of a job. Link with `pkg-config --libs rankcall`; MPI is not needed.
 *
 *     struct rankcall_runner *runner;
 *     struct rankcall_payload *args = NULL, *result;
 *     if (rankcall_connect("demo", &runner) ||
 *         rankcall_payload_from_json("{\"who\": \"you\"}", SIZE_MAX, &args) ||
 *         rankcall_invoke(runner, "hello", args, &result))
 *         return fprintf(stderr, "%s\n", rankcall_last_error()->message), 1;
 *     puts(rankcall_payload_json(result, NULL));
 *
 * Every function that returns int returns RANKCALL_OK (0) or a code of <rankcall/error.h>; details are in
 * rankcall_last_error(). Times are seconds; a negative time means without limit.
 *
 * When rank 0 of a job of `rankcall run` dies, or the job is started again, a runner comes back by itself, in the next
 * function that waits or processes: calls that had begun end with RANKCALL_ERANKDIED, the others are sent again.
 *
 * Threads: a runner and its calls belong to one thread at a time; several runners are independent. */

#ifndef RANKCALL_RUNNER_H
#define RANKCALL_RUNNER_H

#include <rankcall/error.h>
#include <rankcall/payload.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

struct rankcall_runner;  /* a connection to a job, and the job itself where this runner started it */
struct rankcall_pending; /* a call under way */

/* ---- Connecting, starting, ending ---- */

/* Connects to a running job. `job` is a name ("demo"), or a path of a socket when it has a '/'. NULL: the environment's
 * RANKCALL_JOB, or else the only job that runs. Waits at most 10 s for the job's greeting; RANKCALL_ETIMEOUT says so
 * when the job is being restarted, and why. Errors: RANKCALL_ENOJOB, RANKCALL_EINVAL (a bad name; several jobs run and
 * none is named), RANKCALL_EFORBIDDEN, RANKCALL_EPROTOCOL, RANKCALL_ETIMEOUT. Blocking. Ownership: *out is the
 * caller's, free with rankcall_runner_free. */
int rankcall_connect(const char *job, struct rankcall_runner **out);

struct rankcall_start_options {
    int ranks;                            /* world size; 0: 1 */
    const char *name;                     /* the job's name; NULL: one is made */
    const char *const *program;           /* the worker program and its own arguments, ended by NULL */
    const char *const *run_options;       /* further options of `rankcall run`, ended by NULL; may be NULL */
    const struct rankcall_payload *setup; /* every rank's setup gets it; JSON only; NULL: {} */
    double timeout;                       /* seconds until all ranks must be READY; 0: 1800 */
    bool quiet; /* the job's output goes to /dev/null instead of this process's stdout and stderr */
};

/* Starts a job through the `rankcall` command (found beside the library's install prefix, or by RANKCALL_COMMAND, or on
 * PATH) and connects to it. Returns when every rank is READY, or fails with the first rank's error, or at the timeout;
 * a failed start leaves nothing running. The job ends with this process, or earlier by stop or terminate.
 * Errors: RANKCALL_ELAUNCH, RANKCALL_EWORKER (setup failed: rank and host are set), RANKCALL_ETIMEOUT,
 * RANKCALL_EEXIST. Blocking. */
int rankcall_start(const struct rankcall_start_options *options, struct rankcall_runner **out);

/* Asks the job to stop: no new calls, queued ones get RANKCALL_ESHUTTINGDOWN, the running one may finish within `drain`
 * seconds and is cancelled then; teardown runs on every rank. Returns when the job is gone. One that is being restarted
 * is ended at once.
 * Errors: RANKCALL_ETIMEOUT when it isn't gone 10 s after the drain time; RANKCALL_ERANKDIED, with rank and host, when
 * a rank died in its teardown: the others are ended within a second. Blocking. */
int rankcall_stop(struct rankcall_runner *runner, double drain);

/* Ends a job that this runner started, at once if it must: stops without drain time, kills what is still there after
 * `grace` seconds. For a job that it only connected to: as rankcall_stop(runner, 0). Blocking: about `grace`. */
int rankcall_terminate(struct rankcall_runner *runner, double grace);

/* Whether the job answers a ping within a second. */
bool rankcall_is_alive(struct rankcall_runner *runner);

/* The job's state as a payload; doc/protocol.md lists its keys, also those of a job that is being restarted. Blocking:
 * until the job answers, at most 10 s. */
int rankcall_status(struct rankcall_runner *runner, struct rankcall_payload **out);

/* Closes the connection; calls under way are cancelled; a job that this runner started is terminated. NULL is allowed;
 * pendings of the runner become invalid. */
void rankcall_runner_free(struct rankcall_runner *runner);

/* What the job said when it greeted. Ownership: the runner's. */
const char *rankcall_runner_job_name(const struct rankcall_runner *runner);
const char *rankcall_runner_path(const struct rankcall_runner *runner); /* of the socket */
int rankcall_runner_world_size(const struct rankcall_runner *runner);
uint64_t rankcall_runner_payload_cap(const struct rankcall_runner *runner); /* bytes of a payload at most */

/* ---- Calls ---- */

struct rankcall_call_options {
    const char *handler;      /* NULL: the default handler */
    bool streaming;           /* whether events are wanted */
    double timeout;           /* seconds for the whole call, queueing included; <= 0: without limit */
    double streaming_timeout; /* seconds between two events; <= 0: without limit */
    bool idempotent;          /* it may run again when a rank dies: at most 3 times, and not after an event has come */
    double duration;          /* seconds that it takes at most; <= 0: not known. In a batch job a call that can't end in
                                 time, by this or else by its timeout, is refused with RANKCALL_EWALLTIME */
};

/* Sends a call and returns at once; any number may be outstanding on a runner.
 * `args` NULL is {}. Ownership: takes `args`, also on failure; *out is the caller's, see rankcall_pending_free.
 * Errors: RANKCALL_ETOOLARGE, RANKCALL_ECLOSED. Errors of the job (busy, no_handler …) come by rankcall_next. */
int rankcall_submit(struct rankcall_runner *runner, const struct rankcall_call_options *options,
                    struct rankcall_payload *args, struct rankcall_pending **out);

enum rankcall_item_kind {
    RANKCALL_ITEM_EVENT = 1,  /* one event */
    RANKCALL_ITEM_RESULT = 2, /* the result; nothing follows */
};

struct rankcall_item {
    int kind;                         /* enum rankcall_item_kind */
    int rank;                         /* an event's rank; 0 for the result */
    uint64_t sequence;                /* an event's number within its rank: 0, 1, 2 … */
    struct rankcall_payload *payload; /* the caller's: free with rankcall_payload_free */
};

/* The next event, or the result. Waits at most `timeout` seconds (negative: without limit, 0: not at all).
 * Returns: RANKCALL_OK and an item. RANKCALL_EAGAIN: nothing came in time; the call goes on. Any other code: the call
 * ended with that error (rankcall_last_error() has rank, host, message). After the end every further call gives
 * RANKCALL_EINVAL. Blocking: up to `timeout`. */
int rankcall_next(struct rankcall_pending *pending, double timeout, struct rankcall_item *item);

/* Asks the job to cancel the call; it still ends by rankcall_next: with RANKCALL_ECANCELLED when all ranks have left it
 * (at once while it is queued), with RANKCALL_EWEDGED when some have not within the job's grace, or with what came
 * first. Its further events are dropped. */
int rankcall_cancel(struct rankcall_pending *pending);

/* Where a call's time went, as the job measured it, in microseconds (us). Together about what the call took from the
 * arrival of its last byte at the job until its result was on its way. */
struct rankcall_timing {
    uint64_t queued_us;      /* in the queue */
    uint64_t broadcast_us;   /* until the last rank had the payload and began */
    uint64_t handler_min_us; /* in the handler: the fastest rank ... */
    uint64_t handler_max_us; /* ... and the slowest */
    uint64_t reply_us;       /* from the last rank's return until the result, with all events before it, was queued */
    int slowest_rank;        /* whose handler took handler_max_us; -1: not known */
    uint64_t call;           /* the job's own number of the call, as in its status and its log of calls */
};

/* The timing of a call that has ended with a result, which need not have been taken yet.
 * Errors: RANKCALL_EAGAIN: it has not ended. RANKCALL_ENOKEY: it ended with an error, or the job does not measure. */
int rankcall_pending_timing(const struct rankcall_pending *pending, struct rankcall_timing *timing);

/* The call's id on its connection, as in the protocol. */
uint64_t rankcall_pending_id(const struct rankcall_pending *pending);

/* Forgets a call, cancelling it if it has not ended. NULL is allowed. Blocking: while the call's payload is still being
 * written, which may lie in the caller's memory; at most 10 s, then the connection is given up. */
void rankcall_pending_free(struct rankcall_pending *pending);

/* Submit, then wait for the result without limit. `handler` NULL: the default. `args` is taken; *result is yours, and
 * with `result` NULL nobody's. */
int rankcall_invoke(struct rankcall_runner *runner, const char *handler, struct rankcall_payload *args,
                    struct rankcall_payload **result);

/* Submit a streaming call: read it with rankcall_next. `args` is taken. */
int rankcall_stream(struct rankcall_runner *runner, const char *handler, struct rankcall_payload *args,
                    struct rankcall_pending **out);

/* ---- For those who have their own event loop ---- */

/* The descriptor to wait for, and what for (POLLIN, perhaps POLLOUT, of <poll.h>). Both asked anew before each wait: a
 * runner that comes back has another descriptor. */
int rankcall_runner_fd(const struct rankcall_runner *runner);
short rankcall_runner_poll_events(const struct rankcall_runner *runner);

/* Reads and writes what can be without blocking; items are then ready for rankcall_next(pending, 0, …).
 * Errors: RANKCALL_ECLOSED, RANKCALL_EJOBDIED (the job is gone), RANKCALL_ESHUTTINGDOWN (it has stopped),
 * RANKCALL_EPROTOCOL: the connection is over, every pending call ends with that. */
int rankcall_process(struct rankcall_runner *runner);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop
#endif
