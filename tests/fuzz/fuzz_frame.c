/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Any bytes from a peer: a connection reads them in pieces, decodes every head, discards some frames, and echoes what
 * it took. The first byte is the length of the pieces, the second the frames that are discarded. */

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire/conn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct peer {
    struct rk_conn *conn;
    unsigned seen, discarded; /* frames so far; a bit for each of eight in turn */
};

static void decode_head(const struct rk_header *header, const uint8_t *head)
{
    union {
        struct rk_hello hello;
        struct rk_welcome welcome;
        struct rk_call_head call;
        struct rk_event_head event;
        struct rk_result_head result;
        struct rk_cancel_head cancel;
        struct rk_cancelled_head cancelled;
        struct rk_away_head away;
        struct rk_error_head error;
        struct rk_status_head status;
        struct rk_stop_head stop;
    } into;

    switch (header->type) {
    case RK_HELLO: (void)rk_hello_decode(head, header->head_size, &into.hello); break;
    case RK_WELCOME: (void)rk_welcome_decode(head, header->head_size, &into.welcome); break;
    case RK_CALL: (void)rk_call_decode(head, header->head_size, &into.call); break;
    case RK_EVENT: (void)rk_event_decode(head, header->head_size, &into.event); break;
    case RK_RESULT: (void)rk_result_decode(head, header->head_size, &into.result); break;
    case RK_ERROR: (void)rk_error_decode(head, header->head_size, &into.error); break;
    case RK_STATUS: (void)rk_status_decode(head, header->head_size, &into.status); break;
    case RK_CANCEL_CALL: (void)rk_cancel_decode(head, header->head_size, &into.cancel); break;
    case RK_CANCELLED: (void)rk_cancelled_decode(head, header->head_size, &into.cancelled); break;
    case RK_AWAY: (void)rk_away_decode(head, header->head_size, &into.away); break;
    case RK_STOP: (void)rk_stop_decode(head, header->head_size, &into.stop); break;
    default: break;
    }
}

static enum rk_admission on_admit(void *context, const struct rk_header *header, const uint8_t *head)
{
    struct peer *peer = context;

    decode_head(header, head);
    return peer->discarded >> (peer->seen++ % 8) & 1 ? RK_DISCARD : RK_ADMIT;
}

static void on_frame(void *context, const struct rk_header *header, const uint8_t *head,
                     struct rankcall_payload *payload)
{
    struct peer *peer = context;
    struct rk_error_head error;

    if (header->type == RK_ERROR && rk_error_decode(head, header->head_size, &error) == RANKCALL_OK)
        (void)rk_error_from_payload(&error, payload);
    (void)rk_conn_send(peer->conn, header->type, header->id, head, header->head_size, payload);
    rankcall_payload_free(payload);
}

static void on_bad_payload(void *context, const struct rk_header *header, const uint8_t *head)
{
    struct peer *peer = context;

    (void)rk_conn_send(peer->conn, header->type, header->id, head, header->head_size, NULL);
}

static void drain(int fd)
{
    char dropped[65536];

    while (recv(fd, dropped, sizeof dropped, MSG_DONTWAIT) > 0)
        ;
}

static int read_all(struct rk_conn *conn)
{
    int code;

    while ((code = rk_conn_read(conn)) == RANKCALL_EAGAIN)
        ;
    return code;
}

static void feed(struct rk_conn *conn, int fd, const uint8_t *data, size_t size, size_t piece)
{
    int code = RANKCALL_OK;

    while (size > 0 && code == RANKCALL_OK) {
        size_t part = size < piece ? size : piece;

        if (write(fd, data, part) != (ssize_t)part)
            abort();
        code = read_all(conn);
        (void)rk_conn_flush(conn);
        drain(fd);
        data += part;
        size -= part;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct rk_conn_callbacks callbacks = {on_admit, on_frame, on_bad_payload};
    struct peer peer = {0};
    int pair[2];

    if (size < 2 || size > 100000)
        return 0;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
        abort();
    peer.discarded = data[1];
    peer.conn = rk_conn_new(pair[0], &callbacks, &peer);
    rk_conn_set_payload_cap(peer.conn, 1 << 20);
    feed(peer.conn, pair[1], data + 2, size - 2, data[0] ? data[0] : 65536);
    close(pair[1]);
    if (read_all(peer.conn) == RANKCALL_OK)
        abort(); /* the peer is gone */
    rk_conn_free(peer.conn);
    return 0;
}
