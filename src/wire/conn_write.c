/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Writing frames: a queue of blocks. Small things are copied one behind the other into blocks of bytes; large ones are
 * referenced by blocks of their own. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/error.h"
#include "wire/conn_internal.h"

#define TINY_BLOCK  ((size_t)928)      /* the first of a queue: most frames are alone and small */
#define SMALL_BLOCK ((size_t)4 << 10)  /* the first of a queue whose frame is larger */
#define BLOCK       ((size_t)64 << 10) /* the others */
#define COPY_CAP    ((size_t)32 << 10) /* a payload up to this is copied */
#define TURN        ((size_t)8 << 20)  /* bytes written in one turn, lest a fast reader holds the thread */
#define BATCH       ((size_t)1 << 20) /* bytes offered to one system call, which goes on while the peer reads, and pieces */
#define PIECES      256
#define WIDE_FROM   (64 << 10) /* a payload from here on has the socket hold more ... */
#define WIDE        (1 << 20)  /* ... bytes, so that its reader is woken less often */

struct rk_block {
    struct rk_block *next;
    struct rankcall_payload *payload;       /* whose pieces these are, or NULL */
    const struct iovec *pieces;             /* the payload's, or `own` */
    size_t piece, piece_count;              /* the first one not yet written, and how many there are */
    size_t offset;                          /* bytes of that piece that are written */
    uint64_t end;                           /* of what was written when it was written whole */
    bool lent;                              /* the peer may still read there */
    bool unfit;                             /* it can't be lent */
    struct iovec own;                       /* bytes: here, or malloc()ed elsewhere */
    size_t cap;                             /* of `bytes`; 0 where they are elsewhere ... */
    const struct rk_payload_memory *lender; /* ... in memory of this one's; NULL: malloc()ed */
    uint8_t bytes[];
};

/* glibc's malloc() keeps blocks up to about this size at hand for the thread. */
_Static_assert(sizeof(struct rk_block) + TINY_BLOCK <= 1024, "a tiny block costs no search");

static void free_block(struct rk_block *block)
{
    if (!block->payload && block->cap == 0)
        rk_payload_memory_give(block->lender, block->own.iov_base);
    rankcall_payload_free(block->payload);
    free(block);
}

void rk_blocks_free(struct rk_block *first)
{
    for (struct rk_block *next, *block = first; block; block = next) {
        next = block->next;
        free_block(block);
    }
}

/* No more of it is written. */
static void leave_block(struct rk_writing *writing, struct rk_block *block)
{
    if (!block->lent) {
        free_block(block);
        return;
    }
    block->next = NULL;
    block->end = writing->written;
    *writing->lent_last = block;
    writing->lent_last = &block->next;
}

void rk_writing_clear(struct rk_writing *writing)
{
    for (struct rk_block *next, *block = writing->first; block; block = next) {
        next = block->next;
        leave_block(writing, block);
    }
    writing->first = writing->last = NULL;
    writing->queued = 0;
}

static struct rk_block *new_block(size_t cap)
{
    struct rk_block *block = malloc(sizeof *block + cap);

    if (!block) {
        rk_error(RANKCALL_EINTERNAL, "no memory to queue a frame");
        return NULL;
    }
    memset(block, 0, sizeof *block);
    block->cap = cap;
    block->own.iov_base = block->bytes;
    block->pieces = &block->own;
    block->piece_count = 1;
    return block;
}

static void append(struct rk_writing *writing, struct rk_block *block, uint64_t size)
{
    if (writing->last)
        writing->last->next = block;
    else
        writing->first = block;
    writing->last = block;
    writing->queued += size;
}

static int closed(void)
{
    return rk_error(RANKCALL_ECLOSED, "the peer has closed the connection");
}

uint8_t *rk_conn_reserve(struct rk_conn *conn, size_t size)
{
    struct rk_writing *writing = &conn->writing;
    struct rk_block *last = writing->last;
    size_t cap = last || size > SMALL_BLOCK ? BLOCK : size > TINY_BLOCK ? SMALL_BLOCK : TINY_BLOCK;

    if (last && last->own.iov_len + size <= last->cap)
        return last->bytes + last->own.iov_len;
    if (!(last = new_block(size > cap ? size : cap)))
        return NULL;
    append(writing, last, 0);
    return last->bytes;
}

