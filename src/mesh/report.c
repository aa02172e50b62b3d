/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Reports: every rank's word that it is done with the announced call.
 *
 * On a node they lie in the shared memory, counted. Between nodes the sums go by MPI up the tree that the announcement
 * came down, from first rank to first rank; at rank 0 the IO thread takes them. */

#include <sched.h>
#include <stdatomic.h>

#include "base/fd.h"
#include "mesh/internal.h"
#include "mesh/links.h"

#define RK_AWAKE_US                                                                                  \
    30 /* since the last reports came: the ranks of other nodes still look for the next announcement \
        */

#define SOON_LOOKS 100 /* of a pause each: 2 to 4 us */

static void add_spans(struct rk_spans *sum, const struct rk_spans *part)
{
    if (part->slowest < 0)
        return;
    if (sum->slowest < 0 || part->handler_min < sum->handler_min)
        sum->handler_min = part->handler_min;
    if (sum->slowest < 0 || part->handler_max > sum->handler_max) {
        sum->handler_max = part->handler_max;
        sum->slowest = part->slowest;
    }
    if (part->payload_us > sum->payload_us)
        sum->payload_us = part->payload_us;
    if (part->ended_us > sum->ended_us)
        sum->ended_us = part->ended_us;
}

void rk_tally_add(struct rk_tally *sum, const struct rk_tally *part)
{
    sum->messages += part->messages;
    sum->failed += part->failed;
    add_spans(&sum->spans, &part->spans);
}

/* All ranks of this node but `without` (a local rank). */
static void add_node(const struct rk_mesh *mesh, int without, struct rk_tally *sum)
{
    for (int i = 0; i < mesh->local_size; i++)
        if (i != without)
            rk_tally_add(sum, &mesh->segment->rank[i].tally);
}

/* ---- Where they are ---- */

/* Others read it at each call: it is written where it changes. */
static void be_seen(struct rk_mesh *mesh, int cpu)
{
    _Atomic int *seen = &mesh->segment->rank[mesh->local_rank].cpu;
    if (atomic_load_explicit(seen, memory_order_relaxed) != cpu)
        atomic_store_explicit(seen, cpu, memory_order_relaxed);
}

static bool was_on(const struct rk_mesh *mesh, int local_rank, int cpu)
{
    return atomic_load_explicit(&mesh->segment->rank[local_rank].cpu, memory_order_relaxed) == cpu;
}

bool rk_mesh_chief_was_on(const struct rk_mesh *mesh, int cpu)
{
    return mesh->ranks[mesh->rank].node == 0 && was_on(mesh, 0, cpu);
}

bool rk_mesh_others_were_on(const struct rk_mesh *mesh, int cpu)
{
    for (int i = 0; i < mesh->local_size; i++)
        if (i != mesh->local_rank && was_on(mesh, i, cpu))
            return true;
    return false;
}

/* ---- The ranks ---- */

static bool node_reported(void *context)
{
    struct rk_mesh *mesh = context;
    return (int)atomic_load(&mesh->segment->reported) == mesh->local_size - 1;
}

/* What this rank still sends to others of the call needs its hand. */
static bool look_for_reports(void *context)
{
    rk_mesh_drive(context);
    return node_reported(context);
}

/* The first rank of another node waits for its node and the nodes below it. */
static void report_node(struct rk_mesh *mesh, const struct rk_tally *tally)
{
    struct rk_tally sum = *tally, part;
    if (!rk_mesh_wait(mesh, look_for_reports, mesh))
        return;
    add_node(mesh, 0, &sum);
    for (int i = 0; i < mesh->span.child_count; i++) {
        if (!rk_mesh_receive(mesh, mesh->span.children[i], RK_TAG_REPORT, &part, sizeof part))
            return;
        rk_tally_add(&sum, &part);
    }
    rk_mesh_send(mesh, mesh->span.parent, RK_TAG_REPORT, &sum, sizeof sum);
    rk_io_ring(mesh);
}

void rk_mesh_report(struct rk_mesh *mesh, const struct rk_tally *tally)
{
    int node = mesh->ranks[mesh->rank].node;
    if (node != 0 && mesh->local_rank == 0) {
        report_node(mesh, tally);
        return;
    }
    mesh->segment->rank[mesh->local_rank].tally = *tally;
    be_seen(mesh, sched_getcpu());
    atomic_fetch_add(&mesh->segment->reported, 1);
    if (node == 0)
        rk_io_ring_late(mesh);
    else
        rk_bell_ring(&mesh->segment->rank[0].bell);
}

