/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Many clients mixing calls, every answer checked: stress JOB CLIENTS CALLS
 *
 * Each client is a process with one connection; it keeps up to four calls outstanding and reads them in any order. */

#include <sys/wait.h>
#include <unistd.h>

#include "burst.h"
#include "check.h"
#include "pattern.h"

enum kind { KIND_SUM, KIND_ECHO, KIND_BURST, KIND_EMPTY, KIND_COUNT };

struct call {
    struct rankcall_pending *pending; /* NULL: a free place */
    enum kind kind;
    double value;
    size_t size; /* of the echo's attachment */
    uint32_t seed;
    struct burst burst;
};

struct client {
    struct rankcall_runner *runner;
    uint32_t random;
    struct call calls[4];
};

static uint32_t random_below(struct client *client, uint32_t limit)
{
    client->random = client->random * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)client->random * limit) >> 32);
}

static void submit(struct client *client, struct call *call, const char *handler, struct rankcall_payload *args)
{
    struct rankcall_call_options options = {.handler = handler};
    int code = rankcall_submit(client->runner, &options, args, &call->pending);
    CODE(code, RANKCALL_OK);
}

static void begin_sum(struct client *client, struct call *call)
{
    struct rankcall_payload *args = rankcall_payload_new();
    call->value = random_below(client, 1000000);
    OK(rankcall_set_double(args, "value", call->value));
    submit(client, call, "sum", args);
}

static void begin_echo(struct client *client, struct call *call)
{
    struct rankcall_payload *args = rankcall_payload_new();
    call->seed = client->random;
    call->size = random_below(client, 10) == 0 ? random_below(client, 200000) : random_below(client, 2000);
    void *data = malloc(call->size + 1);
    pattern_fill(data, call->size, call->seed, 0, 0);
    struct rankcall_attachment attachment = {.name = "values",
                                             .type = RANKCALL_NDARRAY,
                                             .dtype = RANKCALL_UINT8,
                                             .ndim = 1,
                                             .data = data,
                                             .size = call->size};
    attachment.shape[0] = call->size;
    OK(rankcall_set_int(args, "seed", call->seed));
    OK(rankcall_attach_take(args, &attachment));
    submit(client, call, "echo", args);
}

static void begin(struct client *client, struct call *call)
{
    call->kind = (enum kind)random_below(client, KIND_COUNT);
    switch (call->kind) {
    case KIND_SUM: begin_sum(client, call); break;
    case KIND_ECHO: begin_echo(client, call); break;
    case KIND_BURST:
        call->burst = burst_of(client->random, random_below(client, 30), 64 + random_below(client, 200),
                               rankcall_runner_world_size(client->runner));
        burst_submit(&call->burst, client->runner, &call->pending);
        break;
    default: submit(client, call, NULL, NULL);
    }
}

static void check_sum(struct client *client, const struct call *call, const struct rankcall_payload *result)
{
    double sum, world = rankcall_runner_world_size(client->runner);
    OK(rankcall_get_double(result, "sum", &sum));
    CHECK(sum == call->value * world * (world + 1) / 2);
}

static void check_echo(const struct call *call, const struct rankcall_payload *result)
{
    struct rankcall_attachment got;
    int64_t seed;
    OK(rankcall_get_int(result, "seed", &seed));
    CHECK(seed == call->seed);
    OK(rankcall_attachment_of(result, "values", RANKCALL_NDARRAY, RANKCALL_UINT8, &got));
    CHECK(got.size == call->size && got.ndim == 1 && got.shape[0] == call->size);
    uint8_t *wanted = malloc(call->size + 1);
    pattern_fill(wanted, call->size, call->seed, 0, 0);
    CHECK(memcmp(wanted, got.data, call->size) == 0);
    free(wanted);
}

static void end(struct client *client, struct call *call)
{
    struct rankcall_item item = {.kind = 0};
    if (call->kind == KIND_BURST) {
        while (burst_step(&call->burst, call->pending))
            ;
    } else {
        OK(rankcall_next(call->pending, 60, &item));
        CHECK(item.kind == RANKCALL_ITEM_RESULT);
    }
    if (call->kind == KIND_SUM)
        check_sum(client, call, item.payload);
    else if (call->kind == KIND_ECHO)
        check_echo(call, item.payload);
    else if (call->kind == KIND_EMPTY)
        SAME(rankcall_payload_json(item.payload, NULL), "{}");
    rankcall_payload_free(item.payload);
    rankcall_pending_free(call->pending);
    call->pending = NULL;
}

static int be_a_client(const char *job, int number, int calls)
{
    struct client client = {.random = (uint32_t)number * 7919u + 1};
    OK(rankcall_connect(job, &client.runner));
    for (int i = 0; i < calls; i++) {
        struct call *call = &client.calls[random_below(&client, 4)];
        if (call->pending)
            end(&client, call);
        begin(&client, call);
    }
    for (int i = 0; i < 4; i++)
        if (client.calls[i].pending)
            end(&client, &client.calls[i]);
    rankcall_runner_free(client.runner);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return fprintf(stderr, "usage: stress JOB CLIENTS CALLS\n"), 2;
    int clients = atoi(argv[2]), calls = atoi(argv[3]), failed = 0, status;
    for (int i = 0; i < clients; i++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0)
            return be_a_client(argv[1], i, calls / clients);
    }
    for (int i = 0; i < clients; i++) {
        CHECK(wait(&status) > 0);
        failed += status != 0;
    }
    if (failed > 0)
        fprintf(stderr, "%d of %d clients failed\n", failed, clients);
    return failed > 0;
}
