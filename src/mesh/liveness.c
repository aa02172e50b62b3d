/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Whose rank of this node is alive.
 *
 * Every rank holds a robust mutex in the node's memory for as long as it lives. A thread in the rank before it waits
 * for that mutex and gets it when the rank dies: the kernel gives the mutexes of a dying process up before it takes its
 * memory down, so this takes as long for a large process as for a small one. The watcher of a dead rank goes on with
 * the rank that the dead one watched, so that every living rank is watched by one. A rank that leaves in order gives
 * its mutex back by itself. */

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/ended.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "mesh/internal.h"
#include "mesh/links.h"

#define STOPPED_LOOK_US 500000 /* between two looks whether a node's first rank is stopped */
#define STOPPED_LOOKS   4      /* as long as so many between two: nothing is known of the time between */

struct rk_watch {
    struct rk_mesh *mesh;
    struct rk_segment *segment;
    struct rk_links *links; /* NULL: none */
    int link_fifo;          /* this watch's; -1: none */
    int node;
    bool linked; /* at its beginning */
    size_t segment_size;
    int local_rank, local_size;
    pthread_mutex_t telling; /* of a death: the mesh stays as it is meanwhile */
    pthread_mutex_t linking; /* the same, to other nodes: and the links */
    bool left;               /* the segment is all that it may touch */
    bool running;
    pthread_t thread;
};

/* Tells all ranks of the node that one is dead, once. `mesh`: with an IO thread to ring; or NULL. False: they knew. */
static bool tell(struct rk_mesh *mesh, struct rk_segment *segment, int ranks, _Atomic int *dead)
{
    if (atomic_exchange(dead, 1))
        return false;
    atomic_fetch_add(&segment->deaths, 1);
    rk_bell_ring(&segment->all);
    rk_bell_ring_all(segment, ranks);
    if (mesh && mesh->io_fifo >= 0)
        rk_io_ring(mesh);
    return true;
}

/* The other nodes hear of a death in this one from its first rank; when that is dead, from this one. */
static void tell_others(struct rk_watch *watch)
{
    pthread_mutex_lock(&watch->linking);
    if (watch->links && atomic_load(&watch->segment->rank[0].dead))
        rk_links_tell(watch->links);
    else if (watch->links)
        rk_links_want(watch->segment, watch->link_fifo, RK_WANT_DEATHS);
    pthread_mutex_unlock(&watch->linking);
}

void rk_watch_unlink(struct rk_watch *watch)
{
    if (!watch)
        return;
    pthread_mutex_lock(&watch->linking);
    watch->links = NULL;
    pthread_mutex_unlock(&watch->linking);
}

bool rk_liveness_far(struct rk_watch *watch, int rank, int status)
{
    struct rk_far *far = &rk_far(watch->segment, watch->local_size)[rank];
    if (atomic_load(&far->dead) && (status == -1 || atomic_load(&far->wait_status) != -1))
        return false;
    atomic_store(&far->wait_status, status);
    if (atomic_load(&far->dead))
        return true; /* only now it is known how */
    pthread_mutex_lock(&watch->telling);
    bool new = tell(watch->left ? NULL : watch->mesh, watch->segment, watch->local_size, &far->dead);
    pthread_mutex_unlock(&watch->telling);
    return new;
}

void rk_liveness_ring(struct rk_watch *watch)
{
    rk_bell_ring(&watch->segment->rank[0].bell);
    pthread_mutex_lock(&watch->telling);
    if (!watch->left && watch->mesh->io_fifo >= 0)
        rk_io_ring(watch->mesh);
    pthread_mutex_unlock(&watch->telling);
}

void rk_liveness_end_node(struct rk_segment *segment, int ranks, int status)
{
    int own = (int)getpid();
    for (int i = 0; i < ranks; i++)
        if (atomic_load(&segment->rank[i].pid) != own)
            kill(atomic_load(&segment->rank[i].pid), SIGKILL);
    _exit(status);
}

static void record(struct rk_watch *watch, int local_rank, int pidfd)
{
    struct rk_place *place = &watch->segment->rank[local_rank];
    int status = atomic_load(&place->wait_status);
    bool left = status >= 0;
    if (!left)
        status = rk_ended_how(atomic_load(&place->pid), pidfd);
    atomic_store(&place->wait_status, status);
    if (pidfd >= 0) /* its main thread may have ended alone: others would go on */
        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    if (!left && status > 0 && WIFEXITED(status) && rk_mpi_hears_deaths())
        atomic_store(&watch->segment->unheard, 1);
    pthread_mutex_lock(&watch->telling);
    tell(watch->left ? NULL : watch->mesh, watch->segment, watch->local_size, &place->dead);
    pthread_mutex_unlock(&watch->telling);
    tell_others(watch);
}

