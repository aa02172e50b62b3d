/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Copies of rank 0's connections, and its death. */

#include "launcher/keeper.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/handover.h"
#include "base/journal.h"

#define EVENTS  64 /* taken at a time */
#define RESERVE 64 /* descriptors that are left for other things */

void rk_keeper_init(struct rk_keeper *keeper)
{
    *keeper = (struct rk_keeper){.poll = -1, .socket = -1, .death = -1};
}

static bool watch(const struct rk_keeper *keeper, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    return !epoll_ctl(keeper->poll, EPOLL_CTL_ADD, fd, &event);
}

int rk_keeper_open(struct rk_keeper *keeper, int *end)
{
    int ends[2];
    rk_keeper_close(keeper);
    keeper->poll = epoll_create1(EPOLL_CLOEXEC);
    if (keeper->poll < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)) {
        rk_fd_close(&keeper->poll);
        return rk_error_system("cannot make a socket for rank 0's connections");
    }
    keeper->socket = ends[0];
    *end = ends[1];
    watch(keeper, keeper->socket, EPOLLIN);
    return RANKCALL_OK;
}

/* ---- Rank 0's death: a thread that waits for it with what is its own ---- */

struct waiter {
    struct rk_journal *journal;
    int pipe;
};

static void *await_death(void *context)
{
    struct waiter *waiter = context;
    pthread_setname_np(pthread_self(), "rankcall-death");
    if (rk_journal_await_death(waiter->journal) && write(waiter->pipe, "", 1) < 0)
        (void)0; /* nobody wants to know any more */
    close(waiter->pipe);
    rk_journal_close(waiter->journal);
    free(waiter);
    return NULL;
}

static bool start_waiter(struct waiter *waiter)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all); /* signals are the other thread's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = !pthread_create(&thread, NULL, await_death, waiter);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started)
        pthread_detach(thread);
    return started;
}

void rk_keeper_watch(struct rk_keeper *keeper, int journal_fd)
{
    int ends[2];
    struct waiter *waiter;
    if (keeper->poll < 0 || keeper->death >= 0 || pipe2(ends, O_CLOEXEC | O_NONBLOCK))
        return;
    waiter = calloc(1, sizeof(*waiter));
    if (waiter)
        waiter->pipe = ends[1];
    if (waiter && !rk_journal_open(journal_fd, &waiter->journal) && start_waiter(waiter)) {
        keeper->death = ends[0];
        watch(keeper, keeper->death, EPOLLIN);
        return;
    }
    if (waiter)
        rk_journal_close(waiter->journal);
    free(waiter);
    close(ends[0]);
    close(ends[1]);
}

/* The thread tells that rank 0 has died, or, by the end of the pipe alone, that it has left in order. */
static bool hear(struct rk_keeper *keeper)
{
    char byte;
    bool died = read(keeper->death, &byte, 1) == 1;
    epoll_ctl(keeper->poll, EPOLL_CTL_DEL, keeper->death, NULL);
    return died;
}

/* ---- Connections ---- */

static bool has_room(struct rk_keeper *keeper, int fd)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) || (rlim_t)fd + RESERVE >= limit.rlim_cur)
        return false;
    if ((size_t)fd < keeper->room)
        return true;
    size_t room = 2 * (size_t)fd + 64;
    bool *kept = reallocarray(keeper->kept, room, sizeof(*kept));
    if (!kept)
        return false;
    memset(kept + keeper->room, 0, room - keeper->room);
    keeper->kept = kept;
    keeper->room = room;
    return true;
}

/* One that there is no room for ends a little later, should rank 0 die. */
static void take_lent(struct rk_keeper *keeper)
{
    bool over;
    for (int i = 0; i < EVENTS; i++) {
        int fd = rk_handover_borrow(keeper->socket, &over);
        if (over) {
            epoll_ctl(keeper->poll, EPOLL_CTL_DEL, keeper->socket, NULL);
            rk_fd_close(&keeper->socket);
        }
        if (fd < 0)
            return;
        if (has_room(keeper, fd) && watch(keeper, fd, 0)) /* of its end epoll always tells */
            keeper->kept[fd] = true;
        else
            close(fd);
    }
}

/* To be taken off the list by hand: that would keep it for as long as rank 0 has the connection. */
static void let_go(struct rk_keeper *keeper, int fd)
{
    keeper->kept[fd] = false;
    epoll_ctl(keeper->poll, EPOLL_CTL_DEL, fd, NULL);
    close(fd);
}

int rk_keeper_fd(const struct rk_keeper *keeper)
{
    return keeper->poll;
}

bool rk_keeper_work(struct rk_keeper *keeper)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(keeper->poll, events, EVENTS, 0);
    bool died = false;
    for (int i = 0; i < count; i++) {
        int fd = events[i].data.fd;
        if (fd == keeper->socket)
            take_lent(keeper);
        else if (fd == keeper->death)
            died |= hear(keeper);
        else if ((size_t)fd < keeper->room && keeper->kept[fd])
            let_go(keeper, fd);
    }
    return died;
}

void rk_keeper_end_all(struct rk_keeper *keeper)
{
    if (keeper->socket >= 0)
        take_lent(keeper); /* what was under way when rank 0 died */
    for (size_t fd = 0; fd < keeper->room; fd++)
        if (keeper->kept[fd]) {
            shutdown((int)fd, SHUT_RDWR);
            let_go(keeper, (int)fd);
        }
}

void rk_keeper_close(struct rk_keeper *keeper)
{
    for (size_t fd = 0; fd < keeper->room; fd++)
        if (keeper->kept[fd])
            let_go(keeper, (int)fd);
    free(keeper->kept);
    rk_fd_close(&keeper->death);
    rk_fd_close(&keeper->socket);
    rk_fd_close(&keeper->poll);
    rk_keeper_init(keeper);
}
