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
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "mesh/internal.h"

/* How the process ended, from its line in /proc, where it stays until its parent has taken note: a wait status, or -1.
 */
static int wait_status(int pid)
{
    char path[32], line[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    size_t size = file ? fread(line, 1, sizeof line - 1, file) : 0;
    if (file)
        fclose(file);
    line[size] = '\0';
    char *last = strrchr(line, ' '); /* exit_code is the last field: proc(5) */
    int status = -1;
    if (!last || sscanf(last, "%d", &status) != 1)
        return -1;
    return status;
}

static void record(struct rk_mesh *mesh, int local_rank)
{
    struct rk_place *place = &mesh->segment->rank[local_rank];
    atomic_store(&place->wait_status, wait_status(atomic_load(&place->pid)));
    atomic_store(&place->dead, 1);
    atomic_fetch_add(&mesh->segment->deaths, 1);
    rk_bell_ring(&mesh->segment->all);
    for (int i = 0; i < mesh->local_size; i++)
        rk_bell_ring(&mesh->segment->rank[i].bell);
    rk_io_ring(mesh);
}

static void *watch(void *context)
{
    struct rk_mesh *mesh = context;
    pthread_setname_np(pthread_self(), "rankcall-watch");
    for (int i = 1; i < mesh->local_size; i++) {
        int other = (mesh->local_rank + i) % mesh->local_size;
        pthread_mutex_t *alive = &mesh->segment->rank[other].alive;
        int code = pthread_mutex_lock(alive);
        if (code == EOWNERDEAD)
            record(mesh, other);
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
    if (mesh->local_size == 1)
        return RANKCALL_OK;
    sigfillset(&all); /* signals are the worker's threads' */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    errno = pthread_create(&mesh->watcher, NULL, watch, mesh);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (errno)
        return rk_error_system("cannot start the thread that watches a rank");
    mesh->watching = true;
    return RANKCALL_OK;
}

void rk_liveness_end(struct rk_mesh *mesh)
{
    if (!mesh->segment)
        return;
    pthread_mutex_unlock(&mesh->segment->rank[mesh->local_rank].alive);
    if (mesh->watching)
        pthread_join(mesh->watcher, NULL);
    mesh->watching = false;
}

/* ---- What is known ---- */

bool rk_mesh_broken(const struct rk_mesh *mesh)
{
    return atomic_load_explicit(&mesh->segment->deaths, memory_order_relaxed) != 0;
}

static void describe(int status, char *text, size_t size)
{
    if (status > 0 && WIFSIGNALED(status))
        snprintf(text, size, "was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (status >= 0 && WIFEXITED(status))
        snprintf(text, size, "ended with exit status %d", WEXITSTATUS(status));
    else
        snprintf(text, size, "has died");
}

int rk_mesh_death(const struct rk_mesh *mesh, int after, char *text, size_t size)
{
    for (int rank = after + 1; rank < mesh->size; rank++) {
        const struct rk_rank_info *info = &mesh->ranks[rank];
        const struct rk_place *place = &mesh->segment->rank[info->local_rank];
        if (info->node != mesh->ranks[mesh->rank].node || !atomic_load(&place->dead))
            continue;
        char how[96];
        describe(atomic_load(&place->wait_status), how, sizeof how);
        snprintf(text, size, "rank %d (pid %d) on %s %s", rank, info->pid, info->host, how);
        return rank;
    }
    return -1;
}
