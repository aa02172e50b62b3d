/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* One framed connection over a non-blocking stream socket: frames in, frames out; used by the job and by clients.
 * It never blocks, knows no event loop, and belongs to one thread. */

#ifndef RK_WIRE_CONN_H
#define RK_WIRE_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/frame.h"
#include "wire/payload.h"

struct rk_conn;
struct rk_lending; /* lend.h */

enum rk_admission {
    RK_ADMIT,   /* take the payload */
    RK_DISCARD, /* read the payload's bytes and throw them away: no memory, no further callback for this frame */
};

/* `head` is never NULL and has header->head_size bytes, valid during the callback. */
struct rk_conn_callbacks {
    /* A header and its head have arrived and the header passed its checks; for frames with a payload, before memory for
     * it is taken. May be NULL: everything is admitted. */
    enum rk_admission (*admit)(void *context, const struct rk_header *header, const uint8_t *head);
    /* A whole frame. `payload` (NULL when payload_size is 0) is the callee's to free; its structure and JSON have
     * passed all checks. */
    void (*frame)(void *context, const struct rk_header *header, const uint8_t *head, struct rankcall_payload *payload);
    /* A frame whose payload failed its checks or found no memory; the connection goes on with the next frame. The
     * thread's last error says what was wrong. May be NULL: then such a frame ends the connection. */
    void (*bad_payload)(void *context, const struct rk_header *header, const uint8_t *head);
};

/* `fd` is taken, prepared with rk_fd_prepare. NULL when memory is out or fd is bad (fd is closed then).
 * Callbacks must not free the connection. */
struct rk_conn *rk_conn_new(int fd, const struct rk_conn_callbacks *callbacks, void *context);
void rk_conn_free(struct rk_conn *conn); /* closes; takes NULL; keeps errno */
int rk_conn_fd(const struct rk_conn *conn);

/* Payloads above this are refused with RANKCALL_ETOOLARGE. RK_PAYLOAD_CAP_DEFAULT at first. */
void rk_conn_set_payload_cap(struct rk_conn *conn, uint64_t cap);

/* Where payloads that are read go; NULL: nowhere in particular. `memory` stays. */
void rk_conn_set_memory(struct rk_conn *conn, const struct rk_payload_memory *memory);

/* The thread has others to serve: who sends many small frames at once is read in short turns, too. */
void rk_conn_set_fair(struct rk_conn *conn);

/* From now on the peer copies large payloads out of their own memory, which so stays until it has read them: longer
 * than it is queued, even than the connection. `lending` stays. */
void rk_conn_lend(struct rk_conn *conn, struct rk_lending *lending);

/* Frees what the peer has read of that. Returns whether some is left. Writing does the same. */
bool rk_conn_settle(struct rk_conn *conn);

/* Writes one frame as far as the socket takes it, and closes `fd`. `payload`: or NULL. */
void rk_conn_tell_payload(int fd, uint8_t type, uint64_t id, const uint8_t *head, size_t head_size,
                          struct rankcall_payload *payload);

/* Writes one frame of id 0 that has an error as its payload, as far as the socket takes it, and closes `fd`. */
void rk_conn_tell(int fd, uint8_t type, const uint8_t *head, size_t head_size, const struct rankcall_error *error);

/* Reads what is there, at most about 1 MiB of data or 256 KiB of JSON checking, and makes callbacks.
 * Returns RANKCALL_OK: nothing more for now; RANKCALL_EAGAIN: there is more to do at once, call again soon without
 * waiting for the descriptor. RANKCALL_ECLOSED: the peer closed, between frames or within one (the message says which);
 * RANKCALL_EPROTOCOL, RANKCALL_ETOOLARGE: bad frame. After an error the connection reads no more, but still writes.
 * A callback may read other connections, not this one. */
int rk_conn_read(struct rk_conn *conn);

/* Whether part of a frame has been read (a half-sent frame is pending). */
bool rk_conn_mid_frame(const struct rk_conn *conn);

/* Queues a frame: header, head, and the payload (may be NULL), which is frozen here and referenced until written; the
 * caller keeps its own reference. Small payloads are copied. Errors: RANKCALL_ETOOLARGE (freezing), RANKCALL_EINTERNAL,
 * RANKCALL_ECLOSED (here and below: writing has failed before; nothing is queued). */
int rk_conn_send(struct rk_conn *conn, uint8_t type, uint64_t id, const uint8_t *head, size_t head_size,
                 struct rankcall_payload *payload);

/* Queues bytes that are a frame already, or part of one. Copies. */
int rk_conn_send_bytes(struct rk_conn *conn, const void *bytes, size_t size);

/* Queues bytes that are a frame already, or part of one, and takes them, also on failure: malloc()ed ones, or those of
 * `lender`, who stays. */
int rk_conn_send_take(struct rk_conn *conn, void *bytes, size_t size, const struct rk_payload_memory *lender);

/* `size` (at most 64 KiB) contiguous bytes at the end of the queue to be filled in by the caller, then committed with
 * the size really used. NULL when memory is out. No other call on the connection in between. */
uint8_t *rk_conn_reserve(struct rk_conn *conn, size_t size);
void rk_conn_commit(struct rk_conn *conn, size_t size);

/* Writes what the socket takes (without SIGPIPE). RANKCALL_OK: rk_conn_queued() tells what is left.
 * RANKCALL_ECLOSED. */
int rk_conn_flush(struct rk_conn *conn);

/* Bytes queued and not yet written. */
uint64_t rk_conn_queued(const struct rk_conn *conn);

#endif
