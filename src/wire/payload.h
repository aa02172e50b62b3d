/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Payloads inside: reference counts and the wire form. doc/protocol.md has the byte table.
 *
 * A payload is either being built (by the public setters) or frozen: read-only, with its wire form known. One that came
 * from the wire is frozen and keeps the received bytes, which its JSON and attachments point into. */

#ifndef RK_WIRE_PAYLOAD_H
#define RK_WIRE_PAYLOAD_H

#include <stdint.h>
#include <stdlib.h>
#include <sys/uio.h>

#include <rankcall/payload.h>

#include "wire/json_check.h"

#define RK_PAYLOAD_ALIGN 64 /* of attachment data within the payload and in memory */

/* Memory for a payload's wire bytes, aligned to RK_PAYLOAD_ALIGN; free() frees it. NULL when memory is out. */
void *rk_payload_alloc(uint64_t size);

/* Frees what that gave for so many bytes, or keeps it for the next one. */
void rk_payload_give(void *memory, uint64_t size);

/* Memory for wire bytes that is not this process's alone. */
struct rk_payload_memory {
    uint8_t *(*take)(void *context, uint64_t size); /* aligned to RK_PAYLOAD_ALIGN; NULL: rk_payload_alloc's will do */
    void (*give)(void *context, uint8_t *bytes);    /* back; any thread */
    void *context;
};

/* Gives bytes back to whose they are; NULL: free() frees them. */
static inline void rk_payload_memory_give(const struct rk_payload_memory *lender, void *bytes)
{
    if (lender)
        lender->give(lender->context, bytes);
    else
        free(bytes);
}

/* Takes wire bytes (from rk_payload_alloc, on success only) and checks their structure: counts, lengths, names (UTF-8,
 * unique), types, dtypes, shapes against sizes, zero padding, nothing left over. The JSON text is not checked: see
 * below. `size` 0 is {}; `bytes` may be NULL then. Errors: RANKCALL_EPAYLOAD, RANKCALL_ETOOLARGE, naming the
 * attachment, field and byte. */
int rk_payload_decode(uint8_t *bytes, uint64_t size, struct rankcall_payload **out);

/* The wire bytes of a payload just decoded are that memory's and not from rk_payload_alloc. `memory` stays. */
void rk_payload_lend(struct rankcall_payload *payload, const struct rk_payload_memory *memory);

/* One more reference; rankcall_payload_free drops one. Threads: any. */
struct rankcall_payload *rk_payload_ref(struct rankcall_payload *payload);

/* Copies the attachments that a payload being built only borrows, so that it may outlive its maker's memory.
 * Errors: RANKCALL_EINTERNAL (memory). */
int rk_payload_own(struct rankcall_payload *payload);

/* Makes a built payload read-only and fixes its wire form; no effect on a frozen one.
 * Errors: RANKCALL_ETOOLARGE (JSON over RK_JSON_CAP), RANKCALL_EINTERNAL (memory). */
int rk_payload_freeze(struct rankcall_payload *payload);

/* The wire form's size in bytes. Frozen payloads only. */
uint64_t rk_payload_size(const struct rankcall_payload *payload);

/* The wire form as pieces in order, padding included; *iov is the payload's. Frozen payloads only. */
size_t rk_payload_pieces(const struct rankcall_payload *payload, const struct iovec **iov);

/* The wire form in one piece, or NULL when it is not (use rk_payload_copy). Frozen payloads only. */
const uint8_t *rk_payload_bytes(const struct rankcall_payload *payload);

/* Writes the wire form to `bytes`, which has rk_payload_size() bytes. Frozen payloads only. */
void rk_payload_copy(const struct rankcall_payload *payload, uint8_t *bytes);

#endif
