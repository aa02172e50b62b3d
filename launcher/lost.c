/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A job that has lost nodes: what its line is without them. The nodes and their places are those of mpirun's --host, or
 * of the Slurm job; those that no rank had are spare. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "launcher/allocation.h"
#include "launcher/launch.h"
#include "launcher/plan.h"
#include "launcher/say.h"

int rk_plan_check_loss(const struct rk_run_values *values)
{
    const char *mode = values->on_node_loss;
    if (!mode || !strcmp(mode, "fail") || !strcmp(mode, "shrink"))
        return RANKCALL_OK;
    return rk_error(RANKCALL_EINVAL, "--on-node-loss: \"%s\" is neither fail nor shrink", mode);
}

/* Where the line has an argument behind one of these options; 0: nowhere. */
static size_t find(const struct rk_plan *plan, const char *const *options)
{
    for (size_t i = 1; i + 1 < plan->worker; i++)
        for (const char *const *option = options; *option; option++)
            if (!strcmp(plan->argv.items[i], *option))
                return i + 1;
    return 0;
}

/* ---- The places that are left ---- */

struct places {
    const struct rk_run_values *values;
    const char *const *lost;
    size_t lost_count;
    const char *tasks; /* of the Slurm job's nodes */
    int nodes, index;  /* of the Slurm job; the next one's */
    FILE *hosts;       /* "a:2,b:2", those that are left */
    int left, count;   /* so many of them; their places */
};

static bool is_lost(const struct places *places, const char *host)
{
    for (size_t i = 0; i < places->lost_count; i++)
        if (!strcmp(places->lost[i], host) || (places->tasks && rk_hosts_same(places->lost[i], host)))
            return true;
    return false;
}

static void take(struct places *places, const char *host, int count)
{
    if (is_lost(places, host))
        return;
    fprintf(places->hosts, "%s%s:%d", places->left++ ? "," : "", host, count);
    places->count += count;
}

static void take_line(struct places *places, const char *hosts)
{
    char host[RK_HOST_MAX];
    while (*hosts) {
        size_t size = strcspn(hosts, ","), name = strcspn(hosts, ":,");
        snprintf(host, sizeof(host), "%.*s", (int)name, hosts);
        take(places, host, hosts[name] == ':' ? atoi(hosts + name + 1) : 1);
        hosts += size + (hosts[size] == ',');
    }
}

/* As many as there are tasks, or as there were ranks where these were to be more. */
static bool take_node(void *context, const char *host)
{
    struct places *places = context;
    const struct rk_run_values *values = places->values;
    int tasks = rk_slurm_tasks(places->tasks, places->index++);
    if (values->ranks_per_node)
        tasks = values->ranks_per_node;
    else if (values->crowded && tasks * places->nodes < values->ranks)
        tasks = (values->ranks + places->nodes - 1) / places->nodes;
    take(places, host, tasks ? tasks : 1);
    return true;
}

static void take_slurm(struct places *places, const struct rk_allocation *allocation)
{
    const char *tasks = getenv("SLURM_TASKS_PER_NODE");
    places->tasks = tasks ? tasks : "";
    places->nodes = allocation->nodes ? allocation->nodes : 1;
    rk_hosts_visit(allocation->hosts, take_node, places);
}

/* The hosts that are left, as mpirun's --host has them: the plan's. NULL with an error. */
static const char *find_places(struct rk_plan *plan, struct places *places)
{
    static const char *const hosts[] = {"--host", "-host", "-H", NULL};
    size_t at = places->values->method == RK_MPIRUN ? find(plan, hosts) : 0;
    struct rk_allocation allocation;
    char *text = NULL;
    size_t size;
    rk_allocation_read(&allocation);
    if (!at && !(allocation.scheduler == RK_SLURM && allocation.hosts[0])) {
        rk_error(RANKCALL_ERANKDIED,
                 "node %s is lost, and which others there are is not known here: --launcher-arg --host names them",
                 places->lost[places->lost_count - 1]);
        return NULL;
    }
    if ((places->hosts = open_memstream(&text, &size))) {
        if (at)
            take_line(places, plan->argv.items[at]);
        else
            take_slurm(places, &allocation);
        fclose(places->hosts);
    }
    return rk_plan_keep(plan, text);
}

