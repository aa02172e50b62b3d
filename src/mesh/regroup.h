/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Regrouping's inside: one node (regroup.c), and what several have to agree on (regroup_nodes.c). */

#ifndef RK_MESH_REGROUP_H
#define RK_MESH_REGROUP_H

#include "mesh/internal.h"

struct rk_posted;

struct rk_regroup {
    struct rk_mesh *mesh;
    struct rk_segment *segment; /* of the broken mesh */
    struct rk_watch *watch;     /* the same */
    struct rk_links *links;     /* the same: they tell of deaths until all are connected again */
    int ranks, local_rank;      /* the same: those of this node */
    struct rk_vigil *vigil;
    uint32_t number; /* of the attempt */
    struct rk_attempt *attempt;
    bool joined;
    /* gathering */
    int64_t grace_over_us, settled_us, reaped_us;
    uint32_t deaths;
    /* the attempt */
    int64_t deadline_us, way_us;
    bool got_stuck; /* a replacement, in an attempt before */
    /* several nodes, regroup_nodes.c */
    MPI_Comm comm;            /* of the broken mesh, for a few words between the living */
    int coordinator;          /* the lowest living rank when the attempt was ordered */
    int told;                 /* whom this rank has told that its node is content */
    int *leads;               /* by node: the rank that speaks for it; -1: has not yet spoken */
    bool *joined_nodes;       /* by node */
    bool said_joined;         /* to the coordinator */
    struct rk_posted *posted; /* what was sent and may still be on its way */
    int64_t content_us;       /* since when all nodes are */
    int64_t agreed_by_us;     /* they are to be then; 0: this one is not yet */
};

_Noreturn void rk_regroup_give_up(struct rk_mesh *mesh, const char *what);

/* Whether a rank of the broken mesh is dead, as far as is known here; and whether the attempt leaves it out. */
bool rk_regroup_is_dead(const struct rk_regroup *regroup, int rank);
bool rk_regroup_left_out(const struct rk_regroup *regroup, int rank);

/* regroup_nodes.c. By the rank that leads its node, when all of that are content: whether the attempt is ordered, on
 * all nodes, with everybody's dead left out; and when all of that have joined: whether all nodes have. */
bool rk_nodes_open(struct rk_regroup *regroup);
bool rk_nodes_ordered(struct rk_regroup *regroup);
bool rk_nodes_joined(struct rk_regroup *regroup);
void rk_nodes_close(struct rk_regroup *regroup);

#endif
