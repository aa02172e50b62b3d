/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The mesh's inside: what its files share. */

#ifndef RK_MESH_INTERNAL_H
#define RK_MESH_INTERNAL_H

#include <mpi.h>
#include <pthread.h>
#include <stdatomic.h>

#include "mesh/mesh.h"
#include "mesh/rooms.h"

enum rk_tag {
    RK_TAG_TALLY = 1,
    RK_TAG_CHECKPOINT,
    RK_TAG_ANNOUNCE,
    RK_TAG_REPORT,
    RK_TAG_INTERRUPT,
    RK_TAG_EVENT,
    RK_TAG_BULK,
    RK_TAG_CREDIT,
    RK_TAG_REGROUP
};

/* A doorbell in the node's shared memory: `rung` counts, `sleepers` tells ringers whether a system call is worth it. */
struct rk_bell {
    _Alignas(64) _Atomic uint32_t rung;
    _Atomic uint32_t sleepers;
};

/* An announcement as it is spread: with its payload, if that is small. */
#define RK_NOTICE_ROOM 968
struct rk_notice {
    struct rk_announcement announcement;
    uint64_t address; /* of a larger one in rank 0's memory ... */
    union {
        uint8_t room[RK_NOTICE_ROOM];
        struct rk_room_name where; /* ... which may be one that others look into */
    };
};
static inline bool rk_notice_holds(uint64_t payload_size)
{
    return payload_size <= RK_NOTICE_ROOM;
}

/* Where a rank's main thread stood when it was asked. */
struct rk_stack {
    _Atomic int signal, thread; /* 0: it can't be asked */
    _Atomic unsigned depth;     /* 0: no answer yet */
    uint64_t frames[RK_STACK_DEPTH];
};

/* A rank's place in the memory of its node. */
struct rk_place {
    struct rk_bell bell;
    struct rk_tally tally; /* of the call that it reported last */
    pthread_mutex_t alive; /* the rank holds it as long as it lives */
    _Atomic int pid;
    _Atomic int held; /* it has taken the mutex */
    _Atomic int dead;
    _Atomic int wait_status; /* of a dead one, as for waitpid(2); -1: not known. One that exits may have set it */
    _Atomic int rank;
    _Atomic int cpu;                  /* on which it ran when it was seen last */
    _Atomic uint32_t arrived, joined; /* for which attempt to regroup it waits; in which it has connected with all */
    _Atomic int left_out;             /* of the attempt that was ordered */
    struct rk_stack stack;
};

/* The memory that the ranks of a node share. */
struct rk_segment {
    struct rk_bell all;                      /* announcements: `rung` counts them */
    struct rk_bell checkpoints;              /* rank 0 has passed one: one system call wakes whoever sleeps there */
    struct rk_notice notice;                 /* the last one; stays until all ranks have reported on it */
    _Alignas(64) _Atomic uint32_t reported;  /* ranks of this node, but rank 0, that have */
    _Atomic uint32_t deaths;                 /* ranks of this node that are dead */
    _Atomic uint32_t ordered;                /* the living have gathered for this attempt to regroup without the dead */
    _Atomic uint32_t verdict;                /* an attempt, twice its number, and 1 if all have joined */
    _Atomic uint32_t unheard;                /* a rank left by _exit, of which mpirun 5 tells MPI nothing */
    _Atomic uint32_t stopping;               /* STOP has been announced: nobody regroups any more */
    _Atomic int64_t not_before_us;           /* of the next attempt */
    _Alignas(64) _Atomic uint64_t sent;      /* messages given to MPI for the funnel by the ranks of this node */
    _Alignas(64) _Atomic uint32_t io_asleep; /* rank 0's IO thread waits for its descriptor */
    _Alignas(64) _Atomic uint32_t holder;    /* enum rk_holder, baton.h */
    _Atomic uint32_t single;                 /* calls come one by one */
    /* Several nodes, links.h: */
    _Alignas(64) _Atomic uint32_t roused; /* counts: an announcement is about to come from another node */
    _Atomic uint32_t link_asleep;         /* the thread of the links waits for its descriptors */
    _Atomic uint32_t link_wants;          /* enum rk_want: what it is asked for */
    _Atomic uint32_t link_ended;          /* it has told the others to end */
    struct rk_place rank[];               /* by local rank; then with several nodes an rk_far for every rank */
};

