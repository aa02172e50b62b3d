/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What a client's frames mean: greetings, questions, and where calls begin. */

#include <string.h>

#include "base/error.h"
#include "base/fd.h"
#include "core/inside.h"

void rk_client_reply(struct rk_client *client, uint8_t type, uint64_t id, const uint8_t *head, size_t head_size,
                     struct rankcall_payload *payload)
{
    if (!payload || rk_conn_send(client->conn, type, id, head, head_size, payload))
        rk_client_doom(client);
    rankcall_payload_free(payload);
    rk_client_dirty(client);
}

static void reply(struct rk_client *client, uint8_t type, uint64_t id)
{
    if (rk_conn_send(client->conn, type, id, NULL, 0, NULL))
        rk_client_doom(client);
    rk_client_dirty(client);
}

/* What a client calls itself; cut, not refused, where that is long. */
static void take_name(struct rk_client *client, const struct rankcall_payload *payload)
{
    const char *name = "";
    if (!payload || rankcall_opt_string(payload, "client", &name))
        return;
    size_t size = strnlen(name, sizeof client->name - 1);
    while (size && !rk_utf8_ok(name, size))
        size--;
    memcpy(client->name, name, size);
}

static void greet(struct rk_client *client, const struct rk_header *header, const uint8_t *head,
                  const struct rankcall_payload *payload)
{
    struct rk_hello hello;
    struct rk_frontend *frontend = client->frontend;
    uint8_t bytes[RK_HEAD_CAP];
    int code = rk_hello_decode(head, header->head_size, &hello);
    if (!code && (hello.min_version > RK_VERSION || hello.max_version < RK_VERSION))
        code = rk_error(RANKCALL_EPROTOCOL, "HELLO: the client speaks versions %u to %u, this job speaks %u",
                        hello.min_version, hello.max_version, RK_VERSION);
    if (code) {
        rk_client_refuse(client, header->id);
        return;
    }
    struct rk_welcome welcome = {.version = RK_VERSION, .world_size = (uint32_t)rankcall_world_size(frontend->context)};
    welcome.payload_cap = frontend->context->options->payload_cap;
    welcome.features = hello.features & (frontend->lent && !client->launcher ? RK_FEATURE_RESUME : 0);
    if (welcome.features & RK_FEATURE_RESUME) {
        rk_clients_succeed(client, hello.token);
        welcome.token = client->token = rk_journal_enter(frontend->journal);
        welcome.clock_us = (uint64_t)rk_now_us();
        welcome.begun = hello.token ? rk_journal_begun(frontend->journal, hello.token) : 0;
        welcome.times = hello.token ? rk_journal_times(frontend->journal, hello.token) : 0;
    }
    take_name(client, payload);
    client->state = RK_OPEN;
    event_del(client->limit);
    rk_resume_lend(client);
    rk_client_reply(client, RK_WELCOME, header->id, bytes, rk_welcome_encode(&welcome, bytes),
                    rk_welcome_payload(frontend));
    if (welcome.token && hello.token)
        rk_resume_await(client);
}

static void answer_status(struct rk_client *client, const struct rk_header *header, const uint8_t *head)
{
    struct rk_status_head question;
    struct rk_frontend *frontend = client->frontend;
    if (rk_status_decode(head, header->head_size, &question)) {
        rk_client_refuse(client, header->id);
    } else if (!question.wait || frontend->state == RK_JOB_READY) {
        rk_survey_answer(client, header->id);
    } else if (frontend->state != RK_JOB_STARTING || frontend->setup_error) {
        rk_client_never_ready(client, header->id);
    } else if (client->waiter_count == RK_WAITERS_MAX) {
        rk_error(RANKCALL_EBUSY, "more than %d questions wait for READY on this connection", RK_WAITERS_MAX);
        rk_client_last_error(client, header->id);
    } else {
        client->waiters[client->waiter_count++] = header->id;
    }
}

static void stop(struct rk_client *client, const struct rk_header *header, const uint8_t *head)
{
    struct rk_stop_head request;
    if (rk_stop_decode(head, header->head_size, &request)) {
        rk_client_refuse(client, header->id);
        return;
    }
    reply(client, RK_STOPPING, header->id);
    rk_journal_stop(client->frontend->journal);
    rk_stop_begin(client->frontend, request.drain_us, RK_STOP_GRACE_S * 1000000);
}

/* Another client's call, by the job's number. */
static void cancel_call(struct rk_client *client, const struct rk_header *header, const uint8_t *head)
{
    struct rk_cancel_head request;
    struct rk_cancelled_head answer;
    uint8_t bytes[RK_HEAD_CAP];
    if (rk_cancel_decode(head, header->head_size, &request))
        rk_client_refuse(client, header->id);
    else if (rk_calls_cancel(client, request.call, &answer.calls))
        rk_client_last_error(client, header->id);
    else if (rk_conn_send(client->conn, RK_CANCELLED, header->id, bytes, rk_cancelled_encode(&answer, bytes), NULL))
        rk_client_doom(client);
    rk_client_dirty(client);
}

static enum rk_admission admit(void *context, const struct rk_header *header, const uint8_t *head)
{
    struct rk_client *client = context;
    if (client->state >= RK_CLOSING)
        return RK_DISCARD;
    if ((client->state == RK_GREETING) != (header->type == RK_HELLO)) {
        rk_error(RANKCALL_EPROTOCOL, "frame type %u (byte 5): %s", header->type,
                 client->state == RK_GREETING ? "the first frame must be HELLO (1)" : "HELLO comes only once");
        rk_client_refuse(client, header->id);
        return RK_DISCARD;
    }
    return header->type == RK_CALL ? rk_call_admit(client, header, head) : RK_ADMIT;
}

static void frame(void *context, const struct rk_header *header, const uint8_t *head, struct rankcall_payload *payload)
{
    struct rk_client *client = context;
    client->frontend->activity++;
    if (client->state >= RK_CLOSING) {
        rankcall_payload_free(payload);
        return;
    }
    switch (header->type) {
    case RK_CALL: rk_call_arrived(client, payload); return;
    case RK_HELLO: greet(client, header, head, payload); break;
    case RK_CANCEL: rk_call_cancel(client, header->id); break;
    case RK_CANCEL_CALL: cancel_call(client, header, head); break;
    case RK_STATUS: answer_status(client, header, head); break;
    case RK_RESUMED: rk_resume_returned(client); break;
    case RK_PING: reply(client, RK_PONG, header->id); break;
    case RK_STOP: stop(client, header, head); break;
    default:
        rk_error(RANKCALL_EPROTOCOL, "frame type %u (byte 5) is sent by jobs, not by clients", header->type);
        rk_client_refuse(client, header->id);
    }
    rankcall_payload_free(payload);
}

static void bad_payload(void *context, const struct rk_header *header, const uint8_t *head)
{
    struct rk_client *client = context;
    (void)head;
    if (client->state >= RK_CLOSING)
        return;
    rk_client_last_error(client, header->id);
    if (header->type == RK_CALL)
        rk_call_unusable(client);
}

const struct rk_conn_callbacks rk_client_callbacks = {.admit = admit, .frame = frame, .bad_payload = bad_payload};
