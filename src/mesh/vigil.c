/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Somebody who looks at the clock while the living regroup: MPI_Comm_spawn waits for ever for a process that dies
 * before it has come up, and so do others of MPI's calls when a new process is not what it should be. A new process
 * that is gone is seen at once, where the kernel lists a process's children. */

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "mesh/internal.h"

#define LIMIT_US 10000000 /* without a step ahead */
#define LOOK_US  5000
#define CHILDREN 4096 /* of mpirun, as far as they are looked at */

struct children {
    size_t count;
    pid_t pids[CHILDREN];
};

struct rk_vigil {
    struct rk_mesh *mesh;
    rk_vigil_verdict *verdict;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done, looks; /* one rank that looks for newcomers is enough */
    int64_t deadline_us;
    struct children before, newcomers;
};

static bool holds(const struct children *children, pid_t pid)
{
    for (size_t i = 0; i < children->count; i++)
        if (children->pids[i] == pid)
            return true;
    return false;
}

static void add(struct children *children, pid_t pid)
{
    if (children->count < CHILDREN && !holds(children, pid))
        children->pids[children->count++] = pid;
}

static void add_children_of_thread(struct children *children, int parent, const char *thread)
{
    char path[320];
    int pid;
    snprintf(path, sizeof path, "/proc/%d/task/%s/children", parent, thread);
    FILE *file = fopen(path, "re");
    while (file && fscanf(file, "%d", &pid) == 1)
        add(children, pid);
    if (file)
        fclose(file);
}

/* This process and the others that mpirun has started; nobody where the kernel doesn't tell. */
static void list_siblings(struct children *children)
{
    char path[64];
    int parent = getppid();
    const struct dirent *entry;
    snprintf(path, sizeof path, "/proc/%d/task", parent);
    DIR *threads = opendir(path);
    children->count = 0;
    while (threads && (entry = readdir(threads)))
        if (entry->d_name[0] != '.')
            add_children_of_thread(children, parent, entry->d_name);
    if (threads)
        closedir(threads);
}

/* Whether one that has come since the beginning is no longer there. */
static bool newcomer_is_gone(struct rk_vigil *vigil)
{
    static struct children now;
    list_siblings(&now);
    for (size_t i = 0; i < vigil->newcomers.count; i++)
        if (!holds(&now, vigil->newcomers.pids[i]))
            return true;
    for (size_t i = 0; i < now.count; i++)
        if (!holds(&vigil->before, now.pids[i]))
            add(&vigil->newcomers, now.pids[i]);
    return false;
}

void rk_vigil_kill_newcomers(const struct rk_vigil *vigil)
{
    struct children now; /* two threads may end the job at once */
    if (!vigil)
        return;
    list_siblings(&now);
    for (size_t i = 0; i < now.count; i++)
        if (!holds(&vigil->before, now.pids[i]))
            kill(now.pids[i], SIGKILL);
}

static void *keep_time(void *context)
{
    struct rk_vigil *vigil = context;
    pthread_mutex_lock(&vigil->lock);
    while (!vigil->done) {
        struct timespec next;
        clock_gettime(CLOCK_REALTIME, &next);
        next.tv_nsec += LOOK_US * 1000;
        next.tv_sec += next.tv_nsec / 1000000000;
        next.tv_nsec %= 1000000000;
        if (pthread_cond_timedwait(&vigil->changed, &vigil->lock, &next) != ETIMEDOUT || vigil->done)
            continue;
        if (vigil->looks && newcomer_is_gone(vigil))
            vigil->verdict(vigil->mesh, "a replacement has died before it was up");
        if (rk_now_us() > vigil->deadline_us)
            vigil->verdict(vigil->mesh, "no replacement has come up in time");
    }
    pthread_mutex_unlock(&vigil->lock);
    return NULL;
}

struct rk_vigil *rk_vigil_begin(struct rk_mesh *mesh, bool looks, rk_vigil_verdict *verdict)
{
    struct rk_vigil *vigil = calloc(1, sizeof *vigil);
    if (!vigil)
        return NULL;
    vigil->mesh = mesh;
    vigil->verdict = verdict;
    vigil->looks = looks;
    vigil->deadline_us = rk_now_us() + LIMIT_US;
    pthread_mutex_init(&vigil->lock, NULL);
    pthread_cond_init(&vigil->changed, NULL);
    list_siblings(&vigil->before);
    if (!pthread_create(&vigil->thread, NULL, keep_time, vigil))
        return vigil;
    free(vigil);
    return NULL;
}

void rk_vigil_step(struct rk_vigil *vigil)
{
    if (!vigil)
        return;
    pthread_mutex_lock(&vigil->lock);
    vigil->deadline_us = rk_now_us() + LIMIT_US;
    pthread_mutex_unlock(&vigil->lock);
}

void rk_vigil_end(struct rk_vigil *vigil)
{
    if (!vigil)
        return;
    pthread_mutex_lock(&vigil->lock);
    vigil->done = true;
    pthread_cond_signal(&vigil->changed);
    pthread_mutex_unlock(&vigil->lock);
    pthread_join(vigil->thread, NULL);
    pthread_mutex_destroy(&vigil->lock);
    pthread_cond_destroy(&vigil->changed);
    free(vigil);
}
