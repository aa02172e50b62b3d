/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Reading frames.
 *
 * All connections of a thread read into one scratch of 64 KiB, so that small frames, many at a time, cost one system
 * call; a large payload is read straight into its own memory, and only the end of it together with what follows. What
 * lies in the scratch is always consumed before rk_conn_read returns: large payloads, whose check may take several
 * turns, are read alone. */

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/error.h"
#include "wire/conn_internal.h"

#define SCRATCH_SIZE ((size_t)64 << 10)
#define LARGE        ((uint64_t)256 << 10) /* a payload from here on is read alone and checked in turns */
#define READ_TURN    ((size_t)1 << 20)     /* bytes read in one turn */
#define SMALL_READ   ((size_t)1 << 10)     /* bytes read at first where a payload of more than a scratch may follow */
#define FAIR_READ    ((size_t)16 << 10)    /* bytes read at once where turns have to be short, ... */
#define MANY_READ    ((size_t)2 << 10)     /* ... and from who has sent as many small frames in the last one as ... */
#define FRAMES_TURN  64                    /* ... end a turn; until one has fewer than ... */
#define FRAMES_FEW   16                    /* ... this */
#define CHECK_TURN   ((size_t)256 << 10)   /* bytes of JSON checked in one turn */

/* The thread's scratch. Whoever reads takes it out and puts it back, so that a callback may read another connection.
 * The key's only use is its destructor, which frees the scratch of a thread that ends. */
static _Thread_local uint8_t *spare_scratch;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;
static pthread_key_t scratch_key;

static void free_scratch(void *slot)
{
    uint8_t **ended = slot;

    free(*ended);
    *ended = NULL;
}

static void make_scratch_key(void)
{
    (void)pthread_key_create(&scratch_key, free_scratch);
}

static uint8_t *take_scratch(void)
{
    uint8_t *scratch = spare_scratch;

    spare_scratch = NULL;
    if (scratch)
        return scratch;
    pthread_once(&scratch_once, make_scratch_key);
    return pthread_setspecific(scratch_key, &spare_scratch) ? NULL : malloc(SCRATCH_SIZE);
}

static void put_scratch(uint8_t *scratch)
{
    if (spare_scratch)
        free(scratch);
    else
        spare_scratch = scratch;
}

static void free_head(struct rk_reading *reading)
{
    if (reading->head != reading->small_head)
        free(reading->head);
    reading->head = NULL;
}

/* Sets reading->head to room for the frame's head. */
static int make_head(struct rk_reading *reading)
{
    uint32_t size = reading->header.head_size;

    reading->head = size <= sizeof reading->small_head ? reading->small_head : malloc(size);
    return reading->head ? RANKCALL_OK : rk_error(RANKCALL_EINTERNAL, "no memory for a head");
}

void rk_reading_clear(struct rk_reading *reading)
{
    free_head(reading);
    if (reading->bytes)
        rk_payload_memory_give(reading->lender, reading->bytes);
    if (reading->check)
        rk_json_check_free(reading->check);
    rankcall_payload_free(reading->payload);
    reading->bytes = NULL;
    reading->check = NULL;
    reading->payload = NULL;
}

/* Ready for the next header. */
static void end_frame(struct rk_reading *reading)
{
    rk_reading_clear(reading);
    reading->stage = RK_STAGE_HEADER;
    reading->done = 0;
    reading->frames++;
}

static int fail(struct rk_conn *conn, int code)
{
    rk_reading_clear(&conn->reading);
    conn->reading.failed = code;
    return code;
}

/* ---- What to do when a part is complete. Each returns RANKCALL_OK or a code that ends the connection. ---- */

/* The frame's payload is no good; the thread's last error says why. */
static int report_bad_payload(struct rk_conn *conn, const uint8_t *head)
{
    const struct rk_header *header = &conn->reading.header;

    if (!conn->callbacks.bad_payload)
        return rankcall_last_error()->code;
    conn->callbacks.bad_payload(conn->context, header, head);
    return RANKCALL_OK;
}

