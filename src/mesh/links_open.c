/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Making the links: everybody learns by MPI where the first ranks of nodes listen, and a secret; each connects with the
 * one above it and shows its half of that. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "mesh/collect_internal.h"
#include "mesh/links.h"
#include "mesh/sightings.h"

#define OPEN_US  5000000 /* for all of a node's links */
#define HELLO_US 500000  /* for a connection's first words */

/* ---- Greetings ---- */

static struct rk_hello make_hello(const struct rk_links *links, int half, enum rk_purpose purpose)
{
    struct rk_hello hello = {.magic = RK_HELLO_MAGIC, .node = links->node, .rank = links->rank, .purpose = purpose};
    memcpy(hello.secret, links->secret + half * (RK_SECRET_SIZE / 2), sizeof hello.secret);
    return hello;
}

static bool is_genuine(const struct rk_links *links, const struct rk_hello *hello, int half)
{
    const uint8_t *secret = links->secret + half * (RK_SECRET_SIZE / 2);
    uint8_t differs = 0;
    for (size_t i = 0; i < sizeof hello->secret; i++)
        differs |= hello->secret[i] ^ secret[i];
    return !differs && !memcmp(hello->magic, RK_HELLO_MAGIC, sizeof hello->magic) && hello->node >= 0 &&
           hello->node < links->nodes && hello->rank >= 0 && hello->rank < links->size;
}

static bool send_hello(int fd, const struct rk_hello *hello)
{
    return send(fd, hello, sizeof *hello, MSG_NOSIGNAL) == (ssize_t)sizeof *hello; /* the first bytes always fit */
}

static bool receive_hello(int fd, struct rk_hello *hello, int64_t deadline_us)
{
    size_t have = 0;
    while (have < sizeof *hello) {
        if (!rk_fd_wait(fd, POLLIN, deadline_us))
            return false;
        ssize_t size = recv(fd, (uint8_t *)hello + have, sizeof *hello - have, 0);
        if (size <= 0 && !(size < 0 && errno == EAGAIN))
            return false;
        have += size > 0 ? (size_t)size : 0;
    }
    return true;
}

int rk_links_greet(const struct rk_links *links, int node, enum rk_purpose purpose, int64_t deadline_us)
{
    struct rk_hello hello = make_hello(links, 0, purpose);
    int fd = rk_contact_connect(&links->contacts[node], links->near[node], deadline_us);
    if (fd >= 0 && !send_hello(fd, &hello)) {
        rk_error_system("cannot greet node %d", node);
        rk_fd_close(&fd);
    }
    return fd;
}