/* A rank of another node. */
struct rk_far {
    _Atomic int dead, wait_status, left_out;
};
#define RK_STATUS_LOST (-2) /* of a rank whose node does not answer any more */
#define RK_STATUS_GONE (-3) /* of one on whose node nobody is left to tell */

static inline struct rk_far *rk_far(struct rk_segment *segment, int local_size)
{
    return (struct rk_far *)(void *)&segment->rank[local_size];
}

/* A word that goes down the tree. */
struct rk_checkpoint {
    uint64_t number, answer;
};

/* Rooms that ranks may write their next large events into. */
#define RK_AHEAD       2           /* of a rank */
#define RK_AHEAD_ROOMS 8           /* of all */
#define RK_AHEAD_BYTES (32u << 20) /* of theirs */

/* What rank 0 answers to a sender. */
struct rk_credit {
    uint64_t bytes;
    uint64_t verdict;                    /* enum rk_verdict */
    struct rk_room_name where;           /* to GO: write it there; or none */
    uint64_t granted;                    /* to GO: write it where that was granted; or 0 */
    uint64_t number;                     /* of a call whose next large events ... */
    struct rk_room_name ahead[RK_AHEAD]; /* ... may go there unasked; or none */
};
enum rk_verdict { RK_VERDICT_NONE, RK_VERDICT_GO, RK_VERDICT_SKIP };

/* What a rank may have under way to rank 0: an equal part of the first, within the other two. */
#define RK_WINDOW_ALL (64u << 20)
#define RK_WINDOW_MIN (64u << 10)
#define RK_WINDOW_MAX (1u << 20)
#define RK_UNDER_WAY  256 /* messages of a rank, if none is large: at 512 Open MPI has no more room for a peer's */

/* A rank's end of the funnel. */
struct rk_sender {
    uint64_t window, used;
    struct rk_credit credit; /* being received */
    MPI_Request request;
    uint64_t verdict;
    struct rk_room_name where;
    bool granted;
    uint64_t number;                     /* of the call in which it may write ... */
    struct rk_room_name ahead[RK_AHEAD]; /* ... here; id 0: none */
};

/* A room that a rank may write into. */
struct rk_granted {
    uint8_t *bytes; /* NULL: none */
    struct rk_room_name name;
};

/* What rank 0 owes a rank. */
struct rk_debt {
    uint64_t bytes;   /* of its window */
    uint64_t verdict; /* enum rk_verdict: an answer that must go */
    struct rk_room_name where;
    bool by_grant;
    struct rk_room_name ahead[RK_AHEAD]; /* granted, and not yet told */
    struct rk_granted granted[RK_AHEAD];
    uint64_t offered;        /* the call of its last offer */
    struct rk_credit credit; /* being sent */
    MPI_Request request;
};

#define RK_SLOTS      32          /* receives that wait for messages */
#define RK_BULK_CHUNK (64u << 20) /* bytes of a piece of a bulk message at most */

/* A posted receive of an inline message. */
struct rk_slot {
    MPI_Request request;
    uint8_t bytes[RK_INLINE_MAX];
};

/* Rank 0's end. */
struct rk_receiver {
    struct rk_slot *slots; /* a ring */
    int oldest;
    uint64_t taken;        /* messages */
    struct rk_debt *debts; /* by rank */
    bool unpaid;           /* an answer waits for an earlier one to leave */
    uint64_t granting;     /* the call in which rooms are granted ahead; 0: none are */
    unsigned ahead_rooms;  /* how many, and with how many bytes */
    uint64_t ahead_bytes;
    uint8_t *bulk;                          /* being received: envelope and payload; NULL: none */
    const struct rk_payload_memory *lender; /* of that; NULL: malloc()ed */
    struct rk_envelope envelope;
    uint64_t received;
    MPI_Request request;
};

