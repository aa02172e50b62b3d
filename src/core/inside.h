/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The frontend's inside: what the IO thread's files share. Everything here belongs to the IO thread, or to the main
 * thread while that does its work (baton.c), except the desk. */

#ifndef RK_CORE_INSIDE_H
#define RK_CORE_INSIDE_H

#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/journal.h"
#include "base/turns.h"
#include "base/walltime.h"
#include "core/call_log.h"
#include "core/context.h"
#include "core/frontend.h"
#include "core/ledger.h"
#include "core/queue.h"
#include "wire/conn.h"

#define RK_QUEUED_HIGH     (4u << 20) /* bytes waiting for a client above which its producers and its requests are held */
#define RK_QUEUED_LOW      (1u << 20)
#define RK_WAITERS_MAX     64      /* questions of one client that wait for READY */
#define RK_HELLO_LIMIT_S   10      /* how long a client may take to greet */
#define RK_STALL_LIMIT_S   30      /* how long a client may stop in the middle of a frame */
#define RK_CLOSING_LIMIT_S 2       /* how long a connection that ends may take to read its last frame */
#define RK_RETURN_LIMIT_US 100000  /* how long a client that comes back may take to send its calls again */
#define RK_QUEUE_PAYLOADS  4       /* payloads of the largest size that the queue may hold together */
#define RK_STATUS_QUEUED   100     /* calls of the queue that the status lists */
#define RK_LOOK_EVERY      16      /* of a spinning frontend's looks is one at all sockets */
#define RK_AWAY_POLL_US    1000    /* how often the IO thread looks whether the ranks have regrouped */
#define RK_SURVEY_US       500000  /* how long other nodes may take to tell what their ranks do */
#define RK_SOUND_US        2000000 /* the same of missing ranks, and their stacks: without an answer all are ended */
#define RK_ASK_US_MIN      20000 /* between two questions to other nodes in a call: a tenth of the grace, from this ... */
#define RK_ASK_US_MAX      3000000 /* ... to this */
#define RK_KILL_US         10000000 /* for ranks of other nodes to die when they are killed: a large one takes its time */
#define RK_SILENT_US       6000000 /* the same of a first rank that may be stopped, which another one there is to kill */
#define RK_LEAVE_US        500000  /* for ranks to leave a wedged call before they are killed, and for its last frame */
#define RK_SIGNAL_DRAIN_US 50000   /* for a running call after a signal: mpirun's may come before its reason is known */
#define RK_STOP_GRACE_S    5       /* how long ranks may take to come back after a stop cancelled their call */
#define RK_SETUP_GRACE_US  1000000 /* how long ranks may stay in setup when it has failed on another */
#define RK_ORPHAN_GRACE_US 300000  /* how long they may take to come back when the launcher has died */

enum rk_state { RK_JOB_STARTING, RK_JOB_READY, RK_JOB_FAILED, RK_JOB_DRAINING, RK_JOB_STOPPING };

struct rk_client;
struct rk_asker;

/* A call from its head's arrival to the last rank's return. */
struct rk_job_call {
    struct rk_queue_node node;     /* in the queue */
    struct rk_job_call *next;      /* among the client's own */
    struct rk_client *client;      /* NULL: gone */
    uint64_t id;                   /* the client's */
    uint64_t serial;               /* the job's, from its admission on */
    uint64_t number;               /* the ranks': in the order in which calls run; 0: it does not yet */
    uint64_t bytes;                /* of the payload */
    struct rankcall_payload *args; /* NULL: still arriving, or {} */
    unsigned handler;
    bool streaming, waiting, ended; /* in the queue; the client has its outcome */
    bool waited;                    /* at a rank 0 that has died */
    bool idempotent, heard;         /* may run again; the client has had events of it */
    bool cancelled;                 /* somebody has asked for its end, with `reason` */
    struct rankcall_error *reason;
    bool gone;                                 /* ended because the client closed its connection */
    uint32_t begun;                            /* how often it has */
    int code;                                  /* of the outcome */
    pid_t pid;                                 /* the client's */
    int64_t submitted_us;                      /* first, to any rank 0 */
    int64_t arrived_us, started_us, ended_us;  /* whole; announced; when the client got another outcome than a result */
    int64_t last_event_us;                     /* or the announcement's */
    int64_t deadline_us, streaming_timeout_us; /* 0: without */
    uint64_t duration_us;                      /* as its client states; 0: it does not */
    struct event *timer;
};

enum rk_client_state { RK_GREETING, RK_OPEN, RK_CLOSING, RK_DEAD };

