/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Clients: their connections, from accept or connect to the last byte. */

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "core/inside.h"

#define FAREWELL_LIMIT_US 1000000 /* for all clients' last frames when the job ends */

void rk_client_dirty(struct rk_client *client)
{
    if (client->dirty)
        return;
    client->dirty = true;
    client->next_dirty = client->frontend->dirty;
    client->frontend->dirty = client;
}

void rk_client_doom(struct rk_client *client)
{
    client->doomed = true;
    rk_client_dirty(client);
}

static void stop_reading(struct rk_client *client)
{
    event_del(client->readable);
    event_del(client->again);
}

/* Ends a connection; its memory goes at the end of the flush, when nobody stands in its callbacks. */
static void bury(struct rk_client *client)
{
    if (client->state == RK_DEAD)
        return;
    client->state = RK_DEAD;
    stop_reading(client);
    event_del(client->writable);
    event_del(client->limit);
    rk_stall_over(client);
    rk_calls_forget(client);
    rk_survey_forget(client);
    rk_resume_returned(client);
    rk_client_dirty(client);
}

void rk_clients_succeed(struct rk_client *client, uint64_t token)
{
    for (struct rk_client *other = client->frontend->clients; token && other; other = other->next)
        if (other != client && other->token == token && !other->launcher)
            bury(other);
}

void rk_client_error(struct rk_client *client, uint64_t id, const struct rankcall_error *error)
{
    uint8_t head[RK_HEAD_CAP];
    size_t size = rk_error_encode(&(struct rk_error_head){(uint32_t)error->code, error->rank}, head);
    struct rankcall_payload *payload = rk_error_to_payload(error);
    if (!payload || rk_conn_send(client->conn, RK_ERROR, id, head, size, payload))
        rk_client_doom(client);
    rankcall_payload_free(payload);
    rk_client_dirty(client);
}

void rk_client_last_error(struct rk_client *client, uint64_t id)
{
    struct rankcall_error *error = rk_error_clone(rankcall_last_error());
    if (error)
        rk_client_error(client, id, error);
    rk_error_free(error);
}

void rk_client_refuse(struct rk_client *client, uint64_t id)
{
    struct timeval limit = {.tv_sec = RK_CLOSING_LIMIT_S};
    if (client->state >= RK_CLOSING)
        return;
    rk_client_last_error(client, id);
    client->state = RK_CLOSING;
    rk_calls_forget(client);
    rk_survey_forget(client);
    stop_reading(client);
    rk_stall_over(client);
    event_add(client->limit, &limit);
}

/* A client that closed its side, or a broken connection. The launcher's end is the job's end. */
static void lost(struct rk_client *client)
{
    struct rk_frontend *frontend = client->frontend;
    bool launcher = client->launcher;
    bury(client);
    if (!launcher || frontend->state == RK_JOB_STOPPING)
        return;
    /* Nobody may be left to remove the socket's name later; a launcher that lives starts the job again, with that name.
     */
    if (!rk_resume_sure(frontend))
        rk_listener_close(frontend);
    rk_stop_begin(frontend, 0, RK_ORPHAN_GRACE_US);
}

/* Half a frame may not stay half for ever: it holds a place in the queue and memory. */
static void watch_frame(struct rk_client *client)
{
    struct timeval limit = {.tv_sec = RK_STALL_LIMIT_S};
    bool half = rk_conn_mid_frame(client->conn);
    if (client->state == RK_OPEN && half)
        event_add(client->limit, &limit);
    else if (client->state == RK_OPEN && client->watched)
        event_del(client->limit);
    client->watched = half;
}

/* After the others' turn: an event made active here would come before what they have sent meanwhile. */
static void read_on(struct rk_client *client)
{
    event_add(client->again, &(const struct timeval){0});
    client->frontend->reads_on = true;
}

static void read_client(struct rk_client *client)
{
    client->frontend->recent = client;
    (void)rk_conn_settle(client->conn); /* who calls again has read, most often */
    int code = rk_conn_read(client->conn);
    if (client->state >= RK_CLOSING)
        return;
    watch_frame(client);
    if (code == RANKCALL_EAGAIN)
        read_on(client);
    else if (code == RANKCALL_ECLOSED)
        lost(client);
    else if (code)
        rk_client_refuse(client, 0);
}

static void readable(evutil_socket_t fd, short events, void *context)
{
    struct rk_client *client = context;
    (void)events;
    client->frontend->activity++;
    if (fd < 0 || !event_pending(client->again, EV_TIMEOUT, NULL)) /* else `again` is about to come, without one */
        read_client(client);
}

