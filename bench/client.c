/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The client that is measured, on the public runner API.
 *
 *     client SOCKET
 *     invoke HANDLER BYTES WARM-UP CALLS    -> {"ns": [...]}: each call's time; the payload is JSON
 *     send HANDLER BYTES WARM-UP CALLS      -> {"ns": [...]}: with an attachment of so many bytes
 *     fetch HANDLER BYTES WARM-UP CALLS     -> {"ns": [...]}: for a result with an attachment of so many bytes
 *     stream HANDLER RANK EVENTS BYTES      -> {"events": n, "ns": t}: from the first event to the result
 *     late HANDLER MS STREAMING CALLS       -> {"ns": [...]}: how long after its timeout, that of a stream's silence if
 *                                           STREAMING is not 0, each call had its error
 *     connect - COUNT                       -> {"ns": [...]}: of as many more connections, which stay
 *     stop                                  the job */

#include <rankcall/runner.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "samples.h"

#define CONNECT_NS 60000000000u /* how long the job may take to listen */
#define BYTES_MAX  (64u << 10)

static void check(int code, const char *what)
{
    if (code)
        bench_die("%s: %s", what, rankcall_last_error()->message);
}

static struct rankcall_runner *connect_soon(const char *path)
{
    struct rankcall_runner *runner = NULL;
    const uint64_t deadline = bench_now() + CONNECT_NS;
    int code;
    while ((code = rankcall_connect(path, &runner)) == RANKCALL_ENOJOB && bench_now() < deadline)
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    check(code, path);
    return runner;
}

/* JSON whose payload takes `bytes` bytes, a multiple of 8: 8 in front of the text, and a zero behind it. */
static char *text_for(long long bytes)
{
    static char text[BYTES_MAX];
    if (bytes < 32 || bytes > BYTES_MAX || bytes % 8)
        bench_die("a payload of %lld bytes is none that this program makes", bytes);
    const int fill = (int)bytes - 8 - 1 - (int)strlen("{\"pad\": \"\"}");
    char pad[BYTES_MAX];
    memset(pad, 'x', (size_t)fill);
    snprintf(text, sizeof text, "{\"pad\": \"%.*s\"}", fill, pad);
    return text;
}

static uint64_t call_once(struct rankcall_runner *runner, const char *handler, const char *text)
{
    struct rankcall_payload *args = NULL, *result = NULL;
    const uint64_t start = bench_now();
    if (text)
        check(rankcall_payload_from_json(text, SIZE_MAX, &args), "payload");
    check(rankcall_invoke(runner, handler, args, &result), "invoke");
    const uint64_t taken = bench_now() - start;
    rankcall_payload_free(result);
    return taken;
}

static uint64_t send_once(struct rankcall_runner *runner, const char *handler, const char *bytes, size_t size)
{
    struct rankcall_payload *result = NULL, *args = rankcall_payload_new();
    const struct rankcall_attachment attachment = {.name = "bytes", .data = bytes, .size = size};
    const uint64_t start = bench_now();
    check(rankcall_attach(args, &attachment, NULL, NULL), "attach");
    check(rankcall_invoke(runner, handler, args, &result), "invoke");
    const uint64_t taken = bench_now() - start;
    rankcall_payload_free(result);
    return taken;
}

/* The result is looked at and given back, as a client would. */
static uint64_t fetch_once(struct rankcall_runner *runner, const char *handler, size_t size)
{
    struct rankcall_payload *result = NULL, *args = rankcall_payload_new();
    struct rankcall_attachment attachment;
    const uint64_t start = bench_now();
    check(rankcall_set_int(args, "bytes", (int64_t)size), "bytes");
    check(rankcall_invoke(runner, handler, args, &result), "invoke");
    check(rankcall_attachment(result, "bytes", &attachment), "result");
    const uint64_t taken = bench_now() - start;
    if (attachment.size != size)
        bench_die("the result has %llu bytes instead of %zu", (unsigned long long)attachment.size, size);
    rankcall_payload_free(result);
    return taken;
}

static void move_bytes(struct rankcall_runner *runner, const struct bench_command *command)
{
    const long long warm_up = command->numbers[1], calls = command->numbers[2];
    size_t size = (size_t)command->numbers[0];
    uint64_t *ns = bench_samples((size_t)calls);
    bool send = !strcmp(command->word, "send");
    char *bytes = malloc(send ? size : 1);
    if (!bytes)
        bench_die("no memory for %zu bytes", size);
    memset(bytes, 'x', send ? size : 1);
    for (long long i = -warm_up; i < calls; i++)
        ns[i < 0 ? 0 : i] =
            send ? send_once(runner, command->name, bytes, size) : fetch_once(runner, command->name, size);
    bench_print_samples(ns, (size_t)calls);
    free(bytes);
    free(ns);
}