struct rk_client {
    struct rk_client *next, *previous;
    struct rk_client *next_dirty; /* has something to be flushed or buried */
    bool dirty;
    struct rk_frontend *frontend;
    struct rk_conn *conn;
    struct event *readable, *writable, *limit;
    struct event *again; /* it is read on when the others have had their turn */
    uint64_t token;      /* in the journal; 0: it will not come back */
    struct event *stall; /* stall.c; NULL until it is needed */
    int64_t moved_us;    /* when it last read something, while it is watched */
    int held_bytes;      /* that its socket had then */
    enum rk_client_state state;
    pid_t pid;
    char name[64]; /* as it calls itself */
    bool launcher, reading, doomed, watched, stalling, stall_told;
    bool lent;                    /* the launcher has its connection, too */
    bool returning;               /* it has come back, and has not yet sent again all that it had */
    struct rk_job_call *arriving; /* its payload is being read */
    struct rk_job_call *calls;    /* outstanding */
    int64_t newest_us;            /* when the newest of them was submitted */
    uint64_t waiters[RK_WAITERS_MAX];
    unsigned waiter_count;
};

/* A message of rank 0's own into the funnel. */
struct rk_note {
    struct rk_note *next;
    struct rk_envelope envelope;
    struct rankcall_payload *payload;
};

/* Whom a running call awaits. */
enum rk_part { RK_RANK_0 = 1, RK_OTHERS = 2, RK_BOTH = 3 };

/* Where the two threads of rank 0 meet. */
struct rk_desk {
    pthread_mutex_t lock;
    struct rankcall_payload *_Atomic args; /* IO thread to main thread: of what is announced next */
    struct rk_note *notes, **notes_end;    /* the handler's threads to the IO thread */
    struct rk_note *_Atomic notes_spent;   /* IO thread to the handler's threads, which free what they have taken */
    _Atomic uint64_t notes_bytes;
    bool set_up, done, finish, broken, spent; /* main thread to IO thread */
    struct rk_tally tally;
    struct rankcall_payload *result;
    _Atomic bool filled;    /* something of the above awaits the IO thread */
    _Atomic bool away;      /* IO thread to main thread: it keeps off the broken mesh */
    _Atomic bool taken;     /* main thread to IO thread: it has come back and puts the mesh together */
    _Atomic bool cancelled; /* the running call is to be left */
};

/* A rank that may be missing. */
struct rk_suspect {
    uint64_t signs; /* of life */
    int64_t since_us;
    bool wedged;
    bool seen;   /* in this call: its signs are known */
    bool silent; /* its node does not tell */
};

/* Whether the ranks come back from the running call. */
struct rk_wedge {
    enum { RK_WATCHING, RK_ASKED, RK_TOLD, RK_ENDING, RK_KILLED } phase;
    uint64_t number;             /* of the call */
    bool left;                   /* all ranks were to leave it when the watch began */
    int64_t begun_us, looked_us; /* looked: last */
    int64_t sounded_us;          /* other nodes were asked who is missing; 0: they were not */
    int64_t in_vain_us;          /* by then ranks of other nodes that were to be killed have died; 0: none was */
    int64_t due_us;              /* the next look */
    struct rk_suspect *suspects; /* by rank */
    bool *named;                 /* by rank: for an order */
};

/* The allocation of a batch scheduler. */
struct rk_walltime {
    struct rk_walltime_question question;
    struct event *answered, *due, *warned;
    int64_t end_us;   /* 0: none is known */
    int64_t drain_us; /* before it, in which no further call begins */
    bool draining;
};

struct rk_counters {
    uint64_t completed, failed, cancelled, refused;
};

/* How long a thread that finds nothing has looked. */
struct rk_spin {
    int64_t until_us;
    int looks;
};

/* Which of rank 0's threads does the frontend's work: baton.c. */
struct rk_baton {
    bool allowed;           /* the main thread may */
    bool main;              /* it does: whatever the word in the segment says, which goes with each regroup */
    unsigned brisk;         /* short calls in a row, each closely behind the one before */
    unsigned single;        /* of these, in a row, those behind which none waited */
    int64_t returned_us;    /* the last one */
    _Atomic bool wanted;    /* there were enough of them: the main thread should */
    _Atomic uint32_t turns; /* of the main thread in handlers */
};

