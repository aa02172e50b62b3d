/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* rankcall forward: a job's socket on standard input and output, for a client on another host. */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "base/fd.h"
#include "client/runner.h"
#include "launcher/commands.h"
#include "launcher/say.h"
#include "launcher/via.h"

#define PIECE (64 << 10)

struct values {
    struct rk_reach reach;
};

/* One direction: what was read and is not yet written. */
struct way {
    int from, to;
    char data[PIECE];
    size_t at, size;
    bool ended;
};

static void fill(struct way *way)
{
    ssize_t size = read(way->from, way->data, sizeof(way->data));
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    way->ended = size <= 0;
    way->at = 0;
    way->size = size > 0 ? (size_t)size : 0;
}

static void empty(struct way *way)
{
    ssize_t size = write(way->to, way->data + way->at, way->size - way->at);
    if (size < 0 && errno != EAGAIN && errno != EINTR)
        way->ended = true;
    else if (size > 0)
        way->at += (size_t)size;
}

/* Until one side closes: the job has no use for half a connection. */
static void carry(struct way ways[2])
{
    while (!ways[0].ended && !ways[1].ended) {
        struct pollfd fds[2];
        for (int i = 0; i < 2; i++) {
            bool full = ways[i].at < ways[i].size;
            fds[i] = (struct pollfd){.fd = full ? ways[i].to : ways[i].from, .events = full ? POLLOUT : POLLIN};
        }
        if (poll(fds, 2, -1) < 0)
            continue;
        for (int i = 0; i < 2; i++)
            if (fds[i].revents && fds[i].events == POLLIN)
                fill(&ways[i]);
            else if (fds[i].revents)
                empty(&ways[i]);
    }
}

static int forward(const struct values *values)
{
    static struct way ways[2];
    char path[RK_PATH_MAX];
    int fd;
    const int64_t until_us = rk_now_us() + (int64_t)(values->reach.wait * 1e6);
    int code;
    do
        if (!(code = rk_jobs_resolve(values->reach.job, path)))
            code = rk_jobs_dial(path, &fd);
    while (code && rk_reach_again(code, until_us));
    if (code)
        return rk_say_error();
    signal(SIGPIPE, SIG_IGN);
    ways[0].from = STDIN_FILENO;
    ways[0].to = ways[1].from = fd;
    ways[1].to = STDOUT_FILENO;
    carry(ways);
    rk_fd_close(&fd);
    return 0;
}

static int run(int argc, char **argv)
{
    struct values values = {0};
    int status, at = rk_options_parse(&rk_command_forward, argc, argv, &values, &status);
    if (at >= 0 && argv[at] && !values.reach.job)
        values.reach.job = argv[at];
    return at < 0 ? status : forward(&values);
}

static const struct rk_option options[] = {
    {"job", 'j', "JOB", RK_OPTION_TEXT, offsetof(struct values, reach.job),
     "the job: its name, or its socket's path\n(default: $RANKCALL_JOB, or the only job that runs)"},
    RK_WAIT_OPTION(struct values),
    {0},
};

const struct rk_command rk_command_forward = {
    .name = "forward",
    .usage = "[OPTION…] [JOB]",
    .help = "Passes on between a job's socket and standard input and output: what --via runs.",
    .options = options,
    .max_arguments = 1,
    .run = run,
};
