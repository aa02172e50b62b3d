/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What outlives rank 0 lies with the launcher: the listening socket, the journal, the clients that wait. */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ended.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/handover.h"
#include "base/log.h"
#include "core/inside.h"

/* Takes over what the launcher holds; then it is spoken to as any client is. */
static int take_over(struct rk_frontend *frontend, int fd)
{
    struct rk_handover handover;
    if (rk_handover_receive(fd, &handover)) {
        rk_fd_close(&fd);
        return rankcall_last_error()->code;
    }
    int code = rk_journal_open(handover.journal, &frontend->journal);
    rk_fd_close(&handover.journal);
    frontend->listen_fd = handover.listener;
    frontend->keeper = handover.keeper;
    frontend->lent = true;
    if (!code) {
        rk_mesh_leave_status_at(rk_journal_left(frontend->journal));
        rk_resume_seat(frontend);
        rk_journal_live(frontend->journal);
        frontend->lives = true;
        code = rk_listener_begin(frontend);
    }
    if (code) {
        rk_fd_close(&fd);
    } else {
        rk_client_new(frontend, fd, true);
        for (size_t i = 0; i < handover.client_count; i++)
            rk_client_new(frontend, handover.clients[i], false);
        handover.client_count = 0;
    }
    while (handover.client_count)
        rk_fd_close(&handover.clients[--handover.client_count]);
    free(handover.clients);
    return code;
}

void rk_resume_seat(struct rk_frontend *frontend)
{
    for (int rank = 0; rank < rankcall_world_size(frontend->context); rank++) {
        const struct rk_rank_info *info = rk_mesh_info(frontend->context->mesh, rank);
        bool near = !rk_mesh_is_far(frontend->context->mesh, rank);
        rk_journal_seat(frontend->journal, rank, info->group, info->member, near ? info->pid : -info->pid);
    }
}

int rk_resume_open(struct rk_frontend *frontend)
{
    const char *launcher = frontend->context->options->launcher;
    int fd = -1, code;
    if (launcher)
        return (code = rk_path_connect(launcher, &fd)) ? code : take_over(frontend, fd);
    code = rk_journal_make(0, NULL, &frontend->journal);
    return code ? code : rk_listener_open(frontend);
}

void rk_resume_close(struct rk_frontend *frontend)
{
    if (frontend->pause)
        event_free(frontend->pause);
    if (frontend->return_limit)
        event_free(frontend->return_limit);
    rk_mesh_leave_status_at(NULL);
    if (frontend->lives)
        rk_journal_leave(frontend->journal);
    rk_fd_close(&frontend->keeper);
    rk_journal_close(frontend->journal);
}

bool rk_resume_expected(const struct rk_frontend *frontend)
{
    return frontend->lent && frontend->context->options->restarts && rk_journal_was_ready(frontend->journal) &&
           !rk_journal_stopping(frontend->journal);
}

bool rk_resume_sure(const struct rk_frontend *frontend)
{
    return rk_resume_expected(frontend) && !strchr("?Z", rk_process_state(rk_journal_launcher(frontend->journal)));
}

void rk_resume_refuse(const struct rk_frontend *frontend)
{
    if (frontend->context->options->launcher)
        unlink(frontend->context->options->launcher);
}

void rk_resume_tell_launcher(struct rk_frontend *frontend, const struct rankcall_error *reason)
{
    struct rankcall_error error = *reason;
    error.code = RANKCALL_EJOBDIED;
    rk_clients_tell_launcher(frontend, &error);
}

void rk_resume_leave(struct rk_frontend *frontend, const struct rankcall_error *reason)
{
    rk_resume_tell_launcher(frontend, reason);
    rk_clients_farewell(frontend);
    rk_mesh_abort(frontend->context->mesh, rankcall_code_exit_status(reason->code));
}

static void return_limit_over(evutil_socket_t fd, short events, void *context)
{
    struct rk_frontend *frontend = context;
    (void)fd, (void)events;
    frontend->activity++;
    for (struct rk_client *client = frontend->clients; client; client = client->next)
        rk_resume_returned(client);
}

void rk_resume_lend(struct rk_client *client)
{
    struct rk_frontend *frontend = client->frontend;
    if (frontend->keeper >= 0 && !client->launcher)
        client->lent = rk_handover_lend(frontend->keeper, rk_conn_fd(client->conn));
}

void rk_resume_await(struct rk_client *client)
{
    struct rk_frontend *frontend = client->frontend;
    struct timeval limit = {.tv_usec = RK_RETURN_LIMIT_US};
    if (!frontend->return_limit)
        frontend->return_limit = evtimer_new(frontend->base, return_limit_over, frontend);
    event_base_update_cache_time(frontend->base); /* from now on, not since this look at the sockets began */
    if (!frontend->return_limit || event_add(frontend->return_limit, &limit))
        return;
    client->returning = true;
    frontend->returning++;
}

void rk_resume_returned(struct rk_client *client)
{
    if (!client->returning)
        return;
    client->returning = false;
    if (--client->frontend->returning == 0)
        rk_calls_dispatch(client->frontend);
}

static void pause_over(evutil_socket_t fd, short events, void *context)
{
    struct rk_frontend *frontend = context;
    (void)fd, (void)events;
    frontend->activity++;
    frontend->paused = false;
    rk_calls_dispatch(frontend);
}

void rk_resume_pause(struct rk_frontend *frontend)
{
    int64_t pause_us = rk_journal_pause_us(frontend->journal);
    struct timeval limit = {.tv_sec = pause_us / 1000000, .tv_usec = pause_us % 1000000};
    if (!pause_us)
        return;
    if (!frontend->pause)
        frontend->pause = evtimer_new(frontend->base, pause_over, frontend);
    if (!frontend->pause || event_add(frontend->pause, &limit))
        return;
    frontend->paused = true;
    rk_log(RK_LOG_WARNING, "ranks die again and again: the next call waits %.3g s", (double)pause_us / 1e6);
}
