/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The worker that is called while things break. Arguments, events and results carry the call's token and a checksum, so
 * that whatever is lost, doubled, reordered or delivered under another call is seen. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <rankcall/mpi.h>

#include "pattern.h"

#define DAWDLE 0.3 /* seconds that setup takes when it is told to */

/* What setup was told to do at its own time. */
struct state {
    int64_t teardown_rank; /* -1: none */
    char teardown_way[16];
    char stamp[PATH_MAX]; /* where the moment of death is written; "" for nowhere */
    int orders;           /* a fifo: the order to die */
    int log;              /* of the calls that have run; -1: none */
};

/* When the handler began on this rank, in microseconds: which of the runs of an idempotent call this is. */
static int64_t run;

static void doze(double seconds)
{
    struct timespec time = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&time, &time) != 0 && errno == EINTR)
        ;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void compute(double seconds)
{
    volatile double x = 1;
    for (double end = now() + seconds; now() < end;)
        for (int i = 0; i < 10000; i++)
            x = x * 1.0000001 + 1e-9;
}

/* ---- Ways to die ---- */

/* The moment, on the clock that the driver reads too, and who dies. */
static void write_stamp(const char *path)
{
    char text[64];
    int size = snprintf(text, sizeof text, "%.6f %d\n", now(), (int)getpid());
    int fd = path && *path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (fd < 0)
        return;
    if (write(fd, text, (size_t)size) != size)
        perror(path);
    close(fd);
}

/* The address space ends a little above what is in use. */
static void limit_memory(size_t room)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file) {
        if (fscanf(file, "%lu", &pages) != 1)
            pages = 0;
        fclose(file);
    }
    rlim_t size = pages * (rlim_t)sysconf(_SC_PAGESIZE) + room;
    setrlimit(RLIMIT_AS, &(struct rlimit){size, size});
}

/* As a program does that never looks at what malloc returns. */
static void eat_memory(void)
{
    limit_memory((size_t)16 << 20);
    for (;;)
        memset(malloc((size_t)1 << 20), 1, (size_t)1 << 20);
}

static void die(const char *way, const char *stamp)
{
    volatile int *volatile nowhere = NULL;
    write_stamp(stamp);
    if (strcmp(way, "exit") == 0)
        exit(3);
    if (strcmp(way, "quit") == 0)
        _exit(3);
    if (strcmp(way, "abort") == 0)
        abort();
    if (strcmp(way, "segv") == 0)
        *nowhere = 1;
    if (strcmp(way, "oom") == 0)
        eat_memory();
    kill(getpid(), SIGKILL);
}

/* ---- Arguments ---- */

/* A line for every handler that begins: token, rank, the call's number, the process, when. */
static void write_log(struct rankcall_call *call, const char *token)
{
    const struct state *state = rankcall_state(rankcall_call_context(call));
    char text[256];
    run = (int64_t)(now() * 1e6);
    int size = snprintf(text, sizeof text, "%.64s %d %" PRIu64 " %d %" PRId64 "\n", token, rankcall_call_rank(call),
                        rankcall_call_number(call), (int)getpid(), run);
    if (state->log >= 0 && write(state->log, text, (size_t)size) != size)
        perror("the log of calls");
}

/* Whether this rank holds the bytes that the client sent: "crc" is that of the token and of all attachments. */
static int check_args(struct rankcall_call *call, const char **token)
{
    const struct rankcall_payload *args = rankcall_args(call);
    int64_t wanted;
    if (rankcall_get_string(args, "token", token) || rankcall_get_int(args, "crc", &wanted))
        return -1;
    write_log(call, *token);
    uint32_t crc = pattern_crc(0, *token, strlen(*token));
    for (size_t i = 0; i < rankcall_attachment_count(args); i++) {
        struct rankcall_attachment attachment;
        if (rankcall_attachment_at(args, i, &attachment))
            return -1;
        crc = pattern_crc(crc, attachment.data, attachment.size);
    }
    if (crc != (uint32_t)wanted)
        return rankcall_fail(call, "CORRUPT arguments of %s on rank %d", *token, rankcall_call_rank(call));
    return 0;
}

/* ---- Events and results: {"token", "rank", "seq", "run", "crc", "pad"}, the checksum over all of them and the
 * attachment ---- */

