/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The thread of a node's links: passes on what its node and others have to say, and sleeps between. */

#include "mesh/links.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "mesh/collect_internal.h"
#include "mesh/sightings.h"

#define BEAT_US       250000  /* between two bytes that want to be acknowledged */
#define RING_EVERY_US 500     /* rings that go up, at most so often: who was rung looks for as long */
#define TELL_LIMIT_US 300000  /* to connect and tell of a death */
#define DOUBT_US      1500000 /* for somebody of a node to tell that its first rank has died, if there are others */
#define STRANGERS     64      /* connections that tell of deaths, at a time */

struct loop {
    struct rk_links *links;
    struct pollfd polled[2 + RK_LINKS_MAX + STRANGERS];
    nfds_t count;
    struct rk_link strangers[STRANGERS]; /* who tell of deaths */
    int64_t beat_us;
};

/* ---- Saying ---- */

/* With the lock held. What does not go now goes when the socket has room. */
static void flush(struct rk_link *link)
{
    size_t sent = 0;
    while (link->fd >= 0 && sent < link->out_size) {
        ssize_t size = send(link->fd, link->out + sent, link->out_size - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            break; /* full; or it has ended, which reading tells */
        sent += (size_t)size;
    }
    memmove(link->out, link->out + sent, link->out_size - sent);
    link->out_size -= sent;
}

void rk_link_say(struct rk_link *link, const struct rk_word *word, const void *bytes)
{
    pthread_mutex_lock(&link->lock);
    size_t size = sizeof *word + word->size;
    if (link->fd >= 0 && link->out_size + size <= RK_LINK_ROOM) { /* else nobody reads there, and it soon ends */
        memcpy(link->out + link->out_size, word, sizeof *word);
        if (word->size)
            memcpy(link->out + link->out_size + sizeof *word, bytes, word->size);
        link->out_size += size;
        flush(link);
    }
    pthread_mutex_unlock(&link->lock);
}

size_t rk_link_waiting(struct rk_link *link)
{
    pthread_mutex_lock(&link->lock);
    size_t size = link->out_size;
    pthread_mutex_unlock(&link->lock);
    return size;
}

void rk_links_say_down(struct rk_links *links, const struct rk_word *word, const void *bytes)
{
    for (int i = links->count - links->children; i < links->count; i++)
        rk_link_say(&links->links[i], word, bytes);
}

/* To all neighbours but `from` (NULL: to all). */
static void spread(struct rk_links *links, const struct rk_link *from, const struct rk_word *word)
{
    for (int i = 0; i < links->count; i++)
        if (&links->links[i] != from)
            rk_link_say(&links->links[i], word, NULL);
}

void rk_links_want(struct rk_segment *segment, int fifo, enum rk_want want)
{
    if (fifo < 0)
        return;
    atomic_fetch_or(&segment->link_wants, (unsigned)want);
    if (atomic_load(&segment->link_asleep) && atomic_exchange(&segment->link_asleep, 0))
        while (write(fifo, "", 1) < 0 && errno == EINTR)
            continue;
}

bool rk_links_ring_up(struct rk_links *links)
{
    const struct rk_word ring = {.kind = RK_WORD_RING};
    int64_t now = rk_now_us(), quiet_until = atomic_load(&links->quiet_until_us);
    if (now < quiet_until || !atomic_compare_exchange_strong(&links->quiet_until_us, &quiet_until, now + RING_EVERY_US))
        return false;
    rk_link_say(&links->links[0], &ring, NULL);
    return true;
}

/* ---- Deaths ---- */

static void tell_death(struct rk_links *links, const struct rk_link *from, int rank, int status)
{
    const struct rk_word word = {.kind = RK_WORD_DEATH, .rank = rank, .status = status};
    if (links->node_of[rank] != links->node && !rk_liveness_far(links->watch, rank, status))
        return; /* known, and passed on */
    spread(links, from, &word);
}

static void tell_lost(struct rk_links *links, const struct rk_link *from, int node, int status)
{
    const struct rk_word word = {.kind = RK_WORD_LOST, .node = node, .status = status};
    bool new = false;
    for (int rank = 0; node != links->node && rank < links->size; rank++)
        if (links->node_of[rank] == node)
            new |= rk_liveness_far(links->watch, rank, status);
    if (new)
        spread(links, from, &word);
}

/* What the ranks of this node have noticed. */
static void tell_own_deaths(struct rk_links *links)
{
    for (int i = 0; i < links->local_size; i++) {
        const struct rk_place *place = &links->segment->rank[i];
        if (links->told[i] || !atomic_load(&place->dead))
            continue;
        links->told[i] = true;
        tell_death(links, NULL, atomic_load(&place->rank), atomic_load(&place->wait_status));
    }
}

static bool is_neighbour(const struct rk_links *links, int node)
{
    return rk_tree_parent(node) == links->node || (links->node && rk_tree_parent(links->node) == node);
}

/* On a connection of this rank's own. What does not go at once is lost. */
static void say_on(int fd, const struct rk_word *word)
{
    if (fd >= 0 && send(fd, word, sizeof *word, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        rk_log(RK_LOG_DEBUG, "another node does not hear of deaths: %s", strerror(errno));
}

void rk_links_tell(struct rk_links *links)
{
    pthread_mutex_lock(&links->lines_lock);
    for (int node = 0; node < links->nodes; node++) {
        if (node == links->node || (node != 0 && !is_neighbour(links, node)))
            continue;
        int *fd = &links->lines[node];
        if (*fd < 0)
            *fd = rk_links_greet(links, node, RK_FOR_TELLING, rk_now_us() + TELL_LIMIT_US);
        for (int i = 0; i < links->local_size; i++) {
            const struct rk_place *place = &links->segment->rank[i];
            const struct rk_word word = {
                .kind = RK_WORD_DEATH, .rank = atomic_load(&place->rank), .status = atomic_load(&place->wait_status)};
            if (atomic_load(&place->dead))
                say_on(*fd, &word);
        }
    }
    pthread_mutex_unlock(&links->lines_lock);
}

void rk_links_end_lines(struct rk_links *links)
{
    const struct rk_word bye = {.kind = RK_WORD_BYE};
    pthread_mutex_lock(&links->lines_lock);
    for (int node = 0; node < links->nodes; node++) {
        say_on(links->lines[node], &bye);
        rk_fd_close(&links->lines[node]);
    }
    pthread_mutex_unlock(&links->lines_lock);
}

/* Everybody of this node goes, this process last. */
static void end_node(struct rk_links *links, const struct rk_link *from, int status)
{
    const struct rk_word word = {.kind = RK_WORD_ABORT, .status = status};
    spread(links, from, &word);
    atomic_store(&links->segment->link_ended, 1);
    if (!from)
        return; /* who wanted it sees to this node */
    rk_liveness_end_node(links->segment, links->local_size, status);
}

/* ---- Checkpoints and interrupts ---- */

/* At rank 0: the newest; those between nobody needs. */
static void tell_passed(struct rk_links *links)
{
    struct rk_passed passed;
    const struct rk_word word = {.kind = RK_WORD_CHECK, .size = sizeof passed};
    pthread_mutex_lock(&links->telling);
    bool here = links->arena != NULL;
    if (here) {
        passed.checked = atomic_load(&links->arena->checked);
        passed.left = atomic_load(&links->arena->left);
    }
    pthread_mutex_unlock(&links->telling);
    if (here)
        rk_links_say_down(links, &word, &passed);
}

static void take_passed(struct rk_links *links, const struct rk_word *word, const void *bytes)
{
    struct rk_passed passed;
    if (word->size != sizeof passed)
        return;
    rk_links_say_down(links, word, bytes);
    memcpy(&passed, bytes, sizeof passed);
    pthread_mutex_lock(&links->telling);
    if (links->arena) {
        atomic_store(&links->arena->left, passed.left);
        atomic_store(&links->arena->checked, passed.checked);
        rk_bell_ring(&links->segment->checkpoints);
    }
    pthread_mutex_unlock(&links->telling);
}

static void take_interrupt(struct rk_links *links, const struct rk_word *word, const void *bytes)
{
    uint64_t interrupt;
    if (word->size != sizeof interrupt)
        return;
    rk_links_say_down(links, word, bytes);
    memcpy(&interrupt, bytes, sizeof interrupt);
    pthread_mutex_lock(&links->telling);
    if (links->arena) {
        rk_interrupt_set(links->arena, interrupt);
        rk_bell_ring_all(links->segment, links->local_size);
    }
    pthread_mutex_unlock(&links->telling);
}

/* ---- Hearing ---- */

static void hear(struct rk_links *links, struct rk_link *from, const struct rk_word *word, const void *bytes)
{
    bool sound = word->rank >= 0 && word->rank < links->size && word->node >= 0 && word->node < links->nodes;
    switch (sound ? (enum rk_word_kind)word->kind : RK_WORD_BEAT) {
    case RK_WORD_BEAT: break;
    case RK_WORD_ROUSE:
        rk_links_say_down(links, word, NULL);
        rk_rouse_node(links->segment);
        break;
    case RK_WORD_RING:
        rk_liveness_ring(links->watch);
        if (links->node)
            atomic_fetch_or(&links->segment->link_wants, RK_WANT_RING);
        break;
    case RK_WORD_CHECK: take_passed(links, word, bytes); break;
    case RK_WORD_INTERRUPT: take_interrupt(links, word, bytes); break;
    case RK_WORD_DEATH: tell_death(links, from, word->rank, word->status); break;
    case RK_WORD_LOST: tell_lost(links, from, word->node, word->status); break;
    case RK_WORD_ABORT: end_node(links, from, word->status); break;
    case RK_WORD_BYE: from->bye = true; break;
    case RK_WORD_ASK:
    case RK_WORD_SIGHTING:
    case RK_WORD_ASK_STACKS:
    case RK_WORD_STACK:
    case RK_WORD_KILL: rk_sightings_hear(links, word, bytes); break;
    }
}

/* Reads what has come. False: the link has ended, errno tells how; 0: as the end of its process. */
static bool read_link(struct rk_links *links, struct rk_link *link)
{
    ssize_t size = recv(link->fd, link->in + link->in_size, RK_LINK_ROOM - link->in_size, MSG_DONTWAIT);
    if (size < 0)
        return errno == EAGAIN || errno == EINTR;
    errno = 0;
    if (size == 0)
        return false;
    link->in_size += (size_t)size;
    size_t at = 0;
    struct rk_word word;
    while (link->in_size - at >= sizeof word) {
        memcpy(&word, link->in + at, sizeof word);
        if (link->in_size - at < sizeof word + word.size)
            break;
        hear(links, link, &word, link->in + at + sizeof word);
        at += sizeof word + word.size;
    }
    memmove(link->in, link->in + at, link->in_size - at);
    link->in_size -= at;
    errno = 0;
    return link->in_size < RK_LINK_ROOM;
}

static void close_link(struct rk_link *link)
{
    pthread_mutex_lock(&link->lock);
    rk_fd_close(&link->fd);
    pthread_mutex_unlock(&link->lock);
}

static bool is_lost(int failure)
{
    return failure == ETIMEDOUT || failure == EHOSTUNREACH || failure == ENETUNREACH || failure == EHOSTDOWN ||
           failure == ENETDOWN;
}

/* The first rank behind a link has died, unless it said that it leaves. Those beside it may tell how. */
static void link_ended(struct rk_links *links, struct rk_link *link, int failure)
{
    close_link(link);
    if (link->bye)
        return;
    if (is_lost(failure)) {
        tell_lost(links, link, link->node, RK_STATUS_LOST);
        return;
    }
    tell_death(links, link, links->firsts[link->node], -1);
    link->doubt_us = rk_now_us() + DOUBT_US;
}

/* Another rank, which told of deaths on its node, has died itself, unless it said that it does not need to any more. */
static void stranger_ended(struct rk_links *links, struct rk_link *stranger)
{
    rk_fd_close(&stranger->fd);
    if (stranger->bye)
        return;
    tell_death(links, NULL, stranger->rank, -1);
    for (int i = 0; i < links->count; i++)
        if (links->links[i].node == stranger->node && links->links[i].fd < 0)
            links->links[i].doubt_us = rk_now_us() + DOUBT_US;
}

static bool all_known_dead(const struct rk_links *links, int node)
{
    for (int rank = 0; rank < links->size; rank++)
        if (links->node_of[rank] == node && !atomic_load(&rk_far(links->segment, links->local_size)[rank].dead))
            return false;
    return true;
}

/* Whoever lives on a node tells of the death of who told of it before: if nobody does, nobody lives. */
static void resolve_doubts(const struct loop *loop)
{
    struct rk_links *links = loop->links;
    for (int i = 0; i < links->count; i++) {
        struct rk_link *link = &links->links[i];
        if (!link->doubt_us || rk_now_us() < link->doubt_us)
            continue;
        bool heard = false;
        for (int k = 0; k < STRANGERS; k++)
            heard |= loop->strangers[k].fd >= 0 && loop->strangers[k].node == link->node;
        link->doubt_us = 0;
        if (!heard && !all_known_dead(links, link->node))
            tell_lost(links, link, link->node, RK_STATUS_GONE);
    }
}

static void accept_stranger(struct loop *loop)
{
    struct rk_hello hello;
    int fd = rk_links_accept(loop->links, &hello);
    for (int i = 0; fd >= 0 && i < STRANGERS; i++)
        if (loop->strangers[i].fd < 0) {
            loop->strangers[i].fd = fd;
            loop->strangers[i].node = hello.node;
            loop->strangers[i].rank = hello.rank;
            loop->strangers[i].bye = false;
            loop->strangers[i].in_size = 0;
            return;
        }
    rk_fd_close(&fd);
}

/* ---- The loop ---- */

static void look_at_wants(struct rk_links *links)
{
    unsigned wants = atomic_exchange(&links->segment->link_wants, 0);
    if (wants & RK_WANT_DEATHS)
        tell_own_deaths(links);
    if (wants & RK_WANT_CHECK)
        tell_passed(links);
    if (wants & RK_WANT_ABORT)
        end_node(links, NULL, rankcall_code_exit_status(RANKCALL_ERANKDIED));
    if (!(wants & RK_WANT_RING) || !links->node)
        return;
    if (!rk_links_ring_up(links))
        atomic_fetch_or(&links->segment->link_wants, RK_WANT_RING);
}

static int64_t send_beats(struct loop *loop)
{
    const struct rk_word beat = {.kind = RK_WORD_BEAT};
    if (rk_now_us() >= loop->beat_us) {
        spread(loop->links, NULL, &beat);
        loop->beat_us = rk_now_us() + BEAT_US;
    }
    return loop->beat_us;
}

static void poll_one(struct loop *loop, int fd, short events)
{
    loop->polled[loop->count++] = (struct pollfd){.fd = fd, .events = events}; /* negative ones are not looked at */
}

static void sleep_until(struct loop *loop, int64_t next_us)
{
    struct rk_links *links = loop->links;
    struct rk_segment *segment = links->segment;
    bool quiet = rk_now_us() < links->quiet_until_us;
    loop->count = 0;
    poll_one(loop, links->fifo, POLLIN);
    poll_one(loop, links->listener, POLLIN);
    for (int i = 0; i < links->count; i++)
        poll_one(loop, links->links[i].fd, links->links[i].out_size ? POLLIN | POLLOUT : POLLIN);
    for (int i = 0; i < STRANGERS; i++)
        poll_one(loop, loop->strangers[i].fd, POLLIN);
    if (quiet)
        next_us = links->quiet_until_us; /* who wants something needs not wake this thread meanwhile */
    else
        atomic_store(&segment->link_asleep, 1);
    int64_t left_us = next_us - rk_now_us();
    if (left_us < 0 || (!quiet && atomic_load(&segment->link_wants)))
        left_us = 0;
    struct timespec limit = {.tv_sec = left_us / 1000000, .tv_nsec = left_us % 1000000 * 1000};
    if (ppoll(loop->polled, loop->count, &limit, NULL) <= 0)
        for (nfds_t i = 0; i < loop->count; i++)
            loop->polled[i].revents = 0;
    atomic_store(&segment->link_asleep, 0);
}

static void serve(struct loop *loop)
{
    struct rk_links *links = loop->links;
    char bytes[64];
    if (loop->polled[0].revents)
        while (read(links->fifo, bytes, sizeof bytes) == (ssize_t)sizeof bytes)
            continue;
    if (loop->polled[1].revents)
        accept_stranger(loop);
    for (int i = 0; i < links->count; i++) {
        struct rk_link *link = &links->links[i];
        short events = loop->polled[2 + i].revents;
        if (events & POLLOUT) {
            pthread_mutex_lock(&link->lock);
            flush(link);
            pthread_mutex_unlock(&link->lock);
        }
        if (events & ~POLLOUT && !read_link(links, link))
            link_ended(links, link, errno);
    }
    for (int i = 0; i < STRANGERS; i++)
        if (loop->polled[2 + links->count + i].revents && loop->strangers[i].fd >= 0 &&
            !read_link(links, &loop->strangers[i]))
            stranger_ended(links, &loop->strangers[i]);
}

void *rk_links_main(void *context)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return NULL;
    pthread_setname_np(pthread_self(), "rankcall-link");
    loop->links = context;
    for (int i = 0; i < STRANGERS; i++)
        loop->strangers[i].fd = -1;
    while (!atomic_load(&loop->links->stops)) {
        look_at_wants(loop->links);
        int64_t beat_us = send_beats(loop), next_us = rk_sightings_work(loop->links);
        sleep_until(loop, next_us < beat_us ? next_us : beat_us);
        serve(loop);
        resolve_doubts(loop);
    }
    for (int i = 0; i < STRANGERS; i++)
        rk_fd_close(&loop->strangers[i].fd);
    free(loop);
    return NULL;
}
