/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Collectives on memory that MPI can reach and we cannot: a device's, by an MPI that is CUDA-aware.
 *
 * Messages go straight from one rank's buffer into another's. A message's tag has the call's number and the kind of the
 * collective, and a receive begins only when its message is there; so who leaves early has nothing posted that a later
 * message could fall into, and what he has sent already is received and dropped when the next call comes by. Until then
 * MPI keeps the buffers. */

#include <stdlib.h>

#include "base/error.h"
#include "mesh/collect_internal.h"

/* Open MPI's; MPI's library may lack it. */
extern int MPIX_Query_cuda_support(void) __attribute__((weak));

#define KIND_BITS 3
/* With the kind below what any MPI allows in practice; numbers that far apart never meet. */
#define NUMBER_MASK 0xffffu

enum state { WAITS, MOVES, DONE };

/* One message of this rank's. */
struct part {
    int peer;
    bool sends, after; /* after: when this rank has received */
    enum state state;
    void *at;
    size_t size;
    MPI_Request request;
};

/* Messages that were left, and who gets their buffers back. */
struct left {
    struct left *next;
    void (*settled)(void *context);
    void *context;
    int count;
    MPI_Request requests[];
};

struct rk_aware {
    MPI_Comm comm;
    struct left *left;
    enum rk_collective_kind kind;
    int tag, count;
    struct part parts[];
};

bool rk_mpi_is_aware(void)
{
    return MPIX_Query_cuda_support && MPIX_Query_cuda_support();
}

/* ---- What was left ---- */

static bool settle(struct left *left)
{
    int done = 0;
    MPI_Testall(left->count, left->requests, &done, MPI_STATUSES_IGNORE);
    if (done && left->settled)
        left->settled(left->context);
    return done;
}

static void reap(struct rk_aware *aware)
{
    for (struct left **link = &aware->left; *link;) {
        struct left *left = *link;
        if (settle(left)) {
            *link = left->next;
            free(left);
        } else {
            link = &left->next;
        }
    }
}

/* A message that nobody wants any more, into memory of the host. */
static int drop(struct rk_mesh *mesh, int peer, int tag, int size)
{
    struct rk_aware *aware = mesh->collect->aware;
    struct left *left = malloc(sizeof *left + sizeof(MPI_Request));
    void *bytes = malloc(size ? (size_t)size : 1);
    MPI_Message message;
    int found = 0;
    if (left && bytes)
        MPI_Improbe(peer, tag, aware->comm, &found, &message, MPI_STATUS_IGNORE);
    if (!found) {
        free(left);
        free(bytes);
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    }
    *left = (struct left){.next = aware->left, .settled = free, .context = bytes, .count = 1};
    MPI_Imrecv(bytes, size, MPI_BYTE, &message, &left->requests[0]);
    aware->left = left;
    return RANKCALL_OK;
}

static bool is_of_this_call(const struct rk_mesh *mesh, int tag)
{
    return tag >> KIND_BITS == (int)(mesh->collect->number & NUMBER_MASK);
}

/* The next message of a rank in this call; what is of earlier ones is dropped. */
static int look_for(struct rk_mesh *mesh, int peer, bool *found, int *tag, int *size)
{
    for (;;) {
        MPI_Status status;
        int there = 0, code;
        MPI_Iprobe(peer, MPI_ANY_TAG, mesh->collect->aware->comm, &there, &status);
        *found = there;
        if (!there)
            return RANKCALL_OK;
        MPI_Get_count(&status, MPI_BYTE, size);
        *tag = status.MPI_TAG;
        if (is_of_this_call(mesh, *tag))
            return RANKCALL_OK;
        if ((code = drop(mesh, peer, *tag, *size)))
            return code;
    }
}

int rk_mesh_pass_tidy(struct rk_mesh *mesh)
{
    int code = RANKCALL_OK, tag, size;
    bool found;
    if (!mesh->collect->aware)
        return RANKCALL_OK;
    for (int peer = 0; peer < mesh->size && !code; peer++)
        if (peer != mesh->rank)
            code = look_for(mesh, peer, &found, &tag, &size);
    reap(mesh->collect->aware);
    return code;
}

