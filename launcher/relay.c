/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What mpirun prints, passed on. */

#include "launcher/relay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ended.h"
#include "base/error.h"
#include "base/fd.h"
#include "launcher/say.h"
#include "launcher/verdict.h"

#define READ_SIZE   65536
#define LAST_SIZE   1000                            /* bytes of a line that are remembered */
#define NOISE       "LAUNCHER JOB OBJECT NOT FOUND" /* mpirun 5, at the end of any job that has replaced a rank */
#define PATIENCE_US 3000000                         /* with a reader of ours that does not read, at the end */

static void say(void *context, const char *line, unsigned long size)
{
    struct rk_relay *relay = context;
    rk_sink_add(&relay->err, line, size);
    rk_sink_flush(&relay->err);
}

void rk_relay_open(struct rk_relay *relay)
{
    *relay = (struct rk_relay){.streams = {{.fd = -1}, {.fd = -1}}};
    rk_sink_open(&relay->out, STDOUT_FILENO);
    rk_sink_open(&relay->err, STDERR_FILENO);
    rk_say_through(say, relay);
}

static void remember(struct rk_relay *relay, const char *prefix, const char *text, size_t size)
{
    char **slot = &relay->last[relay->lines++ % RK_RELAY_LAST];
    free(*slot);
    if (asprintf(slot, "%s%.*s", prefix, (int)(size < LAST_SIZE ? size : LAST_SIZE), text) < 0)
        *slot = NULL;
}

static void pass_on(void *context, int rank, const char *text, size_t size)
{
    struct rk_relay_stream *stream = context;
    char prefix[32];
    if (rank < 0 && size == strlen(NOISE) && memcmp(text, NOISE, size) == 0)
        return;
    if (rank < 0 && !stream->relay->end_of_rank && rk_verdict_is_end(text, size))
        stream->relay->end_of_rank = strndup(text, size);
    rk_output_prefix(rank, text, size, prefix);
    remember(stream->relay, prefix, text, size);
    if (stream->relay->journal)
        rk_journal_said(stream->relay->journal, rank, text, size);
    rk_sink_add(stream->sink, prefix, strlen(prefix));
    rk_sink_add(stream->sink, text, size);
    rk_sink_add(stream->sink, "\n", 1);
}

static int rank_of(void *context, int group, int member)
{
    const struct rk_relay *relay = context;
    return relay->journal ? rk_journal_seated(relay->journal, group, member) : member;
}

int rk_relay_attach(struct rk_relay *relay, int out, int err, int ranks, enum rk_tags tags, bool on_stderr)
{
    for (int i = 0; i < 2; i++) {
        struct rk_relay_stream *stream = &relay->streams[i];
        stream->relay = relay;
        stream->fd = i ? err : out;
        stream->sink = i || on_stderr ? &relay->err : &relay->out;
        stream->output = rk_output_new(ranks, tags, pass_on, stream);
        if (!stream->output)
            return rk_error(RANKCALL_EINTERNAL, "no memory for the ranks' output");
        rk_output_ask(stream->output, rank_of, relay);
    }
    return RANKCALL_OK;
}

void rk_relay_poll(const struct rk_relay *relay, struct pollfd fds[RK_RELAY_FDS])
{
    for (int i = 0; i < 2; i++) {
        const struct rk_relay_stream *stream = &relay->streams[i];
        const struct rk_sink *sink = i ? &relay->err : &relay->out;
        bool full = stream->fd >= 0 && rk_sink_held(stream->sink) >= RK_SINK_FULL;
        fds[i] = (struct pollfd){.fd = full ? -1 : stream->fd, .events = POLLIN};
        fds[2 + i] = (struct pollfd){.fd = rk_sink_held(sink) ? sink->fd : -1, .events = POLLOUT};
    }
}

/* Reads once; false when nothing more is there for now, or ever. */
static bool read_some(struct rk_relay_stream *stream)
{
    char data[READ_SIZE];
    if (stream->fd < 0)
        return false;
    ssize_t size = read(stream->fd, data, sizeof(data));
    if (size > 0) {
        rk_output_feed(stream->output, data, (size_t)size);
        return true;
    }
    if (size == 0 || (errno != EAGAIN && errno != EINTR)) {
        rk_output_end(stream->output);
        rk_fd_close(&stream->fd);
    }
    return false;
}

void rk_relay_move(struct rk_relay *relay, const struct pollfd fds[RK_RELAY_FDS])
{
    for (int i = 0; i < 2; i++)
        if (fds[i].revents)
            read_some(&relay->streams[i]);
    rk_sink_flush(&relay->out);
    rk_sink_flush(&relay->err);
}

static bool is_over(const struct rk_relay *relay)
{
    return relay->streams[0].fd < 0 && relay->streams[1].fd < 0;
}

void rk_relay_catch_up(struct rk_relay *relay, int mpirun)
{
    int64_t now = rk_now_us(), limit = now + RK_WORDS_LIMIT_US, quiet = now + RK_WORDS_US;
    struct pollfd fds[RK_RELAY_FDS];
    for (; !is_over(relay) && (now < quiet || rk_process_busy(mpirun)) && now < limit; now = rk_now_us()) {
        rk_relay_poll(relay, fds);
        fds[2].fd = fds[3].fd = -1;
        if (poll(fds, RK_RELAY_FDS, 1) <= 0)
            continue;
        rk_relay_move(relay, fds);
        quiet = rk_now_us() + RK_WORDS_US;
    }
}

void rk_relay_end(struct rk_relay *relay)
{
    for (int i = 0; i < 2; i++) {
        struct rk_relay_stream *stream = &relay->streams[i];
        while (read_some(stream))
            if (rk_sink_held(stream->sink) >= RK_SINK_FULL)
                rk_sink_drain(stream->sink, PATIENCE_US);
        if (stream->output)
            rk_output_end(stream->output);
        rk_output_free(stream->output);
        stream->output = NULL;
        rk_fd_close(&stream->fd);
    }
    rk_sink_flush(&relay->out);
    rk_sink_flush(&relay->err);
}

char *rk_relay_last(const struct rk_relay *relay)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    size_t first = relay->lines > RK_RELAY_LAST ? relay->lines - RK_RELAY_LAST : 0;
    if (!out)
        return NULL;
    for (size_t i = first; i < relay->lines; i++)
        fprintf(out, "%s\n", relay->last[i % RK_RELAY_LAST] ? relay->last[i % RK_RELAY_LAST] : "");
    fclose(out);
    return text;
}

void rk_relay_close(struct rk_relay *relay)
{
    rk_say_through(NULL, NULL);
    rk_sink_drain(&relay->out, PATIENCE_US);
    rk_sink_drain(&relay->err, PATIENCE_US);
    rk_sink_close(&relay->out);
    rk_sink_close(&relay->err);
    for (int i = 0; i < 2; i++) {
        rk_fd_close(&relay->streams[i].fd);
        rk_output_free(relay->streams[i].output);
    }
    for (size_t i = 0; i < RK_RELAY_LAST; i++)
        free(relay->last[i]);
    free(relay->end_of_rank);
    *relay = (struct rk_relay){0};
}
