/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Handlers that emit events whose every byte the receiver knows. */

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "handlers.h"
#include "pattern.h"

struct burst {
    int64_t seed, count, size, attach, check; /* check: a checkpoint every so many events, 0: none */
    bool chosen;                              /* whether this rank emits */
    char *text;                               /* size + 1 bytes */
    void *data;                               /* attach bytes */
};

static int read_ranks(struct rankcall_call *call, bool *chosen)
{
    const double *ranks;
    size_t count;
    *chosen = !rankcall_has(rankcall_args(call), "ranks");
    if (*chosen)
        return 0;
    if (rankcall_get_doubles(rankcall_args(call), "ranks", &ranks, &count))
        return -1;
    for (size_t i = 0; i < count; i++)
        if (ranks[i] == rankcall_call_rank(call))
            *chosen = true;
    return 0;
}

static int read_burst(struct rankcall_call *call, struct burst *burst)
{
    const struct rankcall_payload *args = rankcall_args(call);
    *burst = (struct burst){.count = 1, .size = PATTERN_MIN_TEXT};
    if (rankcall_opt_int_in(args, "seed", 0, UINT32_MAX, &burst->seed) ||
        rankcall_opt_int_in(args, "count", 0, INT64_C(1) << 40, &burst->count) ||
        rankcall_opt_int_in(args, "size", PATTERN_MIN_TEXT, 1 << 20, &burst->size) ||
        rankcall_opt_int_in(args, "attach", 0, 1 << 30, &burst->attach) ||
        rankcall_opt_int_in(args, "check", 0, 1 << 30, &burst->check) || read_ranks(call, &burst->chosen))
        return -1;
    burst->text = malloc((size_t)burst->size + 1);
    burst->data = malloc((size_t)burst->attach + 1);
    return burst->text && burst->data ? 0 : rankcall_fail(call, "no memory");
}

static int emit_one(struct rankcall_call *call, const struct burst *burst, uint64_t index)
{
    struct rankcall_payload *event;
    int rank = rankcall_call_rank(call);
    pattern_text(burst->text, (size_t)burst->size, (uint32_t)burst->seed, rank, index);
    if (rankcall_payload_from_json(burst->text, (size_t)burst->size, &event))
        return -1;
    if (burst->attach > 0) {
        pattern_fill(burst->data, (size_t)burst->attach, (uint32_t)burst->seed, rank, index);
        struct rankcall_attachment attachment = {.name = "data", .data = burst->data, .size = (uint64_t)burst->attach};
        if (rankcall_attach_copy(event, &attachment)) {
            rankcall_payload_free(event);
            return -1;
        }
    }
    return rankcall_emit(call, event);
}

/* {"seed", "count", "size", "ranks": [0, 2], "attach", "check"}: the chosen ranks (all, when "ranks" is missing) emit
 * `count` events of `size` bytes of JSON, with an attachment of `attach` bytes unless that is 0. */
int handle_burst(struct rankcall_call *call)
{
    struct burst burst;
    int code = read_burst(call, &burst);
    for (int64_t i = 0; !code && i < burst.count; i++) {
        if (burst.check > 0 && i % burst.check == 0 && rankcall_cancelled(call))
            break;
        if (burst.chosen)
            code = emit_one(call, &burst, (uint64_t)i);
    }
    free(burst.text);
    free(burst.data);
    if (code)
        return code;
    return rankcall_result_json(call, "{\"seed\": %lld, \"count\": %lld}", (long long)burst.seed,
                                (long long)burst.count);
}

struct thread {
    pthread_t id;
    struct rankcall_call *call;
    int number, count, code;
};

static void *emit_from_thread(void *argument)
{
    struct thread *thread = argument;
    for (int i = 0; i < thread->count && !thread->code; i++)
        thread->code = rankcall_emit_json(thread->call, "{\"thread\": %d, \"i\": %d}", thread->number, i);
    return NULL;
}

/* {"threads", "count"}: every rank starts threads that emit at the same time. */
int handle_threads(struct rankcall_call *call)
{
    int64_t threads = 4, count = 100;
    struct thread thread[16];
    if (rankcall_opt_int_in(rankcall_args(call), "threads", 1, 16, &threads) ||
        rankcall_opt_int(rankcall_args(call), "count", &count))
        return -1;
    for (int i = 0; i < threads; i++) {
        thread[i] = (struct thread){.call = call, .number = i, .count = (int)count};
        pthread_create(&thread[i].id, NULL, emit_from_thread, &thread[i]);
    }
    int code = 0;
    for (int i = 0; i < threads; i++) {
        pthread_join(thread[i].id, NULL);
        code = thread[i].code ? thread[i].code : code;
    }
    return code ? rankcall_fail(call, "a thread's emit failed: %s", rankcall_code_name(code)) : 0;
}

