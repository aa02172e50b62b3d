/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What a batch scheduler has given this process, by its environment. */

#ifndef RK_LAUNCHER_ALLOCATION_H
#define RK_LAUNCHER_ALLOCATION_H

#include <stdbool.h>
#include <stddef.h>

#define RK_HOST_MAX 256

enum rk_scheduler { RK_NO_SCHEDULER, RK_SLURM, RK_OTHER_SCHEDULER };

struct rk_allocation {
    enum rk_scheduler scheduler;
    const char *name;        /* the scheduler's */
    const char *job;         /* its number there */
    int nodes;               /* 0: not known */
    int tasks;               /* that were asked for; 0: none were */
    int gpus;                /* of each node; 0: none, or not known */
    const char *hosts;       /* Slurm's list, like node[1-3]; "" when there is none */
    char first[RK_HOST_MAX]; /* of them, where rank 0 will be */
    bool here;               /* this process runs on `first` */
    bool among;              /* it runs on one of them */
};

/* Reads the environment. Pointers lead into it. */
void rk_allocation_read(struct rk_allocation *allocation);

/* Calls `visit` for each host of such a list until it returns false. */
void rk_hosts_visit(const char *list, bool (*visit)(void *context, const char *host), void *context);

/* Whether two names are one host's: up to their first dots. */
bool rk_hosts_same(const char *a, const char *b);

/* How many tasks Slurm has for each node of a list, in its order: a text like "2(x3),1". Returns that of node `index`;
 * 0 when it does not say. */
int rk_slurm_tasks(const char *text, int index);

/* The first host of a list like "gpu[01-03,7],login". False when there is none. */
bool rk_hosts_first(const char *list, char host[RK_HOST_MAX]);

/* Whether a host of that name, up to its first dot, is in the list. */
bool rk_hosts_have(const char *list, const char *host);

#endif
