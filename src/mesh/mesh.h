/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The mesh: the ranks of a job and what moves between them. The only code of the runtime that knows MPI.
 *
 * Control traffic (announcements, tallies, checkpoints), events and the worker's own traffic each have a communicator.
 * Whoever waits spins briefly with sched_yield and then sleeps on a doorbell in memory shared by the node, which also
 * holds what is said in a few words: the announcement, and that a rank is done. Between nodes links wake the idle and
 * tell of deaths (links.h); who waits in a call looks often. Data goes by MPI. */

#ifndef RK_MESH_MESH_H
#define RK_MESH_MESH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "wire/payload.h"

#define RK_SPIN_LOOKS      50  /* looks of a waiter at least: where CPUs are short, time alone passes without one */
#define RK_NAP_MIN_US      200 /* how long a sleeper sleeps at first before it looks by itself; then twice as long ... */
#define RK_NAP_MAX_US      100000 /* ... up to this, or ... */
#define RK_IDLE_NAP_US     400000 /* ... to this, idle in a job on one node: a look takes 40 to 170 us of a CPU */
#define RK_REGROUP_GRACE_S 10     /* how long the living may take to come back from their handlers after a death */
#define RK_OFFER_ROOM      1312   /* bytes that a rank tells those of its node for their placement */
#define RK_REMOTE_NAP_US   2000   /* longest nap in a call when its peers may be on another node, and ... */
#define RK_REMOTE_NAP_PART 100    /* ... that part of what it has waited */
#define RK_REMOTE_POLL_US  500    /* how often an idle rank looks where there are no links between nodes */
#define RK_ROUSED_US       300    /* how long who was roused by another node looks for the announcement */

struct rk_mesh;

/* What every rank tells of itself at the start. Plain bytes: travels by MPI_Allgather. */
struct rk_rank_info {
    int32_t rank, local_rank, node, pid;
    int32_t fresh;         /* 1: it has just taken the place of a dead rank */
    int32_t aware;         /* 1: it has a GPU, and an MPI that reads its memory */
    int32_t group, member; /* as mpirun counts: the processes that it started together, and which of them */
    char host[72];
    char place[72];            /* as mpirun names it */
    char device[32], uuid[64]; /* where it computes */
    char cpus[256], memory[32], bound[12];
    uint8_t offer[RK_OFFER_ROOM]; /* what the ranks of a node agree by on the five above */
};

/* How the ranks of a node agree: called when they know of each other's offers, before they share memory, and again
 * after every regroup. Fills in `mine`, which is one of `ranks`. Main thread. */
typedef void rk_agree_fn(void *context, const struct rk_rank_info *ranks, int size, struct rk_rank_info *mine);

/* Initialises MPI (thread level multiple) unless that was done, and connects this rank. `info` has its offer filled in.
 * Errors: RANKCALL_ESYSTEM, RANKCALL_ELAUNCH (no MPI_THREAD_MULTIPLE). Collective. */
int rk_mesh_open(const struct rk_rank_info *info, rk_agree_fn *agree, void *context, struct rk_mesh **out);

/* Before rk_mesh_open: a node's first rank that is stopped (SIGSTOP) for so long is killed by another one there, as
 * nobody else hears of that node. 0, as at first: never. */
void rk_mesh_end_stopped(int64_t after_us);

/* Frees everything and finalises MPI if rk_mesh_open initialised it. Takes NULL. Collective. */
void rk_mesh_close(struct rk_mesh *mesh);

/* Ends all ranks at once. Does not return. Threads: any. */
_Noreturn void rk_mesh_abort(struct rk_mesh *mesh, int status);

int rk_mesh_rank(const struct rk_mesh *mesh);
int rk_mesh_size(const struct rk_mesh *mesh);
int rk_mesh_nodes(const struct rk_mesh *mesh);
bool rk_mesh_is_far(const struct rk_mesh *mesh, int rank); /* on another node than this one. Any thread */
bool rk_mesh_linked(const struct rk_mesh *mesh); /* between nodes, too, sleepers are woken and deaths are told */
const struct rk_rank_info *rk_mesh_info(const struct rk_mesh *mesh, int rank);