struct rk_frontend {
    struct rankcall_context *context;
    pthread_t thread;
    struct event_base *base;
    struct event *bell, *look, *signals[2];
    struct event *drain_timer, *grace_timer; /* stop.c */
    struct event *regroup_timer;             /* deaths.c */
    struct rankcall_error *last_death;       /* the same */
    struct event *rest;                      /* memory that nobody uses is given back */
    const struct rk_payload_memory *memory;  /* where payloads are received */
    struct rk_lending *lending;              /* lend.c; NULL: large payloads are copied to their clients */
    struct event *unread;                    /* the same: looks what they have read of it */
    int64_t unread_us;                       /* before the next such look; 0: nothing is unread */
    int64_t grace_us;
    struct rk_desk desk;
    struct rk_baton baton;
    enum rk_state state;
    int64_t born_us;
    uint64_t activity; /* counts callbacks, so that the loop knows whether something happened */
    unsigned looks;
    struct rk_turns turns;              /* of the IO thread when it spins, if ... */
    bool shares_turns;                  /* ... they are common ones */
    bool reads_on;                      /* a client has more than was read in its turn */
    bool may_precede;                   /* it may ask for less when it sleeps */
    bool over, main_serves;             /* the main thread is past setup and takes announcements */
    bool away;                          /* the mesh is being regrouped: rank 0's main thread has it */
    _Atomic bool doomed;                /* ranks are dead and the job ends */
    struct rk_note *notes, **notes_end; /* taken from the desk, not yet in the funnel */

    /* resume.c */
    struct rk_journal *journal;
    bool lent;   /* the listening socket is the launcher's */
    bool lives;  /* as rank 0, in that journal */
    int keeper;  /* the launcher's end of clients' connections; -1: none */
    bool paused; /* no call begins for a while */
    struct event *pause;
    unsigned returning; /* clients; no call begins before theirs are there, or the limit has passed */
    struct event *return_limit;

    /* listener.c */
    int listen_fd, spare_fd;
    struct event *acceptable, *accept_pause;
    char path[RK_PATH_MAX];
    uint64_t socket_device, socket_inode;

    /* clients.c */
    struct rk_client *clients, *dirty, *recent; /* recent: called last, if it is still there */
    unsigned client_count;

    /* survey.c */
    struct rk_asker *askers;    /* who wait for a status, the oldest first */
    struct event *survey_limit; /* NULL until it is needed */
    int64_t asked_since_us;     /* of the status that is made: older answers of other nodes don't count */

    /* calls.c */
    struct rk_queue queue;
    struct rk_job_call *running;
    uint64_t next_number, next_serial;
    struct rk_call_log *log; /* NULL: none is wanted */
    struct rk_counters counters;

    /* funnel.c */
    struct rk_wedge wedge;       /* wedged.c */
    struct rk_walltime walltime; /* walltime.c */
    struct rk_ledger *ledger;
    unsigned awaited;                /* enum rk_part */
    struct rk_tally tally;           /* of those who are done */
    struct rankcall_payload *result; /* of rank 0, waits for the others and the last messages */
    struct rk_envelope offer;        /* a bulk message that waits for the same */
    bool offered;
    bool moving; /* a bulk message is on its way */
    bool held;   /* credit is held back: the client reads slowly */
    struct rankcall_error *setup_error;
};

/* handlers.c: the handler of that name, or of none the first. Errors: RANKCALL_ENOHANDLER. */
int rk_handler_find(const struct rankcall_handler *handlers, const char *name, unsigned *index);

/* frontend.c: a large payload has come; its memory is given back when no more do for a while. */
void rk_frontend_rest(struct rk_frontend *frontend);

/* listener.c: the socket, and accepting with few descriptors left. */
int rk_listener_open(struct rk_frontend *frontend);
int rk_listener_begin(struct rk_frontend *frontend);  /* accepts at listen_fd */
void rk_listener_close(struct rk_frontend *frontend); /* removes the socket's name if it is still ours */

/* clients.c: connections, greetings, questions. */
void rk_client_new(struct rk_frontend *frontend, int fd, bool launcher);
void rk_client_dirty(struct rk_client *client);
/* Sends a frame with a payload made for it, and frees that (NULL: memory was out). */
void rk_client_reply(struct rk_client *client, uint8_t type, uint64_t id, const uint8_t *head, size_t head_size,
                     struct rankcall_payload *payload);