static struct rankcall_payload *make_sealed(struct rankcall_call *call, const char *token, int64_t sequence, size_t pad,
                                            size_t attach)
{
    char head[128];
    int rank = rankcall_call_rank(call);
    int size = snprintf(head, sizeof head, "%s:%d:%" PRId64 ":%" PRId64 ":", token, rank, sequence, run);
    uint32_t crc = pattern_crc(0, head, (size_t)size);
    char *text = malloc(pad + 1);
    uint8_t *data = malloc(attach + 1);
    struct rankcall_payload *payload = rankcall_payload_new();
    struct rankcall_attachment attachment = {.name = "data", .data = data, .size = attach};
    if (!text || !data || !payload) {
        free(text);
        free(data);
        rankcall_payload_free(payload);
        return NULL;
    }
    for (size_t i = 0; i < pad; i++)
        text[i] = (char)('a' + (crc + i * 7) % 26);
    text[pad] = 0;
    pattern_fill(data, attach, crc, rank, (uint64_t)sequence);
    crc = pattern_crc(pattern_crc(crc, text, pad), data, attach);
    rankcall_set_string(payload, "token", token);
    rankcall_set_int(payload, "rank", rank);
    rankcall_set_int(payload, "seq", sequence);
    rankcall_set_int(payload, "run", run);
    rankcall_set_int(payload, "crc", crc);
    rankcall_set_string(payload, "pad", text);
    free(text);
    if (attach == 0)
        free(data);
    else if (rankcall_attach_take(payload, &attachment)) {
        rankcall_payload_free(payload);
        return NULL;
    }
    return payload;
}

static int emit_sealed(struct rankcall_call *call, const char *token, int64_t sequence, size_t pad, size_t attach)
{
    struct rankcall_payload *event = make_sealed(call, token, sequence, pad, attach);
    return event ? rankcall_emit(call, event) : rankcall_fail(call, "no memory for an event");
}

/* Rank 0's word: how many events each rank has emitted, and `value`, which depends on the handler. */
static int result_sealed(struct rankcall_call *call, const char *token, size_t attach, int64_t events, int64_t value)
{
    if (rankcall_call_rank(call) != 0)
        return 0;
    struct rankcall_payload *result = make_sealed(call, token, -1, 8, attach);
    if (!result)
        return rankcall_fail(call, "no memory for a result");
    rankcall_set_string(result, "handler", rankcall_call_handler(call));
    rankcall_set_int(result, "events", events);
    rankcall_set_int(result, "value", value);
    rankcall_set_int(result, "number", (int64_t)rankcall_call_number(call));
    return rankcall_result(call, result);
}

/* ---- Handlers ---- */

/* {"size"}: a result with an attachment of that many bytes. */
static int handle_echo(struct rankcall_call *call)
{
    const char *token;
    int64_t size = 0;
    if (check_args(call, &token) || rankcall_opt_int_in(rankcall_args(call), "size", 0, 1 << 30, &size))
        return -1;
    return result_sealed(call, token, (size_t)size, 0, 0);
}

/* {"value"}: its sum over all ranks, by MPI itself. */
static int handle_sum(struct rankcall_call *call)
{
    const char *token;
    int64_t value = 0, sum = 0;
    if (check_args(call, &token) || rankcall_opt_int(rankcall_args(call), "value", &value))
        return -1;
    value *= rankcall_call_rank(call) + 1;
    MPI_Allreduce(&value, &sum, 1, MPI_INT64_T, MPI_SUM, rankcall_call_comm(call));
    return result_sealed(call, token, 0, 0, sum);
}

/* {"count", "pad", "attach", "check"}: every rank emits `count` events, with a checkpoint every `check` of them. */
static int handle_burst(struct rankcall_call *call)
{
    const struct rankcall_payload *args = rankcall_args(call);
    const char *token;
    int64_t count = 1, pad = 8, attach = 0, check = 0;
    if (check_args(call, &token) || rankcall_opt_int(args, "count", &count) || rankcall_opt_int(args, "pad", &pad) ||
        rankcall_opt_int(args, "attach", &attach) || rankcall_opt_int(args, "check", &check))
        return -1;
    for (int64_t i = 0; i < count; i++) {
        if (check > 0 && i % check == 0 && rankcall_cancelled(call))
            return 0;
        if (emit_sealed(call, token, i, (size_t)pad, (size_t)attach))
            return -1;
    }
    return result_sealed(call, token, 0, count, 0);
}