static void invoke(struct rankcall_runner *runner, const struct bench_command *command)
{
    const long long bytes = command->numbers[0], warm_up = command->numbers[1], calls = command->numbers[2];
    const char *text = bytes ? text_for(bytes) : NULL;
    uint64_t *ns = bench_samples((size_t)calls);
    for (long long i = -warm_up; i < calls; i++)
        ns[i < 0 ? 0 : i] = call_once(runner, command->name, text);
    bench_print_samples(ns, (size_t)calls);
    free(ns);
}

/* Reads to the result; returns how many events came. */
static uint64_t drain(struct rankcall_pending *pending, uint64_t *first)
{
    struct rankcall_item item;
    for (uint64_t events = 0;; events++) {
        check(rankcall_next(pending, -1, &item), "stream");
        if (!events)
            *first = bench_now();
        rankcall_payload_free(item.payload);
        if (item.kind == RANKCALL_ITEM_RESULT)
            return events;
    }
}

static void stream(struct rankcall_runner *runner, const struct bench_command *command)
{
    struct rankcall_payload *args = rankcall_payload_new();
    struct rankcall_pending *pending;
    uint64_t first = 0;
    check(rankcall_set_int(args, "rank", command->numbers[0]), "rank");
    check(rankcall_set_int(args, "events", command->numbers[1]), "events");
    check(rankcall_set_int(args, "bytes", command->numbers[2]), "bytes");
    check(rankcall_stream(runner, command->name, args, &pending), "stream");
    const uint64_t events = drain(pending, &first);
    const uint64_t end = bench_now();
    rankcall_pending_free(pending);
    bench_print_rate(events, end - first);
}

static uint64_t late_once(struct rankcall_runner *runner, const char *handler, double timeout, bool streaming)
{
    struct rankcall_call_options options = {.handler = handler, .streaming = streaming};
    struct rankcall_pending *pending;
    struct rankcall_item item;
    int code;
    *(streaming ? &options.streaming_timeout : &options.timeout) = timeout;
    check(rankcall_invoke(runner, "empty", NULL, NULL), "empty"); /* the ranks are back from the last one */
    const uint64_t deadline = bench_now() + (uint64_t)(timeout * 1e9);
    check(rankcall_submit(runner, &options, NULL, &pending), handler);
    if ((code = rankcall_next(pending, -1, &item)) != RANKCALL_ETIMEOUT)
        bench_die("%s: not a timeout: %s", handler, code ? rankcall_last_error()->message : "a result");
    const uint64_t now = bench_now();
    rankcall_pending_free(pending);
    return now > deadline ? now - deadline : 0;
}

static void late(struct rankcall_runner *runner, const struct bench_command *command)
{
    const long long calls = command->numbers[2];
    uint64_t *ns = bench_samples((size_t)calls);
    for (long long i = 0; i < calls; i++)
        ns[i] = late_once(runner, command->name, (double)command->numbers[0] / 1e3, command->numbers[1] != 0);
    bench_print_samples(ns, (size_t)calls);
    free(ns);
}

static void connect_more(const char *path, const struct bench_command *command)
{
    const long long count = command->numbers[0];
    uint64_t *ns = bench_samples((size_t)count);
    for (long long i = 0; i < count; i++) {
        struct rankcall_runner *runner; /* until the program ends */
        const uint64_t start = bench_now();
        check(rankcall_connect(path, &runner), path);
        ns[i] = bench_now() - start;
    }
    bench_print_samples(ns, (size_t)count);
    free(ns);
}

int main(int argc, char **argv)
{
    struct bench_command command;
    if (argc != 2)
        bench_die("usage: client SOCKET");
    struct rankcall_runner *runner = connect_soon(argv[1]);
    while (bench_command(&command)) {
        if (!strcmp(command.word, "invoke"))
            invoke(runner, &command);
        else if (!strcmp(command.word, "send") || !strcmp(command.word, "fetch"))
            move_bytes(runner, &command);
        else if (!strcmp(command.word, "stream"))
            stream(runner, &command);
        else if (!strcmp(command.word, "late"))
            late(runner, &command);
        else if (!strcmp(command.word, "connect"))
            connect_more(argv[1], &command);
        else if (!strcmp(command.word, "stop"))
            check(rankcall_stop(runner, 1), "stop");
        else
            bench_die("unknown command \"%s\"", command.word);
    }
    rankcall_runner_free(runner);
    return 0;
}
