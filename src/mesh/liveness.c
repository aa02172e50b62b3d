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
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/ended.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "mesh/internal.h"

struct rk_watch {
    struct rk_mesh *mesh;
    struct rk_segment *segment;
    size_t segment_size;
    int local_rank, local_size;
    _Atomic bool last; /* one more death, and nothing is left to be done */
    bool running;
    pthread_t thread;
};

static void record(struct rk_watch *watch, int local_rank, int pidfd)
{
    struct rk_place *place = &watch->segment->rank[local_rank];
    atomic_store(&place->wait_status, rk_ended_how(atomic_load(&place->pid), pidfd));
    atomic_store(&place->dead, 1);
    atomic_fetch_add(&watch->segment->deaths, 1);
    if (atomic_load(&watch->last)) {
        rk_log(RK_LOG_ERROR, "a rank (pid %d) has died while the others regrouped: ending the job",
               atomic_load(&place->pid));
        rk_mesh_abort(watch->mesh, rankcall_code_exit_status(RANKCALL_ERANKDIED));
    }
    rk_bell_ring(&watch->segment->all);
    rk_bell_ring_all(watch->segment, watch->local_size);
    rk_io_ring(watch->mesh);
}

static void *watch_next(void *context)
{
    struct rk_watch *watch = context;
    pthread_setname_np(pthread_self(), "rankcall-watch");
    for (int i = 1; i < watch->local_size; i++) {
        int other = (watch->local_rank + i) % watch->local_size;
        pthread_mutex_t *alive = &watch->segment->rank[other].alive;
        int pidfd = (int)syscall(SYS_pidfd_open, atomic_load(&watch->segment->rank[other].pid), 0);
        int code = pthread_mutex_lock(alive);
        if (code == EOWNERDEAD)
            record(watch, other, pidfd);
        rk_fd_close(&pidfd);
        if (code == 0 || code == EOWNERDEAD)
            pthread_mutex_unlock(alive); /* for ever unusable after a death: nobody needs it any more */
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

void rk_liveness_begin(struct rk_mesh *mesh)
{
    struct rk_place *place = &mesh->segment->rank[mesh->local_rank];
    atomic_store(&place->pid, (int)getpid());
    pthread_mutex_lock(&place->alive);
}

int rk_liveness_watch(struct rk_mesh *mesh)
{
    sigset_t all, before;
    struct rk_watch *watch = mesh->watch = calloc(1, sizeof *watch);
    if (!watch)
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    watch->mesh = mesh;
    watch->segment = mesh->segment;
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

void rk_watch_last(struct rk_watch *watch)
{
    atomic_store(&watch->last, true);
}

void rk_watch_end(struct rk_watch *watch)
{
    if (!watch)
        return;
    pthread_mutex_unlock(&watch->segment->rank[watch->local_rank].alive);
    if (watch->running)
        pthread_join(watch->thread, NULL);
    munmap(watch->segment, watch->segment_size);
    free(watch);
}

/* ---- What is known ---- */

bool rk_mesh_broken(const struct rk_mesh *mesh)
{
    return mesh->segment && atomic_load_explicit(&mesh->segment->deaths, memory_order_relaxed) != 0;
}

int rk_mesh_death(const struct rk_mesh *mesh, int after, char *text, size_t size)
{
    for (int rank = after + 1; rank < mesh->size; rank++) {
        const struct rk_rank_info *info = &mesh->ranks[rank];
        const struct rk_place *place = &mesh->segment->rank[info->local_rank];
        if (info->node != mesh->ranks[mesh->rank].node || !atomic_load(&place->dead))
            continue;
        char how[96];
        rk_ended_text(atomic_load(&place->wait_status), how, sizeof how);
        snprintf(text, size, "rank %d (pid %d) on %s %s", rank, info->pid, info->host, how);
        return rank;
    }
    return -1;
}