/* Sets in the environment, unless the user did: mpi_yield_when_idle when this node runs more threads of ours than it
 * has usable CPUs; a larger buffer for events between two ranks (btl_vader_fbox_size, btl_sm_fbox_size);
 * btl_tcp_if_include where there is no network but the loopback. Takes out what is meant for mpirun
 * alone. Before MPI_Init. `cpus`: the CPUs that this rank may use. */
void rk_mesh_prepare_environment(int cpus);

/* ---- Announcements: what all ranks do next ---- */

enum rk_operation { RK_OPERATION_CALL = 1, RK_OPERATION_STOP = 2, RK_OPERATION_REGROUP = 3 };

struct rk_announcement {
    uint32_t operation; /* enum rk_operation */
    uint32_t streaming;
    uint32_t handler; /* index into the worker's table */
    uint32_t reserved;
    uint64_t number;
    uint64_t payload_size;
    int64_t announced_us; /* of the node's monotonic clock: when it was announced, or came to this node */
};

#define RK_ROOM_MIN (32u << 10) /* bytes of a payload that is large */

/* Where rank 0 best receives payloads: the ranks of its node then read large ones there. NULL: anywhere. */
const struct rk_payload_memory *rk_mesh_payload_memory(const struct rk_mesh *mesh);

/* Gives back what nobody has used for a while. Whether there is something left to give back later. */
bool rk_mesh_payload_memory_rest(void);
int64_t rk_mesh_payload_memory_rest_us(void); /* how long such a while is */

/* Announces to every rank, rank 0's main thread too; sets announcement->payload_size. A small payload goes with it, a
 * larger one by rk_mesh_broadcast. Not before all ranks have reported on the announcement before. Rank 0's IO thread;
 * never blocks. */
void rk_mesh_announce(struct rk_mesh *mesh, struct rk_announcement *announcement,
                      const struct rankcall_payload *payload);

/* Wakes the ranks of other nodes if they may sleep, since a call is coming. Rank 0's IO thread. */
void rk_mesh_rouse(struct rk_mesh *mesh);

/* Sleeps until the next announcement; REGROUP when the mesh is broken. Main thread. */
void rk_mesh_await(struct rk_mesh *mesh, struct rk_announcement *announcement);

/* While it looks for an announcement it may keep its CPU for a microsecond or two between yields. Main thread. */
void rk_mesh_linger(struct rk_mesh *mesh, bool lingers);

/* Whether rk_mesh_await would return at once; whether a payload came along with what it heard. */
bool rk_mesh_announced(const struct rk_mesh *mesh);
bool rk_mesh_announced_whole(const struct rk_announcement *announcement);

/* Brings the payload of the announced call, which has been entered (collect.h), from rank 0 to all. There it is given,
 * and must stay until all have reported; on other ranks *payload is new, the caller's. False: a rank has died.
 * Collective, main threads. Errors: memory is out on this rank: it ends, or the job is aborted. */
bool rk_mesh_broadcast(struct rk_mesh *mesh, const struct rk_announcement *announcement,
                       struct rankcall_payload **payload);

/* Whether the bytes of the announced call's payload, of that size, are this rank's alone: else they are also those that
 * others may be reading. Main thread, after rk_mesh_broadcast. */
bool rk_mesh_payload_is_private(const struct rk_mesh *mesh, uint64_t size);

/* Whether the announced call's payload, of that size, is a view of memory that rank 0 wants to use again: then it is
 * better freed before the report than after it. Main thread, after rk_mesh_broadcast. */
bool rk_mesh_payload_is_lent(const struct rk_mesh *mesh, uint64_t size);

/* Between two calls: what freed views have left to be done. Main thread. */
void rk_mesh_tidy(void);