void rk_conn_commit(struct rk_conn *conn, size_t size)
{
    if (conn->writing.failed)
        return; /* nothing is written any more: the place is free again */
    conn->writing.last->own.iov_len += size;
    conn->writing.queued += size;
}

/* Memory is out, perhaps within a frame: nothing right can follow. */
static int give_up(struct rk_conn *conn)
{
    rk_writing_clear(&conn->writing);
    conn->writing.failed = true;
    return RANKCALL_EINTERNAL;
}

/* Lets the socket hold more from the first payload on that it would take in many turns otherwise. */
static void widen(struct rk_conn *conn, uint64_t size)
{
    const int wide = WIDE;

    if (conn->writing.wide || size < (uint64_t)WIDE_FROM)
        return;
    conn->writing.wide = true;
    (void)setsockopt(conn->fd, SOL_SOCKET, SO_SNDBUF, &wide, sizeof wide); /* the system may allow less */
}

int rk_conn_send_bytes(struct rk_conn *conn, const void *bytes, size_t size)
{
    const uint8_t *from = bytes;

    if (conn->writing.failed)
        return closed();
    while (size > 0) {
        size_t part = size < BLOCK ? size : BLOCK;
        uint8_t *to = rk_conn_reserve(conn, part);

        if (!to)
            return give_up(conn);
        memcpy(to, from, part);
        rk_conn_commit(conn, part);
        from += part;
        size -= part;
    }
    return RANKCALL_OK;
}

int rk_conn_send_take(struct rk_conn *conn, void *bytes, size_t size, const struct rk_payload_memory *lender)
{
    struct rk_block *block;
    int code = RANKCALL_OK;

    widen(conn, size);
    if (size <= SMALL_BLOCK) {
        code = rk_conn_send_bytes(conn, bytes, size);
    } else if (conn->writing.failed) {
        code = closed();
    } else if (!(block = new_block(0))) {
        code = RANKCALL_EINTERNAL;
    } else {
        block->own = (struct iovec){bytes, size};
        block->lender = lender;
        append(&conn->writing, block, size);
        return RANKCALL_OK;
    }
    rk_payload_memory_give(lender, bytes);
    return code;
}

static uint8_t *write_front(uint8_t *to, uint8_t type, uint64_t id, const uint8_t *head, size_t head_size,
                            uint64_t payload_size)
{
    struct rk_header header = {
        .version = RK_VERSION, .type = type, .id = id, .head_size = (uint32_t)head_size, .payload_size = payload_size};

    rk_header_encode(&header, to);
    if (head_size > 0)
        memcpy(to + RK_HEADER_SIZE, head, head_size);
    return to + RK_HEADER_SIZE + head_size;
}

/* A block that references the payload, not yet in the queue. */
static struct rk_block *payload_block(struct rankcall_payload *payload)
{
    struct rk_block *block = new_block(0);

    if (block) {
        block->payload = rk_payload_ref(payload);
        block->piece_count = rk_payload_pieces(payload, &block->pieces);
    }
    return block;
}

int rk_conn_send(struct rk_conn *conn, uint8_t type, uint64_t id, const uint8_t *head, size_t head_size,
                 struct rankcall_payload *payload)
{
    struct rk_block *block = NULL;
    size_t front = RK_HEADER_SIZE + head_size, copied;
    uint64_t size;
    uint8_t *to;
    int code = payload ? rk_payload_freeze(payload) : RANKCALL_OK;

    if (code)
        return code;
    if (conn->writing.failed)
        return closed();
    size = payload ? rk_payload_size(payload) : 0;
    copied = size <= COPY_CAP ? (size_t)size : 0;
    if (size > COPY_CAP && !(block = payload_block(payload)))
        return RANKCALL_EINTERNAL;
    if (!(to = rk_conn_reserve(conn, front + copied))) {
        if (block)
            free_block(block);
        return RANKCALL_EINTERNAL;
    }
    to = write_front(to, type, id, head, head_size, size);
    if (copied > 0)
        rk_payload_copy(payload, to);
    rk_conn_commit(conn, front + copied);
    if (block) {
        widen(conn, size);
        append(&conn->writing, block, size);
    }
    return RANKCALL_OK;
}