static int finish_payload(struct rk_conn *conn, int code)
{
    struct rk_reading *reading = &conn->reading;
    struct rankcall_payload *payload = reading->payload;
    const uint8_t *head = reading->head ? reading->head : reading->small_head; /* never NULL, also where it is empty */

    if (code == RANKCALL_OK) {
        reading->payload = NULL;
        conn->callbacks.frame(conn->context, &reading->header, head, payload);
    } else {
        code = report_bad_payload(conn, head);
    }
    end_frame(reading);
    return code;
}

/* All bytes of the payload are there: decodes them, and checks the JSON unless that may take long. */
static int take_payload(struct rk_conn *conn)
{
    struct rk_reading *reading = &conn->reading;
    uint64_t size = reading->header.payload_size;
    const char *text;
    size_t text_size;
    int code = rk_payload_decode(reading->bytes, size, &reading->payload);

    if (code)
        return finish_payload(conn, code);
    reading->bytes = NULL;
    rk_payload_lend(reading->payload, reading->lender);
    text = rankcall_payload_json(reading->payload, &text_size);
    if (size < LARGE)
        return finish_payload(conn, rk_json_check(text, text_size));
    reading->check = rk_json_check_new(text, text_size);
    if (!reading->check)
        return finish_payload(conn, RANKCALL_EINTERNAL);
    reading->stage = RK_STAGE_CHECK;
    return RANKCALL_OK;
}

static void discard_payload(struct rk_reading *reading)
{
    free_head(reading);
    reading->stage = RK_STAGE_DISCARD;
    reading->done = 0;
}

/* Keeps the head for when the payload is there, and takes memory for it. */
static int prepare_payload(struct rk_conn *conn, const uint8_t *head)
{
    struct rk_reading *reading = &conn->reading;
    uint64_t size = reading->header.payload_size;

    if (!reading->head && reading->header.head_size > 0) {
        if (make_head(reading))
            return RANKCALL_EINTERNAL;
        memcpy(reading->head, head, reading->header.head_size);
    }
    reading->large = size >= SCRATCH_SIZE / 2;
    reading->lender = conn->memory;
    reading->bytes = conn->memory ? conn->memory->take(conn->memory->context, size) : NULL;
    if (!reading->bytes) {
        reading->lender = NULL;
        reading->bytes = rk_payload_alloc(size);
    }
    if (!reading->bytes)
        return rk_error(RANKCALL_EINTERNAL, "no memory for a payload of %" PRIu64 " bytes", size);
    reading->stage = RK_STAGE_PAYLOAD;
    reading->done = 0;
    return RANKCALL_OK;
}

/* The head is complete at `head`, which may be in the scratch. */
static int take_head(struct rk_conn *conn, const uint8_t *head)
{
    struct rk_reading *reading = &conn->reading;
    const struct rk_header *header = &reading->header;
    enum rk_admission admission = RK_ADMIT;
    int code;

    if (conn->callbacks.admit)
        admission = conn->callbacks.admit(conn->context, header, head);
    if (header->payload_size == 0) {
        if (admission == RK_ADMIT)
            conn->callbacks.frame(conn->context, header, head, NULL);
        end_frame(reading);
        return RANKCALL_OK;
    }
    code = admission == RK_ADMIT ? prepare_payload(conn, head) : RANKCALL_OK;
    if (code)
        code = report_bad_payload(conn, head);
    if (reading->stage != RK_STAGE_PAYLOAD)
        discard_payload(reading);
    return code;
}

static int take_header(struct rk_conn *conn, const uint8_t *bytes)
{
    struct rk_reading *reading = &conn->reading;
    int code = rk_header_decode(bytes, conn->payload_cap, &reading->header);

    reading->stage = RK_STAGE_HEAD;
    reading->done = 0;
    return code;
}

/* ---- Consuming bytes. Each takes at most `size` bytes of `from`, and moves it on. ---- */

struct input {
    const uint8_t *at;
    size_t size;
};

