/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The job's socket: listening, accepting, and what happens when descriptors run out. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/inside.h"

#define ACCEPT_BURST    64 /* connections taken at a time, so that others are served in between */
#define TURN_AWAY_COST  3  /* of them that one which is turned away counts for, beside itself */
#define ACCEPT_PAUSE_US 50000
#define TOLD_AGAIN_US   10000000

static void pause_accepting(struct rk_frontend *frontend)
{
    struct timeval pause = {.tv_usec = ACCEPT_PAUSE_US};
    event_del(frontend->acceptable);
    event_add(frontend->accept_pause, &pause);
}

static void say_full(const struct rk_frontend *frontend)
{
    static int64_t told_us;
    if (told_us && rk_now_us() - told_us < TOLD_AGAIN_US)
        return;
    told_us = rk_now_us();
    rk_log(RK_LOG_WARNING, "no descriptors left for more than %u clients: raise ulimit -n", frontend->client_count);
}

static void tell_busy(const struct rk_frontend *frontend, int fd)
{
    struct rankcall_error error = {RANKCALL_EBUSY, 0, rankcall_host(frontend->context),
                                   "the job has no descriptors left for more clients: raise its ulimit -n", ""};
    uint8_t head[RK_HEAD_CAP];
    rk_conn_tell(fd, RK_ERROR, head, rk_error_encode(&(struct rk_error_head){RANKCALL_EBUSY, -1}, head), &error);
}

/* Out of descriptors: one kept in reserve lets this client be told, instead of waiting for an answer that never comes.
 * Returns whether another one may wait. */
static bool turn_away(struct rk_frontend *frontend)
{
    rk_fd_close(&frontend->spare_fd);
    int fd = accept4(frontend->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    bool nobody = fd < 0 && errno == EAGAIN, stuck = fd < 0 && !nobody && errno != EINTR && errno != ECONNABORTED;
    if (fd >= 0) {
        say_full(frontend);
        tell_busy(frontend, fd);
    }
    frontend->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (stuck)
        pause_accepting(frontend);
    return !nobody && !stuck;
}

static void accept_clients(evutil_socket_t listener, short events, void *context)
{
    struct rk_frontend *frontend = context;
    (void)events;
    frontend->activity++;
    for (int cost = 0; cost < ACCEPT_BURST; cost++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            rk_client_new(frontend, fd, false);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            if (!turn_away(frontend))
                return;
            cost += TURN_AWAY_COST;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

static void resume_accepting(evutil_socket_t fd, short events, void *context)
{
    struct rk_frontend *frontend = context;
    (void)fd, (void)events;
    if (frontend->listen_fd >= 0)
        event_add(frontend->acceptable, NULL);
}

int rk_listener_open(struct rk_frontend *frontend)
{
    const char *path = frontend->context->options->socket;
    int code = rk_path_make_folder_of(path);
    if (!code)
        code = rk_path_listen(path, &frontend->listen_fd);
    return code ? code : rk_listener_begin(frontend);
}

int rk_listener_begin(struct rk_frontend *frontend)
{
    struct stat file;
    snprintf(frontend->path, sizeof frontend->path, "%s", frontend->context->options->socket);
    if (!stat(frontend->path, &file)) {
        frontend->socket_device = file.st_dev;
        frontend->socket_inode = file.st_ino;
    }
    frontend->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    frontend->acceptable =
        event_new(frontend->base, frontend->listen_fd, EV_READ | EV_PERSIST, accept_clients, frontend);
    frontend->accept_pause = evtimer_new(frontend->base, resume_accepting, frontend);
    if (!frontend->acceptable || !frontend->accept_pause)
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    event_add(frontend->acceptable, NULL);
    return RANKCALL_OK;
}

void rk_listener_close(struct rk_frontend *frontend)
{
    struct stat file;
    if (frontend->listen_fd < 0)
        return;
    if (!stat(frontend->path, &file) && file.st_dev == frontend->socket_device && file.st_ino == frontend->socket_inode)
        unlink(frontend->path);
    if (frontend->acceptable)
        event_free(frontend->acceptable);
    if (frontend->accept_pause)
        event_free(frontend->accept_pause);
    frontend->acceptable = frontend->accept_pause = NULL;
    rk_fd_close(&frontend->listen_fd);
    rk_fd_close(&frontend->spare_fd);
}
