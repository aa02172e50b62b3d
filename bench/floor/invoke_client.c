/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The client of the floor of a call: one write, one read.
 *
 *     invoke_client SOCKET
 *     invoke - BYTES WARM-UP CALLS      -> {"ns": [...]} */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../samples.h"
#include "socket.h"

static uint64_t call_once(int fd, size_t bytes)
{
    struct floor_request request = {.header.size = bytes};
    struct floor_header answer;
    const uint64_t start = bench_now();
    memset(request.payload, 'x', bytes);
    floor_write(fd, &request, sizeof request.header + bytes);
    if (!floor_read_answer(fd, &answer))
        bench_die("the floor hung up");
    return bench_now() - start;
}

static void invoke(int fd, const struct bench_command *command)
{
    const long long bytes = command->numbers[0], warm_up = command->numbers[1], calls = command->numbers[2];
    uint64_t *ns = bench_samples((size_t)calls);
    if (bytes > FLOOR_PAYLOAD)
        bench_die("a request has at most %d bytes", FLOOR_PAYLOAD);
    for (long long i = -warm_up; i < calls; i++)
        ns[i < 0 ? 0 : i] = call_once(fd, (size_t)bytes);
    bench_print_samples(ns, (size_t)calls);
    free(ns);
}

int main(int argc, char **argv)
{
    struct bench_command command;
    if (argc != 2)
        bench_die("usage: invoke_client SOCKET");
    int fd = floor_connect(argv[1]);
    while (bench_command(&command))
        invoke(fd, &command);
    close(fd);
    return 0;
}