static const uint8_t *consume(struct input *input, size_t size)
{
    const uint8_t *at = input->at;

    input->at += size;
    input->size -= size;
    return at;
}

/* A part of known size that is wanted in one piece: in place if it lies in the input whole, else gathered in *gathered,
 * which holds `size` bytes. Returns NULL while it is not complete. */
static const uint8_t *gather(struct rk_reading *reading, struct input *input, uint8_t *gathered, size_t size)
{
    size_t wanted = size - reading->done, taken = input->size < wanted ? input->size : wanted;

    if (reading->done == 0 && taken == size)
        return consume(input, size);
    if (taken > 0)
        memcpy(gathered + reading->done, consume(input, taken), taken);
    reading->done += taken;
    return reading->done == size ? gathered : NULL;
}

static int consume_header(struct rk_conn *conn, struct input *input)
{
    const uint8_t *bytes = gather(&conn->reading, input, conn->reading.header_bytes, RK_HEADER_SIZE);

    return bytes ? take_header(conn, bytes) : RANKCALL_OK;
}

static int consume_head(struct rk_conn *conn, struct input *input)
{
    struct rk_reading *reading = &conn->reading;
    uint32_t size = reading->header.head_size;
    const uint8_t *head;

    if (input->size < size && !reading->head && make_head(reading))
        return RANKCALL_EINTERNAL;
    head = gather(reading, input, reading->head, size);
    return head ? take_head(conn, head) : RANKCALL_OK;
}

static int consume_payload(struct rk_conn *conn, struct input *input)
{
    struct rk_reading *reading = &conn->reading;
    uint64_t wanted = reading->header.payload_size - reading->done;
    size_t taken = input->size < wanted ? input->size : (size_t)wanted;

    memcpy(reading->bytes + reading->done, consume(input, taken), taken);
    reading->done += taken;
    return taken == wanted ? take_payload(conn) : RANKCALL_OK;
}

static void consume_discarded(struct rk_reading *reading, struct input *input)
{
    uint64_t wanted = reading->header.payload_size - reading->done;
    size_t taken = input->size < wanted ? input->size : (size_t)wanted;

    consume(input, taken);
    reading->done += taken;
    if (taken == wanted)
        end_frame(reading);
}

/* Consumes all the input. A head of no bytes is complete without any. A function of its own in a profile, too: what it
 * costs does not depend on how often a waiter has looked before the bytes came. */
__attribute__((__noinline__)) static int consume_all(struct rk_conn *conn, struct input input)
{
    struct rk_reading *reading = &conn->reading;
    int code = RANKCALL_OK;

    while (code == RANKCALL_OK &&
           (input.size > 0 || (reading->stage == RK_STAGE_HEAD && reading->header.head_size == 0))) {
        switch (reading->stage) {
        case RK_STAGE_HEADER: code = consume_header(conn, &input); break;
        case RK_STAGE_HEAD: code = consume_head(conn, &input); break;
        case RK_STAGE_PAYLOAD: code = consume_payload(conn, &input); break;
        case RK_STAGE_DISCARD: consume_discarded(reading, &input); break;
        default: return rk_error(RANKCALL_EINTERNAL, "bytes were read before the last payload was checked");
        }
    }
    return code;
}

/* ---- The system call ---- */

static const char *stage_name(enum rk_stage stage)
{
    static const char *const names[] = {"header", "head", "payload", "payload", "payload"};

    return names[stage];
}

static int closed(const struct rk_conn *conn, const char *how)
{
    const struct rk_reading *reading = &conn->reading;

    if (!rk_conn_mid_frame(conn))
        return rk_error(RANKCALL_ECLOSED, "the peer %s the connection", how);
    return rk_error(RANKCALL_ECLOSED, "the peer %s the connection within a frame, after %" PRIu64 " bytes of its %s",
                    how, reading->done, stage_name(reading->stage));
}

