/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Messages between ranks of several nodes, through memory of our own on both sides: an interrupted rank leaves what it
 * has sent, and what it waits for, to MPI.
 *
 * Each message carries the call's number. A receive that was posted in an earlier call stays posted and takes the next
 * message of that rank; what belongs to an earlier call is dropped. When a call is entered, all that has arrived is
 * taken in, so that nobody's sends of an abandoned call stay stuck. */

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fd.h"
#include "mesh/collect_internal.h"

#define DATA_MAX     (64u << 10) /* bytes of a message */
#define OUTGOING_MAX 16          /* messages of this call that may be on their way */
#define LEAVE_US     20000       /* for the last of them to leave when the handler has returned; then in idle looks */
#define TAG          RK_TAG_BULK

struct packet {
    struct packet *next;
    MPI_Request request;
    int rank;
    uint64_t number; /* from here on it travels */
    uint64_t size;
    uint8_t data[DATA_MAX];
};
#define TRAVELS offsetof(struct packet, number)
#define HEAD    (offsetof(struct packet, data) - TRAVELS)

struct rk_packets {
    struct packet *outgoing, *incoming, *spare; /* incoming: oldest first */
};

static struct packet *new_packet(struct rk_packets *packets)
{
    struct packet *packet = packets->spare;
    if (packet)
        packets->spare = packet->next;
    else
        packet = malloc(sizeof *packet);
    return packet;
}

static void put_aside(struct rk_packets *packets, struct packet *packet)
{
    packet->next = packets->spare;
    packets->spare = packet;
}

static bool is_complete(struct packet *packet)
{
    int done = 1;
    if (packet->request != MPI_REQUEST_NULL)
        MPI_Test(&packet->request, &done, MPI_STATUS_IGNORE);
    return done;
}

/* Reaps what has left. Returns how many messages of this call are still on their way. */
static int reap(struct rk_mesh *mesh)
{
    struct rk_packets *packets = mesh->collect->packets;
    struct packet **link = &packets->outgoing;
    int under_way = 0;
    while (*link) {
        struct packet *packet = *link;
        if (is_complete(packet)) {
            *link = packet->next;
            put_aside(packets, packet);
        } else {
            under_way += packet->number == mesh->collect->number;
            link = &packet->next;
        }
    }
    return under_way;
}

struct waiting {
    struct rk_mesh *mesh;
    struct packet *packet; /* NULL: waits for room */
    int code;
};

static bool is_over(void *context)
{
    struct waiting *waiting = context;
    struct rk_mesh *mesh = waiting->mesh;
    int under_way = reap(mesh);
    if (waiting->packet ? is_complete(waiting->packet) : under_way < OUTGOING_MAX)
        return true;
    rk_tidings_look(mesh);
    waiting->code = rk_mesh_interrupted(mesh, mesh->collect->number);
    return waiting->code;
}

static int wait_for(struct rk_mesh *mesh, struct packet *packet)
{
    struct waiting waiting = {.mesh = mesh, .packet = packet};
    if (!is_over(&waiting))
        rk_mesh_wait(mesh, is_over, &waiting);
    return waiting.code;
}

static int put_one(struct rk_mesh *mesh, int rank, const void *bytes, size_t size)
{
    struct rk_packets *packets = mesh->collect->packets;
    int code = wait_for(mesh, NULL);
    if (code)
        return code;
    struct packet *packet = new_packet(packets);
    if (!packet)
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    packet->number = mesh->collect->number;
    packet->size = size;
    rk_copy(packet->data, bytes, size);
    packet->next = packets->outgoing;
    packets->outgoing = packet;
    /* Synchronous: small messages too count as under way until they are received, so that nobody is flooded. */
    MPI_Issend(&packet->number, (int)(HEAD + size), MPI_BYTE, rank, TAG, mesh->collect->comm, &packet->request);
    rk_mesh_ring(mesh, rank);
    return 0;
}

int rk_packets_put(struct rk_mesh *mesh, int rank, const void *bytes, size_t size)
{
    size_t offset = 0;
    int code;
    do {
        size_t piece = size - offset < DATA_MAX ? size - offset : DATA_MAX;
        code = put_one(mesh, rank, (const uint8_t *)bytes + offset, piece);
        offset += piece;
    } while (!code && offset < size);
    return code;
}

static struct packet **end_of_incoming(struct rk_packets *packets)
{
    struct packet **link = &packets->incoming;
    while (*link)
        link = &(*link)->next;
    return link;
}

static struct packet *add_incoming(struct rk_packets *packets, int rank)
{
    struct packet *packet = new_packet(packets);
    if (!packet)
        return NULL;
    packet->next = NULL;
    packet->rank = rank;
    packet->request = MPI_REQUEST_NULL;
    *end_of_incoming(packets) = packet;
    return packet;
}