/* ---- Tallies: what the ranks have to say when they are done ---- */

/* How long the parts of a call took, in microseconds: of one rank, or over several. */
struct rk_spans {
    uint64_t payload_us;               /* from the announcement until the last rank's handler began */
    uint64_t ended_us;                 /* ... until the last rank's had returned */
    uint64_t handler_min, handler_max; /* us in the handler */
    int32_t slowest;                   /* whose that longest time was, -1: no rank is counted yet */
    int32_t reserved;
};

struct rk_tally {
    uint64_t number;   /* of the call; 0: setup */
    uint64_t messages; /* sent to rank 0's funnel in this call */
    uint64_t failed;   /* ranks that failed */
    struct rk_spans spans;
};

/* Nobody's tally, and adding one to another. */
#define RK_TALLY_NONE ((struct rk_tally){.spans = {.slowest = -1}})
void rk_tally_add(struct rk_tally *sum, const struct rk_tally *part);

/* This rank is done with the announced call. Every rank but 0; main thread. */
void rk_mesh_report(struct rk_mesh *mesh, const struct rk_tally *tally);

/* Whether every rank but 0 has reported; then *tally is their sum. Ends true once for an announcement. Rank 0's IO
 * thread; never blocks. */
bool rk_mesh_reported(struct rk_mesh *mesh, struct rk_tally *tally);

/* Looks whether reports come within a few microseconds, unless one of this node's ranks needs this CPU for that. */
void rk_mesh_look_for_reports(struct rk_mesh *mesh);

/* Whether rank 0, or any rank of this node but this one, was on this CPU when it was seen last: they are when they
 * report, rank 0 when it looks for reports. */
bool rk_mesh_chief_was_on(const struct rk_mesh *mesh, int cpu);
bool rk_mesh_others_were_on(const struct rk_mesh *mesh, int cpu);

/* Whether one rank of this node but 0 has reported. Rank 0's IO thread. */
bool rk_mesh_some_reported(const struct rk_mesh *mesh);

/* ---- Up and down a binomial tree, O(log N) messages deep ---- */

/* Sums the ranks' tallies into rank 0's. Collective, main threads; a rank returns as soon as its part is done. False:
 * the mesh broke meanwhile. */
bool rk_mesh_tally(struct rk_mesh *mesh, struct rk_tally *tally);

/* Drops what is left of checkpoints of earlier calls. At the beginning of each call, main thread. */
void rk_mesh_begin(struct rk_mesh *mesh, uint64_t number);

/* Spreads rank 0's answer to all: at rank 0 `answer` goes out, on others the return value is what came. A rank that
 * leaves the call early (rk_mesh_leave) makes the ranks behind it see true. Collective, handlers' threads. */
bool rk_mesh_checkpoint(struct rk_mesh *mesh, uint64_t number, bool answer);

/* Releases the ranks that would wait for this one at a later checkpoint of the call: for a handler that failed or was
 * interrupted. */
void rk_mesh_leave(struct rk_mesh *mesh, uint64_t number);

/* ---- The funnel's transport: messages from any rank but 0 to rank 0's IO thread, in order per rank ---- */

#define RK_ENVELOPE_SIZE \
    48 /* bytes before the payload: exactly a frame header and an event head, written over them later */
#define RK_INLINE_MAX 32768 /* envelope and payload of a message that goes in one piece */

enum rk_message_kind { RK_MESSAGE_EVENT = 1, RK_MESSAGE_ERROR = 2 };

struct rk_envelope {
    uint32_t kind; /* enum rk_message_kind */
    uint32_t rank;
    uint64_t number;   /* of the call */
    uint64_t sequence; /* within rank, call and kind */
    uint64_t size;     /* of the payload */
    uint64_t bulk;     /* enum rk_bulk: where the payload is if not here */
    uint64_t room;     /* RK_BULK_WRITTEN: which one, by its id */
};
enum rk_bulk {
    RK_BULK_NONE,
    RK_BULK_OFFERED, /* it comes, or is written, when rank 0 says so */
    RK_BULK_WRITTEN, /* it lies in a room that rank 0 has granted */
    RK_BULK_FOREIGN, /* as offered; this rank can't write into rooms */
};

