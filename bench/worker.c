/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The worker that is measured: handlers that do nothing but what the measurement needs. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <rankcall/worker.h>

/* As an event's payload this takes 64 bytes: 8 in front of the text, and a zero behind it. */
static const char event_text[] = "{\"step\": 1234567, \"loss\": 0.1234567, \"progress\": 0.500}";
_Static_assert(sizeof event_text == 64 - 8, "the event's payload has 64 bytes");

/* Answers at once. What comes with the call is broadcast to every rank and not looked at. */
static int empty(struct rankcall_call *call)
{
    (void)call;
    return 0;
}

static int emit(struct rankcall_call *call)
{
    struct rankcall_payload *event;
    if (rankcall_payload_from_json(event_text, sizeof event_text - 1, &event))
        return -1;
    return rankcall_emit(call, event);
}

/* Rank 0 takes a GB, in small pages, which the kernel takes longest to give back. */
static int grow(struct rankcall_call *call)
{
    size_t size = (size_t)1 << 30;
    if (rankcall_call_rank(call) != 0)
        return 0;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return rankcall_fail(call, "no memory");
    madvise(memory, size, MADV_NOHUGEPAGE);
    memset(memory, 1, size);
    return 0;
}

/* Memory that is taken once. */
static char *room_for(size_t size)
{
    static char *room;
    static size_t there;
    if (size > there) {
        free(room);
        room = malloc(size);
        there = room ? size : 0;
        if (room)
            memset(room, 'x', size);
    }
    return room;
}

static void keep(void *data, void *context)
{
    (void)data, (void)context;
}

static struct rankcall_payload *with_bytes(int64_t size)
{
    struct rankcall_payload *payload = rankcall_payload_new();
    const struct rankcall_attachment attachment = {
        .name = "bytes", .data = room_for((size_t)size), .size = (uint64_t)size};
    if (payload && !rankcall_attach(payload, &attachment, keep, NULL))
        return payload;
    rankcall_payload_free(payload);
    return NULL;
}

/* A result of "bytes" bytes. */
static int give(struct rankcall_call *call)
{
    int64_t size = 0;
    if (rankcall_get_int(rankcall_args(call), "bytes", &size))
        return -1;
    return rankcall_call_rank(call) ? 0 : rankcall_result(call, with_bytes(size));
}

/* "events" of them from rank "rank", or from each when it is negative; with "bytes" bytes, or else small ones. */
static int burst(struct rankcall_call *call)
{
    int64_t events = 0, rank = -1, size = 0;
    if (rankcall_get_int(rankcall_args(call), "events", &events) ||
        rankcall_opt_int(rankcall_args(call), "rank", &rank) || rankcall_opt_int(rankcall_args(call), "bytes", &size))
        return -1;
    if (rank >= 0 && rank != rankcall_call_rank(call))
        return 0;
    for (int64_t i = 0; i < events; i++)
        if (size ? rankcall_emit(call, with_bytes(size)) : emit(call))
            return -1;
    return 0;
}

/* Tells that it runs, and waits to be left. */
static int wait(struct rankcall_call *call)
{
    const struct timespec nap = {.tv_nsec = 1000000};
    if (rankcall_call_rank(call) == 0 && emit(call))
        return -1;
    while (!rankcall_cancelled(call))
        nanosleep(&nap, NULL);
    return 0;
}

/* Every rank computes all the time, and looks now and then. */
static int compute(struct rankcall_call *call)
{
    struct timespec begun, now;
    while (!rankcall_cancelled(call)) {
        clock_gettime(CLOCK_MONOTONIC, &begun);
        do
            clock_gettime(CLOCK_MONOTONIC, &now);
        while (now.tv_sec - begun.tv_sec + (now.tv_nsec - begun.tv_nsec) / 1e9 < 0.01);
    }
    return 0;
}

static const struct rankcall_handler handlers[] = {
    {"empty", empty, "does nothing"},
    {"wait", wait, "waits to be left"},
    {"grow", grow, "rank 0 takes a GB of memory"},
    {"compute", compute, "computes until it is to be left"},
    {"give", give, "gives bytes back"},
    {"burst", burst, "emits events"},
    {0},
};

RANKCALL_WORKER(.name = "bench", .handlers = handlers)
