/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The client of the floor of a call: one write, one read.
 *
 *     invoke_client SOCKET
 *     invoke - BYTES WARM-UP CALLS      -> {"ns": [...]}
 *     fetch - BYTES WARM-UP CALLS       -> {"ns": [...]}: with an answer of so many bytes */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../samples.h"
#include "socket.h"

static char *room_for(size_t size)
{
    char *room = malloc(size ? size : 1);
    if (!room)
        bench_die("no memory for %zu bytes", size);
    memset(room, 'x', size ? size : 1);
    return room;
}

/* A request with so many bytes, `rest` of which do not fit into it, and an answer of so many. */
static uint64_t call_once(int fd, size_t bytes, const char *rest, size_t wanted, char *answer_bytes)
{
    struct floor_request request = {.header = {.size = bytes, .wanted = wanted}};
    struct floor_header answer;
    const uint64_t start = bench_now();
    size_t first = bytes < FLOOR_PAYLOAD ? bytes : FLOOR_PAYLOAD;
    memset(request.payload, 'x', first);
    floor_write(fd, &request, sizeof request.header + first);
    if (bytes > first)
        floor_write(fd, rest, bytes - first);
    if (!floor_read_answer(fd, &answer) || !floor_read(fd, answer_bytes, wanted))
        bench_die("the floor hung up");
    return bench_now() - start;
}

static void measure(int fd, size_t bytes, size_t wanted, long long warm_up, long long calls)
{
    uint64_t *ns = bench_samples((size_t)calls);
    char *rest = room_for(bytes), *answer = room_for(wanted);
    for (long long i = -warm_up; i < calls; i++)
        ns[i < 0 ? 0 : i] = call_once(fd, bytes, rest, wanted, answer);
    bench_print_samples(ns, (size_t)calls);
    free(rest);
    free(answer);
    free(ns);
}

int main(int argc, char **argv)
{
    struct bench_command command;
    if (argc != 2)
        bench_die("usage: invoke_client SOCKET");
    int fd = floor_connect(argv[1]);
    while (bench_command(&command)) {
        size_t bytes = (size_t)command.numbers[0];
        bool fetch = !strcmp(command.word, "fetch");
        measure(fd, fetch ? 0 : bytes, fetch ? bytes : 0, command.numbers[1], command.numbers[2]);
    }
    close(fd);
    return 0;
}