void rk_client_look(struct rk_client *client)
{
    if (client->state == RK_OPEN && client->reading && !event_pending(client->again, EV_TIMEOUT, NULL))
        read_client(client);
}

static void writable(evutil_socket_t fd, short events, void *context)
{
    struct rk_client *client = context;
    (void)fd, (void)events;
    client->frontend->activity++;
    rk_client_dirty(client);
}

static void out_of_time(evutil_socket_t fd, short events, void *context)
{
    struct rk_client *client = context;
    (void)fd, (void)events;
    client->frontend->activity++;
    if (client->state == RK_GREETING)
        rk_error(RANKCALL_ETIMEOUT, "no HELLO came within %d s", RK_HELLO_LIMIT_S);
    else
        rk_error(RANKCALL_ETIMEOUT, "a frame began, then nothing came for %d s", RK_STALL_LIMIT_S);
    if (client->state == RK_CLOSING)
        bury(client);
    else
        rk_client_refuse(client, 0);
}

/* Only the job's own user and root may call it. */
static int check_peer(int fd, pid_t *pid)
{
    struct ucred peer = {0};
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size))
        return rk_error_system("cannot tell who the client is");
    *pid = peer.pid;
    if (peer.uid != geteuid() && peer.uid != 0)
        return rk_error(RANKCALL_EFORBIDDEN, "the job belongs to user %u, the client is user %u", geteuid(), peer.uid);
    return RANKCALL_OK;
}

static void link_client(struct rk_client *client)
{
    struct rk_frontend *frontend = client->frontend;
    client->next = frontend->clients;
    if (client->next)
        client->next->previous = client;
    frontend->clients = client;
    frontend->client_count++;
}

static void unlink_client(struct rk_client *client)
{
    if (client->previous)
        client->previous->next = client->next;
    else
        client->frontend->clients = client->next;
    if (client->next)
        client->next->previous = client->previous;
    client->frontend->client_count--;
}

static void client_free(struct rk_client *client)
{
    if (client->frontend->recent == client)
        client->frontend->recent = NULL;
    if (client->readable)
        event_free(client->readable);
    if (client->again)
        event_free(client->again);
    if (client->writable)
        event_free(client->writable);
    if (client->limit)
        event_free(client->limit);
    if (client->stall)
        event_free(client->stall);
    if (client->lent)
        shutdown(rk_conn_fd(client->conn), SHUT_RDWR); /* or the launcher would keep it open */
    rk_conn_free(client->conn);
    free(client);
}

static bool make_parts(struct rk_client *client, int fd)
{
    struct rk_frontend *frontend = client->frontend;
    client->conn = rk_conn_new(fd, &rk_client_callbacks, client); /* takes fd, also on failure */
    if (!client->conn)
        return false;
    rk_conn_set_memory(client->conn, frontend->memory);
    rk_conn_set_fair(client->conn);
    rk_conn_lend(client->conn, frontend->lending);
    client->readable = event_new(frontend->base, fd, EV_READ | EV_PERSIST, readable, client);
    client->again = evtimer_new(frontend->base, readable, client);
    client->writable = event_new(frontend->base, fd, EV_WRITE, writable, client);
    client->limit = evtimer_new(frontend->base, out_of_time, client);
    return client->readable && client->again && client->writable && client->limit;
}

void rk_client_new(struct rk_frontend *frontend, int fd, bool launcher)
{
    struct timeval limit = {.tv_sec = RK_HELLO_LIMIT_S};
    struct rk_client *client = calloc(1, sizeof *client);
    if (!client) {
        close(fd);
        return;
    }
    client->frontend = frontend;
    client->launcher = launcher;
    int code = check_peer(fd, &client->pid);
    if (!make_parts(client, fd)) {
        client_free(client);
        return;
    }
    rk_conn_set_payload_cap(client->conn, frontend->context->options->payload_cap);
    link_client(client);
    if (code) {
        rk_client_refuse(client, 0);
        return;
    }
    client->reading = true;
    event_add(client->readable, NULL);
    event_add(client->limit, &limit);
}

/* A client that doesn't read its answers isn't read either. */
static void adjust_reading(struct rk_client *client)
{
    uint64_t queued = rk_conn_queued(client->conn);
    if (client->state >= RK_CLOSING)
        return;
    if (client->reading && queued > RK_QUEUED_HIGH) {
        client->reading = false;
        stop_reading(client);
    } else if (!client->reading && queued < RK_QUEUED_LOW) {
        client->reading = true;
        event_add(client->readable, NULL);
        event_active(client->readable, EV_READ, 0); /* part of what came may be inside already */
    }
}