/* ---- Rank 0's IO thread ---- */

void rk_reports_await(struct rk_mesh *mesh, uint32_t operation)
{
    struct rk_span *span = &mesh->span;
    atomic_store(&mesh->segment->reported, 0);
    span->request_count = 0;
    if (!span->child_count)
        return;
    span->notice = mesh->segment->notice;
    for (int i = span->child_count - 1; i >= 0; i--)
        MPI_Isend(&span->notice, sizeof span->notice, MPI_BYTE, span->children[i], RK_TAG_ANNOUNCE, mesh->control,
                  &span->requests[span->request_count++]);
    for (int i = 0; operation == RK_OPERATION_CALL && i < span->child_count; i++)
        MPI_Irecv(&span->tallies[i], sizeof span->tallies[i], MPI_BYTE, span->children[i], RK_TAG_REPORT, mesh->control,
                  &span->requests[span->request_count++]);
}

void rk_mesh_rouse(struct rk_mesh *mesh)
{
    const struct rk_word word = {.kind = RK_WORD_ROUSE};
    struct rk_links *links = mesh->links;
    int64_t now = links ? rk_now_us() : 0;
    if (!links || now < mesh->span.awake_until_us)
        return;
    for (int i = links->count - links->children; i < links->count; i++)
        rk_link_say(&links->links[i], &word, NULL);
    mesh->span.awake_until_us = now + RK_ROUSED_US / 2;
}

bool rk_mesh_some_reported(const struct rk_mesh *mesh)
{
    return atomic_load(&mesh->segment->reported) > 0;
}

void rk_mesh_look_for_reports(struct rk_mesh *mesh)
{
    int cpu = sched_getcpu();
    be_seen(mesh, cpu);
    if (rk_mesh_others_were_on(mesh, cpu))
        return;
    for (int looks = 0; looks < SOON_LOOKS && !node_reported(mesh); looks++)
        rk_cpu_pause();
}

bool rk_mesh_reported(struct rk_mesh *mesh, struct rk_tally *tally)
{
    struct rk_span *span = &mesh->span;
    int done = 1;
    if (!node_reported(mesh))
        return false;
    if (span->request_count)
        MPI_Testall(span->request_count, span->requests, &done, MPI_STATUSES_IGNORE);
    if (!done)
        return false;
    span->request_count = 0;
    if (span->child_count)
        span->awake_until_us = rk_now_us() + RK_AWAKE_US;
    *tally = RK_TALLY_NONE;
    add_node(mesh, mesh->local_rank, tally);
    for (int i = 0; i < span->child_count; i++)
        rk_tally_add(tally, &span->tallies[i]);
    return true;
}

/* ---- The tree of nodes ---- */

/* The lowest rank of a node. */
static int first_rank(const struct rk_mesh *mesh, int node)
{
    int rank = 0;
    while (mesh->ranks[rank].node != node)
        rank++;
    return rank;
}

void rk_span_open(struct rk_mesh *mesh)
{
    struct rk_span *span = &mesh->span;
    int node = mesh->ranks[mesh->rank].node;
    *span = (struct rk_span){0};
    span->parent = node ? first_rank(mesh, rk_tree_parent(node)) : -1;
    for (int bit = 1, child; (child = rk_tree_child(node, bit, mesh->nodes)) > 0; bit <<= 1)
        span->children[span->child_count++] = first_rank(mesh, child);
}

/* Some of those they are with are dead. The sends come first. */
static void abandon_requests(struct rk_span *span)
{
    for (int i = 0; i < span->request_count; i++) {
        if (span->requests[i] == MPI_REQUEST_NULL)
            continue;
        if (i < span->child_count) {
            MPI_Request_free(&span->requests[i]);
        } else {
            MPI_Cancel(&span->requests[i]);
            MPI_Wait(&span->requests[i], MPI_STATUS_IGNORE);
        }
    }
}

void rk_span_close(struct rk_mesh *mesh)
{
    struct rk_span *span = &mesh->span;
    if (span->request_count && !rk_mesh_broken(mesh))
        MPI_Waitall(span->request_count, span->requests, MPI_STATUSES_IGNORE);
    else if (span->request_count)
        abandon_requests(span);
    span->request_count = 0;
}
