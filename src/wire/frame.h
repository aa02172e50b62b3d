/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Frames: the fixed header and each type's head. doc/protocol.md has the byte tables. No I/O here. */

#ifndef RK_WIRE_FRAME_H
#define RK_WIRE_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include <rankcall/error.h>
#include <rankcall/payload.h>

#define RK_MAGIC               0x4c434b52u /* "RKCL" as it lies in memory */
#define RK_VERSION             1
#define RK_HEADER_SIZE         32
#define RK_HEAD_CAP            4096         /* bytes of a head */
#define RK_JSON_CAP            (64u << 20)  /* bytes of JSON text in a payload */
#define RK_JSON_DEPTH          64           /* nested arrays and objects */
#define RK_PAYLOAD_CAP_DEFAULT (1ull << 30) /* bytes of a payload */
#define RK_TIME_NONE           0            /* a timeout of 0 us: no limit */
#define RK_BEGINNINGS_MAX      3            /* how often an idempotent call may begin */

enum rk_frame_type {
    RK_HELLO = 1,   /* client: versions and features it speaks */
    RK_WELCOME = 2, /* job: the version and features chosen, caps, world size */
    RK_CALL = 3,    /* client: a call with its payload */
    RK_CANCEL = 4,  /* client: cancel the call of that id */
    RK_EVENT = 5,   /* job: one event */
    RK_RESULT = 6,  /* job: the outcome "result" */
    RK_ERROR = 7,   /* job: any other outcome; with call id 0 about the connection */
    RK_STATUS = 8,  /* client: ask for the status */
    RK_STATUS_REPLY = 9,
    RK_PING = 10,
    RK_PONG = 11,
    RK_STOP = 12,        /* client: stop the job */
    RK_STOPPING = 13,    /* job: it will */
    RK_CANCEL_CALL = 14, /* client: cancel a call of any client, by the job's number */
    RK_AWAY = 15,        /* launcher: rank 0 is gone, and another one comes */
    RK_RESUMED = 16,     /* client: it has sent again what it had */
    RK_CANCELLED = 17,   /* job: how many were */
    RK_FRAME_TYPES,
};

struct rk_header {
    uint8_t version;
    uint8_t type; /* enum rk_frame_type */
    uint16_t flags;
    uint64_t id; /* the client's number of the call or question; 0: the connection */
    uint32_t head_size;
    uint64_t payload_size;
};

void rk_header_encode(const struct rk_header *header, uint8_t bytes[RK_HEADER_SIZE]);

/* Decodes and checks: magic, version, a known type, flags 0, reserved bytes 0, head_size <= RK_HEAD_CAP and at least
 * the type's minimum, payload_size <= payload_cap, no payload where the type has none, and an id other than 0 in CALL,
 * CANCEL, EVENT and RESULT. Errors: RANKCALL_EPROTOCOL or
 * RANKCALL_ETOOLARGE, naming the field, its byte offset and the value found. */
int rk_header_decode(const uint8_t bytes[RK_HEADER_SIZE], uint64_t payload_cap, struct rk_header *header);

/* Heads. Encoders return the head's size and write at most RK_HEAD_CAP bytes; decoders get what the header announced,
 * ignore bytes behind what they know, and give RANKCALL_EPROTOCOL naming the field. */
