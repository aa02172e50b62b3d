/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Who answers at the job's socket while there is no rank 0. What a guest says is looked at and left where it is: the
 * next rank 0 reads it. */

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

#define LOOK_SIZE 4096     /* as far as what a guest says is looked at */
#define LISTENER  SIZE_MAX /* among the guests' numbers */
#define EVENTS    64       /* taken at a time */

struct rk_guest {
    int fd;
    bool told, stranger;
    size_t heard; /* bytes of whole frames */
};

void rk_standin_init(struct rk_standin *standin)
{
    *standin = (struct rk_standin){.listener = -1, .journal_fd = -1, .poll = -1};
}

int rk_standin_open(struct rk_standin *standin, const struct rk_standin_job *job)
{
    standin->job = *job;
    int code = rk_path_make_folder_of(job->path);
    if (!code)
        code = rk_path_listen(job->path, &standin->listener);
    return code ? code : rk_journal_make(job->ranks, &standin->journal_fd, &standin->journal);
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
    standin->since_us = rk_now_us();
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

static void greet(const struct rk_standin *standin, struct rk_guest *guest, const struct rk_hello *hello)
{
    uint8_t head[RK_HEAD_CAP];
    guest->told = true;
    if (!(hello->features & RK_FEATURE_RESUME))
        return;
    struct rk_away_head away = {0};
    if (hello->token) {
        away.begun = rk_journal_begun(standin->journal, hello->token);
        away.times = rk_journal_times(standin->journal, hello->token);
    }
    send_frame(guest->fd, RK_AWAY, head, rk_away_encode(&away, head), standin->reason);
}

static void set_restart(const struct rk_standin *standin, struct rankcall_payload *status)
{
    const struct rankcall_error *reason = standin->reason;
    struct rankcall_payload *restart = rankcall_payload_new();
    if (!restart)
        return;
    rankcall_set_string(restart, "reason", reason->message);
    if (reason->rank >= 0)
        rankcall_set_int(restart, "rank", reason->rank);
    if (reason->host[0])
        rankcall_set_string(restart, "host", reason->host);
    rankcall_set_double(restart, "since", (double)(rk_now_us() - standin->since_us) / 1e6);
    rankcall_set_int(restart, "deaths", rk_journal_mended(standin->journal));
    rankcall_set_int(restart, "allowed", standin->job.restarts);
    rankcall_set_json(status, "restart", rankcall_payload_json(restart, NULL));
    rankcall_payload_free(restart);
}

/* What is known of a job without a rank 0. */
static void tell_status(const struct rk_standin *standin, const struct rk_guest *guest, uint64_t id)
{
    char host[256] = "";
    struct rankcall_payload *status = rankcall_payload_new();
    if (!status)
        return;
    gethostname(host, sizeof(host) - 1);
    rankcall_set_string(status, "state", standin->stop ? "stopping" : "restarting");
    rankcall_set_string(status, "job", standin->job.name);
    rankcall_set_string(status, "socket", standin->job.path);
    rankcall_set_string(status, "host", host);
    rankcall_set_int(status, "pid", getpid());
    rankcall_set_int(status, "world_size", standin->job.ranks);
    set_restart(standin, status);
    rk_conn_tell_payload(fcntl(guest->fd, F_DUPFD_CLOEXEC, 0), RK_STATUS_REPLY, id, NULL, 0, status);
    rankcall_payload_free(status);
}

static void hear(struct rk_standin *standin, struct rk_guest *guest, const struct rk_header *header,
                 const uint8_t *head)
{
    struct rk_hello hello;
    struct rk_status_head status;
    struct rk_stop_head stop;
    if (!guest->told) {
        if (header->type == RK_HELLO && !rk_hello_decode(head, header->head_size, &hello))
            greet(standin, guest, &hello);
    } else if (header->type == RK_STATUS && !rk_status_decode(head, header->head_size, &status) && !status.wait) {
        tell_status(standin, guest, header->id);
    } else if (header->type == RK_STOP && !rk_stop_decode(head, header->head_size, &stop)) {
        standin->stop = true;
        rk_conn_tell_payload(fcntl(guest->fd, F_DUPFD_CLOEXEC, 0), RK_STOPPING, header->id, NULL, 0, NULL);
    }
}

/* What has come from a guest since the last time, frame by frame; a frame that is too large for a look, and what is
 * behind it, is for the next rank 0 alone. */
static void listen_to(struct rk_standin *standin, struct rk_guest *guest)
{
    uint8_t bytes[LOOK_SIZE];
    struct rk_header header;
    if (guest->stranger || !standin->reason)
        return;
    ssize_t size = recv(guest->fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
    while (size > 0 && (size_t)size >= guest->heard + RK_HEADER_SIZE) {
        const uint8_t *frame = bytes + guest->heard;
        size_t left = (size_t)size - guest->heard - RK_HEADER_SIZE;
        if (rk_header_decode(frame, RK_PAYLOAD_CAP_DEFAULT, &header) || left < header.head_size ||
            left - header.head_size < header.payload_size)
            return;
        hear(standin, guest, &header, frame + RK_HEADER_SIZE);
        guest->heard += RK_HEADER_SIZE + header.head_size + (size_t)header.payload_size;
    }
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
    standin->guests[standin->count] = (struct rk_guest){.fd = fd, .stranger = !is_ours(fd)};
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
            listen_to(standin, &standin->guests[events[i].data.u64]);
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

int rk_standin_hand_over(struct rk_standin *standin, int fd, int keeper)
{
    struct rk_handover handover = {standin->listener, standin->journal_fd, keeper, NULL, 0};
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