/* Bytes of the pending payload that may go straight to their place. */
static size_t direct_size(const struct rk_reading *reading)
{
    uint64_t left = reading->header.payload_size - reading->done;

    if (reading->stage != RK_STAGE_PAYLOAD)
        return 0;
    return left < READ_TURN ? (size_t)left : READ_TURN;
}

/* One system call: `direct` bytes to the pending payload, then `behind` bytes to the scratch. Most often it is the
 * scratch alone, which needs none of readv's lists. */
static ssize_t receive(const struct rk_conn *conn, size_t direct, uint8_t *scratch, size_t behind)
{
    struct iovec pieces[2];

    if (direct == 0)
        return recv(conn->fd, scratch, behind, MSG_DONTWAIT);
    pieces[0] = (struct iovec){conn->reading.bytes + conn->reading.done, direct};
    pieces[1] = (struct iovec){scratch, behind};
    return readv(conn->fd, pieces, 2);
}

/* Reads once. *drained: the socket had less than what was asked for. *got: how many bytes. */
static int read_once(struct rk_conn *conn, uint8_t *scratch, size_t *got, bool *drained)
{
    struct rk_reading *reading = &conn->reading;
    size_t direct = direct_size(reading), behind = 0;
    ssize_t result;

    if (direct == 0)
        behind = reading->large ? SMALL_READ : reading->many ? MANY_READ : conn->fair ? FAIR_READ : SCRATCH_SIZE;
    else if (reading->header.payload_size < LARGE && direct < READ_TURN)
        behind = SCRATCH_SIZE;
    do
        result = receive(conn, direct, scratch, behind);
    while (result < 0 && errno == EINTR);
    if (result == 0)
        return closed(conn, "closed");
    *drained = result < (ssize_t)(direct + behind);
    *got = result < 0 ? 0 : (size_t)result;
    if (result < 0)
        return errno == EAGAIN ? RANKCALL_OK : closed(conn, errno == ECONNRESET ? "reset" : "lost");
    reading->done += *got < direct ? *got : direct;
    if (direct > 0 && reading->done == reading->header.payload_size) {
        int code = take_payload(conn);

        if (code)
            return code;
    }
    return *got > direct ? consume_all(conn, (struct input){scratch, *got - direct}) : RANKCALL_OK;
}

/* One turn of a large payload's check. RANKCALL_EAGAIN: more turns are needed. */
static int check_once(struct rk_conn *conn)
{
    int code = rk_json_check_step(conn->reading.check, CHECK_TURN);

    return code == RANKCALL_EAGAIN ? code : finish_payload(conn, code);
}

static bool has_many(const struct rk_conn *conn, unsigned many)
{
    return conn->fair && conn->reading.frames >= many;
}

static int read_turn(struct rk_conn *conn, uint8_t *scratch)
{
    size_t total = 0, got = 0;
    bool drained = false;
    int code = RANKCALL_OK;

    if (conn->reading.stage == RK_STAGE_CHECK && (code = check_once(conn)))
        return code;
    conn->reading.frames = 0;
    while (code == RANKCALL_OK && !drained && total < READ_TURN && conn->reading.stage != RK_STAGE_CHECK &&
           !has_many(conn, FRAMES_TURN)) {
        code = read_once(conn, scratch, &got, &drained);
        total += got;
    }
    conn->reading.many = has_many(conn, conn->reading.many ? FRAMES_FEW : FRAMES_TURN);
    if (code == RANKCALL_OK && (!drained || conn->reading.stage == RK_STAGE_CHECK))
        return RANKCALL_EAGAIN;
    return code;
}

int rk_conn_read(struct rk_conn *conn)
{
    uint8_t *scratch;
    int code;

    if (conn->reading.failed)
        return rk_error(conn->reading.failed, "the connection has failed before and is read no more");
    if (!(scratch = take_scratch()))
        return fail(conn, rk_error(RANKCALL_EINTERNAL, "no memory to read"));
    code = read_turn(conn, scratch);
    put_scratch(scratch);
    return code == RANKCALL_OK || code == RANKCALL_EAGAIN ? code : fail(conn, code);
}