/* What goes between nodes: down and up a binomial tree of nodes, from first rank to first rank. */
struct rk_span {
    int parent; /* rank; -1: this is rank 0 */
    int children[32], child_count;
    struct rk_notice notice;     /* rank 0's, on its way */
    struct rk_tally tallies[32]; /* at rank 0: the children's, being received */
    MPI_Request requests[64];    /* at rank 0: of both */
    int request_count;
    int64_t awake_until_us; /* at rank 0: until then other nodes look without being roused */
};

#define RK_LEFT 7

struct rk_collect;

/* What a mesh is from its beginning: the draft of the next one is the same. */
#define RK_MESH_GIVEN                                              \
    int rank, size;                                                \
    bool mpi_yields;                                               \
    rk_agree_fn *agree; /* on where the ranks of a node compute */ \
    void *agree_context;                                           \
    struct rk_rank_info info; /* what this rank tells of itself */

/* What rk_mesh_attach makes: after a regroup that of the draft. */
#define RK_MESH_MADE                                                                               \
    MPI_Comm world; /* the ranks by number; the others are copies and a part of it */              \
    MPI_Comm control, events, user, local;                                                         \
    int local_rank, local_size, nodes;                                                             \
    bool rooms_work;                                                                               \
    struct rk_segment *segment;                                                                    \
    size_t segment_size;                                                                           \
    struct rk_span span;                                                                           \
    struct rk_links *links; /* links.h; NULL: one node alone, or its like can't be made */         \
    bool linked;                                                                                   \
    int link_fifo;              /* several nodes: wakes the thread of the links */                 \
    int io_fifo;                /* rank 0: both ends; ranks of its node: the write end; else -1 */ \
    struct rk_collect *collect; /* collect_internal.h */

struct rk_mesh_given {
    RK_MESH_GIVEN
};
struct rk_mesh_made {
    RK_MESH_MADE
};

struct rk_mesh {
    union { /* the fields, and all of them to be copied */
        struct rk_mesh_given given;
        struct {
            RK_MESH_GIVEN
        };
    };
    union {
        struct rk_mesh_made made;
        struct {
            RK_MESH_MADE
        };
    };
    bool initialised_mpi, replacement;
    MPI_Comm collected, passed; /* those of collectives, of a broken mesh */
    /* Read by rank 0's IO thread while the main thread regroups: it sees the old ones or the new ones, whole. */
    struct rk_rank_info *_Atomic ranks;
    struct rk_rank_info *ranks_before; /* the last regroup */
    MPI_Comm left[RK_LEFT];            /* communicators of before the last regroup, see regroup.c */
    uint32_t rings_seen, looks;
    bool lingers;
    struct rk_watch *watch;                      /* liveness.c */
    _Atomic(struct rk_segment *) linked_segment; /* where the thread of this node's links can be asked, ... */
    int linked_fifo;                             /* ... and woken */
    struct rk_regroup *regroup;                  /* while it regroups */
    _Atomic(struct rk_vigil *) vigil;            /* the same */
    struct rk_checkpoint early;                  /* heard before the handler asked; number 0: none */
    struct rk_sender sender;
    struct rk_receiver receiver;
};

/* mesh.c: connecting the ranks of mesh->world: by any thread, then, alone, by the main thread; and undoing that but for
 * the communicators. Collective. */
int rk_mesh_attach(struct rk_mesh *mesh);
int rk_mesh_settle(struct rk_mesh *mesh);
void rk_mesh_detach(struct rk_mesh *mesh);
void rk_comm_free(MPI_Comm *comm);         /* takes one that was never made */
bool rk_mpi_is_aware(void);                /* aware.c: it reads the memory of GPUs. After MPI_Init */
bool rk_mesh_is_set(const char *variable); /* a switch of Open MPI's in the environment */

/* attempt.c: MPI itself is told of the death of ranks (Open MPI 5 under mpirun --with-ft ulfm). */
bool rk_mpi_hears_deaths(void);
/* This process was started to take a dead rank's place: gives the world that it belongs to. Collective with
 * the survivors' rk_mesh_regroup. False: it was not. */
bool rk_mesh_join_survivors(MPI_Comm *world);