void rk_client_look(struct rk_client *client); /* whether something has come from it */
void rk_client_error(struct rk_client *client, uint64_t id, const struct rankcall_error *error);
void rk_client_last_error(struct rk_client *client, uint64_t id);  /* the thread's */
void rk_client_refuse(struct rk_client *client, uint64_t id);      /* the same, and the connection ends */
void rk_client_doom(struct rk_client *client);                     /* memory is out: ends it at the next flush */
void rk_client_never_ready(struct rk_client *client, uint64_t id); /* answers one who waits for READY */
/* A client has come back on a new connection: the one with that token ends, should it still be there. */
void rk_clients_succeed(struct rk_client *client, uint64_t token);
void rk_clients_flush(struct rk_frontend *frontend);
/* Why the job ends: the launcher knows only what mpirun makes of it. */
void rk_clients_tell_launcher(struct rk_frontend *frontend, const struct rankcall_error *error);
void rk_clients_refuse(struct rk_frontend *frontend, const struct rankcall_error *error); /* all but the launcher */
void rk_clients_announce_state(struct rk_frontend *frontend); /* READY or failed: to those who wait for it */
void rk_clients_farewell(struct rk_frontend *frontend);       /* lets their last frames out, for a limited time */
void rk_clients_close(struct rk_frontend *frontend);

/* frames.c: what a client's frames mean. */
extern const struct rk_conn_callbacks rk_client_callbacks;

/* calls.c: a call's life. */
static inline struct rk_job_call *rk_call_of_node(const struct rk_queue_node *node)
{
    return (struct rk_job_call *)((char *)node - offsetof(struct rk_job_call, node));
}
enum rk_admission rk_call_admit(struct rk_client *client, const struct rk_header *header, const uint8_t *head);
void rk_call_arrived(struct rk_client *client, struct rankcall_payload *payload);
void rk_call_unusable(struct rk_client *client);
void rk_call_cancel(struct rk_client *client, uint64_t id);
/* With the thread's last error. That of a running call comes when the ranks have left. */
void rk_call_cancel_it(struct rk_frontend *frontend, struct rk_job_call *call);
int rk_calls_cancel(struct rk_client *by, uint64_t serial, uint64_t *count); /* 0: all; with the reason as last error */
void rk_calls_forget(struct rk_client *client);                              /* the client is gone */
void rk_calls_refuse_queued(struct rk_frontend *frontend);
void rk_calls_fail_queued(struct rk_frontend *frontend, const struct rankcall_error *error);
void rk_calls_dispatch(struct rk_frontend *frontend);
void rk_call_end_error(struct rk_frontend *frontend, struct rk_job_call *call, const struct rankcall_error *error);
/* The same when ranks have died in it: one that somebody has cancelled ends as that. */
void rk_call_end_by_death(struct rk_frontend *frontend, struct rk_job_call *call, const struct rankcall_error *error);
void rk_call_returned(struct rk_frontend *frontend); /* ranks and messages are all back */

void rk_call_lost(struct rk_frontend *frontend); /* they never will be */
bool rk_call_may_run_again(const struct rk_job_call *call);
void rk_call_run_again(struct rk_frontend *frontend); /* the running one is the next, too */

/* deaths.c: ranks are dead: ends the running call, then has the job regrouped or ends it. */
void rk_deaths_take(struct rk_frontend *frontend);
bool rk_deaths_recoverable(struct rk_frontend *frontend); /* one more would be made good */
bool rk_deaths_count(struct rk_frontend *frontend);       /* one more that is, if it may be. Any thread */
void rk_deaths_end(struct rk_frontend *frontend);         /* one while the mesh is away is one too many */

/* resume.c: what outlives rank 0 lies with the launcher, or, without one, is made here. */
int rk_resume_open(struct rk_frontend *frontend);
void rk_resume_close(struct rk_frontend *frontend);
void rk_resume_seat(struct rk_frontend *frontend);           /* says in the journal which process has which rank */
bool rk_resume_expected(const struct rk_frontend *frontend); /* the launcher will restart a job that ends badly ... */
bool rk_resume_sure(const struct rk_frontend *frontend);     /* ... and lives */
void rk_resume_refuse(const struct rk_frontend *frontend);   /* the launcher will see an orderly end */
void rk_resume_tell_launcher(struct rk_frontend *frontend, const struct rankcall_error *reason);
_Noreturn void rk_resume_leave(struct rk_frontend *frontend, const struct rankcall_error *reason); /* to be restarted */
void rk_resume_lend(struct rk_client *client); /* to the launcher, its connection */
void rk_resume_await(struct rk_client *client);
void rk_resume_returned(struct rk_client *client);
void rk_resume_pause(struct rk_frontend *frontend); /* before the next call, when ranks die again and again */

/* funnel.c: messages of the ranks to the client. Returns whether there was something to do. */
bool rk_funnel_work(struct rk_frontend *frontend);
bool rk_funnel_moving(const struct rk_frontend *frontend); /* don't sleep */
bool rk_funnel_yields(const struct rk_frontend *frontend); /* a look of rk_funnel_work gives the CPU away by itself */
void rk_funnel_release(struct rk_frontend *frontend);      /* the client has read, or is gone */
void rk_funnel_drop(struct rk_frontend *frontend);         /* whatever has come and was not passed on */

