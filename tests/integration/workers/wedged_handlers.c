/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Handlers from which some ranks do not come back. */

#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rankcall/collectives.h>
#include <rankcall/mpi.h>

#include "handlers.h"

static volatile double waste = 1;

/* Names of these are to be found in stacks. */
__attribute__((noinline)) static void compute_for_ever(struct rankcall_call *call)
{
    for (;;)
        waste = waste * 1.0000001 + (double)rankcall_call_rank(call);
}

__attribute__((noinline)) static void sleep_for_ever(void)
{
    for (;;)
        pause();
}

/* Sits in MPI's own call; who does not take part makes it last. */
__attribute__((noinline)) static void enter_mpi(struct rankcall_call *call, bool receives)
{
    int word;
    if (receives)
        MPI_Recv(&word, 1, MPI_INT, (rankcall_call_rank(call) + 1) % rankcall_call_world_size(call), 77,
                 rankcall_call_comm(call), MPI_STATUS_IGNORE);
    else
        MPI_Barrier(rankcall_call_comm(call));
}

/* Goes on for `seconds`, with a sign of life every tenth of one. */
static int work_on(struct rankcall_call *call, const char *sign, double seconds)
{
    const struct timespec nap = {.tv_nsec = 100000000};
    for (int i = 0; i < (int)(seconds * 10); i++) {
        nanosleep(&nap, NULL);
        if (!strcmp(sign, "mark"))
            rankcall_mark(call, "step %d", i);
        if (!strcmp(sign, "emit") && rankcall_emit_json(call, "{\"step\": %d}", i))
            return -1;
        if (!strcmp(sign, "checkpoint") && rankcall_cancelled(call))
            return 0;
    }
    return 0;
}

static int never_come_back(struct rankcall_call *call, const char *how)
{
    double seconds = 3;
    if (rankcall_opt_double(rankcall_args(call), "seconds", &seconds))
        return -1;
    if (!strcmp(how, "spin"))
        compute_for_ever(call);
    if (!strcmp(how, "sleep"))
        sleep_for_ever();
    if (!strcmp(how, "barrier") || !strcmp(how, "recv"))
        enter_mpi(call, how[0] == 'r');
    if (!strcmp(how, "stop"))
        kill(getpid(), SIGSTOP);
    if (!strcmp(how, "collective"))
        return rankcall_barrier(call);
    return work_on(call, how, seconds);
}

static bool is_among(const struct rankcall_payload *args, int rank)
{
    const double *ranks;
    size_t count = 0;
    bool found = false;
    if (rankcall_get_doubles(args, "ranks", &ranks, &count))
        return false;
    for (size_t i = 0; i < count; i++)
        found |= (int)ranks[i] == rank;
    return found;
}

/* {"ranks", "how", "barriers", "mark", "fail", "checkpoints"}: after so many barriers those ranks do not come back; the
 * others return, or fail, or sit at checkpoints. */
int handle_wedge(struct rankcall_call *call)
{
    const struct rankcall_payload *args = rankcall_args(call);
    const char *how, *text = NULL;
    int64_t barriers = 0, fail = -1;
    bool checkpoints = false;
    if (rankcall_get_string(args, "how", &how) || rankcall_opt_int(args, "barriers", &barriers) ||
        rankcall_opt_string(args, "mark", &text) || rankcall_opt_int(args, "fail", &fail) ||
        rankcall_opt_bool(args, "checkpoints", &checkpoints))
        return -1;
    for (int i = 0; i < barriers; i++)
        if (rankcall_barrier(call))
            return -1;
    if (text)
        rankcall_mark(call, "%s", text);
    if (is_among(args, rankcall_call_rank(call)))
        return never_come_back(call, how);
    if (fail == rankcall_call_rank(call))
        return rankcall_fail(call, "told to fail");
    while (checkpoints && !rankcall_cancelled(call))
        usleep(1000);
    return 0;
}

/* How often it ran on each rank: from the start for those who have kept their memory. */
int handle_kept(struct rankcall_call *call)
{
    struct test_state *state = rankcall_call_state(call);
    double mine = (double)++state->kept, all[256];
    MPI_Gather(&mine, 1, MPI_DOUBLE, all, 1, MPI_DOUBLE, 0, rankcall_call_comm(call));
    if (rankcall_call_rank(call) != 0)
        return 0;
    struct rankcall_payload *result = rankcall_payload_new();
    rankcall_set_doubles(result, "kept", all, (size_t)rankcall_call_world_size(call));
    return rankcall_result(call, result);
}