#define RK_FEATURE_RESUME UINT64_C(1) /* the client comes back when rank 0 has died */
struct rk_hello {
    uint16_t min_version, max_version;
    uint64_t features;
    uint64_t token; /* of the connection that it had before; 0: none */
};
struct rk_welcome {
    uint16_t version;
    uint32_t world_size;
    uint64_t features, payload_cap;
    uint64_t token;    /* this connection's; 0 without RK_FEATURE_RESUME */
    uint64_t begun;    /* the highest id of a call of the connection before that has begun; 0: none */
    uint32_t times;    /* how often that one has begun */
    uint64_t clock_us; /* what the job's clock says */
};
struct rk_away_head {
    uint64_t begun; /* as in a WELCOME */
    uint32_t times;
};
#define RK_CALL_IDEMPOTENT 1 /* it may run again when a rank dies */
#define RK_CALL_WAITED     2 /* submitted_us is there */
#define RK_CALL_DURATION   4 /* duration_us is there */
#define RK_CALL_PATIENT    8 /* the timeout may pass after the end of the allocation */
struct rk_call_head {
    uint8_t kind;                              /* enum rk_call_kind */
    uint8_t flags;                             /* RK_CALL_... */
    uint32_t begun;                            /* how often it has begun at ranks that have died */
    uint64_t submitted_us;                     /* at a rank 0 that has died, by the job's clock */
    uint64_t duration_us;                      /* that it takes at most, as the client states; 0: it does not */
    uint64_t timeout_us, streaming_timeout_us; /* RK_TIME_NONE: no limit */
    char handler[RANKCALL_MAX_NAME + 1];       /* "": the default; valid UTF-8 without NUL */
};
enum rk_call_kind { RK_INVOKE = 0, RK_STREAM = 1 };
struct rk_event_head {
    uint32_t rank;
    uint64_t sequence;
};
struct rk_result_head { /* microseconds */
    uint64_t queued_us, broadcast_us, handler_min_us, handler_max_us, reply_us;
    uint64_t call; /* the job's own number of the call, as in its status */
    int32_t slowest_rank;
};
struct rk_error_head {
    uint32_t code;
    int32_t rank;
};
struct rk_status_head {
    uint8_t wait; /* 1: answer when the job is READY (or with an error if it never gets there) */
};
struct rk_stop_head {
    uint64_t drain_us;
};
struct rk_cancel_head {
    uint64_t call; /* the job's number; 0: all */
};
struct rk_cancelled_head {
    uint64_t calls; /* that were cancelled */
};

#define RK_EVENT_HEAD_SIZE  16
#define RK_RESULT_HEAD_SIZE 56 /* a job that does not measure sends none */

size_t rk_hello_encode(const struct rk_hello *head, uint8_t *bytes);
int rk_hello_decode(const uint8_t *bytes, size_t size, struct rk_hello *head);
size_t rk_welcome_encode(const struct rk_welcome *head, uint8_t *bytes);
int rk_welcome_decode(const uint8_t *bytes, size_t size, struct rk_welcome *head);
size_t rk_call_encode(const struct rk_call_head *head, uint8_t *bytes);
int rk_call_decode(const uint8_t *bytes, size_t size, struct rk_call_head *head);
size_t rk_event_encode(const struct rk_event_head *head, uint8_t *bytes);
int rk_event_decode(const uint8_t *bytes, size_t size, struct rk_event_head *head);
size_t rk_result_encode(const struct rk_result_head *head, uint8_t *bytes); /* RK_RESULT_HEAD_SIZE bytes of room */
int rk_result_decode(const uint8_t *bytes, size_t size, struct rk_result_head *head);
size_t rk_error_encode(const struct rk_error_head *head, uint8_t *bytes);
int rk_error_decode(const uint8_t *bytes, size_t size, struct rk_error_head *head);
size_t rk_status_encode(const struct rk_status_head *head, uint8_t *bytes);
int rk_status_decode(const uint8_t *bytes, size_t size, struct rk_status_head *head);
size_t rk_away_encode(const struct rk_away_head *head, uint8_t *bytes);
int rk_away_decode(const uint8_t *bytes, size_t size, struct rk_away_head *head);
size_t rk_stop_encode(const struct rk_stop_head *head, uint8_t *bytes);
int rk_stop_decode(const uint8_t *bytes, size_t size, struct rk_stop_head *head);
size_t rk_cancel_encode(const struct rk_cancel_head *head, uint8_t *bytes);
int rk_cancel_decode(const uint8_t *bytes, size_t size, struct rk_cancel_head *head);
size_t rk_cancelled_encode(const struct rk_cancelled_head *head, uint8_t *bytes);
int rk_cancelled_decode(const uint8_t *bytes, size_t size, struct rk_cancelled_head *head);

/* An error as an ERROR frame's payload, {"error": name, "message", "rank", "host", "traceback"}, and back. Text that is
 * not UTF-8 gets U+FFFD in place of the bad bytes. */
struct rankcall_payload *rk_error_to_payload(const struct rankcall_error *error);
int rk_error_from_payload(const struct rk_error_head *head,
                          const struct rankcall_payload *payload); /* sets last error */

#endif
