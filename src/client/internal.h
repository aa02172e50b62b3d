/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What the files of the runner library share: the connection, its calls, the job that it started. */

#ifndef RK_CLIENT_INTERNAL_H
#define RK_CLIENT_INTERNAL_H

#include "client/runner.h"
#include "wire/conn.h"

#define RK_GREETING_US  (10 * 1000000ll) /* how long a connection waits for the job's WELCOME */
#define RK_QUESTION_MAX 8                /* bytes of a question's head */

enum rk_pending_state {
    RK_PENDING_OPEN,
    RK_PENDING_RESULT, /* `result` is there */
    RK_PENDING_FAILED, /* `error` is there */
    RK_PENDING_TAKEN,  /* the outcome was given to the caller */
};

/* One call or question, from its frame until the caller forgets it. */
struct rankcall_pending {
    struct rankcall_runner *runner;
    struct rankcall_pending *next; /* in its bucket */
    uint64_t id;
    uint64_t written_at; /* where its frame ends in the stream of bytes to the job */
    enum rk_pending_state state;
    uint8_t type;     /* of its frame */
    bool sent, heard; /* on this connection or the one before; events have come */
    bool cancelled;   /* its client has said so */
    bool timed;       /* `timing` is there */
    uint8_t question_size;
    uint8_t question[RK_QUESTION_MAX]; /* its head, if it is one */
    struct rankcall_payload *args;     /* of a call: kept, like its head, for a job that is restarted */
    int64_t submitted_us;
    struct rk_result_head timing;
    struct rankcall_payload *result; /* NULL for answers without one */
    struct rankcall_error *error;    /* NULL when memory was out: RANKCALL_EINTERNAL */
    struct rankcall_item *events;    /* a ring */
    size_t first, count, capacity;
    struct rk_call_head head; /* the last member: only as much of it as is used is ever touched */
};

/* Pendings by id. */
struct rk_calls {
    struct rankcall_pending **buckets;
    size_t size, count; /* size is a power of two, or 0 */
    struct rankcall_pending *last;
};

/* The `rankcall` command that a runner started. */
struct rk_child;

struct rankcall_runner {
    struct rk_conn *conn;
    int code;                     /* why the connection is over; RANKCALL_OK while it lives */
    struct rankcall_error *error; /* the same in full; NULL when there was no memory for it */
    struct rk_welcome welcome;
    bool dialled;                        /* `path` is where it was connected to */
    int (*dial)(void *context, int *fd); /* another way to it; or NULL */
    void *dial_context;
    int64_t pid, pid_before; /* rank 0's, as the last two greetings say */
    bool greeted, stopping, unwritable, more;
    bool stop_asked; /* with `drain`, and not yet known to have been heard while `stopping` is not set */
    double drain;
    bool resuming;               /* rank 0 has died, and another one has not greeted yet */
    unsigned resumes;            /* tried in a row */
    int64_t hello_us;            /* when the last HELLO was sent ... */
    int64_t welcomed_us;         /* ... and the WELCOME after rank 0's death came */
    unsigned generation;         /* of connections */
    struct rankcall_error *away; /* why, as the launcher says; or NULL */
    char *job, *path;
    uint64_t last_id, queued, frames;
    bool just_called;      /* nothing can have come of it yet */
    int64_t spin_until_us; /* at least */
    struct rk_calls calls;
    struct rk_child *child;
};

/* pending.c: the table of calls. */
struct rankcall_pending *rk_calls_add(struct rankcall_runner *runner, uint8_t type); /* NULL: memory */
struct rankcall_pending *rk_calls_find(struct rk_calls *calls, uint64_t id);         /* NULL: forgotten */
void rk_calls_remove(struct rk_calls *calls, struct rankcall_pending *pending);      /* and frees it */
void rk_calls_free(struct rk_calls *calls);                                          /* all of them */
void rk_pending_add_event(struct rankcall_pending *pending, uint32_t rank, uint64_t sequence,
                          struct rankcall_payload *payload);                               /* takes payload */
void rk_pending_finish(struct rankcall_pending *pending, struct rankcall_payload *result); /* takes result */
void rk_pending_fail(struct rankcall_pending *pending); /* with the thread's last error */

/* runner.c */
int rk_runner_hello(struct rankcall_runner *runner);

/* resume.c: rank 0 has died. */
bool rk_resume_begin(struct rankcall_runner *runner); /* false: nobody is left to come back to */
void rk_resume_settle(struct rankcall_runner *runner, uint64_t begun, uint32_t times,
                      const struct rankcall_error *error);
void rk_resume_finish(struct rankcall_runner *runner);   /* another one has greeted */
void rk_resume_expire(struct rankcall_pending *pending); /* cancelled, or out of time meanwhile */

/* receive.c: what the job sends. */
extern const struct rk_conn_callbacks rk_receive_callbacks;

/* progress.c: bytes in and out. */
int rk_runner_send(struct rankcall_runner *runner, uint8_t type, uint64_t id, const uint8_t *head, size_t head_size,
                   struct rankcall_payload *payload);
/* The same from within a callback: RANKCALL_ECLOSED when nothing can be written, without looking why. */
int rk_runner_queue(struct rankcall_runner *runner, uint8_t type, uint64_t id, const uint8_t *head, size_t head_size,
                    struct rankcall_payload *payload);
int rk_runner_send_pending(struct rankcall_pending *pending, const uint8_t *head, size_t head_size,
                           struct rankcall_payload *payload);            /* or keeps it for the next rank 0 */
int rk_runner_pump(struct rankcall_runner *runner);                      /* OK, EAGAIN: more at once, or the end */
int rk_runner_wait(struct rankcall_runner *runner, int64_t deadline_us); /* OK: something moved; EAGAIN: deadline */
uint64_t rk_runner_written(const struct rankcall_runner *runner);        /* bytes given to the socket */
int rk_runner_break(struct rankcall_runner *runner, int code);           /* the end, with the thread's last error */
int rk_runner_end(const struct rankcall_runner *runner);                 /* sets that error again */

/* question.c: frames that are answered like calls. */
int rk_runner_ask(struct rankcall_runner *runner, uint8_t type, const uint8_t *head, size_t head_size,
                  struct rankcall_pending **out);

/* child.c: the launcher as a child process. */
int rk_child_start(const struct rankcall_start_options *options, struct rk_child **out);
/* One line of the launcher's, parsed. Errors: RANKCALL_ETIMEOUT, RANKCALL_ELAUNCH (it ended without a word). */
int rk_child_read(struct rk_child *child, int64_t deadline_us, struct rankcall_payload **line);
bool rk_child_wait(struct rk_child *child, int64_t deadline_us); /* until it has ended, then reaps it */
void rk_child_say(struct rk_child *child, const char *word);     /* "stop" or "kill", and a newline */
void rk_child_end(struct rk_child *child, int64_t grace_us);     /* kills what is there after the grace time */
void rk_child_free(struct rk_child *child);                      /* reaps; takes NULL */

/* start.c: turns the launcher's account of a failure into the thread's last error. */
int rk_child_failure(const struct rankcall_payload *line);

#endif