/* Sends one message; `payload` is frozen. Blocks while this rank's window is used up (the client is slow).
 * Returns false when rank 0 did not want it (the call has ended there). Threads: any, one at a time. */
bool rk_events_send(struct rk_mesh *mesh, enum rk_message_kind kind, uint64_t number, uint64_t sequence,
                    const struct rankcall_payload *payload);

struct rk_arrival {
    struct rk_envelope envelope;
    uint8_t *bulk; /* NULL: the whole message lies in the buffer given; else envelope and payload, the caller's */
    const struct rk_payload_memory *lender; /* whose memory that is; NULL: malloc()ed */
};

enum rk_poll {
    RK_POLL_NOTHING,
    RK_POLL_MESSAGE, /* a whole message */
    RK_POLL_OFFER,   /* a bulk message of envelope.size bytes is offered by envelope.rank: accept or refuse it */
    RK_POLL_MOVING,  /* a bulk message is on its way: poll again soon, without sleeping */
};

/* What has arrived. `buffer` has RK_INLINE_MAX bytes. Rank 0's IO thread. Never blocks. */
enum rk_poll rk_events_poll(struct rk_mesh *mesh, uint8_t *buffer, struct rk_arrival *arrival);

/* Whether rk_events_poll gives the CPU away by itself. */
bool rk_events_poll_yields(const struct rk_mesh *mesh);

/* Whether rk_events_poll could find something: cheap enough for every look. */
bool rk_events_expected(const struct rk_mesh *mesh);

/* Before the IO thread sleeps: what MPI keeps of its answers goes; and when messages were given to MPI that have not
 * come, the ranks of its node lend MPI a hand: it may keep them where they are. */
void rk_events_urge(struct rk_mesh *mesh);

/* Answers an offer. Accepting takes memory for it: false (and refused) when there is none. At most one accepted at a
 * time. */
bool rk_events_accept(struct rk_mesh *mesh, const struct rk_envelope *envelope);
void rk_events_refuse(struct rk_mesh *mesh, const struct rk_envelope *envelope);

/* The client keeps up with this large message's rank: it may write its next ones of the call into rooms before rank 0
 * is asked, as far as there are some for that. And the end of that: no rank is in the call any more. Rank 0's IO
 * thread. */
void rk_events_grant(struct rk_mesh *mesh, const struct rk_envelope *envelope);
void rk_events_end_grants(struct rk_mesh *mesh);

/* Owes a rank the window that a message used, and pays when enough has come together; with `hold` it only notes the
 * debt, for a client that reads slowly. rk_events_settle pays all large enough debts. Rank 0's IO thread. */
void rk_events_credit(struct rk_mesh *mesh, const struct rk_envelope *envelope, bool hold);
void rk_events_settle(struct rk_mesh *mesh);

/* Whether an answer waits for an earlier one to leave: settle again soon. */
bool rk_events_unpaid(const struct rk_mesh *mesh);

/* The window of one rank in bytes. */
uint64_t rk_events_window(const struct rk_mesh *mesh);

/* ---- Life and death of the ranks of this node ---- */

/* Whether a rank has died. Any thread; cheap. */
bool rk_mesh_broken(const struct rk_mesh *mesh);

/* The first dead rank after `after` (-1: from the beginning), or -1. `text` gets who died of what. Any thread. */
int rk_mesh_death(const struct rk_mesh *mesh, int after, char *text, size_t size);

/* Where this process, when it exits with a status that it hides from mpirun, leaves that: as waitpid(2) says; NULL:
 * nowhere. */
void rk_mesh_leave_status_at(_Atomic int32_t *status);

/* Whether a dead rank is lost with its node. */
bool rk_mesh_is_lost(const struct rk_mesh *mesh, int rank);

