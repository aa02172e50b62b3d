/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A connection's life. conn_read.c and conn_write.c do its work. */

#include <errno.h>
#include <stdlib.h>

#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "wire/conn_internal.h"

struct rk_conn *rk_conn_new(int fd, const struct rk_conn_callbacks *callbacks, void *context)
{
    struct rk_conn *conn = calloc(1, sizeof *conn);

    if (!conn || rk_fd_prepare(fd)) {
        if (!conn)
            rk_error(RANKCALL_EINTERNAL, "no memory for a connection");
        free(conn);
        rk_fd_close(&fd);
        return NULL;
    }
    conn->fd = fd;
    conn->writing.lent_last = &conn->writing.lent;
    conn->payload_cap = RK_PAYLOAD_CAP_DEFAULT;
    conn->callbacks = *callbacks;
    conn->context = context;
    return conn;
}

void rk_conn_free(struct rk_conn *conn)
{
    int kept = errno;

    if (!conn)
        return;
    rk_reading_clear(&conn->reading);
    rk_writing_clear(&conn->writing);
    if (rk_conn_settle(conn))
        rk_lending_inherit(conn->lending, conn->fd, conn->writing.lent);
    else
        rk_fd_close(&conn->fd);
    free(conn);
    errno = kept;
}

int rk_conn_fd(const struct rk_conn *conn)
{
    return conn->fd;
}

void rk_conn_set_payload_cap(struct rk_conn *conn, uint64_t cap)
{
    conn->payload_cap = cap;
}

void rk_conn_set_memory(struct rk_conn *conn, const struct rk_payload_memory *memory)
{
    conn->memory = memory;
}

void rk_conn_set_fair(struct rk_conn *conn)
{
    conn->fair = true;
}

void rk_conn_lend(struct rk_conn *conn, struct rk_lending *lending)
{
    conn->lending = lending;
}

bool rk_conn_mid_frame(const struct rk_conn *conn)
{
    return conn->reading.stage != RK_STAGE_HEADER || conn->reading.done > 0;
}

uint64_t rk_conn_queued(const struct rk_conn *conn)
{
    return conn->writing.queued;
}

void rk_conn_tell_payload(int fd, uint8_t type, uint64_t id, const uint8_t *head, size_t head_size,
                          struct rankcall_payload *payload)
{
    static const struct rk_conn_callbacks nobody;
    struct rk_conn *conn = rk_conn_new(fd, &nobody, NULL);

    if (conn && !rk_conn_send(conn, type, id, head, head_size, payload))
        (void)rk_conn_flush(conn);
    rk_conn_free(conn);
}

void rk_conn_tell(int fd, uint8_t type, const uint8_t *head, size_t head_size, const struct rankcall_error *error)
{
    struct rankcall_payload *payload = rk_error_to_payload(error);

    if (payload)
        rk_conn_tell_payload(fd, type, 0, head, head_size, payload);
    else
        close(fd);
    rankcall_payload_free(payload);
}