/* {"sizes"}: every rank emits an event for each size, whose bytes are its own memory, and waits until it has that back,
 * 10 s at most. Tells how many came back in that time on rank 0. */
int handle_lent(struct rankcall_call *call)
{
    const struct timespec nap = {.tv_nsec = 1000000};
    const double *sizes;
    size_t count, in_time = 0;
    if (rankcall_get_doubles(rankcall_args(call), "sizes", &sizes, &count))
        return -1;
    static uint64_t back; /* of this call; static, as a late one may come after it */
    __atomic_store_n(&back, 0, __ATOMIC_SEQ_CST);
    for (size_t i = 0; i < count; i++) {
        struct rankcall_attachment attachment = {.name = "lent", .size = (uint64_t)sizes[i]};
        struct rankcall_payload *event = rankcall_payload_new();
        attachment.data = calloc(1, (size_t)sizes[i]); /* lost where it does not come back */
        if (rankcall_attach(event, &attachment, rankcall_release_count, &back) || rankcall_emit(call, event))
            return -1;
        for (int naps = 0; naps < 10000 && __atomic_load_n(&back, __ATOMIC_SEQ_CST) <= i; naps++)
            nanosleep(&nap, NULL);
        if (__atomic_load_n(&back, __ATOMIC_SEQ_CST) <= i)
            continue;
        free((void *)attachment.data);
        in_time++;
    }
    return rankcall_result_json(call, "{\"back\": %zu}", in_time);
}

/* Tries NULL, bad JSON and an event above the cap; between them one good event. Tells the codes. */
int handle_emit_refused(struct rankcall_call *call)
{
    int64_t mebibytes = 0;
    if (rankcall_opt_int(rankcall_args(call), "mebibytes", &mebibytes))
        return -1;
    void *big = calloc((size_t)mebibytes + 1, 1 << 20);
    struct rankcall_attachment attachment = {.name = "big", .data = big, .size = (uint64_t)mebibytes << 20};
    struct rankcall_payload *event = rankcall_payload_new();
    int null = rankcall_emit(call, NULL);
    int bad = rankcall_emit_json(call, "{\"a\": 1, \"a\": 2}");
    int good = rankcall_emit_json(call, "{\"good\": true}");
    if (rankcall_attach_take(event, &attachment))
        return -1;
    int large = rankcall_emit(call, event);
    return rankcall_result_json(call, "{\"null\": \"%s\", \"bad\": \"%s\", \"good\": \"%s\", \"large\": \"%s\"}",
                                rankcall_code_name(null), rankcall_code_name(bad), rankcall_code_name(good),
                                rankcall_code_name(large));
}

static int attach_text(struct rankcall_payload *payload, const char *name, int type, const char *text)
{
    struct rankcall_attachment attachment = {.name = name, .type = type, .data = text, .size = strlen(text)};
    return rankcall_attach_copy(payload, &attachment);
}

/* {"steps", "attach"}: rank 0 emits that many events that tell the progress, with a preview when "attach" is true. The
 * result has a picture, an array and bytes. */
int handle_steps(struct rankcall_call *call)
{
    static const float values[6] = {0, 1, 2, 3, 4, 5};
    struct rankcall_attachment array = {
        .name = "values", .type = RANKCALL_NDARRAY, .dtype = RANKCALL_FLOAT32, .ndim = 2};
    int64_t steps = 4;
    bool attach = false;
    if (rankcall_opt_int(rankcall_args(call), "steps", &steps) ||
        rankcall_opt_bool(rankcall_args(call), "attach", &attach))
        return -1;
    for (int64_t step = 1; step <= steps && rankcall_call_rank(call) == 0; step++) {
        struct rankcall_payload *event = rankcall_payload_new();
        rankcall_set_double(event, "progress", (double)step / (double)steps);
        rankcall_set_int(event, "step", step);
        if ((attach && attach_text(event, "preview", RANKCALL_IMAGE_JPEG, "\xff\xd8\xff no real picture")) ||
            rankcall_emit(call, event))
            return -1;
    }
    struct rankcall_payload *result = rankcall_payload_new();
    array.shape[0] = 2;
    array.shape[1] = 3;
    array.data = values;
    array.size = sizeof values;
    rankcall_set_int(result, "steps", steps);
    if (attach_text(result, "picture", RANKCALL_IMAGE_PNG, "\x89PNG no real picture") ||
        attach_text(result, "log", RANKCALL_BYTES, "some bytes") || rankcall_attach_copy(result, &array)) {
        rankcall_payload_free(result);
        return -1;
    }
    return rankcall_result(call, result);
}
