/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Clients that read nothing while their calls wait for them to: after --client-stall seconds the calls end, so that
 * those of others go on, and soon after that the connection does. Unread answers alone hinder nobody and may wait. */

#include <linux/sockios.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "base/error.h"
#include "base/fd.h"
#include "core/inside.h"

#define LOOKS 4 /* within the limit */

/* Whether a call of it could go on if it read. */
static bool hinders(const struct rk_client *client)
{
    const struct rk_frontend *frontend = client->frontend;
    const struct rk_job_call *running = frontend->running;
    if (running && running->client == client && frontend->held)
        return true;
    if (rk_conn_queued(client->conn) <= RK_QUEUED_HIGH)
        return false;
    const struct rk_job_call *call = client->calls;
    while (call && !call->waiting)
        call = call->next;
    return call;
}

static void end_calls(struct rk_client *client)
{
    char text[160];
    snprintf(text, sizeof text,
             "the client has read nothing for %.3g s while %llu bytes waited for it (see --client-stall)",
             (double)client->frontend->context->options->client_stall_us / 1e6,
             (unsigned long long)rk_conn_queued(client->conn));
    const struct rankcall_error error = {RANKCALL_ETIMEOUT, -1, "", text, ""};
    while (client->calls)
        rk_call_end_error(client->frontend, client->calls, &error);
}

static void arm(struct rk_client *client, int64_t us)
{
    struct timeval limit = {.tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000)};
    event_add(client->stall, &limit);
}

/* Whether the client has read since the last look. The socket takes new bytes only when most of the old ones are read,
 * so what it holds is asked for; that, too, changes in pieces of some 32 KB. */
static bool has_read(struct rk_client *client)
{
    int held = 0;
    if (ioctl(rk_conn_fd(client->conn), SIOCOUTQ, &held))
        return false;
    bool less = held < client->held_bytes;
    client->held_bytes = held;
    return less;
}

static void looked(evutil_socket_t fd, short events, void *context)
{
    struct rk_client *client = context;
    int64_t now = rk_now_us(), limit = client->frontend->context->options->client_stall_us;
    (void)fd, (void)events;
    client->frontend->activity++;
    if (has_read(client))
        client->moved_us = now;
    int64_t left = client->moved_us + limit - now;
    if (left > 0) {
        client->stall_told = false;
        arm(client, left < limit / LOOKS ? left : limit / LOOKS);
    } else if (client->stall_told) {
        rk_client_doom(client);
    } else if (hinders(client)) {
        end_calls(client);
        client->stall_told = true;
        arm(client, RK_CLOSING_LIMIT_S * INT64_C(1000000));
    } else {
        client->stalling = false;
    }
}

void rk_stall_watch(struct rk_client *client, bool moved)
{
    int64_t limit = client->frontend->context->options->client_stall_us;
    if (!limit || client->state != RK_OPEN)
        return;
    if (moved || !client->stalling) {
        client->moved_us = rk_now_us();
        has_read(client);
    }
    if (client->stalling)
        return;
    if (!client->stall)
        client->stall = evtimer_new(client->frontend->base, looked, client);
    if (!client->stall)
        return;
    client->stalling = true;
    client->stall_told = false;
    arm(client, limit / LOOKS);
}

void rk_stall_over(struct rk_client *client)
{
    if (!client->stalling)
        return;
    event_del(client->stall);
    client->stalling = false;
}
