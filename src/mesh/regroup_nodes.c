/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What the nodes of a broken mesh agree on: who is dead when all that live have come back, and that all have joined.
 *
 * The lowest living rank coordinates. On every node the lowest living rank speaks for it, by messages of MPI that
 * nobody waits for. A speaker whose coordinator turns out to be dead tells the next. */

#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "mesh/regroup.h"

#define SETTLE_US 10000    /* without anything new, before the coordinator gives its order */
#define AGREE_US  20000000 /* for all nodes to be content: one may kill who has not come back only after 10 s */

enum kind { CONTENT = 1, ORDER, JOINED, ALL_JOINED };

struct rk_posted {
    struct rk_posted *next;
    MPI_Request request;
    int32_t kind, node, count;
    int32_t dead[]; /* ranks */
};
#define TRAVELS(posted) (&(posted)->kind)
#define HEAD            (3 * sizeof(int32_t))

bool rk_nodes_open(struct rk_regroup *regroup)
{
    size_t nodes = (size_t)regroup->mesh->nodes;
    regroup->told = regroup->coordinator = -1;
    regroup->leads = calloc(nodes, sizeof *regroup->leads);
    regroup->joined_nodes = calloc(nodes, sizeof *regroup->joined_nodes);
    for (size_t node = 0; regroup->leads && node < nodes; node++)
        regroup->leads[node] = -1;
    return regroup->leads && regroup->joined_nodes;
}

void rk_nodes_close(struct rk_regroup *regroup)
{
    while (regroup->posted) {
        struct rk_posted *posted = regroup->posted;
        int done = 0;
        regroup->posted = posted->next;
        MPI_Test(&posted->request, &done, MPI_STATUS_IGNORE);
        if (done) /* else its receiver is dead, and MPI keeps it */
            free(posted);
    }
    free(regroup->leads);
    free(regroup->joined_nodes);
}

static int node_of(const struct rk_regroup *regroup, int rank)
{
    return regroup->mesh->ranks[rank].node;
}

static int own_node(const struct rk_regroup *regroup)
{
    return node_of(regroup, regroup->mesh->rank);
}

static int lowest_living(const struct rk_regroup *regroup)
{
    int rank = 0;
    while (rk_regroup_is_dead(regroup, rank))
        rank++;
    return rank;
}

/* ---- Words ---- */

/* With the dead that are known here: of this node alone, or of all. */
static void post(struct rk_regroup *regroup, int to, enum kind kind, bool of_all)
{
    struct rk_mesh *mesh = regroup->mesh;
    struct rk_posted *posted = calloc(1, sizeof *posted + (size_t)mesh->size * sizeof *posted->dead);
    if (!posted)
        rk_regroup_give_up(mesh, "out of memory");
    posted->kind = kind;
    posted->node = own_node(regroup);
    for (int rank = 0; rank < mesh->size; rank++)
        if (rk_regroup_is_dead(regroup, rank) && (of_all || node_of(regroup, rank) == posted->node))
            posted->dead[posted->count++] = rank;
    posted->next = regroup->posted;
    regroup->posted = posted;
    MPI_Isend(TRAVELS(posted), (int)(HEAD + (size_t)posted->count * sizeof *posted->dead), MPI_BYTE, to, RK_TAG_REGROUP,
              regroup->comm, &posted->request);
}

/* Who has lived through it knows of all who have not. */
static void leave_out(struct rk_regroup *regroup, const struct rk_posted *order)
{
    for (int i = 0; i < order->count; i++) {
        int rank = order->dead[i];
        if (node_of(regroup, rank) == own_node(regroup))
            continue; /* their own node knows them best */
        rk_liveness_far(regroup->watch, rank, -1);
        atomic_store(&rk_far(regroup->segment, regroup->ranks)[rank].left_out, 1);
    }
}

static void take(struct rk_regroup *regroup, int from, const struct rk_posted *word)
{
    switch ((enum kind)word->kind) {
    case CONTENT:
        for (int i = 0; i < word->count; i++)
            rk_liveness_far(regroup->watch, word->dead[i], -1);
        regroup->leads[word->node] = from;
        break;
    case ORDER:
        leave_out(regroup, word);
        regroup->coordinator = from;
        break;
    case JOINED: regroup->joined_nodes[word->node] = true; break;
    case ALL_JOINED: regroup->joined_nodes[own_node(regroup)] = true; break;
    }
}

