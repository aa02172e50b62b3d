/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A job that has lost nodes: what its line is without them. mpirun's --host names the nodes and their places; those
 * that no rank had are spare. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "launcher/plan.h"
#include "launcher/say.h"

int rk_plan_check_loss(const struct rk_run_values *values)
{
    const char *mode = values->on_node_loss;
    if (!mode || !strcmp(mode, "fail") || !strcmp(mode, "shrink"))
        return RANKCALL_OK;
    return rk_error(RANKCALL_EINVAL, "--on-node-loss: \"%s\" is neither fail nor shrink", mode);
}

static bool is_lost(const char *host, size_t size, const char *const *lost, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(lost[i]) == size && !strncmp(lost[i], host, size))
            return true;
    return false;
}

/* "a:2,b:2" without those that are lost; NULL when memory is out. `places` counts those that are left. */
static char *without(const char *hosts, const char *const *lost, size_t count, int *places)
{
    char *left = calloc(strlen(hosts) + 1, 1);
    *places = 0;
    for (const char *item = hosts; left && *item;) {
        size_t size = strcspn(item, ","), name = strcspn(item, ":,");
        if (!is_lost(item, name, lost, count)) {
            *places += item[name] == ':' ? atoi(item + name + 1) : 1;
            strncat(strcat(left, *left ? "," : ""), item, size);
        }
        item += size + (item[size] == ',');
    }
    return left;
}

/* Where the line has the names of hosts; 0: nowhere. */
static size_t find_hosts(const struct rk_plan *plan)
{
    for (size_t i = 1; i + 1 < plan->argv.count; i++)
        if (!strcmp(plan->argv.items[i], "--host") || !strcmp(plan->argv.items[i], "-host") ||
            !strcmp(plan->argv.items[i], "-H"))
            return i + 1;
    return 0;
}

static size_t find_ranks(const struct rk_plan *plan)
{
    for (size_t i = 1; i + 1 < plan->argv.count; i++)
        if (!strcmp(plan->argv.items[i], "-n"))
            return i + 1;
    return 0;
}

int rk_plan_leave_out(struct rk_run_values *values, struct rk_plan *plan, const char *const *lost, size_t count)
{
    size_t at = find_hosts(plan), ranks_at = find_ranks(plan);
    int places = 0;
    if (!at || !ranks_at)
        return rk_error(
            RANKCALL_ERANKDIED,
            "node %s is lost, and which others there are is not known here: --launcher-arg --host names them",
            lost[count - 1]);
    const char *left = rk_plan_keep(plan, without(plan->argv.items[at], lost, count, &places));
    if (!left)
        return RANKCALL_EINTERNAL;
    bool shrinks = values->on_node_loss && !strcmp(values->on_node_loss, "shrink");
    if (places < (shrinks ? 1 : values->ranks))
        return rk_error(RANKCALL_ERANKDIED, "node %s is lost, and the others have %d place%s for %d ranks%s",
                        lost[count - 1], places, places == 1 ? "" : "s", values->ranks,
                        shrinks ? "" : " (--on-node-loss=shrink starts as many as fit)");
    plan->argv.items[at] = left;
    if (places >= values->ranks)
        return RANKCALL_OK;
    char *text = NULL;
    if (asprintf(&text, "%d", places) < 0)
        text = NULL;
    if (!(plan->argv.items[ranks_at] = rk_plan_keep(plan, text)))
        return RANKCALL_EINTERNAL;
    rk_say("node %s is lost: %d of %d ranks have places", lost[count - 1], places, values->ranks);
    values->ranks = places;
    return RANKCALL_OK;
}