/* {"steps", "seconds", "check", "spin", "rank"}: `steps` times an event and then `seconds` of sleep or, with "spin", of
 * computing, on all ranks or on one; with "check" a checkpoint each time. */
static int handle_work(struct rankcall_call *call)
{
    const struct rankcall_payload *args = rankcall_args(call);
    const char *token;
    int64_t steps = 1, rank = -1;
    double seconds = 0.01;
    bool check = false, spin = false;
    if (check_args(call, &token) || rankcall_opt_int(args, "steps", &steps) || rankcall_opt_int(args, "rank", &rank) ||
        rankcall_opt_double(args, "seconds", &seconds) || rankcall_opt_bool(args, "check", &check) ||
        rankcall_opt_bool(args, "spin", &spin))
        return -1;
    for (int64_t i = 0; i < steps; i++) {
        if (check && rankcall_cancelled(call))
            return 0;
        if (emit_sealed(call, token, i, 8, 0))
            return -1;
        if (rank == -1 || rank == rankcall_call_rank(call))
            (spin ? compute : doze)(seconds);
    }
    return result_sealed(call, token, 0, steps, 0);
}

/* {"rank"}: an event of every rank; then that rank fails, with the token in its message. */
static int handle_fail(struct rankcall_call *call)
{
    const char *token;
    int64_t rank = 0;
    if (check_args(call, &token) || rankcall_opt_int(rankcall_args(call), "rank", &rank) ||
        emit_sealed(call, token, 0, 8, 0))
        return -1;
    if (rank == rankcall_call_rank(call))
        return rankcall_fail(call, "told to fail: %s", token);
    return result_sealed(call, token, 0, 1, 0);
}

/* {"bytes"}: every rank prints about that many. */
static int handle_print(struct rankcall_call *call)
{
    const char *token;
    int64_t bytes = 100;
    if (check_args(call, &token) || rankcall_opt_int(rankcall_args(call), "bytes", &bytes))
        return -1;
    for (; bytes > 0; bytes -= 64)
        printf("%.16s prints what may find no room on the disk\n", token);
    fflush(stdout);
    return result_sealed(call, token, 0, 0, 0);
}

/* The last thing that happens on the rank that dies, and what the others do meanwhile. */
static int die_at(struct rankcall_call *call, const char *moment, bool me, const char *way, const char *stamp,
                  const char *token)
{
    bool checkpoint = strcmp(moment, "checkpoint") == 0, events = strcmp(moment, "events") == 0;
    for (int i = 0; i < 1000; i++) {
        if (me && i == (events ? 40 : 3))
            die(way, stamp);
        if (checkpoint && rankcall_cancelled(call))
            return 0;
        if (events && emit_sealed(call, token, i, 200, 0))
            return -1;
        if (strcmp(moment, "mpi") == 0)
            MPI_Barrier(rankcall_call_comm(call));
        if (strcmp(moment, "collective") == 0 && rankcall_barrier(call))
            return -1;
        doze(0.0005);
    }
    return 0;
}

/* How many have died by this stamp. */
static size_t count_deaths(const char *stamp)
{
    size_t lines = 0;
    FILE *file = fopen(stamp, "re");
    for (int c; file && (c = fgetc(file)) != EOF;)
        lines += c == '\n';
    if (file)
        fclose(file);
    return lines;
}

/* {"rank", "way", "moment", "stamp"}: that rank dies. With "ranks", digits, that many die, one in each run of the call,
 * which then succeeds: for calls that may run again. */
static int handle_die(struct rankcall_call *call)
{
    const struct rankcall_payload *args = rankcall_args(call);
    const char *token, *way = "kill", *moment = "handler", *stamp = "", *ranks = "";
    int64_t rank = 0;
    if (check_args(call, &token) || rankcall_opt_int(args, "rank", &rank) || rankcall_opt_string(args, "way", &way) ||
        rankcall_opt_string(args, "moment", &moment) || rankcall_opt_string(args, "stamp", &stamp) ||
        rankcall_opt_string(args, "ranks", &ranks))
        return -1;
    size_t deaths = *ranks ? count_deaths(stamp) : 0;
    if (*ranks && deaths >= strlen(ranks))
        return result_sealed(call, token, 0, 0, 0);
    if (*ranks)
        rank = ranks[deaths] - '0';
    return die_at(call, moment, rank == rankcall_call_rank(call), way, stamp, token);
}

