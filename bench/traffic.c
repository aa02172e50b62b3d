/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A worker that counts what the runtime sends: this program's functions stand before those of MPI and of the C library.
 * Between the handlers "begin" and "end" every call is counted, and one more for these two: the report of the first and
 * the announcement of the second. "end" gives every rank's counts. */

#include <dlfcn.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <rankcall/collectives.h>
#include <rankcall/worker.h>

#define RANKS_MAX  1024
#define ANSWER_MAX (256u << 10)

struct counts {
    uint64_t messages; /* given to MPI */
    uint64_t words;    /* said on links */
    uint64_t wakes;    /* system calls that wake sleepers of the node */
};

static _Atomic uint64_t messages, words, wakes;
static _Atomic uint8_t sent_to[RANKS_MAX]; /* since "begin" */
static struct counts before;

/* ---- What stands before the functions that the runtime calls ---- */

static void *next(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found)
        abort();
    return found;
}

static void count_message(int rank)
{
    atomic_fetch_add(&messages, 1);
    if (rank >= 0 && rank < RANKS_MAX)
        atomic_store(&sent_to[rank], 1);
}

#pragma GCC visibility push(default)

/* As MPI's, whose handles are pointers or numbers that are passed on as they are. */
typedef int isend_fn(const void *, int, void *, int, int, void *, void *);
isend_fn MPI_Isend, MPI_Issend;

int MPI_Isend(const void *bytes, int count, void *type, int rank, int tag, void *comm, void *request)
{
    static isend_fn *real;
    if (!real)
        *(void **)&real = next("MPI_Isend");
    count_message(rank);
    return real(bytes, count, type, rank, tag, comm, request);
}

int MPI_Issend(const void *bytes, int count, void *type, int rank, int tag, void *comm, void *request)
{
    static isend_fn *real;
    if (!real)
        *(void **)&real = next("MPI_Issend");
    count_message(rank);
    return real(bytes, count, type, rank, tag, comm, request);
}

static int is_tcp(int fd)
{
    struct sockaddr_storage name;
    socklen_t size = sizeof name;
    return !getsockname(fd, (struct sockaddr *)&name, &size) &&
           (name.ss_family == AF_INET || name.ss_family == AF_INET6);
}

/* Of a link: Open MPI writes its messages otherwise. */
ssize_t send(int fd, const void *bytes, size_t size, int flags)
{
    if (is_tcp(fd))
        atomic_fetch_add(&words, 1);
    return sendto(fd, bytes, size, flags, NULL, 0);
}

ssize_t write(int fd, const void *bytes, size_t size)
{
    static ssize_t (*real)(int, const void *, size_t);
    struct stat what;
    if (!real)
        *(void **)&real = next("write");
    if (size == 1 && !fstat(fd, &what) && S_ISFIFO(what.st_mode))
        atomic_fetch_add(&wakes, 1);
    return real(fd, bytes, size);
}

long syscall(long number, ...)
{
    static long (*real)(long, ...);
    long given[6];
    va_list arguments;
    va_start(arguments, number);
    for (int i = 0; i < 6; i++)
        given[i] = va_arg(arguments, long);
    va_end(arguments);
    if (!real)
        *(void **)&real = next("syscall");
    if (number == SYS_futex && (given[1] & FUTEX_CMD_MASK) == FUTEX_WAKE)
        atomic_fetch_add(&wakes, 1);
    return real(number, given[0], given[1], given[2], given[3], given[4], given[5]);
}

#pragma GCC visibility pop

/* ---- Handlers ---- */

static struct counts now(void)
{
    return (struct counts){atomic_load(&messages), atomic_load(&words), atomic_load(&wakes)};
}

static int begin(struct rankcall_call *call)
{
    (void)call;
    before = now();
    for (int i = 0; i < RANKS_MAX; i++)
        atomic_store(&sent_to[i], 0);
    return 0;
}

static void tell(char *text, size_t size, int ranks, const struct counts *all, const uint8_t *to)
{
    size_t at = (size_t)snprintf(text, size, "{\"ranks\": [");
    for (int rank = 0; rank < ranks && at < size; rank++) {
        at +=
            (size_t)snprintf(text + at, size - at, "%s{\"messages\": %llu, \"words\": %llu, \"wakes\": %llu, \"to\": [",
                             rank ? ", " : "", (unsigned long long)all[rank].messages,
                             (unsigned long long)all[rank].words, (unsigned long long)all[rank].wakes);
        const char *comma = "";
        for (int other = 0; other < ranks && at < size; other++)
            if (to[rank * RANKS_MAX + other]) {
                at += (size_t)snprintf(text + at, size - at, "%s%d", comma, other);
                comma = ", ";
            }
        if (at < size)
            at += (size_t)snprintf(text + at, size - at, "]}");
    }
    if (at < size)
        snprintf(text + at, size - at, "]}");
}

static int end(struct rankcall_call *call)
{
    const struct counts here = now();
    struct counts mine = {here.messages - before.messages, here.words - before.words, here.wakes - before.wakes};
    int ranks = rankcall_call_world_size(call), failed = -1;
    uint8_t mine_to[RANKS_MAX];
    for (int i = 0; i < RANKS_MAX; i++)
        mine_to[i] = atomic_load(&sent_to[i]);
    struct counts *all = calloc((size_t)ranks, sizeof *all);
    uint8_t *to = calloc((size_t)ranks, RANKS_MAX);
    char *text = malloc(ANSWER_MAX);
    if (all && to && text)
        failed =
            rankcall_gather(call, &mine, sizeof mine, all, 0) || rankcall_gather(call, mine_to, sizeof mine_to, to, 0);
    if (!failed && rankcall_call_rank(call) == 0) {
        tell(text, ANSWER_MAX, ranks, all, to);
        failed = rankcall_result_json(call, "%s", text);
    }
    free(all);
    free(to);
    free(text);
    return failed ? -1 : 0;
}

static int empty(struct rankcall_call *call)
{
    (void)call;
    return 0;
}

/* "checkpoints" of them; before each rank 0 makes the others wait for "pause_us". */
static int check(struct rankcall_call *call)
{
    int64_t checkpoints = 1, pause_us = 0;
    if (rankcall_opt_int(rankcall_args(call), "checkpoints", &checkpoints) ||
        rankcall_opt_int(rankcall_args(call), "pause_us", &pause_us))
        return -1;
    const struct timespec pause = {.tv_sec = pause_us / 1000000, .tv_nsec = pause_us % 1000000 * 1000};
    for (int64_t i = 0; i < checkpoints; i++) {
        if (rankcall_call_rank(call) == 0 && pause_us)
            nanosleep(&pause, NULL);
        if (rankcall_cancelled(call))
            return 0;
    }
    return 0;
}

static const struct rankcall_handler handlers[] = {
    {"empty", empty, "does nothing"},
    {"check", check, "passes checkpoints"},
    {"begin", begin, "counts from here on"},
    {"end", end, "what was counted"},
    {0},
};

RANKCALL_WORKER(.name = "traffic", .handlers = handlers)