/* Of the dead of other nodes it may take a moment until those beside them have told how they ended. */
void rk_mesh_hear_how(const struct rk_mesh *mesh);

/* Whether the others live on when a rank dies: the launch method starts replacements, and all hear of deaths. */
bool rk_mesh_outlives(const struct rk_mesh *mesh);

/* Whether a broken mesh can be regrouped, too. */
bool rk_mesh_can_regroup(const struct rk_mesh *mesh);

/* Waits until the living have all come here, kills those who take longer than `grace_us`, lets `pause_us` pass, starts
 * replacements for the dead and connects all. Every rank keeps its number. False: one more has died meanwhile, perhaps
 * a replacement: all call it again, and nothing else of the mesh. Collective: living ranks' main threads; replacements
 * are in rk_mesh_open. Nobody else may use the mesh meanwhile. Does not return when it can't be done: then the job is
 * aborted. */
bool rk_mesh_regroup(struct rk_mesh *mesh, int64_t grace_us, int64_t pause_us);

/* Kills the ranks of a broken mesh that have not come to rk_mesh_regroup, perhaps this one: they sit in MPI, where
 * nobody comes back from the dead. Any thread, while its own rank is not there either. */
void rk_mesh_kill_missing(const struct rk_mesh *mesh);

/* Ends a rank of this node. Any thread. */
void rk_mesh_kill(const struct rk_mesh *mesh, int rank);

/* ---- Stacks: where a rank's main thread stands. Of ranks of this node. ---- */

#define RK_STACK_DEPTH   32
#define RK_STACK_WAIT_US 100000 /* how long ranks that are asked for their stacks may take to answer */

/* From now on this rank can be asked. Takes a real-time signal that nobody handles, once. Main thread. */
void rk_mesh_show_stack(struct rk_mesh *mesh);

/* Asks; the answer comes soon, or never. Rank 0's IO thread. */
void rk_mesh_ask_stack(const struct rk_mesh *mesh, int rank);

/* The answer: how many frames, the innermost first; 0: none yet. */
unsigned rk_mesh_stack(const struct rk_mesh *mesh, int rank, uint64_t frames[RK_STACK_DEPTH]);

/* A line for each, with names of this node's process. */
void rk_mesh_print_frames(FILE *stream, int pid, const uint64_t *frames, unsigned depth);

/* Whether this process has taken the place of a dead rank. */
bool rk_mesh_is_replacement(const struct rk_mesh *mesh);

/* Main thread: it has nothing to do from now on, or has. Threads that were left in MPI rest meanwhile. */
void rk_rest_idle(bool now);

/* ---- Doorbells of single sleepers ---- */

/* Waits in this rank until ready(context), which asks MPI; spins, then sleeps until rung. False: the mesh broke before.
 * Any thread. */
bool rk_mesh_wait(struct rk_mesh *mesh, bool (*ready)(void *context), void *context);

/* Rings a rank of this node (no effect on remote ones, which look by themselves). Any thread. */
void rk_mesh_ring(struct rk_mesh *mesh, int rank);

/* Lets MPI move what it can. Any thread. */
void rk_mesh_drive(struct rk_mesh *mesh);

/* The IO thread's bell: a descriptor to wait on at rank 0, which becomes readable when rung while asleep.
 * Pattern: rk_io_doze(), look once more for work, wait for the descriptor, rk_io_wake(); rk_io_drain() when it was
 * readable. */
int rk_io_bell_fd(const struct rk_mesh *mesh);
void rk_io_doze(struct rk_mesh *mesh);
void rk_io_wake(struct rk_mesh *mesh);
void rk_io_drain(struct rk_mesh *mesh);
void rk_io_ring(struct rk_mesh *mesh);
/* The same for what is not urgent while rank 0 is in a handler, see mesh/baton.h. */
void rk_io_ring_late(struct rk_mesh *mesh);

#endif
