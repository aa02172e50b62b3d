/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What the reading and the writing half of a connection share: the connection itself. */

#ifndef RK_WIRE_CONN_INTERNAL_H
#define RK_WIRE_CONN_INTERNAL_H

#include "wire/conn.h"
#include "wire/lend.h"

/* What the next bytes are. */
enum rk_stage {
    RK_STAGE_HEADER,
    RK_STAGE_HEAD,
    RK_STAGE_PAYLOAD,
    RK_STAGE_DISCARD,
    RK_STAGE_CHECK, /* none are read: the JSON of a large payload is being checked */
};

#define RK_SMALL_HEAD 64

/* The frame that is being read. At rest it holds no memory. */
struct rk_reading {
    enum rk_stage stage;
    int failed;      /* the code that ended reading, or RANKCALL_OK */
    bool large;      /* the last payload was: the next may be */
    bool many;       /* the last turn had many frames: the next may have */
    unsigned frames; /* of this turn */
    struct rk_header header;
    uint8_t header_bytes[RK_HEADER_SIZE];
    uint8_t small_head[RK_SMALL_HEAD];
    uint8_t *head;  /* small_head or malloc()ed; NULL unless the head has come in part or a payload is pending */
    uint8_t *bytes; /* the payload, from rk_payload_alloc or ... */
    const struct rk_payload_memory *lender; /* ... this one's; NULL: it is the former */
    uint64_t done;                          /* bytes of this stage that are there */
    struct rankcall_payload *payload;       /* decoded, while its JSON is being checked */
    struct rk_json_check *check;
};

struct rk_block;

/* A queue of blocks, written from the front and filled at the back. */
struct rk_writing {
    struct rk_block *first, *last;
    uint64_t queued;
    uint64_t written;                   /* all that the socket has ever taken */
    struct rk_block *lent, **lent_last; /* written, and not yet read by the peer */
    bool failed;                        /* the peer takes no more */
    bool wide;                          /* the socket's buffer was enlarged */
};

struct rk_conn {
    int fd;
    bool fair; /* its thread has others to serve */
    uint64_t payload_cap;
    const struct rk_payload_memory *memory;
    struct rk_lending *lending; /* NULL: everything is copied */
    struct rk_conn_callbacks callbacks;
    void *context;
    struct rk_reading reading;
    struct rk_writing writing;
};

/* Free what the halves hold. */
void rk_reading_clear(struct rk_reading *reading);
void rk_writing_clear(struct rk_writing *writing); /* but for what the peer may still read */

void rk_blocks_free(struct rk_block *first);

#endif