/* ---- What each rank sends and receives ---- */

static void add(struct rk_mesh *mesh, int peer, bool sends, const void *at, size_t size)
{
    struct rk_aware *aware = mesh->collect->aware;
    if (peer != mesh->rank && size)
        aware->parts[aware->count++] =
            (struct part){.peer = peer, .sends = sends, .at = (void *)at, .size = size, .request = MPI_REQUEST_NULL};
}

/* A binomial tree over the ranks, counted from the root on. */
static void add_broadcast(struct rk_mesh *mesh, const struct rk_collective *collective)
{
    struct rk_aware *aware = mesh->collect->aware;
    int place = (mesh->rank - collective->root + mesh->size) % mesh->size;
    if (place)
        add(mesh, ((place & (place - 1)) + collective->root) % mesh->size, false, collective->receive,
            collective->size);
    for (int bit = 1; !(place & bit) && place + bit < mesh->size; bit <<= 1) {
        add(mesh, (place + bit + collective->root) % mesh->size, true, collective->receive, collective->size);
        if (aware->count)
            aware->parts[aware->count - 1].after = place != 0;
    }
}

/* Each rank begins with the one behind it, so that not all send to the same. */
static void add_parts(struct rk_mesh *mesh, const struct rk_collective *collective)
{
    bool root = mesh->rank == collective->root, all = collective->kind == RK_ALL_GATHER;
    bool scatters = collective->kind == RK_SCATTER;
    for (int n = 1; n < mesh->size; n++) {
        int peer = (mesh->rank + n) % mesh->size;
        const uint8_t *from = (const uint8_t *)collective->send + (scatters ? (size_t)peer * collective->size : 0);
        if (scatters ? root : all || peer == collective->root)
            add(mesh, peer, true, from, collective->size);
    }
    for (int n = 1; n < mesh->size; n++) {
        int peer = (mesh->rank - n + mesh->size) % mesh->size;
        size_t size;
        void *to = scatters ? NULL : rk_part(collective, peer, &size);
        if (scatters && peer == collective->root)
            add(mesh, peer, false, collective->receive, collective->size);
        else if (!scatters && (all || root))
            add(mesh, peer, false, to, size);
    }
}

int rk_mesh_pass_begin(struct rk_mesh *mesh, const struct rk_collective *collective)
{
    struct rk_aware *aware = mesh->collect->aware;
    if (!aware)
        return rk_error(RANKCALL_EINTERNAL, "MPI reads no device's memory");
    reap(aware);
    aware->kind = collective->kind;
    aware->tag = (int)((mesh->collect->number & NUMBER_MASK) << KIND_BITS) | (int)collective->kind;
    aware->count = 0;
    rk_mesh_count(mesh, collective->kind);
    if (collective->kind == RK_BROADCAST)
        add_broadcast(mesh, collective);
    else
        add_parts(mesh, collective);
    return RANKCALL_OK;
}

/* ---- Messages ---- */

static int mismatch(const struct rk_mesh *mesh, const struct part *part, int tag, int size)
{
    const struct rk_aware *aware = mesh->collect->aware;
    return rk_error(RANKCALL_EINVAL,
                    "rank %d called %s and waits for %zu bytes of rank %d, which called %s and gives %d: all ranks "
                    "must call the same collectives in the same order",
                    mesh->rank, rk_collective_name(aware->kind), part->size, part->peer,
                    rk_collective_name((enum rk_collective_kind)(tag & ((1 << KIND_BITS) - 1))), size);
}

static int begin_receive(struct rk_mesh *mesh, struct part *part)
{
    struct rk_aware *aware = mesh->collect->aware;
    MPI_Message message;
    bool there = false;
    int tag, size, found = 0, code = look_for(mesh, part->peer, &there, &tag, &size);
    if (code || !there)
        return code;
    if (tag != aware->tag || (size_t)size != part->size)
        return mismatch(mesh, part, tag, size);
    MPI_Improbe(part->peer, tag, aware->comm, &found, &message, MPI_STATUS_IGNORE);
    if (!found)
        return RANKCALL_OK;
    MPI_Imrecv(part->at, size, MPI_BYTE, &message, &part->request);
    part->state = MOVES;
    return RANKCALL_OK;
}