/* Whether the peer gets the last `left` bytes of that piece of the block without a copy. */
static bool is_lent(const struct rk_conn *conn, const struct rk_block *block, size_t piece, size_t left)
{
    return conn->lending && left >= RK_LEND_MIN && block->pieces[piece].iov_len <= RK_LEND_MAX && !block->cap &&
           !block->unfit;
}

/* Fills iov with what is to be written next; returns how many pieces. What is lent goes alone. */
static size_t collect(const struct rk_conn *conn, struct iovec iov[PIECES])
{
    const struct rk_writing *writing = &conn->writing;
    size_t count = 0, size = 0;

    for (const struct rk_block *block = writing->first; block; block = block->next) {
        size_t offset = block->offset;

        for (size_t i = block->piece; i < block->piece_count; i++, offset = 0) {
            size_t left = block->pieces[i].iov_len - offset;

            if (count == PIECES || size >= BATCH || is_lent(conn, block, i, left))
                return count;
            size_t part = left < BATCH - size ? left : BATCH - size;

            iov[count++] = (struct iovec){(uint8_t *)block->pieces[i].iov_base + offset, part};
            size += part;
        }
    }
    return count;
}

static ssize_t write_pieces(const struct rk_conn *conn, int flags)
{
    struct iovec iov[PIECES];
    struct msghdr message = {.msg_iov = iov};

    message.msg_iovlen = collect(conn, iov);
    return sendmsg(conn->fd, &message, flags);
}

/* Marks bytes of the first block as written; returns those that were beyond it. */
static size_t advance_block(struct rk_block *block, size_t written)
{
    while (block->piece < block->piece_count) {
        size_t left = block->pieces[block->piece].iov_len - block->offset;

        if (written < left) {
            block->offset += written;
            return 0;
        }
        written -= left;
        block->offset = 0;
        block->piece++;
    }
    return written;
}

static void advance(struct rk_writing *writing, size_t written)
{
    writing->queued -= written;
    writing->written += written;
    while (writing->first) {
        struct rk_block *first = writing->first;

        written = advance_block(first, written);
        if (first->piece < first->piece_count)
            return;
        writing->first = first->next;
        if (!writing->first)
            writing->last = NULL;
        leave_block(writing, first);
    }
}

static int write_failed(struct rk_conn *conn)
{
    if (errno == EAGAIN)
        return RANKCALL_OK;
    rk_writing_clear(&conn->writing); /* nobody will read it */
    conn->writing.failed = true;
    return closed();
}

/* One system call or a few. A piece that is alone, as the frame of most calls, needs none of sendmsg's lists. */
static ssize_t write_once(const struct rk_conn *conn)
{
    const int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
    struct rk_block *first = conn->writing.first;
    const struct iovec *next = first->piece < first->piece_count ? &first->pieces[first->piece] : NULL;

    if (next && is_lent(conn, first, first->piece, next->iov_len - first->offset)) {
        ssize_t lent =
            rk_lend(conn->lending, conn->fd, (uint8_t *)next->iov_base + first->offset, next->iov_len - first->offset);

        first->lent |= lent > 0;
        if (lent >= 0 || errno != ENOTSUP)
            return lent;
        first->unfit = true;
    }
    if (!first->next && first->piece + 1 == first->piece_count) {
        const struct iovec *piece = &first->pieces[first->piece];
        size_t left = piece->iov_len - first->offset;

        return send(conn->fd, (uint8_t *)piece->iov_base + first->offset, left < BATCH ? left : BATCH, flags);
    }
    return write_pieces(conn, flags);
}

bool rk_conn_settle(struct rk_conn *conn)
{
    struct rk_writing *writing = &conn->writing;
    size_t unread = writing->lent ? rk_lent_unread(conn->fd) : 0;

    while (writing->lent && unread <= writing->written - writing->lent->end) {
        struct rk_block *first = writing->lent;

        writing->lent = first->next;
        free_block(first);
    }
    if (!writing->lent)
        writing->lent_last = &writing->lent;
    return writing->lent;
}

int rk_conn_flush(struct rk_conn *conn)
{
    size_t total = 0;

    (void)rk_conn_settle(conn);

    if (conn->writing.failed)
        return closed();
    while (conn->writing.queued > 0 && total < TURN) {
        ssize_t written = write_once(conn);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return write_failed(conn);
        total += (size_t)written;
        advance(&conn->writing, (size_t)written);
    }
    return RANKCALL_OK;
}
