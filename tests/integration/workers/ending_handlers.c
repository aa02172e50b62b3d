/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Handlers that fail, take their time, wait to be cancelled, or kill a rank. */

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rankcall/mpi.h>

#include "handlers.h"

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void doze(double seconds)
{
    struct timespec time = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&time, NULL);
}

int wait_for_file(struct rankcall_call *call, const char *path)
{
    for (double deadline = now() + 30; access(path, F_OK) != 0; doze(0.001))
        if (now() > deadline)
            return rankcall_fail(call, "%s did not appear", path);
    return 0;
}

/* Whether the arguments' "rank" is this one; -1 means all. */
static int is_me(struct rankcall_call *call, bool *me)
{
    int64_t rank = -1;
    if (rankcall_opt_int(rankcall_args(call), "rank", &rank))
        return -1;
    *me = rank == -1 || rank == rankcall_call_rank(call);
    return 0;
}

/* {"rank", "message", "traceback"}: sets a result and emits an event first, neither of which may hide the failure. */
int handle_fail(struct rankcall_call *call)
{
    bool me;
    const char *message = "told to fail", *traceback = NULL;
    if (is_me(call, &me) || rankcall_opt_string(rankcall_args(call), "message", &message) ||
        rankcall_opt_string(rankcall_args(call), "traceback", &traceback) ||
        rankcall_result_json(call, "{\"looks\": \"well\"}") ||
        rankcall_emit_json(call, "{\"rank\": %d}", rankcall_call_rank(call)))
        return -1;
    if (!me)
        return 0;
    if (traceback)
        rankcall_fail_with(call, message, traceback);
    else
        rankcall_fail(call, "%s", message);
    return rankcall_fail(call, "a second message that must not count");
}

/* {"rank"}: the rank fails; the others wait until they are told, without a collective. */
int handle_fail_watched(struct rankcall_call *call)
{
    bool me;
    if (is_me(call, &me) || rankcall_interrupted(call))
        return -1;
    if (me)
        return rankcall_fail(call, "the others watch");
    for (double deadline = now() + 30; !rankcall_interrupted(call); doze(0.001))
        if (now() > deadline)
            return rankcall_fail(call, "nobody told rank %d", rankcall_call_rank(call));
    return rankcall_interrupted(call) == RANKCALL_EWORKER ? 0 : rankcall_fail(call, "another reason");
}

/* The last interrupted call as each rank knows it, and whether the rank is a replacement. */
int handle_last_interrupted(struct rankcall_call *call)
{
    struct rankcall_context *context = rankcall_call_context(call);
    return rankcall_emit_json(call, "{\"last\": %llu, \"replacement\": %s}",
                              (unsigned long long)rankcall_last_interrupted(context),
                              rankcall_is_replacement(context) ? "true" : "false") ||
           rankcall_result_json(call, "{\"number\": %llu}", (unsigned long long)rankcall_call_number(call));
}

/* {"rank", "go"}: the rank fails, waits for the file `go`, which the client makes when it has the error, and only then
 * joins the others in a barrier. */
int handle_fail_before_barrier(struct rankcall_call *call)
{
    bool me;
    const char *go;
    int code = 0;
    if (is_me(call, &me) || rankcall_get_string(rankcall_args(call), "go", &go))
        return -1;
    if (me) {
        code = rankcall_fail(call, "the others are in a barrier");
        wait_for_file(call, go);
    }
    MPI_Barrier(rankcall_call_comm(call));
    return code;
}

int handle_fail_silently(struct rankcall_call *call)
{
    bool me;
    if (is_me(call, &me))
        return -1;
    return me ? 42 : 0;
}

/* {"seconds", "rank"}: every rank, or that one, sleeps, without a checkpoint. */
int handle_slow(struct rankcall_call *call)
{
    double seconds = 0.1;
    bool me;
    if (is_me(call, &me) || rankcall_opt_double(rankcall_args(call), "seconds", &seconds))
        return -1;
    if (me)
        doze(seconds);
    return rankcall_result_json(call, "{\"number\": %llu}", (unsigned long long)rankcall_call_number(call));
}

/* {"until": PATH}: every rank computes until the file is there, without a checkpoint. */
int handle_spin(struct rankcall_call *call)
{
    const char *until;
    if (rankcall_get_string(rankcall_args(call), "until", &until))
        return -1;
    volatile double x = 1;
    for (double deadline = now() + 60; access(until, F_OK) != 0 && now() < deadline;)
        for (int i = 0; i < 1000000; i++)
            x = x * 1.0000001 + 1e-9;
    return 0;
}

/* Tells that it runs (an event from rank 0), then waits to be cancelled. */
int handle_wait(struct rankcall_call *call)
{
    struct test_state *state = rankcall_call_state(call);
    double deadline = now() + 120;
    if (rankcall_call_rank(call) == 0 && rankcall_emit_json(call, "{\"running\": true}"))
        return -1;
    state->last_checkpoints = 1;
    while (!rankcall_cancelled(call)) {
        state->last_checkpoints++;
        doze(0.001);
        if (now() > deadline)
            return rankcall_fail(call, "nobody cancelled");
    }
    return rankcall_result_json(call, "{\"cancelled\": true}");
}

/* The checkpoint at which each rank left the last wait. */
int handle_last_wait(struct rankcall_call *call)
{
    struct test_state *state = rankcall_call_state(call);
    double mine = (double)state->last_checkpoints, all[256];
    MPI_Gather(&mine, 1, MPI_DOUBLE, all, 1, MPI_DOUBLE, 0, rankcall_call_comm(call));
    if (rankcall_call_rank(call) != 0)
        return 0;
    struct rankcall_payload *result = rankcall_payload_new();
    rankcall_set_doubles(result, "checkpoints", all, (size_t)rankcall_call_world_size(call));
    return rankcall_result(call, result);
}

/* {"rank", "signal", "in_mpi"}: that rank kills itself; signal 0 is exit(3). The others wait to be told, or sit in MPI.
 */
int handle_die(struct rankcall_call *call)
{
    bool me, in_mpi = false;
    int64_t number = SIGKILL;
    if (is_me(call, &me) || rankcall_opt_int(rankcall_args(call), "signal", &number) ||
        rankcall_opt_bool(rankcall_args(call), "in_mpi", &in_mpi))
        return -1;
    if (me && number == 0)
        exit(3);
    if (me)
        kill(getpid(), (int)number);
    while (!in_mpi && !rankcall_cancelled(call))
        usleep(1000);
    if (in_mpi)
        MPI_Barrier(rankcall_call_comm(call));
    return 0;
}

/* {"rank", "way"}: that rank starts a process that outlives it ("child"), one that has left its session as well
 * ("daemon"), or dies and leaves a child ("orphan"); or its main thread ends alone ("thread"). */
int handle_leave_behind(struct rankcall_call *call)
{
    bool me;
    const char *way;
    if (is_me(call, &me) || rankcall_get_string(rankcall_args(call), "way", &way))
        return -1;
    if (me && strcmp(way, "thread") == 0)
        pthread_exit(NULL);
    pid_t child = me ? fork() : 1;
    if (child < 0)
        return rankcall_fail(call, "cannot fork");
    if (child == 0) {
        if (strcmp(way, "daemon") == 0 && (setsid() < 0 || fork()))
            _exit(0);
        signal(SIGTERM, SIG_IGN);
        for (;;)
            pause();
    }
    if (me && strcmp(way, "orphan") == 0)
        kill(getpid(), SIGKILL);
    while (strcmp(way, "child") != 0 && strcmp(way, "daemon") != 0 && !rankcall_cancelled(call))
        usleep(1000);
    return 0;
}
