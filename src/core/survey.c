/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Questions for the status of a job on several nodes: they wait until the ranks of other nodes have told what they do,
 * but not for long. One question goes to the nodes at a time, for all who wait. */

#include <stdlib.h>

#include "base/fd.h"
#include "core/inside.h"
#include "mesh/collect.h"

#define AGAIN_US 20000 /* a question without all answers is not waited for any longer before the next */

struct rk_asker {
    struct rk_asker *next;
    struct rk_client *client;
    uint64_t id;
    int64_t since_us;
};

static void reply(struct rk_client *client, uint64_t id, int64_t since_us)
{
    rk_client_reply(client, RK_STATUS_REPLY, id, NULL, 0, rk_status_payload(client->frontend, since_us));
}

static void out_of_time(evutil_socket_t fd, short events, void *context)
{
    struct rk_frontend *frontend = context;
    (void)fd, (void)events;
    frontend->activity++;
}

/* False: out of memory, or too many are this client's. */
static bool add_asker(struct rk_client *client, uint64_t id, int64_t now)
{
    struct rk_frontend *frontend = client->frontend;
    struct rk_asker *asker, **end = &frontend->askers;
    int count = 0;
    for (; *end; end = &(*end)->next)
        count += (*end)->client == client;
    if (!frontend->survey_limit)
        frontend->survey_limit = evtimer_new(frontend->base, out_of_time, frontend);
    if (count == RK_WAITERS_MAX || !frontend->survey_limit || !(asker = calloc(1, sizeof *asker)))
        return false;
    *asker = (struct rk_asker){.client = client, .id = id, .since_us = now};
    *end = asker;
    return true;
}

void rk_survey_answer(struct rk_client *client, uint64_t id)
{
    struct rk_frontend *frontend = client->frontend;
    int64_t now = rk_now_us();
    if (frontend->away || frontend->doomed || frontend->state == RK_JOB_STOPPING ||
        !rk_mesh_may_ask(frontend->context->mesh) || !add_asker(client, id, now))
        reply(client, id, now);
    else
        rk_survey_work(frontend);
}

/* Asks for those who came after the last question. Looks again when the oldest has waited for long enough, or the next
 * question is due. */
static void ask_again(struct rk_frontend *frontend, int64_t now)
{
    struct rk_mesh *mesh = frontend->context->mesh;
    int64_t asked_us = rk_mesh_asked_us(mesh), due_us = frontend->askers->since_us + RK_SURVEY_US;
    const struct rk_asker *last = frontend->askers;
    while (last->next)
        last = last->next;
    if (last->since_us > asked_us && (rk_mesh_answered(mesh, asked_us) || now >= asked_us + AGAIN_US))
        rk_mesh_ask(mesh, now);
    else if (last->since_us > asked_us && due_us > asked_us + AGAIN_US)
        due_us = asked_us + AGAIN_US;
    const struct timeval limit = {.tv_sec = (due_us - now) / 1000000, .tv_usec = (due_us - now) % 1000000};
    event_add(frontend->survey_limit, &limit);
}

bool rk_survey_work(struct rk_frontend *frontend)
{
    const struct rk_mesh *mesh = frontend->context->mesh;
    bool any = false;
    if (!frontend->askers)
        return false;
    int64_t now = rk_now_us();
    struct rk_asker *asker;
    while ((asker = frontend->askers) &&
           (frontend->away || now >= asker->since_us + RK_SURVEY_US || rk_mesh_answered(mesh, asker->since_us))) {
        frontend->askers = asker->next;
        reply(asker->client, asker->id, asker->since_us);
        free(asker);
        any = true;
    }
    if (any)
        event_del(frontend->survey_limit);
    if (frontend->askers)
        ask_again(frontend, now);
    return any;
}

void rk_survey_forget(const struct rk_client *client)
{
    struct rk_asker **at = &client->frontend->askers;
    while (*at) {
        struct rk_asker *asker = *at;
        if (asker->client != client) {
            at = &asker->next;
            continue;
        }
        *at = asker->next;
        free(asker);
    }
}

void rk_survey_close(struct rk_frontend *frontend)
{
    while (frontend->askers) {
        struct rk_asker *asker = frontend->askers;
        frontend->askers = asker->next;
        reply(asker->client, asker->id, INT64_MAX);
        free(asker);
    }
    if (frontend->survey_limit)
        event_free(frontend->survey_limit);
    frontend->survey_limit = NULL;
}