/* Somebody has connected: the other side's hello, or a stranger's nothing. Returns its descriptor, -1: a stranger's. */
int rk_links_accept(const struct rk_links *links, struct rk_hello *hello)
{
    int fd = accept4(links->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return -1;
    rk_contact_tune(fd);
    struct rk_hello answer = make_hello(links, 1, RK_FOR_LINK);
    if (receive_hello(fd, hello, rk_now_us() + HELLO_US) && is_genuine(links, hello, 0) &&
        (hello->purpose != RK_FOR_LINK || send_hello(fd, &answer)))
        return fd;
    rk_fd_close(&fd);
    return -1;
}

/* ---- All links of a node ---- */

static struct rk_link *link_of(struct rk_links *links, int node)
{
    for (int i = 0; i < links->count; i++)
        if (links->links[i].node == node)
            return &links->links[i];
    return NULL;
}

/* The children come in any order. */
static bool accept_children(struct rk_links *links, int64_t deadline_us)
{
    struct rk_hello hello;
    for (int left = links->children; left;) {
        if (!rk_fd_wait(links->listener, POLLIN, deadline_us)) {
            rk_error(RANKCALL_ESYSTEM, "%d of the nodes below have not connected", left);
            return false;
        }
        int fd = rk_links_accept(links, &hello);
        struct rk_link *link = fd >= 0 && hello.purpose == RK_FOR_LINK ? link_of(links, hello.node) : NULL;
        if (!link || link->fd >= 0) {
            rk_fd_close(&fd);
            continue;
        }
        link->fd = fd;
        left--;
    }
    return true;
}

/* Greets the parent first and hears it last: so nobody waits in a circle. */
static bool connect_all(struct rk_links *links)
{
    int64_t deadline_us = rk_now_us() + OPEN_US;
    struct rk_link *parent = links->count > links->children ? &links->links[0] : NULL;
    struct rk_hello hello;
    if (parent && (parent->fd = rk_links_greet(links, parent->node, RK_FOR_LINK, deadline_us)) < 0)
        return false;
    if (!accept_children(links, deadline_us))
        return false;
    if (!parent || (receive_hello(parent->fd, &hello, deadline_us) && is_genuine(links, &hello, 1)))
        return true;
    rk_error(RANKCALL_ESYSTEM, "node %d does not answer", parent->node);
    return false;
}

static bool add_links(const struct rk_mesh *mesh, struct rk_links *links)
{
    const struct rk_span *span = &mesh->span;
    links->children = span->child_count;
    links->links = calloc((size_t)span->child_count + 1, sizeof *links->links);
    links->told = calloc((size_t)mesh->local_size, sizeof *links->told);
    links->sightings = rk_sightings_new(links);
    if (!links->links || !links->told || !links->sightings)
        return false;
    if (span->parent >= 0)
        links->links[links->count++].node = links->node_of[span->parent];
    for (int i = 0; i < span->child_count; i++)
        links->links[links->count++].node = links->node_of[span->children[i]];
    for (int i = 0; i < links->count; i++) {
        links->links[i].fd = -1;
        pthread_mutex_init(&links->links[i].lock, NULL);
    }
    return true;
}

/* ---- Who is where ---- */

static bool note_nodes(const struct rk_mesh *mesh, struct rk_links *links)
{
    size_t nodes = (size_t)mesh->nodes;
    links->firsts = calloc(nodes, sizeof *links->firsts);
    links->counts = calloc(nodes, sizeof *links->counts);
    links->near = calloc(nodes, sizeof *links->near);
    links->contacts = calloc(nodes, sizeof *links->contacts);
    links->node_of = calloc((size_t)mesh->size, sizeof *links->node_of);
    links->lines = calloc(nodes, sizeof *links->lines);
    if (!links->firsts || !links->counts || !links->near || !links->contacts || !links->node_of || !links->lines)
        return false;
    for (size_t node = 0; node < nodes; node++)
        links->lines[node] = -1;
    for (int rank = mesh->size - 1; rank >= 0; rank--) {
        int node = links->node_of[rank] = mesh->ranks[rank].node;
        links->firsts[node] = rank;
        links->counts[node]++;
        links->near[node] = !strcmp(mesh->ranks[rank].host, mesh->ranks[mesh->rank].host);
    }
    return true;
}

static struct rk_links *make_links(const struct rk_mesh *mesh)
{
    struct rk_links *links = calloc(1, sizeof *links);
    if (!links)
        return NULL;
    links->listener = links->fifo = -1;
    links->segment = mesh->segment;
    links->rank = mesh->rank;
    links->node = mesh->ranks[mesh->rank].node;
    links->nodes = mesh->nodes;
    links->size = mesh->size;
    links->local_size = mesh->local_size;
    pthread_mutex_init(&links->telling, NULL);
    pthread_mutex_init(&links->lines_lock, NULL);
    return links;
}

/* Everybody's contact, of which those of first ranks stay; and rank 0's secret. */
static bool exchange(const struct rk_mesh *mesh, struct rk_links *links, const struct rk_contact *mine)
{
    struct rk_contact *all = calloc((size_t)mesh->size, sizeof *all);
    if (mesh->rank == 0 && getrandom(links->secret, sizeof links->secret, 0) != (ssize_t)sizeof links->secret)
        rk_log(RK_LOG_WARNING, "the kernel gives no secret");
    MPI_Bcast(links->secret, RK_SECRET_SIZE, MPI_BYTE, 0, mesh->control);
    if (!all)
        return false;
    MPI_Allgather(mine, sizeof *mine, MPI_BYTE, all, sizeof *all, MPI_BYTE, mesh->control);
    for (int node = 0; node < mesh->nodes; node++)
        links->contacts[node] = all[links->firsts[node]];
    free(all);
    return true;
}

int rk_links_count(const struct rk_links *links, int node)
{
    return links->counts[node];
}

static void free_links(struct rk_links *links)
{
    for (int i = 0; i < links->count; i++) {
        rk_fd_close(&links->links[i].fd);
        pthread_mutex_destroy(&links->links[i].lock);
    }
    rk_fd_close(&links->listener);
    for (int node = 0; links->lines && node < links->nodes; node++)
        rk_fd_close(&links->lines[node]);
    pthread_mutex_destroy(&links->telling);
    pthread_mutex_destroy(&links->lines_lock);
    rk_sightings_free(links->sightings);
    free(links->links);
    free(links->told);
    free(links->firsts);
    free(links->counts);
    free(links->near);
    free(links->contacts);
    free(links->node_of);
    free(links->lines);
    free(links);
}

int rk_links_open(struct rk_mesh *mesh)
{
    struct rk_contact mine = {0};
    if (mesh->nodes == 1)
        return RANKCALL_OK;
    struct rk_links *links = make_links(mesh);
    bool first = mesh->local_rank == 0;
    if (!links || !note_nodes(mesh, links) || (first && !add_links(mesh, links)))
        rk_mesh_abort(mesh, 1); /* the others would wait for this one */
    if (first)
        links->listener = rk_contact_listen(&mine);
    if (!exchange(mesh, links, &mine))
        rk_mesh_abort(mesh, 1);
    bool refused = rk_mesh_is_set("RANKCALL_TEST_NO_LINKS");
    int good = !first || (links->listener >= 0 && !refused && connect_all(links)), all_good = 0;
    if (!good && !refused)
        rk_log(RK_LOG_WARNING, "rank %d on %s: no connection between nodes: %s", mesh->rank,
               mesh->ranks[mesh->rank].host, rankcall_last_error()->message);
    MPI_Allreduce(&good, &all_good, 1, MPI_INT, MPI_MIN, mesh->control);
    if (mesh->rank == 0 && !all_good)
        rk_log(RK_LOG_WARNING,
               "not all nodes can connect with each other by TCP: idle ranks look for work every "
               "%d us, and deaths on other nodes are not noticed",
               RK_REMOTE_POLL_US);
    mesh->linked = all_good;
    if (all_good)
        mesh->links = links;
    else
        free_links(links);
    return RANKCALL_OK;
}

int rk_links_begin(struct rk_mesh *mesh)
{
    struct rk_links *links = mesh->links;
    sigset_t all, before;
    if (!links)
        return RANKCALL_OK;
    links->watch = mesh->watch;
    links->arena = mesh->collect->arena;
    links->fifo = mesh->linked_fifo = mesh->link_fifo;
    atomic_store(&mesh->linked_segment, mesh->segment);
    if (mesh->local_rank != 0)
        return RANKCALL_OK;
    sigfillset(&all); /* signals are the worker's threads' */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    errno = pthread_create(&links->thread, NULL, rk_links_main, links);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (errno)
        return rk_error_system("cannot start the thread of the links between nodes");
    links->running = true;
    return RANKCALL_OK;
}

void rk_links_leave(struct rk_links *links)
{
    if (!links)
        return;
    pthread_mutex_lock(&links->telling);
    links->arena = NULL;
    pthread_mutex_unlock(&links->telling);
}

void rk_links_end(struct rk_links *links)
{
    const struct rk_word bye = {.kind = RK_WORD_BYE};
    if (!links)
        return;
    if (links->running) {
        for (int i = 0; i < links->count; i++)
            rk_link_say(&links->links[i], &bye, NULL);
        atomic_store(&links->stops, true);
        while (write(links->fifo, "", 1) < 0 && errno == EINTR)
            continue;
        pthread_join(links->thread, NULL);
    }
    rk_links_end_lines(links);
    free_links(links);
}
