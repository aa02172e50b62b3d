/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Many clients of one job, in one process with one loop, each with a number of calls outstanding.
 *
 *     crowd SOCKET
 *     calls HANDLER BYTES CLIENTS OUTSTANDING CALLS
 *           -> {"calls": n, "ns": t, "least": n}: together; how many the client had that had the fewest */

#include <rankcall/runner.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "samples.h"

#define CLIENTS_MAX     1024
#define OUTSTANDING_MAX 1024

struct client {
    struct rankcall_runner *runner;
    struct rankcall_pending *pending[OUTSTANDING_MAX]; /* a ring, in the order of submission */
    long long first, outstanding, done;
    uint32_t events; /* that are waited for */
};

static struct client clients[CLIENTS_MAX];
static struct epoll_event found[CLIENTS_MAX];
static char text[4096];

static void check(int code, const char *what)
{
    if (code)
        bench_die("%s: %s", what, rankcall_last_error()->message);
}

static void submit(struct client *client, const char *handler)
{
    struct rankcall_payload *args = NULL;
    const struct rankcall_call_options options = {.handler = handler};
    long long at = (client->first + client->outstanding++) % OUTSTANDING_MAX;
    if (*text)
        check(rankcall_payload_from_json(text, SIZE_MAX, &args), "payload");
    check(rankcall_submit(client->runner, &options, args, &client->pending[at]), "submit");
}

/* Takes what has come for a client, and submits as much anew, for whose answers it does not look yet. Returns how many
 * calls have ended. */
static long long take(struct client *client, const char *handler, bool again)
{
    struct rankcall_item item;
    const long long most = client->outstanding;
    long long ended = 0;
    while (ended < most) {
        struct rankcall_pending **first = &client->pending[client->first % OUTSTANDING_MAX];
        int code = rankcall_next(*first, 0, &item);
        if (code == RANKCALL_EAGAIN)
            break;
        check(code, "a call");
        rankcall_payload_free(item.payload);
        rankcall_pending_free(*first);
        client->first++;
        client->outstanding--;
        ended++;
        if (again)
            submit(client, handler);
    }
    client->done += ended;
    return ended;
}

/* epoll's events are poll's. */
static void watch(int epoll, struct client *client)
{
    struct epoll_event event = {.events = (uint32_t)rankcall_runner_poll_events(client->runner), .data.ptr = client};
    if (event.events == client->events)
        return;
    if (epoll_ctl(epoll, client->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, rankcall_runner_fd(client->runner), &event))
        bench_die("epoll_ctl failed");
    client->events = event.events;
}

/* Waits until something comes, and takes it. Returns how many calls have ended. */
static long long turn(int epoll, const char *handler, bool again)
{
    long long ended = 0;
    int count = epoll_wait(epoll, found, CLIENTS_MAX, -1);
    if (count < 0)
        bench_die("epoll_wait failed");
    for (int i = 0; i < count; i++) {
        struct client *client = found[i].data.ptr;
        check(rankcall_process(client->runner), "process");
        ended += take(client, handler, again);
        watch(epoll, client);
    }
    return ended;
}

static void set_text(long long bytes)
{
    const int around = (int)strlen("{\"pad\": \"\"}") + 8 + 1;
    if (bytes && (bytes < 32 || bytes > (long long)sizeof text || bytes % 8))
        bench_die("a payload of %lld bytes is none that this program makes", bytes);
    *text = '\0';
    if (!bytes)
        return;
    int fill = (int)bytes - around;
    snprintf(text, sizeof text, "{\"pad\": \"%0*d\"}", fill, 0);
}

static void run(const char *path, const struct bench_command *command)
{
    const long long count = command->numbers[1], each = command->numbers[2], wanted = command->numbers[3];
    long long done = 0, left = 0, least;
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (count < 1 || count > CLIENTS_MAX || each < 1 || each > OUTSTANDING_MAX)
        bench_die("%lld clients with %lld calls each: too many", count, each);
    set_text(command->numbers[0]);
    memset(clients, 0, sizeof clients);
    for (long long i = 0; i < count; i++)
        check(rankcall_connect(path, &clients[i].runner), path);
    const uint64_t begun = bench_now();
    for (long long i = 0; i < count; i++)
        for (long long j = 0; j < each; j++)
            submit(&clients[i], command->name);
    for (long long i = 0; i < count; i++)
        watch(epoll, &clients[i]);
    while (done < wanted)
        done += turn(epoll, command->name, true);
    const uint64_t ns = bench_now() - begun;
    least = clients[0].done;
    for (long long i = 1; i < count; i++)
        least = clients[i].done < least ? clients[i].done : least;
    for (left = count * each; left;) /* what is still under way, so that the job is idle again */
        left -= turn(epoll, command->name, false);
    for (long long i = 0; i < count; i++)
        rankcall_runner_free(clients[i].runner);
    close(epoll);
    printf("{\"calls\": %lld, \"ns\": %" PRIu64 ", \"least\": %lld}\n", done, ns, least);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct bench_command command;
    if (argc != 2)
        bench_die("usage: crowd SOCKET");
    while (bench_command(&command))
        run(argv[1], &command);
    return 0;
}
