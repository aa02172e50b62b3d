/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What the payload's files share: the payload itself.
 *
 * The JSON is known in up to three forms. `members`: an object of raw members, while it is being built. `text`: as it
 * goes on the wire. `view`: parsed from the text at the first look-up. A setter drops the text and the view. */

#ifndef RK_WIRE_PAYLOAD_INTERNAL_H
#define RK_WIRE_PAYLOAD_INTERNAL_H

#include <cjson/cJSON.h>
#include <stdatomic.h>

#include "wire/frame.h"
#include "wire/payload.h"

struct rk_attached {
    struct rankcall_attachment attachment; /* its name is ours */
    void (*release)(void *data, void *context);
    void *context;
};

/* An array given out by rankcall_get_doubles. */
struct rk_doubles {
    struct rk_doubles *next;
    const cJSON *source; /* in the view, or NULL when that is gone */
    size_t count;
    double values[];
};

struct rankcall_payload {
    atomic_uint references;
    bool frozen;

    cJSON *members; /* NULL: not built by setters */
    char *text;     /* NULL-terminated; NULL: not known yet (no members: {}) */
    size_t text_size;
    bool text_owned; /* by cJSON_malloc; else it lies within `wire` */
    cJSON *view;
    struct rk_doubles *doubles;

    struct rk_attached *attached;
    size_t attached_count, attached_cap;

    uint8_t *wire;            /* received: everything; frozen: all up to the first attachment's data; NULL: size 0 */
    uint64_t wire_size, size; /* of `wire`, of the whole wire form */
    const struct rk_payload_memory *lender; /* whose memory `wire` is; NULL: free() frees it */
    struct iovec *pieces;                   /* malloc()ed, or `one_piece`: all that a payload without attachments has */
    size_t piece_count;
    struct iovec one_piece;
};

/* Sets `text`. Errors: RANKCALL_EINTERNAL (memory), RANKCALL_ETOOLARGE. */
int rk_payload_make_text(struct rankcall_payload *payload);

/* Sets `view`. Errors: the same. */
int rk_payload_make_view(const struct rankcall_payload *payload);

/* Drop what is known, before `members` changes. */
void rk_payload_drop_text(struct rankcall_payload *payload);
void rk_payload_drop_view(struct rankcall_payload *payload);

/* Checks that name, type, dtype, shape and size of an attachment agree. `name_size` bytes of name; need not be ended.
 * Errors: RANKCALL_EPAYLOAD. */
int rk_attachment_check(const struct rankcall_attachment *attachment, size_t name_size);

/* Adds an attachment that was checked, taking nothing on failure. The name is copied. Errors: RANKCALL_EINTERNAL,
 * RANKCALL_EPAYLOAD (too many). */
int rk_payload_add(struct rankcall_payload *payload, const struct rk_attached *attached, size_t name_size);

static inline uint64_t rk_align(uint64_t size, uint64_t alignment)
{
    return (size + alignment - 1) & ~(alignment - 1);
}

/* Where the attachment table begins, counted from the payload's first byte. */
static inline uint64_t rk_table_offset(uint64_t text_size)
{
    return rk_align(8 + text_size + 1, 8);
}

#endif