/* ---- The line ---- */

/* Gives an option its new value, which goes in front of the worker where the line does not have it yet. */
static int set(struct rk_plan *plan, const char *const *options, const char *value)
{
    struct rk_list *argv = &plan->argv;
    size_t at = find(plan, options);
    if (at) {
        argv->items[at] = value;
        return RANKCALL_OK;
    }
    const char **items = reallocarray(argv->items, argv->count + 3, sizeof(*items));
    if (!items)
        return rk_error(RANKCALL_EINTERNAL, "no memory for a command line");
    argv->items = items;
    memmove(items + plan->worker + 2, items + plan->worker, (argv->count + 1 - plan->worker) * sizeof(*items));
    items[plan->worker] = options[0];
    items[plan->worker + 1] = value;
    argv->count += 2;
    plan->worker += 2;
    return RANKCALL_OK;
}

/* "a:2,b:2" as "a,b". */
static const char *names_of(struct rk_plan *plan, const char *hosts)
{
    char *names = strdup(hosts), *to = names;
    bool in_name = true;
    for (; names && *hosts; hosts++) {
        in_name = *hosts == ',' || (in_name && *hosts != ':');
        if (in_name)
            *to++ = *hosts;
    }
    if (names)
        *to = '\0';
    return rk_plan_keep(plan, names);
}

static int set_number(struct rk_plan *plan, const char *const *options, int number)
{
    char *text = NULL;
    if (asprintf(&text, "%d", number) < 0)
        text = NULL;
    const char *kept = rk_plan_keep(plan, text);
    return kept ? set(plan, options, kept) : RANKCALL_EINTERNAL;
}

/* Slurm may hold what the lost step had until it has heard of that node. */
static int set_hosts(struct rk_plan *plan, const struct places *places, const char *hosts)
{
    static const char *const by_mpirun[] = {"--host", "-host", "-H", NULL};
    static const char *const nodelist[] = {"--nodelist", "-w", NULL}, *const nodes[] = {"--nodes", "-N", NULL};
    if (places->tasks) {
        setenv("SLURM_OVERLAP", "1", 1);
        rk_launch_lose_nodes(places->nodes, places->left);
    }
    if (places->values->method == RK_MPIRUN)
        return set(plan, by_mpirun, hosts);
    const char *names = names_of(plan, hosts);
    int code = names ? set(plan, nodelist, names) : RANKCALL_EINTERNAL;
    return code ? code
                : set_number(plan, nodes, places->left < places->values->ranks ? places->left : places->values->ranks);
}

int rk_plan_leave_out(struct rk_run_values *values, struct rk_plan *plan, const char *const *lost, size_t count)
{
    static const char *const ranks[] = {"-n", NULL};
    struct places places = {.values = values, .lost = lost, .lost_count = count};
    const char *hosts = find_places(plan, &places), *node = lost[count - 1];
    if (!hosts)
        return rankcall_last_error()->code;
    bool shrinks = values->on_node_loss && !strcmp(values->on_node_loss, "shrink");
    int wanted = values->ranks;
    if (places.count < (shrinks ? 1 : wanted))
        return rk_error(RANKCALL_ERANKDIED, "node %s is lost, and the others have %d place%s for %d ranks%s", node,
                        places.count, places.count == 1 ? "" : "s", wanted,
                        shrinks ? "" : " (--on-node-loss=shrink starts as many as fit)");
    if (places.count < wanted) {
        rk_say("node %s is lost: %d of %d ranks have places", node, places.count, wanted);
        values->ranks = places.count;
    }
    int code = set_hosts(plan, &places, hosts);
    return code || values->ranks == wanted ? code : set_number(plan, ranks, values->ranks);
}