/* One attempt to put the mesh together again, without those dead. It rings when it is over, done or failed. Collective:
 * the living, with the same tag, which is new. begin: NULL when there is no memory; what the mesh has of MPI must stay
 * until the attempt is taken, or abandoned: then for good. */
enum rk_attempt_state { RK_ATTEMPT_RUNS, RK_ATTEMPT_DONE, RK_ATTEMPT_FAILED };
struct rk_attempt *rk_attempt_begin(const struct rk_mesh *mesh, const int *dead, int count, int tag,
                                    struct rk_bell *bell);
enum rk_attempt_state rk_attempt_state(struct rk_attempt *attempt);
const char *rk_attempt_why(const struct rk_attempt *attempt);           /* it failed */
void rk_attempt_take(struct rk_attempt *attempt, struct rk_mesh *mesh); /* one that is done */
void rk_attempt_abandon(struct rk_attempt *attempt);
void rk_attempt_make_way(void); /* for communicators, which threads of such ones may keep from being made */

/* mpirun.c: it is this MPI's own; before MPI_Init, and after. Errors: RANKCALL_ELAUNCH. */
int rk_mpirun_check_line(void);
int rk_mpirun_check_size(int size);

/* vigil.c: the processes that mpirun starts from the beginning on. NULL when there is no memory; the others take NULL.
 */
struct rk_vigil *rk_vigil_begin(void);
/* Whether one that was there is gone; `stuck`: it was there for as long as one that is stuck. */
bool rk_vigil_lost_one(struct rk_vigil *vigil, bool *stuck);
void rk_vigil_kill_newcomers(const struct rk_vigil *vigil);
void rk_vigil_clear(struct rk_vigil *vigil, size_t expected); /* the same, and waits until they are gone */
void rk_vigil_end(struct rk_vigil *vigil);

/* baton.c: something has come for the frontend, which the main thread may have left for a handler. */
void rk_baton_claim(struct rk_mesh *mesh);

/* rest.c: this thread may be left in MPI; some are. */
void rk_rest_here(const _Atomic bool *abandoned);
void rk_rest_begin(void);

/* stuck.c: around MPI_Init: a replacement that gets stuck there ends, when mpirun has been at rest for so long.
 */
#define RK_STUCK_S     3
#define RK_STUCK_FAR_S 10 /* where the job has several nodes */
void rk_stuck_begin(void);
void rk_stuck_end(void);

/* segment.c: the node's shared memory and the IO thread's bell. Collective over mesh->local. */
int rk_segment_open(struct rk_mesh *mesh);
void rk_segment_close(struct rk_mesh *mesh); /* but for the memory, which the watch unmaps */
/* `size` zeroed bytes of memory that all ranks of the node have: all get it, or none. */
int rk_segment_share(struct rk_mesh *mesh, size_t size, void **memory);
void rk_segment_sweep(int pid); /* removes the names that a process may have left */

/* liveness.c: the mutexes, made by one rank; this rank is alive; its watching of the next, in the segment that it has
 * then; the end of that. A watch that is left goes on in its segment, and knows nothing of the mesh any more. */
int rk_liveness_prepare(struct rk_segment *segment, int ranks);
void rk_liveness_begin(struct rk_mesh *mesh);
void rk_liveness_end(void); /* it leaves in order, or ends the job */
/* Before MPI_Abort, whose signals to the ranks may come first: the others count this one among the dead. */
void rk_liveness_give_up(struct rk_mesh *mesh, int status);
_Noreturn void rk_liveness_leave(int status); /* this process alone, without exit handlers */
int rk_liveness_watch(struct rk_mesh *mesh);
bool rk_mesh_lost_node(const struct rk_mesh *mesh); /* some node does not answer any more */
void rk_watch_leave(struct rk_watch *watch);
void rk_watch_unlink(struct rk_watch *watch); /* it tells no other node any more: the links end. Takes NULL */
/* A rank of another node is dead, as waitpid(2) says or RK_STATUS_LOST. False: that was known. */
bool rk_liveness_far(struct rk_watch *watch, int rank, int status);
void rk_liveness_ring(struct rk_watch *watch); /* rank 0's IO thread, and the first rank of the node */
/* Kills the ranks of this node, this process last. */
_Noreturn void rk_liveness_end_node(struct rk_segment *segment, int ranks, int status);
void rk_watch_end(struct rk_watch *watch); /* and of its segment. Takes NULL */

