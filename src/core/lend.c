/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Large payloads that clients copy out of this process's own memory: when they have, it is free. */

#include "wire/lend.h"

#include "base/error.h"
#include "core/inside.h"

#define LOOK_US     1000    /* first; twice as long each time ... */
#define LOOK_US_MAX 1000000 /* ... up to this */

static void arm(struct rk_frontend *frontend)
{
    const struct timeval later = {.tv_sec = frontend->unread_us / 1000000, .tv_usec = frontend->unread_us % 1000000};
    event_add(frontend->unread, &later);
}

void rk_lend_watch(struct rk_frontend *frontend)
{
    if (frontend->unread_us == LOOK_US) /* soon enough */
        return;
    frontend->unread_us = LOOK_US;
    arm(frontend);
}

static void looked(evutil_socket_t fd, short events, void *context)
{
    struct rk_frontend *frontend = context;
    (void)fd, (void)events;
    bool left = rk_lending_settle(frontend->lending);
    for (struct rk_client *client = frontend->clients; client; client = client->next)
        left |= rk_conn_settle(client->conn);
    frontend->unread_us = !left ? 0 : frontend->unread_us < LOOK_US_MAX / 2 ? 2 * frontend->unread_us : LOOK_US_MAX;
    if (left)
        arm(frontend);
}

int rk_lend_open(struct rk_frontend *frontend)
{
    frontend->unread = evtimer_new(frontend->base, looked, frontend);
    if (!frontend->unread)
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    frontend->lending = rk_lending_open();
    return RANKCALL_OK;
}

void rk_lend_close(struct rk_frontend *frontend)
{
    if (frontend->unread)
        event_free(frontend->unread);
    rk_lending_close(frontend->lending);
}
