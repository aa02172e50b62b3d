/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Links: TCP connections between the first ranks of nodes, down the same binomial tree as announcements. They carry
 * what must wake a sleeper or tell of a death, a few bytes each; data goes by MPI.
 *
 * The first rank of each node has a thread that waits for its links and for the other ranks of its node. A link tells
 * by its end that the rank behind it has died. One whose bytes nobody acknowledges any more tells that its node is
 * lost: the kernel of a node acknowledges for a process that is stopped, too. */

#ifndef RK_MESH_LINKS_H
#define RK_MESH_LINKS_H

#include "mesh/internal.h"

#define RK_SECRET_SIZE 32 /* bytes: half is shown by who connects, half by who accepts */
#define RK_LINKS_MAX   33 /* of a node: its parent, and a child for each bit */
#define RK_ADDRESSES   6  /* of a node */
#define RK_INTERFACE   16 /* IF_NAMESIZE */

/* Open MPI's own, as ranks see them. */
#define RK_TCP_INCLUDE "OMPI_MCA_btl_tcp_if_include"
#define RK_TCP_EXCLUDE "OMPI_MCA_btl_tcp_if_exclude"

/* Where the first rank of a node listens. Plain bytes: travels by MPI. */
struct rk_contact {
    uint8_t addresses[RK_ADDRESSES][16]; /* of IPv6, or of IPv4 as IPv6 maps them */
    uint16_t count, port;
    int32_t reserved;
};

/* contact.c: whether the loopback, of that name, is the only interface with an address. */
bool rk_contact_is_alone(char name[RK_INTERFACE]);

/* Addresses of the interfaces that Open MPI may use. Returns a listening descriptor; -1 with an error. */
int rk_contact_listen(struct rk_contact *contact);
/* A descriptor that does not block; -1 with an error. `near`: of the same host. */
int rk_contact_connect(const struct rk_contact *contact, bool near, int64_t deadline_us);
/* Gives a fresh connection the ways of a link. */
void rk_contact_tune(int fd);

/* The first words on a connection. */
enum rk_purpose { RK_FOR_LINK = 1, RK_FOR_TELLING };
struct rk_hello {
    char magic[8];
    uint8_t secret[RK_SECRET_SIZE / 2];
    int32_t node;    /* whose */
    int32_t rank;    /* the same */
    int32_t purpose; /* enum rk_purpose */
};
#define RK_HELLO_MAGIC "RKLINK1"

/* What is said on a link: a word, and bytes behind it. */
enum rk_word_kind {
    RK_WORD_BEAT = 1,  /* nothing: it wants to be acknowledged */
    RK_WORD_ROUSE,     /* down: an announcement comes */
    RK_WORD_RING,      /* up: rank 0's IO thread has something to look at */
    RK_WORD_CHECK,     /* down, with an rk_passed */
    RK_WORD_INTERRUPT, /* down, with the interrupt's word */
    RK_WORD_DEATH,     /* to all: of a rank */
    RK_WORD_LOST,      /* to all: a node does not answer any more, or nobody is left there; status says which */
    RK_WORD_ABORT,     /* to all: everybody ends */
    RK_WORD_BYE,       /* the link ends, and this rank lives */
    /* sightings.c: */
    RK_WORD_ASK,        /* down: what do your ranks do, with the question's time */
    RK_WORD_SIGHTING,   /* up: a rank's answer, with an rk_sighting */
    RK_WORD_ASK_STACKS, /* down: of some ranks, with an order */
    RK_WORD_STACK,      /* up: a rank's, with its lines */
    RK_WORD_KILL        /* down: some ranks, with an order */
};
struct rk_word {
    uint8_t kind; /* enum rk_word_kind */
    uint8_t reserved;
    uint16_t size; /* of the bytes behind it */
    int32_t rank, status, node;
};

/* Checkpoints of rank 0, as the arena has them. */
struct rk_passed {
    uint64_t checked, left;
};

#define RK_LINK_ROOM 16384 /* bytes that wait to be sent, or come in, at most */

struct rk_link {
    pthread_mutex_t lock; /* of the sending side */
    int fd;               /* -1: it has ended */
    int node;             /* whose first rank is behind it */
    int rank;             /* of another one, who tells of deaths there */
    bool bye;
    int64_t doubt_us; /* who told for that node has died, and if nobody else does until then, all there are dead; 0 */
    size_t out_size, in_size;
    uint8_t out[RK_LINK_ROOM], in[RK_LINK_ROOM];
};

struct rk_links {
    struct rk_segment *segment;
    struct rk_watch *watch;
    int rank, node, nodes, size, local_size;
    int *firsts, *counts; /* by node: its first rank, and how many it has */
    int *node_of;         /* by rank */
    bool *near;           /* by node: on this very host */
    struct rk_contact *contacts;
    uint8_t secret[RK_SECRET_SIZE];
    pthread_mutex_t telling; /* of the arena */
    struct rk_arena *arena;  /* NULL: the collectives are closed */
    /* first ranks only: */
    struct rk_sightings *sightings;
    struct rk_link *links; /* the parent's first, if there is one */
    int count, children;   /* children: how many of them, at the end */
    int listener, fifo;
    bool *told;                     /* by local rank: its death is */
    _Atomic int64_t quiet_until_us; /* no further ring goes up before */
    _Atomic bool stops;
    bool running;
    pthread_t thread;
    /* others: */
    pthread_mutex_t lines_lock;
    int *lines; /* by node: to its first rank, when this one tells of deaths here; -1 */
};

/* links_open.c: mesh->links and mesh->linked. Collective; where one connection can't be made there are none, and
 * waiters look often. rk_links_begin: this rank's thread, when mesh->watch is there. */
int rk_links_open(struct rk_mesh *mesh);
int rk_links_begin(struct rk_mesh *mesh);
void rk_links_leave(struct rk_links *links); /* they keep off the arena from now on. Takes NULL */
void rk_links_end(struct rk_links *links);   /* takes NULL */

/* links.c */
void rk_links_end_lines(struct rk_links *links); /* says that this rank lives */
void *rk_links_main(void *links);
void rk_links_say_down(struct rk_links *links, const struct rk_word *word, const void *bytes);
void rk_link_say(struct rk_link *link, const struct rk_word *word, const void *bytes);
size_t rk_link_waiting(struct rk_link *link); /* bytes to be sent */

/* The same file: a connection to a node, greeted; -1 with an error. And one that somebody else has made. */
int rk_links_greet(const struct rk_links *links, int node, enum rk_purpose purpose, int64_t deadline_us);
int rk_links_accept(const struct rk_links *links, struct rk_hello *hello);

/* Why a rank asks the thread of its node to look up. Any rank of the node. */
enum rk_want { RK_WANT_RING = 1, RK_WANT_DEATHS = 2, RK_WANT_ABORT = 4, RK_WANT_CHECK = 8 };
void rk_links_want(struct rk_segment *segment, int fifo, enum rk_want want);

/* A ring goes up at once. False: one has gone a moment ago; the thread may be asked to send another. First ranks. */
bool rk_links_ring_up(struct rk_links *links);

int rk_links_count(const struct rk_links *links, int node); /* how many ranks a node has */

/* The first rank of this node is dead, and has told nobody: tells the first ranks of others of all deaths in it, on
 * connections that stay: their ends tell of this one's. */
void rk_links_tell(struct rk_links *links);

#endif