/* stacks.c: this rank leaves its place. */
void rk_stacks_close(void);
void rk_place_ask_stack(struct rk_place *place); /* of a rank of this node, and its answer */
unsigned rk_place_stack(const struct rk_place *place, uint64_t frames[RK_STACK_DEPTH]);

/* bell.c */
void rk_bell_ring(struct rk_bell *bell);
void rk_bell_ring_all(struct rk_segment *segment, int local_size); /* of all ranks of the node, wherever they sleep */
void rk_nudge_node(struct rk_segment *segment, int local_size);    /* its sleepers look once, and sleep again */
/* The main threads of this node look for an announcement that is about to come. Costs earliness when it is missed. */
void rk_rouse_node(struct rk_segment *segment);
/* How a waiter waits: until true, when it is ready, or false, when it gave up. */
struct rk_patience {
    int64_t nap_max_us;             /* how long it may sleep at most before it looks by itself ... */
    unsigned nap_part;              /* ... and no longer than this part of what it has waited; 0: any */
    const _Atomic uint32_t *roused; /* looks anew when this changes; NULL: nothing does */
    int linger;                     /* looks at the bell, of a pause each, before each yield but the first */
    bool looks_yield;               /* a look gives the CPU away already, as MPI's do with mpi_yield_when_idle */
    bool rings_early;               /* a ring may come by a link ahead of what it tells of, which comes by MPI */
    const _Atomic uint32_t *broken; /* gives up when this is not 0 */
};
struct rk_patience rk_mesh_patience(const struct rk_mesh *mesh, bool looks_ask_mpi);
bool rk_bell_wait(struct rk_bell *bell, const struct rk_patience *patience, bool (*ready)(void *), void *context);

/* The same without a bell, on a word that processes share. */
void rk_futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t timeout_us);
void rk_futex_wake_all(_Atomic uint32_t *word);

static inline void rk_cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* report.c: the tree of nodes; sending the segment's notice down and getting ready for the reports (rank 0's IO thread)
 */
void rk_span_open(struct rk_mesh *mesh);
void rk_span_close(struct rk_mesh *mesh);
void rk_reports_await(struct rk_mesh *mesh, uint32_t operation);

/* A binomial tree rooted at 0, of ranks or of nodes: who is above, and the child reached by adding `bit`, -1: there is
 * none, nor for higher bits. */
static inline int rk_tree_parent(int member)
{
    return member & (member - 1);
}
static inline int rk_tree_child(int member, int bit, int size)
{
    return member & bit || member + bit >= size ? -1 : member + bit;
}

/* tree.c: waits for a message. False: the mesh broke meanwhile. Main or handler's threads. */
bool rk_mesh_receive(struct rk_mesh *mesh, int rank, enum rk_tag tag, void *bytes, int size);

/* Gives a message to MPI and rings its receiver: the rank, or for the funnel's tags rank 0's IO thread. Sleeps, ringing
 * now and then, while MPI needs the receiver before it lets go of `bytes`. False: the mesh broke meanwhile. Main or
 * handler's threads. */
bool rk_mesh_send(struct rk_mesh *mesh, int rank, enum rk_tag tag, const void *bytes, int size);

/* events.c: both ends; events_send.c: a rank's; events_receive.c: rank 0's */
int rk_events_open(struct rk_mesh *mesh);
void rk_events_close(struct rk_mesh *mesh);
void rk_sender_await(struct rk_mesh *mesh); /* posts the receive of what rank 0 answers next */
int rk_receiver_open(struct rk_mesh *mesh);
void rk_receiver_close(struct rk_mesh *mesh);

/* What a message takes of its rank's window. */
uint64_t rk_events_cost(const struct rk_mesh *mesh, uint64_t payload_size);
uint64_t rk_events_size(uint64_t payload_size); /* what is sent at first: all of it, or an offer */

#endif