void rk_liveness_give_up(struct rk_mesh *mesh, int status)
{
    struct rk_place *place = mesh->segment ? &mesh->segment->rank[mesh->local_rank] : NULL;
    if (!place || mesh->rank == 0 || rk_mesh_broken(mesh))
        return;
    atomic_store(&place->wait_status, (status & 0xff) << 8);
    tell(mesh, mesh->segment, mesh->local_size, &place->dead);
    if (mesh->links)
        rk_links_want(mesh->segment, mesh->link_fifo, RK_WANT_DEATHS);
}

/* A rank takes its mutex when it has connected with all, each at a moment of its own. False: it has died before. */
static bool await_held(const struct rk_place *place, int pidfd)
{
    const struct timespec nap = {.tv_nsec = RK_NAP_MIN_US * 1000};
    while (!atomic_load(&place->held)) {
        if (pidfd >= 0 ? rk_fd_wait(pidfd, POLLIN, 0) != 0 : kill(atomic_load(&place->pid), 0) != 0)
            return atomic_load(&place->held);
        nanosleep(&nap, NULL);
    }
    return true;
}

/* The first rank of a node speaks for it, so nobody else would see to that: one that is stopped for too long is ended,
 * and replaced. Rank 0 is the launcher's. */
static _Atomic int64_t stopped_limit_us;

void rk_mesh_end_stopped(int64_t after_us)
{
    atomic_store(&stopped_limit_us, after_us);
}

struct stop {
    int64_t since_us, looked_us; /* 0: it is not stopped */
};

static void end_if_stopped(struct rk_place *place, struct stop *stop)
{
    int64_t now = rk_now_us(), limit_us = atomic_load(&stopped_limit_us);
    bool slept = now - stop->looked_us > STOPPED_LOOKS * STOPPED_LOOK_US; /* this process may have been stopped, too */
    stop->looked_us = now;
    if (rk_process_state(atomic_load(&place->pid)) != 'T')
        stop->since_us = 0;
    else if (!stop->since_us || slept)
        stop->since_us = now;
    if (!stop->since_us || now - stop->since_us < limit_us)
        return;
    rk_log(RK_LOG_ERROR, "rank %d (pid %d) has been stopped for %.3g s: killing it", atomic_load(&place->rank),
           atomic_load(&place->pid), (double)(now - stop->since_us) / 1e6);
    kill(atomic_load(&place->pid), SIGKILL);
}

/* Returns as pthread_mutex_lock. */
static int await_end(const struct rk_watch *watch, int other)
{
    struct rk_place *place = &watch->segment->rank[other];
    struct stop stop = {.looked_us = rk_now_us()};
    if (other != 0 || watch->node == 0 || !watch->linked || !atomic_load(&stopped_limit_us))
        return pthread_mutex_lock(&place->alive);
    for (;;) {
        const struct timespec limit = rk_limit_after(STOPPED_LOOK_US);
        int code = pthread_mutex_timedlock(&place->alive, &limit);
        if (code != ETIMEDOUT)
            return code;
        end_if_stopped(place, &stop);
    }
}

static void *watch_next(void *context)
{
    struct rk_watch *watch = context;
    pthread_setname_np(pthread_self(), "rankcall-watch");
    for (int i = 1; i < watch->local_size; i++) {
        int other = (watch->local_rank + i) % watch->local_size;
        struct rk_place *place = &watch->segment->rank[other];
        int pidfd = (int)syscall(SYS_pidfd_open, atomic_load(&place->pid), 0);
        if (!await_held(place, pidfd)) {
            record(watch, other, pidfd);
            rk_fd_close(&pidfd);
            continue;
        }
        int code = await_end(watch, other);
        if (code == EOWNERDEAD)
            record(watch, other, pidfd);
        rk_fd_close(&pidfd);
        if (code == 0 || code == EOWNERDEAD)
            pthread_mutex_unlock(&place->alive); /* for ever unusable after a death: nobody needs it any more */
        if (code == 0)
            return NULL; /* it leaves, so this rank does too */
    }
    return NULL;
}

int rk_liveness_prepare(struct rk_segment *segment, int ranks)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    int failure = 0;
    for (int i = 0; i < ranks && !failure; i++) {
        failure = pthread_mutex_init(&segment->rank[i].alive, &attributes);
        atomic_store(&segment->rank[i].wait_status, -1);
    }
    pthread_mutexattr_destroy(&attributes);
    errno = failure;
    return failure ? rk_error_system("cannot make a robust mutex") : RANKCALL_OK;
}

/* This process's place while it serves; NULL otherwise. */
static _Atomic(struct rk_place *) served;
static _Atomic(_Atomic int32_t *) told; /* who hears of its exit besides */

void rk_mesh_leave_status_at(_Atomic int32_t *status)
{
    if (status)
        atomic_store(status, -1);
    atomic_store(&told, status);
}

/* mpirun 5 ends a job as soon as one of its processes exits with a status other than 0, and an exit with 0 is a death
 * like any other there. So a rank that exits while it serves leaves its status with the others. */
