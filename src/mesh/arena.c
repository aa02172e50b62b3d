/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The memory that the collectives of a node share, and whether its ranks may read each other's own. */

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "base/error.h"
#include "mesh/collect_internal.h"

static size_t arena_size(const struct rk_mesh *mesh, size_t box_size)
{
    size_t seats = sizeof(struct rk_arena) + (size_t)mesh->local_size * sizeof(struct rk_seat);
    return seats + (size_t)mesh->local_size * RK_BOXES * (sizeof(struct rk_box) + box_size);
}

/* Takes smaller boxes where shared memory is short. */
static int share_arena(struct rk_mesh *mesh)
{
    struct rk_collect *collect = mesh->collect;
    int code = RANKCALL_ESYSTEM;
    for (size_t size = RK_BOX_SIZE; code && size >= RK_BOX_LEAST; size /= 4) {
        void *memory;
        code = rk_segment_share(mesh, arena_size(mesh, size), &memory);
        if (code)
            continue;
        collect->arena = memory;
        collect->arena_size = arena_size(mesh, size);
        collect->box_size = size;
        collect->boxes = (uint8_t *)rk_seat(mesh, mesh->local_size);
    }
    return code;
}

/* Reads what every rank of the node has put in its box: the kernel may forbid it, and in containers a process id may
 * mean another process. */
static bool can_read_all(struct rk_mesh *mesh, const uint64_t *proof)
{
    const uint64_t mine[3] = {(uint64_t)(uintptr_t)proof, *proof, (uint64_t)mesh->ranks[mesh->rank].pid};
    uint64_t(*all)[3] = calloc((size_t)mesh->local_size, sizeof *all);
    bool can = all;
    MPI_Allgather(mine, sizeof mine, MPI_BYTE, all ? all : MPI_IN_PLACE, sizeof mine, MPI_BYTE, mesh->local);
    for (int i = 0; can && i < mesh->local_size; i++) {
        uint64_t found = 0;
        struct iovec to = {&found, sizeof found}, from = {(void *)(uintptr_t)all[i][0], sizeof found}; // NOLINT
        can = process_vm_readv((pid_t)all[i][2], &to, 1, &from, 1, 0) == sizeof found && found == all[i][1];
    }
    free(all);
    return can;
}

static void try_direct(struct rk_mesh *mesh)
{
    const char *forbidden = getenv("RANKCALL_TEST_NO_DIRECT");
    uint64_t proof = (uint64_t)(mesh->rank + 1) * UINT64_C(0x9e3779b97f4a7c15);
    int can = can_read_all(mesh, &proof) && !forbidden, all = 0;
    MPI_Allreduce(&can, &all, 1, MPI_INT, MPI_MIN, mesh->local); /* and nobody returns before all have read */
    mesh->collect->direct = all;
}

int rk_arena_open(struct rk_mesh *mesh)
{
    struct rk_collect *collect = mesh->collect;
    int code = share_arena(mesh);
    if (code)
        return code;
    try_direct(mesh);
    collect->scratch = aligned_alloc(64, collect->box_size);
    collect->addresses = calloc((size_t)mesh->size, sizeof *collect->addresses);
    if (!collect->scratch || !collect->addresses)
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    return RANKCALL_OK;
}

void rk_arena_close(struct rk_mesh *mesh)
{
    struct rk_collect *collect = mesh->collect;
    if (collect->arena)
        munmap(collect->arena, collect->arena_size);
    free(collect->scratch);
    free(collect->addresses);
}
