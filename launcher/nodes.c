/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Which nodes of a Slurm job are still there, before the job is started on them again. Who has lost all its processes
 * ends its connections as in any death, and Slurm hears of it much later. */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "base/spawn.h"
#include "launcher/allocation.h"
#include "launcher/life.h"
#include "launcher/say.h"

#define PATIENCE_US 8000000 /* for a step to begin and end on a node */
#define AT_ONCE     64      /* steps */
#define FEW         16      /* nodes that are asked one by one in the first place */

struct asked {
    char host[RK_HOST_MAX];
    pid_t pid; /* of its srun; 0: there is none any more */
    bool answered;
};

struct inquiry {
    struct rk_life *life;
    const char *first; /* this very node: it shows whether Slurm still starts steps */
    struct asked *nodes;
    size_t count, room;
};

static bool add_node(void *context, const char *host)
{
    struct inquiry *inquiry = context;
    const char *lost[RK_LOST_MAX];
    size_t count = rk_journal_lost(inquiry->life->standin.journal, lost);
    for (size_t i = 0; i < count; i++)
        if (rk_hosts_same(lost[i], host))
            return true;
    if (inquiry->count == inquiry->room) {
        inquiry->room = inquiry->room ? 2 * inquiry->room : 16;
        struct asked *more = reallocarray(inquiry->nodes, inquiry->room, sizeof(*more));
        if (!more)
            return false;
        inquiry->nodes = more;
    }
    inquiry->nodes[inquiry->count] = (struct asked){0};
    snprintf(inquiry->nodes[inquiry->count++].host, RK_HOST_MAX, "%s", host);
    return true;
}

/* A step that does nothing, on one node or on as many as the list has. */
static pid_t start_step(const struct rk_run_values *values, const char *hosts, size_t count)
{
    char tasks[40], nodes[40], group[40];
    const char *argv[13] = {"srun", "--overlap", "--mpi=none", "--gpus=0", "--quiet",
                            nodes,  tasks,       "--nodelist", hosts};
    size_t size = 9;
    snprintf(nodes, sizeof(nodes), "--nodes=%zu", count);
    snprintf(tasks, sizeof(tasks), "--ntasks=%zu", count);
    snprintf(group, sizeof(group), "--het-group=%d", values->het_group);
    if (values->het_group >= 0)
        argv[size++] = group;
    argv[size++] = "true";
    return rk_spawn_aside(argv, -1);
}

/* Whether some step has not ended; notes which have ended well. */
static bool are_open(struct asked *asked, size_t count)
{
    bool open = false;
    for (size_t i = 0; i < count; i++) {
        int status = -1;
        if (asked[i].pid && waitpid(asked[i].pid, &status, WNOHANG)) {
            asked[i].answered = WIFEXITED(status) && WEXITSTATUS(status) == 0;
            asked[i].pid = 0;
        }
        open |= asked[i].pid != 0;
    }
    return open;
}

/* Until all have ended, or for as long as that may take. Clients are answered meanwhile. */
static void await_steps(struct rk_life *life, struct asked *asked, size_t count)
{
    rk_life_enter(life, PAUSING, PATIENCE_US);
    int64_t deadline_us = life->deadline_us;
    while (are_open(asked, count) && life->stage == PAUSING && rk_now_us() < deadline_us)
        rk_life_step(life);
    for (size_t i = 0; i < count; i++)
        if (asked[i].pid) {
            kill(-asked[i].pid, SIGKILL);
            waitpid(asked[i].pid, NULL, 0);
        }
}

/* All by one step: as a rule they are there. */
static bool all_answer(struct inquiry *inquiry)
{
    struct asked all = {0};
    char *hosts = calloc(inquiry->count + 1, RK_HOST_MAX), *end = hosts;
    for (size_t i = 0; hosts && i < inquiry->count; i++)
        end += sprintf(end, "%s%s", i ? "," : "", inquiry->nodes[i].host);
    if (hosts)
        all.pid = start_step(inquiry->life->values, hosts, inquiry->count);
    if (all.pid)
        await_steps(inquiry->life, &all, 1);
    free(hosts);
    return all.answered || !all.pid;
}

/* A job that Slurm is about to end has no steps any more, on any node. */
static bool steps_start(const struct inquiry *inquiry)
{
    for (size_t i = 0; i < inquiry->count; i++)
        if (!inquiry->nodes[i].answered && rk_hosts_same(inquiry->first, inquiry->nodes[i].host))
            return false;
    return true;
}

static void ask_each(struct inquiry *inquiry)
{
    for (size_t at = 0; at < inquiry->count; at += AT_ONCE) {
        size_t count = inquiry->count - at < AT_ONCE ? inquiry->count - at : AT_ONCE;
        for (size_t i = at; i < at + count; i++)
            inquiry->nodes[i].pid = start_step(inquiry->life->values, inquiry->nodes[i].host, 1);
        await_steps(inquiry->life, inquiry->nodes + at, count);
    }
    if (!steps_start(inquiry)) {
        rk_say("Slurm starts nothing for this job any more: which nodes are there is not known");
        return;
    }
    for (size_t i = 0; i < inquiry->count && inquiry->life->stage == PAUSING; i++)
        if (!inquiry->nodes[i].answered) {
            rk_say("node %s: Slurm cannot start anything there", inquiry->nodes[i].host);
            rk_journal_lose(inquiry->life->standin.journal, inquiry->nodes[i].host);
        }
}

void rk_nodes_look(struct rk_life *life)
{
    struct rk_allocation allocation;
    struct inquiry inquiry = {.life = life};
    rk_allocation_read(&allocation);
    if (allocation.scheduler != RK_SLURM || allocation.nodes < 2)
        return;
    inquiry.first = allocation.first;
    rk_hosts_visit(allocation.hosts, add_node, &inquiry);
    if (inquiry.count > 1 && (inquiry.count <= FEW || !all_answer(&inquiry)) && life->stage == PAUSING)
        ask_each(&inquiry);
    free(inquiry.nodes);
}
