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

struct rk_guard {
    struct rk_mesh *mesh;
    rk_guard_verdict *verdict;
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
static bool newcomer_is_gone(struct rk_guard *guard)
{
    static struct children now;
    list_siblings(&now);
    for (size_t i = 0; i < guard->newcomers.count; i++)
        if (!holds(&now, guard->newcomers.pids[i]))
            return true;
    for (size_t i = 0; i < now.count; i++)
        if (!holds(&guard->before, now.pids[i]))
            add(&guard->newcomers, now.pids[i]);
    return false;
}

void rk_guard_kill_newcomers(const struct rk_guard *guard)
{
    static struct children now;
    list_siblings(&now);
    for (size_t i = 0; guard && i < now.count; i++)
        if (!holds(&guard->before, now.pids[i]))
            kill(now.pids[i], SIGKILL);
}

static void *keep_time(void *context)
{
    struct rk_guard *guard = context;
    pthread_mutex_lock(&guard->lock);
    while (!guard->done) {
        struct timespec next;
        clock_gettime(CLOCK_REALTIME, &next);
        next.tv_nsec += LOOK_US * 1000;
        next.tv_sec += next.tv_nsec / 1000000000;
        next.tv_nsec %= 1000000000;
        if (pthread_cond_timedwait(&guard->changed, &guard->lock, &next) != ETIMEDOUT || guard->done)
            continue;
        if (guard->looks && newcomer_is_gone(guard))
            guard->verdict(guard->mesh, "a replacement has died before it was up");
        if (rk_now_us() > guard->deadline_us)
            guard->verdict(guard->mesh, "no replacement has come up in time");
    }
    pthread_mutex_unlock(&guard->lock);
    return NULL;
}

struct rk_guard *rk_guard_begin(struct rk_mesh *mesh, bool looks, rk_guard_verdict *verdict)
{
    struct rk_guard *guard = calloc(1, sizeof *guard);
    if (!guard)
        return NULL;
    guard->mesh = mesh;
    guard->verdict = verdict;
    guard->looks = looks;
    guard->deadline_us = rk_now_us() + LIMIT_US;
    pthread_mutex_init(&guard->lock, NULL);
    pthread_cond_init(&guard->changed, NULL);
    list_siblings(&guard->before);
    if (!pthread_create(&guard->thread, NULL, keep_time, guard))
        return guard;
    free(guard);
    return NULL;
}

void rk_guard_step(struct rk_guard *guard)
{
    if (!guard)
        return;
    pthread_mutex_lock(&guard->lock);
    guard->deadline_us = rk_now_us() + LIMIT_US;
    pthread_mutex_unlock(&guard->lock);
}

void rk_guard_end(struct rk_guard *guard)
{
    if (!guard)
        return;
    pthread_mutex_lock(&guard->lock);
    guard->done = true;
    pthread_cond_signal(&guard->changed);
    pthread_mutex_unlock(&guard->lock);
    pthread_join(guard->thread, NULL);
    pthread_mutex_destroy(&guard->lock);
    pthread_cond_destroy(&guard->changed);
    free(guard);
}
