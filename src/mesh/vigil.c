/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The processes that mpirun starts while the living regroup: MPI_Comm_spawn waits for ever for one that dies before it
 * has come up, so somebody must look whether they are still there, where the kernel lists a process's children. */

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "mesh/internal.h"

#define CHILDREN  4096    /* of mpirun, as far as they are looked at */
#define KINDLY_US 1000000 /* for those who were asked to end to be gone; see stuck.c */
#define CLEAR_US  1000000 /* for those who were killed then */
#define APPEAR_US 200000  /* for those who were asked for to appear, so that they can be killed */
#define NAP_US    2000
#define SIGHT_US  200000 /* from the beginning of one that gets stuck until it is seen, at most */

struct children {
    size_t count;
    pid_t pids[CHILDREN];
};

struct rk_vigil {
    struct children before, newcomers;
    int64_t seen_us[CHILDREN]; /* each newcomer, first */
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

struct rk_vigil *rk_vigil_begin(void)
{
    struct rk_vigil *vigil = calloc(1, sizeof *vigil);
    if (vigil)
        list_siblings(&vigil->before);
    return vigil;
}

/* Those who have come since the beginning. */
static void list_newcomers(struct rk_vigil *vigil, const struct children *now)
{
    for (size_t i = 0; i < now->count; i++) {
        size_t count = vigil->newcomers.count;
        if (!holds(&vigil->before, now->pids[i]))
            add(&vigil->newcomers, now->pids[i]);
        if (vigil->newcomers.count > count)
            vigil->seen_us[count] = rk_now_us();
    }
}

bool rk_vigil_lost_one(struct rk_vigil *vigil, bool *stuck)
{
    struct children now;
    *stuck = false;
    if (!vigil)
        return false;
    list_siblings(&now);
    for (size_t i = 0; i < vigil->newcomers.count; i++)
        if (!holds(&now, vigil->newcomers.pids[i])) {
            *stuck = rk_now_us() - vigil->seen_us[i] > RK_STUCK_S * INT64_C(1000000) - SIGHT_US;
            return true;
        }
    list_newcomers(vigil, &now);
    return false;
}

static bool signal_all(const struct rk_vigil *vigil, const struct children *now, int number)
{
    bool found = false;
    for (size_t i = 0; i < now->count; i++)
        if (!holds(&vigil->before, now->pids[i])) {
            found = true;
            kill(now->pids[i], number);
            rk_segment_sweep(now->pids[i]);
        }
    return found;
}

void rk_vigil_kill_newcomers(const struct rk_vigil *vigil)
{
    struct children now; /* two threads may end the job at once */
    if (!vigil)
        return;
    list_siblings(&now);
    signal_all(vigil, &now, SIGKILL);
}

void rk_vigil_clear(struct rk_vigil *vigil, size_t expected)
{
    const struct timespec nap = {.tv_nsec = NAP_US * 1000};
    int64_t begun = rk_now_us();
    struct children now;
    if (!vigil)
        return;
    while (rk_now_us() < begun + KINDLY_US + CLEAR_US) {
        list_siblings(&now);
        list_newcomers(vigil, &now);
        bool appeared = vigil->newcomers.count >= expected || rk_now_us() > begun + APPEAR_US;
        if (!signal_all(vigil, &now, rk_now_us() < begun + KINDLY_US ? SIGTERM : SIGKILL) && appeared)
            break;
        nanosleep(&nap, NULL);
    }
    for (size_t i = 0; i < vigil->newcomers.count; i++)
        rk_segment_sweep(vigil->newcomers.pids[i]);
    vigil->newcomers.count = 0;
}

void rk_vigil_end(struct rk_vigil *vigil)
{
    free(vigil);
}
