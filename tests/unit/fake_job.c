/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A job without ranks for tests of clients. */

#include "fake_job.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/path.h"
#include "wire/conn.h"

struct fake_job {
    pthread_t thread;
    int listener, wake, awake; /* eventfds: it is to look around, it has */
    uint64_t cap;
    struct rk_conn *conn;
    atomic_bool end, frozen;
    atomic_int cancels;
    bool closing;
    struct rk_call_head call;      /* the one that is being read */
    struct rankcall_payload *kept; /* of the first "late" call */
    uint64_t kept_id;
};

static void reply(struct fake_job *job, uint8_t type, uint64_t id, const uint8_t *head, size_t size,
                  struct rankcall_payload *payload)
{
    rk_conn_send(job->conn, type, id, head, size, payload);
}

static void reply_json(struct fake_job *job, uint8_t type, uint64_t id, const uint8_t *head, size_t size,
                       const char *json)
{
    struct rankcall_payload *payload;
    if (rankcall_payload_from_json(json, SIZE_MAX, &payload))
        abort();
    reply(job, type, id, head, size, payload);
    rankcall_payload_free(payload);
}

static void reply_error(struct fake_job *job, uint64_t id, int code, int rank, const char *message)
{
    const struct rankcall_error error = {code, rank, "node7", message, "line 1\nline 2"};
    uint8_t head[RK_HEAD_CAP];
    size_t size = rk_error_encode(&(struct rk_error_head){(uint32_t)code, rank}, head);
    struct rankcall_payload *payload = rk_error_to_payload(&error);
    reply(job, RK_ERROR, id, head, size, payload);
    rankcall_payload_free(payload);
}

static void greet(struct fake_job *job, uint64_t id)
{
    uint8_t head[RK_HEAD_CAP];
    const struct rk_welcome welcome = {.version = RK_VERSION, .world_size = 4, .payload_cap = job->cap};
    reply_json(job, RK_WELCOME, id, head, rk_welcome_encode(&welcome, head),
               "{\"job\": \"fake\", \"socket\": \"/nowhere\", \"handlers\": []}");
}

static void send_events(struct fake_job *job, uint64_t id, const struct rankcall_payload *args)
{
    int64_t count = 0;
    rankcall_opt_int(args, "count", &count);
    for (int64_t i = 0; i < 2 * count; i++) {
        char json[64];
        uint8_t head[RK_HEAD_CAP];
        const struct rk_event_head event = {.rank = (uint32_t)(i % 2), .sequence = (uint64_t)(i / 2)};
        snprintf(json, sizeof json, "{\"i\": %lld}", (long long)(i / 2));
        reply_json(job, RK_EVENT, id, head, rk_event_encode(&event, head), json);
    }
    reply_json(job, RK_RESULT, id, NULL, 0, "{\"done\": true}");
}

/* A RESULT whose JSON text is none. */
static void send_bad_json(struct fake_job *job, uint64_t id)
{
    uint8_t frame[RK_HEADER_SIZE + 16] = {0};
    const struct rk_header header = {.version = RK_VERSION, .type = RK_RESULT, .id = id, .payload_size = 16};
    rk_header_encode(&header, frame);
    frame[RK_HEADER_SIZE] = 3;
    memcpy(frame + RK_HEADER_SIZE + 8, "{x}", 3);
    rk_conn_send_bytes(job->conn, frame, sizeof frame);
}

static void answer_late(struct fake_job *job, uint64_t id, struct rankcall_payload *payload)
{
    if (!job->kept_id) {
        job->kept_id = id;
        job->kept = payload ? rk_payload_ref(payload) : NULL;
        return;
    }
    reply(job, RK_RESULT, id, NULL, 0, payload);
    reply(job, RK_RESULT, job->kept_id, NULL, 0, job->kept);
    rankcall_payload_free(job->kept);
    job->kept = NULL;
    job->kept_id = 0;
}

static void answer_call(struct fake_job *job, uint64_t id, struct rankcall_payload *payload)
{
    const char *handler = job->call.handler;
    if (strcmp(handler, "echo") == 0 || handler[0] == '\0')
        reply(job, RK_RESULT, id, NULL, 0, payload);
    else if (strcmp(handler, "fail") == 0)
        reply_error(job, id, RANKCALL_EWORKER, 3, "no such picture");
    else if (strcmp(handler, "events") == 0)
        send_events(job, id, payload);
    else if (strcmp(handler, "garbage") == 0)
        rk_conn_send_bytes(job->conn, "this is not a frame of the protocol", 35);
    else if (strcmp(handler, "bad_json") == 0)
        send_bad_json(job, id);
    else if (strcmp(handler, "late") == 0)
        answer_late(job, id, payload);
    else if (strcmp(handler, "close") == 0)
        job->closing = true;
}