static void hear(struct rk_regroup *regroup)
{
    struct rk_mesh *mesh = regroup->mesh;
    for (int arrived = 1; arrived;) {
        MPI_Status status;
        int size = 0;
        MPI_Iprobe(MPI_ANY_SOURCE, RK_TAG_REGROUP, regroup->comm, &arrived, &status);
        if (!arrived)
            return;
        MPI_Get_count(&status, MPI_BYTE, &size);
        struct rk_posted *word = calloc(1, sizeof *word + (size_t)size);
        if (!word)
            rk_regroup_give_up(mesh, "out of memory");
        MPI_Recv(TRAVELS(word), size, MPI_BYTE, status.MPI_SOURCE, RK_TAG_REGROUP, regroup->comm, MPI_STATUS_IGNORE);
        take(regroup, status.MPI_SOURCE, word);
        free(word);
    }
}

/* ---- What is agreed ---- */

static bool has_living(const struct rk_regroup *regroup, int node)
{
    for (int rank = 0; rank < regroup->mesh->size; rank++)
        if (node_of(regroup, rank) == node && !rk_regroup_is_dead(regroup, rank))
            return true;
    return false;
}

/* Nothing new for a moment, and every node with somebody alive has spoken. */
static bool all_content(struct rk_regroup *regroup)
{
    for (int node = 0; node < regroup->mesh->nodes; node++)
        if (regroup->leads[node] >= 0 && rk_regroup_is_dead(regroup, regroup->leads[node]))
            regroup->leads[node] = -1; /* the next one there speaks, if there is one */
    for (int node = 0; node < regroup->mesh->nodes; node++)
        if (node != own_node(regroup) && regroup->leads[node] < 0 && has_living(regroup, node)) {
            regroup->content_us = 0;
            return false;
        }
    if (!regroup->content_us)
        regroup->content_us = rk_now_us();
    return rk_now_us() >= regroup->content_us + SETTLE_US;
}

static void give_order(struct rk_regroup *regroup)
{
    const struct rk_mesh *mesh = regroup->mesh;
    regroup->coordinator = mesh->rank;
    for (int node = 0; node < mesh->nodes; node++)
        if (regroup->leads[node] >= 0)
            post(regroup, regroup->leads[node], ORDER, true);
    for (int rank = 0; rank < mesh->size; rank++)
        if (node_of(regroup, rank) != own_node(regroup) && rk_regroup_is_dead(regroup, rank))
            atomic_store(&rk_far(regroup->segment, regroup->ranks)[rank].left_out, 1);
}

bool rk_nodes_ordered(struct rk_regroup *regroup)
{
    int lowest = lowest_living(regroup);
    hear(regroup);
    if (regroup->coordinator >= 0)
        return true;
    if (!regroup->agreed_by_us)
        regroup->agreed_by_us = rk_now_us() + AGREE_US;
    if (rk_now_us() > regroup->agreed_by_us) /* all may be dead there, with nobody left to tell */
        rk_regroup_give_up(regroup->mesh, "another node says nothing");
    if (lowest != regroup->mesh->rank && regroup->told != lowest) {
        post(regroup, lowest, CONTENT, false);
        regroup->told = lowest;
    }
    if (lowest != regroup->mesh->rank || !all_content(regroup))
        return false;
    give_order(regroup);
    return true;
}

bool rk_nodes_joined(struct rk_regroup *regroup)
{
    const struct rk_mesh *mesh = regroup->mesh;
    if (regroup->coordinator < 0)
        return false; /* another rank speaks for this node */
    hear(regroup);
    if (regroup->coordinator != mesh->rank) {
        if (!regroup->said_joined)
            post(regroup, regroup->coordinator, JOINED, false);
        regroup->said_joined = true;
        return regroup->joined_nodes[own_node(regroup)];
    }
    for (int node = 0; node < mesh->nodes; node++)
        if (regroup->leads[node] >= 0 && !regroup->joined_nodes[node])
            return false;
    for (int node = 0; node < mesh->nodes; node++)
        if (regroup->leads[node] >= 0)
            post(regroup, regroup->leads[node], ALL_JOINED, false);
    return true;
}