/* {"rank", "room"}: that rank has no more memory than `room` bytes above what it uses. */
static int handle_limit(struct rankcall_call *call)
{
    const char *token;
    int64_t rank = 0, room = 16 << 20;
    if (check_args(call, &token) || rankcall_opt_int(rankcall_args(call), "rank", &rank) ||
        rankcall_opt_int(rankcall_args(call), "room", &room))
        return -1;
    if (rank == rankcall_call_rank(call))
        limit_memory((size_t)room);
    return result_sealed(call, token, 0, 0, 0);
}

/* ---- Setup and teardown ---- */

/* Reads the way to die from a fifo: for deaths at which no handler runs. */
static void *await_order(void *argument)
{
    struct state *state = argument;
    char way[16] = "";
    if (read(state->orders, way, sizeof way - 1) > 0)
        die(way, state->stamp);
    return NULL;
}

static int start_listening(struct rankcall_context *context, struct state *state, const char *folder)
{
    pthread_t thread;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/order.%d", folder, rankcall_rank(context));
    /* For writing too: then whoever gives the order need not wait for us, who may be stopped. A rank before us may have
     * made it. */
    if ((mkfifo(path, 0600) != 0 && errno != EEXIST) || (state->orders = open(path, O_RDWR | O_CLOEXEC)) < 0 ||
        pthread_create(&thread, NULL, await_order, state) != 0)
        return rankcall_fail_setup(context, "can't listen at %s", path);
    pthread_detach(thread);
    return 0;
}

/* While the file is there: says in it that this process is in setup, and takes its time. */
static void dawdle(const char *path, int rank)
{
    char text[64];
    int size = snprintf(text, sizeof text, "%d %d\n", rank, (int)getpid());
    int fd = *path ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    if (write(fd, text, (size_t)size) != size)
        perror(path);
    close(fd);
    doze(DAWDLE);
}

/* {"orders": FOLDER, "stamp", "setup": RANK, "go": FILE, "teardown": RANK, "way", "log": FILE, "dawdle": FILE} */
static int setup(struct rankcall_context *context, const struct rankcall_payload *args)
{
    static struct state state;
    const char *orders = NULL, *way = "kill", *stamp = "", *log = "", *slow = "", *go = "";
    int64_t setup_rank = -1;
    state.teardown_rank = -1;
    if (rankcall_opt_string(args, "log", &log) || rankcall_opt_string(args, "dawdle", &slow))
        return -1;
    state.log = *log ? open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (rankcall_opt_string(args, "orders", &orders) || rankcall_opt_string(args, "way", &way) ||
        rankcall_opt_string(args, "stamp", &stamp) || rankcall_opt_string(args, "go", &go) ||
        rankcall_opt_int(args, "setup", &setup_rank) || rankcall_opt_int(args, "teardown", &state.teardown_rank))
        return -1;
    snprintf(state.teardown_way, sizeof state.teardown_way, "%s", way);
    snprintf(state.stamp, sizeof state.stamp, "%s", stamp);
    rankcall_set_state(context, &state);
    dawdle(slow, rankcall_rank(context));
    if (setup_rank == rankcall_rank(context)) {
        for (int tries = 0; *go && access(go, F_OK) != 0 && tries < 20000; tries++)
            doze(0.0005); /* a client's call waits by then */
        doze(0.1);        /* and the others sit in the tally */
        die(way, stamp);
    }
    return orders ? start_listening(context, &state, orders) : 0;
}

static void teardown(struct rankcall_context *context)
{
    const struct state *state = rankcall_state(context);
    if (state->teardown_rank == rankcall_rank(context))
        die(state->teardown_way, state->stamp);
}

static const struct rankcall_handler handlers[] = {
    {"echo", handle_echo, "a result of any size"},
    {"sum", handle_sum, "a sum over the ranks"},
    {"burst", handle_burst, "many events"},
    {"work", handle_work, "works, with or without checkpoints"},
    {"fail", handle_fail, "fails on one rank"},
    {"print", handle_print, "prints"},
    {"die", handle_die, "dies on one rank"},
    {"limit", handle_limit, "leaves a rank little memory"},
    {0},
};

RANKCALL_WORKER(.name = "fault_worker", .handlers = handlers, .setup = setup, .teardown = teardown)
