/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Output that never blocks its writer. The descriptor may be shared with others, so it is not made non-blocking: small
 * writes after poll() has found room are as good. */

#include "launcher/sink.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

#define PIPE_PART     4096 /* poll() promises a pipe this much room */
#define TERMINAL_PART 256  /* and a terminal this much */

void rk_sink_open(struct rk_sink *sink, int fd)
{
    *sink = (struct rk_sink){.fd = fd};
}

void rk_sink_close(struct rk_sink *sink)
{
    free(sink->data);
    *sink = (struct rk_sink){.fd = -1};
}

size_t rk_sink_held(const struct rk_sink *sink)
{
    return sink->end - sink->begin;
}

static bool make_room(struct rk_sink *sink, size_t size)
{
    if (sink->end + size <= sink->room)
        return true;
    if (sink->begin > 0)
        memmove(sink->data, sink->data + sink->begin, rk_sink_held(sink));
    sink->end -= sink->begin;
    sink->begin = 0;
    if (sink->end + size <= sink->room)
        return true;
    char *data = realloc(sink->data, 2 * (sink->end + size));
    if (!data)
        return false;
    sink->data = data;
    sink->room = 2 * (sink->end + size);
    return true;
}

void rk_sink_add(struct rk_sink *sink, const char *data, size_t size)
{
    if (sink->broken || !size || !make_room(sink, size))
        return;
    memcpy(sink->data + sink->end, data, size);
    sink->end += size;
}

static bool has_room(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
    return poll(&poll_fd, 1, 0) > 0;
}

void rk_sink_flush(struct rk_sink *sink)
{
    size_t part = isatty(sink->fd) ? TERMINAL_PART : PIPE_PART;
    while (rk_sink_held(sink) && has_room(sink->fd)) {
        size_t size = rk_sink_held(sink) < part ? rk_sink_held(sink) : part;
        ssize_t done = write(sink->fd, sink->data + sink->begin, size);
        if (done > 0) {
            sink->begin += (size_t)done;
        } else if (done < 0 && errno != EINTR && errno != EAGAIN) {
            sink->broken = true;
            sink->begin = sink->end;
        }
    }
    if (!rk_sink_held(sink))
        sink->begin = sink->end = 0;
}

void rk_sink_drain(struct rk_sink *sink, int64_t patience_us)
{
    rk_sink_flush(sink);
    while (rk_sink_held(sink) && rk_fd_wait(sink->fd, POLLOUT, rk_now_us() + patience_us))
        rk_sink_flush(sink);
}