static void leave_status(int status, void *unused)
{
    struct rk_place *place = atomic_load(&served);
    (void)unused;
    if (!place || atomic_load(&place->pid) != (int)getpid()) /* else a child of a worker's */
        return;
    atomic_store(&place->wait_status, (status & 0xff) << 8);
    _Atomic int32_t *also = atomic_load(&told);
    if (also)
        atomic_store(also, (status & 0xff) << 8);
    fflush(NULL);
    _exit(0);
}

_Noreturn void rk_liveness_leave(int status)
{
    if (rk_mpi_hears_deaths())
        leave_status(status, NULL);
    _exit(status);
}

void rk_liveness_begin(struct rk_mesh *mesh)
{
    static bool registered;
    struct rk_place *place = &mesh->segment->rank[mesh->local_rank];
    pthread_mutex_lock(&place->alive);
    atomic_store(&place->held, 1);
    if (rk_mpi_hears_deaths() && !registered)
        registered = !on_exit(leave_status, NULL);
    atomic_store(&served, place);
}

void rk_liveness_end(void)
{
    atomic_store(&served, NULL);
}

int rk_liveness_watch(struct rk_mesh *mesh)
{
    sigset_t all, before;
    struct rk_watch *watch = mesh->watch = calloc(1, sizeof *watch);
    if (!watch)
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    pthread_mutex_init(&watch->telling, NULL);
    pthread_mutex_init(&watch->linking, NULL);
    watch->mesh = mesh;
    watch->segment = mesh->segment;
    watch->links = mesh->links;
    watch->linked = mesh->links != NULL;
    watch->link_fifo = mesh->link_fifo;
    watch->node = mesh->ranks[mesh->rank].node;
    watch->segment_size = mesh->segment_size;
    watch->local_rank = mesh->local_rank;
    watch->local_size = mesh->local_size;
    if (mesh->local_size == 1)
        return RANKCALL_OK;
    sigfillset(&all); /* signals are the worker's threads' */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    errno = pthread_create(&watch->thread, NULL, watch_next, watch);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (errno)
        return rk_error_system("cannot start the thread that watches a rank");
    watch->running = true;
    return RANKCALL_OK;
}

void rk_watch_leave(struct rk_watch *watch)
{
    pthread_mutex_lock(&watch->telling);
    watch->left = true;
    pthread_mutex_unlock(&watch->telling);
}

void rk_watch_end(struct rk_watch *watch)
{
    if (!watch)
        return;
    pthread_mutex_unlock(&watch->segment->rank[watch->local_rank].alive);
    if (watch->running)
        pthread_join(watch->thread, NULL);
    rk_fd_close(&watch->link_fifo);
    munmap(watch->segment, watch->segment_size);
    pthread_mutex_destroy(&watch->telling);
    pthread_mutex_destroy(&watch->linking);
    free(watch);
}

/* ---- What is known ---- */

bool rk_mesh_broken(const struct rk_mesh *mesh)
{
    return mesh->segment && atomic_load_explicit(&mesh->segment->deaths, memory_order_relaxed) != 0;
}

static bool is_dead(const struct rk_mesh *mesh, int rank, int *status)
{
    const struct rk_place *place = &mesh->segment->rank[mesh->ranks[rank].local_rank];
    if (!rk_mesh_is_far(mesh, rank)) {
        *status = atomic_load(&place->wait_status);
        return atomic_load(&place->dead);
    }
    const struct rk_far *far = &rk_far(mesh->segment, mesh->local_size)[rank];
    *status = atomic_load(&far->wait_status);
    return atomic_load(&far->dead);
}

bool rk_mesh_is_lost(const struct rk_mesh *mesh, int rank)
{
    int status = 0;
    return is_dead(mesh, rank, &status) && status == RK_STATUS_LOST;
}

#define HOW_NAPS 10

void rk_mesh_hear_how(const struct rk_mesh *mesh)
{
    const struct timespec nap = {.tv_nsec = 1000000};
    bool asked = mesh->linked;
    for (int naps = 0; naps < HOW_NAPS && asked; naps++) {
        asked = false;
        for (int rank = 0; rank < mesh->size; rank++) {
            int status = 0;
            asked |= rk_mesh_is_far(mesh, rank) && is_dead(mesh, rank, &status) && status == -1 &&
                     rk_links_count(mesh->links, mesh->ranks[rank].node) > 1;
        }
        if (asked)
            nanosleep(&nap, NULL);
    }
}

int rk_mesh_death(const struct rk_mesh *mesh, int after, char *text, size_t size)
{
    for (int rank = after + 1; rank < mesh->size; rank++) {
        const struct rk_rank_info *info = &mesh->ranks[rank];
        int status = 0;
        if (!is_dead(mesh, rank, &status))
            continue;
        char how[96] = "is lost: its node does not answer any more";
        if (status == RK_STATUS_GONE)
            strcpy(how, "has died with all others on its node");
        else if (status != RK_STATUS_LOST)
            rk_ended_text(status, how, sizeof how);
        snprintf(text, size, "rank %d (pid %d) on %s %s", rank, info->pid, info->host, how);
        return rank;
    }
    return -1;
}