/* The oldest message of a rank: it is there, or on its way, or is being waited for from now on. */
static struct packet *expect(struct rk_mesh *mesh, int rank)
{
    struct rk_packets *packets = mesh->collect->packets;
    for (struct packet *packet = packets->incoming; packet; packet = packet->next)
        if (packet->rank == rank)
            return packet;
    struct packet *packet = add_incoming(packets, rank);
    if (packet)
        MPI_Irecv(&packet->number, HEAD + DATA_MAX, MPI_BYTE, rank, TAG, mesh->collect->comm, &packet->request);
    return packet;
}

static void remove_incoming(struct rk_packets *packets, struct packet *packet)
{
    struct packet **link = &packets->incoming;
    while (*link != packet)
        link = &(*link)->next;
    *link = packet->next;
    put_aside(packets, packet);
}

static int take_one(struct rk_mesh *mesh, int rank, void *bytes, size_t size)
{
    for (;;) {
        struct packet *packet = expect(mesh, rank);
        if (!packet)
            return rk_error(RANKCALL_EINTERNAL, "out of memory");
        int code = wait_for(mesh, packet);
        if (code)
            return code;
        bool current = packet->number == mesh->collect->number, fits = packet->size == size;
        if (current && fits)
            rk_copy(bytes, packet->data, size);
        remove_incoming(mesh->collect->packets, packet); /* its contents stay for now */
        if (current && !fits)
            return rk_error(RANKCALL_EINVAL,
                            "rank %d waits for %zu bytes of rank %d and got %llu: all ranks must call the same "
                            "collectives in the same order",
                            mesh->rank, size, rank, (unsigned long long)packet->size);
        if (current)
            return 0;
    }
}

int rk_packets_take(struct rk_mesh *mesh, int rank, void *bytes, size_t size)
{
    size_t offset = 0;
    int code;
    do {
        size_t piece = size - offset < DATA_MAX ? size - offset : DATA_MAX;
        code = take_one(mesh, rank, (uint8_t *)bytes + offset, piece);
        offset += piece;
    } while (!code && offset < size);
    return code;
}

struct leaving {
    struct rk_mesh *mesh;
    int64_t until_us;
};

static bool has_left(void *context)
{
    struct leaving *leaving = context;
    rk_tidings_look(leaving->mesh);
    return !reap(leaving->mesh) || rk_mesh_interrupted(leaving->mesh, leaving->mesh->collect->number) ||
           rk_now_us() > leaving->until_us;
}

void rk_packets_leave(struct rk_mesh *mesh)
{
    struct leaving leaving = {mesh, rk_now_us() + LEAVE_US};
    if (mesh->collect->packets->outgoing && !has_left(&leaving))
        rk_mesh_wait(mesh, has_left, &leaving);
}

/* Takes in what has arrived from ranks; the order of each rank's messages is that of the list. */
static void take_in(struct rk_mesh *mesh)
{
    for (;;) {
        MPI_Message message;
        MPI_Status status;
        int found = 0;
        MPI_Improbe(MPI_ANY_SOURCE, TAG, mesh->collect->comm, &found, &message, &status);
        if (!found)
            return;
        struct packet *packet = add_incoming(mesh->collect->packets, status.MPI_SOURCE);
        if (!packet)
            rk_mesh_abort(mesh, 1);
        MPI_Imrecv(&packet->number, HEAD + DATA_MAX, MPI_BYTE, &message, &packet->request);
    }
}

void rk_packets_enter(struct rk_mesh *mesh)
{
    struct rk_packets *packets = mesh->collect->packets;
    struct packet *next;
    rk_tidings_look(mesh);
    take_in(mesh);
    reap(mesh);
    for (struct packet *packet = packets->incoming; packet; packet = next) {
        next = packet->next;
        if (is_complete(packet) && packet->number < mesh->collect->number)
            remove_incoming(packets, packet);
    }
}

int rk_packets_open(struct rk_mesh *mesh)
{
    mesh->collect->packets = calloc(1, sizeof *mesh->collect->packets);
    return mesh->collect->packets ? RANKCALL_OK : rk_error(RANKCALL_EINTERNAL, "out of memory");
}

static void free_packets(struct packet *packet, bool receives)
{
    while (packet) {
        struct packet *next = packet->next;
        if (receives && !is_complete(packet)) {
            MPI_Cancel(&packet->request);
            MPI_Wait(&packet->request, MPI_STATUS_IGNORE);
        }
        free(packet);
        packet = next;
    }
}

/* What is still on its way when all ranks have left the last call is of abandoned ones. */
void rk_packets_close(struct rk_mesh *mesh)
{
    struct rk_packets *packets = mesh->collect->packets;
    if (!packets)
        return;
    /* Until nobody has anything to send. In a broken mesh MPI keeps what it has for ever. */
    for (int settled = rk_mesh_broken(mesh); !settled;) {
        take_in(mesh);
        reap(mesh);
        for (struct packet *packet = packets->incoming; packet; packet = packet->next)
            is_complete(packet);
        int mine = packets->outgoing == NULL;
        MPI_Allreduce(&mine, &settled, 1, MPI_INT, MPI_MIN, mesh->collect->comm);
    }
    free_packets(packets->incoming, true);
    free_packets(packets->spare, false);
    free(packets);
}