static void flush(struct rk_client *client)
{
    uint64_t before = rk_conn_queued(client->conn);
    int code = client->doomed ? RANKCALL_ECLOSED : rk_conn_flush(client->conn);
    uint64_t queued = rk_conn_queued(client->conn);
    if (rk_conn_settle(client->conn))
        rk_lend_watch(client->frontend);
    if (code || (client->state == RK_CLOSING && !queued)) {
        if (code)
            lost(client);
        else
            bury(client);
        return;
    }
    if (queued)
        event_add(client->writable, NULL);
    if (queued >= RK_QUEUED_LOW)
        rk_stall_watch(client, queued < before);
    else
        rk_stall_over(client);
    adjust_reading(client);
    if (queued <= RK_QUEUED_HIGH)
        rk_calls_dispatch(client->frontend); /* its calls may have waited for that */
}

void rk_clients_flush(struct rk_frontend *frontend)
{
    struct rk_client *client;
    while ((client = frontend->dirty)) {
        frontend->dirty = client->next_dirty;
        client->dirty = false;
        if (client->state != RK_DEAD)
            flush(client);
        if (client->state == RK_DEAD && !client->dirty) {
            unlink_client(client);
            client_free(client);
        }
    }
}

void rk_client_never_ready(struct rk_client *client, uint64_t id)
{
    if (client->frontend->setup_error) {
        rk_client_error(client, id, client->frontend->setup_error);
        return;
    }
    rk_error(RANKCALL_ESHUTTINGDOWN, "the job is stopping");
    rk_client_last_error(client, id);
}

void rk_clients_tell_launcher(struct rk_frontend *frontend, const struct rankcall_error *error)
{
    for (struct rk_client *client = frontend->clients; client; client = client->next)
        if (client->launcher && client->state < RK_CLOSING)
            rk_client_error(client, 0, error);
}

void rk_clients_refuse(struct rk_frontend *frontend, const struct rankcall_error *error)
{
    for (struct rk_client *client = frontend->clients; client; client = client->next) {
        rk_error_copy(error);
        if (!client->launcher)
            rk_client_refuse(client, 0);
    }
}

static void answer_waiters(struct rk_client *client)
{
    for (unsigned i = 0; i < client->waiter_count; i++) {
        if (client->frontend->state != RK_JOB_READY) {
            rk_client_never_ready(client, client->waiters[i]);
            continue;
        }
        rk_survey_answer(client, client->waiters[i]);
    }
    client->waiter_count = 0;
}

void rk_clients_announce_state(struct rk_frontend *frontend)
{
    for (struct rk_client *client = frontend->clients; client; client = client->next)
        if (client->waiter_count && client->state == RK_OPEN)
            answer_waiters(client);
}

void rk_clients_farewell(struct rk_frontend *frontend)
{
    int64_t deadline = rk_now_us() + FAREWELL_LIMIT_US;
    for (struct rk_client *client = frontend->clients; client; client = client->next)
        while (client->state != RK_DEAD && rk_conn_queued(client->conn) && !rk_conn_flush(client->conn) &&
               rk_conn_queued(client->conn))
            if (!rk_fd_wait(rk_conn_fd(client->conn), POLLOUT, deadline))
                break;
}

/* Those who would come back hear that there is nobody to come back to. */
static void say_goodbye(struct rk_frontend *frontend)
{
    const struct rankcall_error error = {RANKCALL_ESHUTTINGDOWN, -1, "", "the job has stopped", ""};
    for (struct rk_client *client = frontend->clients; client; client = client->next)
        if (client->token && client->state == RK_OPEN)
            rk_client_error(client, 0, &error);
}

/* Lets the last frames out, then closes everything. */
void rk_clients_close(struct rk_frontend *frontend)
{
    /* A setup that fails at once may be over before the launcher has asked how it went. */
    if (frontend->setup_error)
        rk_clients_tell_launcher(frontend, frontend->setup_error);
    rk_survey_close(frontend);
    say_goodbye(frontend);
    rk_clients_farewell(frontend);
    while (frontend->clients) {
        struct rk_client *client = frontend->clients;
        rk_calls_forget(client);
        unlink_client(client);
        client_free(client);
    }
    frontend->dirty = NULL;
}