static bool has_received(const struct rk_aware *aware)
{
    for (int i = 0; i < aware->count; i++)
        if (!aware->parts[i].sends && aware->parts[i].state != DONE)
            return false;
    return true;
}

static int step(struct rk_mesh *mesh, struct part *part)
{
    struct rk_aware *aware = mesh->collect->aware;
    int code = RANKCALL_OK, done = 0;
    if (part->state == WAITS && !part->sends)
        code = begin_receive(mesh, part);
    if (part->state == WAITS && part->sends && (!part->after || has_received(aware))) {
        /* Synchronous: who is ahead does not flood the others. */
        MPI_Issend(part->at, (int)part->size, MPI_BYTE, part->peer, aware->tag, aware->comm, &part->request);
        part->state = MOVES;
    }
    if (part->state == MOVES)
        MPI_Test(&part->request, &done, MPI_STATUS_IGNORE);
    if (done)
        part->state = DONE;
    return code;
}

int rk_mesh_pass_step(struct rk_mesh *mesh, bool *done)
{
    struct rk_aware *aware = mesh->collect->aware;
    int code = RANKCALL_OK;
    *done = true;
    for (int i = 0; i < aware->count && !code; i++) {
        code = step(mesh, &aware->parts[i]);
        *done = *done && aware->parts[i].state == DONE;
    }
    return code;
}

bool rk_mesh_pass_leave(struct rk_mesh *mesh, void (*settled)(void *context), void *context)
{
    struct rk_aware *aware = mesh->collect->aware;
    struct left *left = malloc(sizeof *left + (size_t)aware->count * sizeof(MPI_Request));
    if (!left)
        rk_mesh_abort(mesh, 1);
    *left = (struct left){.next = aware->left, .settled = settled, .context = context};
    for (int i = 0; i < aware->count; i++)
        if (aware->parts[i].state == MOVES)
            left->requests[left->count++] = aware->parts[i].request;
    aware->count = 0;
    if (left->count) {
        aware->left = left;
        return true;
    }
    free(left);
    return false;
}

void rk_mesh_pass_forget(struct rk_mesh *mesh)
{
    struct rk_aware *aware = mesh->collect ? mesh->collect->aware : NULL;
    for (struct left *left = aware ? aware->left : NULL; left; left = left->next)
        if (left->settled != free)
            left->settled = NULL;
}

bool rk_mesh_passes(const struct rk_mesh *mesh)
{
    return mesh->collect->aware;
}

/* ---- Opening and closing ---- */

/* Where every rank has a GPU and an MPI that reads its memory: all know it of all. */
int rk_aware_open(struct rk_mesh *mesh)
{
    for (int rank = 0; rank < mesh->size; rank++)
        if (!mesh->ranks[rank].aware)
            return RANKCALL_OK;
    struct rk_aware *aware = calloc(1, sizeof *aware + 2 * (size_t)mesh->size * sizeof(struct part));
    if (!aware)
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    MPI_Comm_dup(mesh->world, &aware->comm);
    mesh->collect->aware = aware;
    return RANKCALL_OK;
}

/* Until nobody has left anything. */
static void settle_all(struct rk_mesh *mesh)
{
    struct rk_aware *aware = mesh->collect->aware;
    mesh->collect->number++; /* nothing is of this call */
    for (int settled = 0; !settled;) {
        int mine = !rk_mesh_pass_tidy(mesh) && !aware->left;
        MPI_Allreduce(&mine, &settled, 1, MPI_INT, MPI_MIN, aware->comm);
    }
    MPI_Comm_free(&aware->comm);
}

void rk_aware_close(struct rk_mesh *mesh)
{
    struct rk_aware *aware = mesh->collect->aware;
    if (!aware)
        return;
    if (rk_mesh_broken(mesh))
        mesh->passed = aware->comm; /* MPI keeps what was left for ever, its buffers, too */
    else
        settle_all(mesh);
    while (aware->left) {
        struct left *left = aware->left;
        aware->left = left->next;
        free(left);
    }
    free(aware);
    mesh->collect->aware = NULL;
}
