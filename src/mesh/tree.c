/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Tallies up and checkpoints down a binomial tree rooted at rank 0: O(log N) messages deep, with sleeping waiters.
 *
 * A rank's parent is its number without the lowest bit that is set; its children are its number plus each lower power
 * of two. Checkpoint messages carry the call's number, so that one left over from a call that a rank left early is
 * recognised. */

#include "mesh/collect_internal.h"

#define CHECKPOINT_LEAVE 2 /* beside 0 and 1: the sender has left the call */

struct receive {
    struct rk_mesh *mesh;
    MPI_Request request;
};

static bool received(void *context)
{
    struct receive *receive = context;
    int done = 0;
    MPI_Test(&receive->request, &done, MPI_STATUS_IGNORE);
    return done;
}

bool rk_mesh_receive(struct rk_mesh *mesh, int rank, enum rk_tag tag, void *bytes, int size)
{
    struct receive receive = {.mesh = mesh};
    MPI_Irecv(bytes, size, MPI_BYTE, rank, tag, mesh->control, &receive.request);
    if (rk_mesh_wait(mesh, received, &receive))
        return true;
    MPI_Cancel(&receive.request);
    MPI_Wait(&receive.request, MPI_STATUS_IGNORE);
    return false;
}

bool rk_mesh_tally(struct rk_mesh *mesh, struct rk_tally *tally)
{
    int from;
    for (int bit = 1; (from = rk_tree_child(mesh->rank, bit, mesh->size)) > 0; bit <<= 1) {
        struct rk_tally part;
        if (!rk_mesh_receive(mesh, from, RK_TAG_TALLY, &part, sizeof part))
            return false;
        rk_tally_add(tally, &part);
    }
    return mesh->rank == 0 || rk_mesh_send(mesh, rk_tree_parent(mesh->rank), RK_TAG_TALLY, tally, sizeof *tally);
}

static void pass_on(struct rk_mesh *mesh, struct rk_checkpoint checkpoint)
{
    int to;
    for (int bit = 1; (to = rk_tree_child(mesh->rank, bit, mesh->size)) > 0; bit <<= 1)
        rk_mesh_send(mesh, to, RK_TAG_CHECKPOINT, &checkpoint, sizeof checkpoint);
}

void rk_mesh_begin(struct rk_mesh *mesh, uint64_t number)
{
    while (mesh->nodes > 1 && !mesh->linked && mesh->rank && mesh->early.number < number) {
        int arrived = 0;
        MPI_Iprobe(rk_tree_parent(mesh->rank), RK_TAG_CHECKPOINT, mesh->control, &arrived, MPI_STATUS_IGNORE);
        if (!arrived)
            return;
        MPI_Recv(&mesh->early, sizeof mesh->early, MPI_BYTE, rk_tree_parent(mesh->rank), RK_TAG_CHECKPOINT,
                 mesh->control, MPI_STATUS_IGNORE);
    }
}

/* The parent's next word on this call; what it said on earlier calls is dropped. */
static struct rk_checkpoint hear(struct rk_mesh *mesh, uint64_t number)
{
    struct rk_checkpoint checkpoint = mesh->early;
    mesh->early.number = 0;
    while (checkpoint.number != number)
        if (!rk_mesh_receive(mesh, rk_tree_parent(mesh->rank), RK_TAG_CHECKPOINT, &checkpoint, sizeof checkpoint))
            return (struct rk_checkpoint){number, CHECKPOINT_LEAVE};
    return checkpoint;
}

bool rk_mesh_checkpoint(struct rk_mesh *mesh, uint64_t number, bool answer)
{
    struct rk_checkpoint checkpoint = {number, answer};
    if (mesh->nodes == 1 || mesh->linked)
        return rk_checkpoint_shared(mesh, answer);
    rk_mesh_step(mesh);
    rk_place_change(mesh, RK_AT_CHECKPOINT);
    if (mesh->rank)
        checkpoint = hear(mesh, number);
    pass_on(mesh, checkpoint);
    rk_place_change(mesh, RK_IN_HANDLER);
    return checkpoint.answer != 0;
}

void rk_mesh_leave(struct rk_mesh *mesh, uint64_t number)
{
    if (mesh->nodes == 1 || mesh->linked)
        rk_checkpoint_leave(mesh);
    else
        pass_on(mesh, (struct rk_checkpoint){number, CHECKPOINT_LEAVE});
}