static enum rk_admission on_header(void *context, const struct rk_header *header, const uint8_t *head)
{
    struct fake_job *job = context;
    if (header->type != RK_CALL || rk_call_decode(head, header->head_size, &job->call))
        return RK_ADMIT;
    if (strcmp(job->call.handler, "busy") != 0)
        return RK_ADMIT;
    reply_error(job, header->id, RANKCALL_EBUSY, -1, "the queue is full");
    return RK_DISCARD;
}

static void on_frame(void *context, const struct rk_header *header, const uint8_t *head,
                     struct rankcall_payload *payload)
{
    struct fake_job *job = context;
    (void)head;
    switch (header->type) {
    case RK_HELLO: greet(job, header->id); break;
    case RK_CALL: answer_call(job, header->id, payload); break;
    case RK_CANCEL:
        job->cancels++;
        reply_error(job, header->id, RANKCALL_ECANCELLED, -1, "cancelled");
        break;
    case RK_STATUS: reply_json(job, RK_STATUS_REPLY, header->id, NULL, 0, "{\"state\": \"ready\"}"); break;
    case RK_PING: reply(job, RK_PONG, header->id, NULL, 0, NULL); break;
    case RK_STOP:
        reply(job, RK_STOPPING, header->id, NULL, 0, NULL);
        job->closing = true;
        break;
    default: abort();
    }
    rankcall_payload_free(payload);
}

static const struct rk_conn_callbacks callbacks = {.admit = on_header, .frame = on_frame};

static void take_connection(struct fake_job *job)
{
    int fd = accept(job->listener, NULL, NULL);
    rk_conn_free(job->conn);
    job->conn = fd < 0 ? NULL : rk_conn_new(fd, &callbacks, job);
}

/* Reads and writes; closes the connection when it is over. */
static void serve(struct fake_job *job, short events)
{
    int code = RANKCALL_OK;
    if (events & (POLLIN | POLLHUP))
        do
            code = rk_conn_read(job->conn);
        while (code == RANKCALL_EAGAIN);
    if (rk_conn_flush(job->conn) || code || (job->closing && !rk_conn_queued(job->conn))) {
        rk_conn_free(job->conn);
        job->conn = NULL;
        job->closing = false;
    }
}

static void *run(void *context)
{
    struct fake_job *job = context;
    const uint64_t one = 1;
    uint64_t count;
    while (!job->end) {
        struct pollfd fds[] = {
            {.fd = job->wake, .events = POLLIN},
            {.fd = job->conn || job->frozen ? -1 : job->listener, .events = POLLIN},
            {.fd = job->conn && !job->frozen ? rk_conn_fd(job->conn) : -1, .events = POLLIN},
        };
        if (job->conn && rk_conn_queued(job->conn))
            fds[2].events |= POLLOUT;
        poll(fds, 3, -1);
        if (fds[0].revents && (read(job->wake, &count, sizeof count) < 0 || write(job->awake, &one, sizeof one) < 0))
            abort();
        if (fds[0].revents)
            continue; /* what was polled may be frozen now */
        if (fds[1].revents)
            take_connection(job);
        if (fds[2].revents)
            serve(job, fds[2].revents);
    }
    return NULL;
}

static struct fake_job *start(int listener, int fd, uint64_t cap)
{
    struct fake_job *job = calloc(1, sizeof *job);
    if (!job)
        abort();
    job->listener = listener;
    job->cap = cap;
    job->wake = eventfd(0, EFD_CLOEXEC);
    job->awake = eventfd(0, EFD_CLOEXEC);
    job->conn = fd < 0 ? NULL : rk_conn_new(fd, &callbacks, job);
    if (job->wake < 0 || pthread_create(&job->thread, NULL, run, job))
        abort();
    return job;
}

struct fake_job *fake_job_start(int fd, uint64_t cap)
{
    return start(-1, fd, cap);
}

struct fake_job *fake_job_listen(const char *path)
{
    int listener;
    return rk_path_listen(path, &listener) ? NULL : start(listener, -1, RK_PAYLOAD_CAP_DEFAULT);
}

static void wake(struct fake_job *job)
{
    const uint64_t one = 1;
    if (write(job->wake, &one, sizeof one) < 0)
        abort();
}

void fake_job_freeze(struct fake_job *job, bool frozen)
{
    uint64_t count;
    job->frozen = frozen;
    wake(job);
    if (read(job->awake, &count, sizeof count) < 0)
        abort();
}

int fake_job_cancels(struct fake_job *job)
{
    return job->cancels;
}

void fake_job_end(struct fake_job *job)
{
    job->end = true;
    wake(job);
    pthread_join(job->thread, NULL);
    rk_conn_free(job->conn);
    rankcall_payload_free(job->kept);
    rk_fd_close(&job->listener);
    rk_fd_close(&job->wake);
    rk_fd_close(&job->awake);
    free(job);
}
