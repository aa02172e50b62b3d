/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Who answers at the job's socket while there is no rank 0. A guest's HELLO is looked at and left where it is: the next
 * rank 0 reads it. */

#include "launcher/standin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/handover.h"
#include "base/path.h"
#include "wire/conn.h"

#define HELLO_SIZE (RK_HEADER_SIZE + 24) /* as far as it is looked at */
#define LISTENER   SIZE_MAX              /* among the guests' numbers */
#define EVENTS     64                    /* taken at a time */

struct rk_guest {
    int fd;
    bool told;
};

void rk_standin_init(struct rk_standin *standin)
{
    *standin = (struct rk_standin){.listener = -1, .journal_fd = -1, .poll = -1};
}

int rk_standin_open(struct rk_standin *standin, const char *path, int ranks)
{
    int code = rk_path_make_folder_of(path);
    if (!code)
        code = rk_path_listen(path, &standin->listener);
    return code ? code : rk_journal_make(ranks, &standin->journal_fd, &standin->journal);
}

int rk_standin_fd(const struct rk_standin *standin)
{
    return standin->poll;
}

static void watch(const struct rk_standin *standin, int fd, uint32_t events, size_t who)
{
    struct epoll_event event = {.events = events, .data.u64 = who};
    epoll_ctl(standin->poll, EPOLL_CTL_ADD, fd, &event);
}

void rk_standin_begin(struct rk_standin *standin, const struct rankcall_error *reason)
{
    if (standin->listener < 0)
        return;
    rk_error_free(standin->reason);
    standin->reason = rk_error_clone(reason);
    if (standin->poll >= 0)
        return;
    standin->poll = epoll_create1(EPOLL_CLOEXEC);
    if (standin->poll >= 0)
        watch(standin, standin->listener, EPOLLIN, LISTENER);
}

/* ---- Guests ---- */

/* Its connection goes on. */
static void send_frame(int fd, uint8_t type, const uint8_t *head, size_t head_size, const struct rankcall_error *error)
{
    rk_conn_tell(fcntl(fd, F_DUPFD_CLOEXEC, 0), type, head, head_size, error);
}

/* Whether the guest's HELLO is there; then *hello has it. */
static bool peek(int fd, struct rk_hello *hello)
{
    uint8_t bytes[HELLO_SIZE];
    struct rk_header header;
    ssize_t size = recv(fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
    if (size < RK_HEADER_SIZE || rk_header_decode(bytes, RK_PAYLOAD_CAP_DEFAULT, &header) || header.type != RK_HELLO)
        return false;
    size_t there = (size_t)size - RK_HEADER_SIZE;
    return there >= header.head_size && !rk_hello_decode(bytes + RK_HEADER_SIZE, header.head_size, hello);
}

static void tell(struct rk_standin *standin, struct rk_guest *guest)
{
    struct rk_hello hello;
    uint8_t head[RK_HEAD_CAP];
    if (guest->told || !standin->reason || !peek(guest->fd, &hello))
        return;
    guest->told = true;
    if (!(hello.features & RK_FEATURE_RESUME))
        return;
    struct rk_away_head away = {0};
    if (hello.token) {
        away.begun = rk_journal_begun(standin->journal, hello.token);
        away.times = rk_journal_times(standin->journal, hello.token);
    }
    send_frame(guest->fd, RK_AWAY, head, rk_away_encode(&away, head), standin->reason);
}

static bool is_ours(int fd)
{
    struct ucred peer = {0};
    socklen_t size = sizeof(peer);
    return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) && (peer.uid == geteuid() || peer.uid == 0);
}

static void refuse(int fd, const struct rankcall_error *error)
{
    uint8_t head[RK_HEAD_CAP];
    size_t size = rk_error_encode(&(struct rk_error_head){(uint32_t)error->code, error->rank}, head);
    send_frame(fd, RK_ERROR, head, size, error);
}

/* One that is not ours is left to the next rank 0, which knows what to say. */
static void take_in(struct rk_standin *standin, int fd)
{
    if (standin->final) {
        if (standin->reason && is_ours(fd))
            refuse(fd, standin->reason);
        rk_fd_close(&fd);
        return;
    }
    if (standin->count == standin->room) {
        size_t room = standin->room ? 2 * standin->room : 64;
        struct rk_guest *guests = reallocarray(standin->guests, room, sizeof(*guests));
        if (!guests) {
            rk_fd_close(&fd);
            return;
        }
        standin->guests = guests;
        standin->room = room;
    }
    standin->guests[standin->count] = (struct rk_guest){fd, !is_ours(fd)};
    watch(standin, fd, EPOLLIN | EPOLLET, standin->count++);
}

static void accept_all(struct rk_standin *standin)
{
    int fd;
    while ((fd = accept4(standin->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
        take_in(standin, fd);
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
        return;
    epoll_ctl(standin->poll, EPOLL_CTL_DEL, standin->listener, NULL); /* no room: the rest waits in the backlog */
}

void rk_standin_work(struct rk_standin *standin)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(standin->poll, events, EVENTS, 0);
    for (int i = 0; i < count; i++)
        if (events[i].data.u64 == LISTENER)
            accept_all(standin);
        else if (events[i].data.u64 < standin->count)
            tell(standin, &standin->guests[events[i].data.u64]);
}

static void close_guests(struct rk_standin *standin)
{
    for (size_t i = 0; i < standin->count; i++)
        rk_fd_close(&standin->guests[i].fd);
    free(standin->guests);
    standin->guests = NULL;
    standin->count = standin->room = 0;
    rk_fd_close(&standin->poll);
    rk_error_free(standin->reason);
    standin->reason = NULL;
}

int rk_standin_hand_over(struct rk_standin *standin, int fd)
{
    struct rk_handover handover = {.listener = standin->listener, .journal = standin->journal_fd};
    handover.clients = calloc(standin->count + 1, sizeof(*handover.clients));
    for (size_t i = 0; handover.clients && i < standin->count; i++)
        handover.clients[handover.client_count++] = standin->guests[i].fd;
    int code = rk_handover_send(fd, &handover);
    free(handover.clients);
    if (!code)
        close_guests(standin);
    return code;
}

void rk_standin_finish(struct rk_standin *standin, const struct rankcall_error *error)
{
    if (standin->final || standin->listener < 0)
        return;
    rk_standin_begin(standin, error);
    standin->final = true;
    for (size_t i = 0; i < standin->count; i++) {
        refuse(standin->guests[i].fd, error);
        rk_fd_close(&standin->guests[i].fd);
    }
    standin->count = 0;
    if (standin->poll >= 0)
        accept_all(standin);
}

void rk_standin_end(struct rk_standin *standin)
{
    close_guests(standin);
    rk_fd_close(&standin->listener);
    rk_fd_close(&standin->journal_fd);
    rk_journal_close(standin->journal);
    standin->journal = NULL;
}