/* notes.c: rank 0's own messages. */
struct rk_note *rk_notes_next(struct rk_frontend *frontend); /* there is one */
void rk_note_spent(struct rk_frontend *frontend, struct rk_note *note);
void rk_notes_free_spent(struct rk_frontend *frontend); /* by who has made them */

/* lend.c: payloads that clients read in place. */
int rk_lend_open(struct rk_frontend *frontend);
void rk_lend_close(struct rk_frontend *frontend);
void rk_lend_watch(struct rk_frontend *frontend); /* a client has some of one to read */

/* wedged.c: looks whether the ranks come back, and does what is due when they don't. Cheap while all is well. */
int rk_wedge_open(struct rk_frontend *frontend);
void rk_wedge_close(struct rk_frontend *frontend);
void rk_wedge_look(struct rk_frontend *frontend);
int64_t rk_wedge_nap(const struct rk_frontend *frontend, int64_t nap_us); /* or less: until the next look is due */

/* wedged_report.c: who is missing, where, and the stacks. */
char *rk_wedge_message(struct rk_frontend *frontend); /* malloc()ed, as is the other; NULL when memory is out */
char *rk_wedge_stacks(struct rk_frontend *frontend);

/* status.c: payloads about the job. NULL when memory is out. Of ranks of other nodes it tells what they were asked
 * since then. */
struct rankcall_payload *rk_status_payload(struct rk_frontend *frontend, int64_t since_us);
struct rankcall_payload *rk_welcome_payload(struct rk_frontend *frontend);
const char *rk_worker_name(const struct rankcall_context *context);

/* survey.c: sends the status when other nodes have told of their ranks, or have taken too long. */
void rk_survey_answer(struct rk_client *client, uint64_t id);
bool rk_survey_work(struct rk_frontend *frontend); /* whether there was something to do */
void rk_survey_forget(const struct rk_client *client);
void rk_survey_close(struct rk_frontend *frontend); /* answers all with what is known */

/* stall.c: clients that don't read. After a flush that left at least the low mark, and wrote something or not; or less.
 */
void rk_stall_watch(struct rk_client *client, bool moved);
void rk_stall_over(struct rk_client *client);

/* walltime.c: the end of the allocation. */
int rk_walltime_open(struct rk_frontend *frontend);
void rk_walltime_close(struct rk_frontend *frontend);
/* Whether there is so much time, RANKCALL_EWALLTIME otherwise; and for what the call's client has stated. */
int rk_walltime_check(const struct rk_frontend *frontend, uint64_t needed_us);
int rk_walltime_admit(const struct rk_frontend *frontend, const struct rk_call_head *request);
/* RANKCALL_ESHUTTINGDOWN with that message, or, where the allocation's end is why, with one that says so. */
int rk_walltime_stopping(const struct rk_frontend *frontend, const char *message);
/* The error of a call that is cut off by the allocation's end, where that is why. The message is the thread's. */
void rk_walltime_cut(const struct rk_frontend *frontend, struct rankcall_error *error);
void rk_walltime_tell(const struct rk_frontend *frontend, struct rankcall_payload *status);

/* stop.c */
void rk_stop_begin(struct rk_frontend *frontend, uint64_t drain_us, int64_t grace_us);
void rk_stop_check(struct rk_frontend *frontend); /* announces the stop when no call runs any more */
void rk_stop_cleanup(struct rk_frontend *frontend);

/* baton.c: which of rank 0's threads does the frontend's work. */
void rk_baton_open(struct rk_frontend *frontend);
void rk_baton_count(struct rk_frontend *frontend, const struct rk_job_call *call, int64_t now_us); /* it is over */
bool rk_baton_pass(struct rk_frontend *frontend);   /* IO thread: true when the main thread has done it for a while */
bool rk_baton_resume(struct rk_frontend *frontend); /* main thread, after a handler: it goes on with it */
bool rk_baton_hurries(const struct rk_frontend *frontend); /* the main thread has its next call: the rest can wait */

/* frontend.c */
bool rk_frontend_work(struct rk_frontend *frontend); /* whether there was some */
/* After each such look: gives the CPU away; false: it is time to sleep. */
bool rk_frontend_spin(struct rk_frontend *frontend, struct rk_spin *spin, bool progress);
void rk_frontend_announce(struct rk_frontend *frontend, struct rk_announcement *announcement,
                          struct rankcall_payload *args);

#endif
