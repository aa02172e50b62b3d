/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Rank 0's rooms. The IO thread takes them; whoever frees a payload gives them back. */

#include "mesh/rooms.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "mesh/internal.h"
#include "mesh/rooms_internal.h"

#define STEP ((uint64_t)64 << 20) /* larger rooms have a multiple of this, smaller ones a power of two */

struct room {
    struct rk_room_name name; /* id 0: there is none */
    uint8_t *base;            /* its first page */
    int64_t given_us;         /* when it was last given back */
    bool taken, warm, left;   /* warm: it has pages; left: it is not used again */
};

/* Of this process: payloads may outlive the mesh. */
static struct {
    pthread_mutex_t lock;
    struct room rooms[RK_ROOMS];
    uint64_t made;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Gives its pages back, also those that others have at hand. Nobody holds a payload there. */
static bool empty_room(const struct room *room)
{
    if (fallocate(room->name.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, RK_ROOM_PAGE, (off_t)room->name.size))
        return false;
    atomic_fetch_add(&((struct rk_room_head *)(void *)room->base)->emptied, 1);
    return true;
}

static bool is_free(const struct room *room)
{
    return !room->taken && (!room->base || !atomic_load(&((struct rk_room_head *)(void *)room->base)->holders));
}

/* Others may keep a view of it that they do not use any more, and with it the memory. */
static void close_room(struct room *room)
{
    if (room->base) {
        if (is_free(room))
            (void)empty_room(room);
        munmap(room->base, RK_ROOM_PAGE + room->name.size);
        close(room->name.fd);
    }
    *room = (struct room){0};
}

static uint64_t rounded(uint64_t size)
{
    uint64_t power = RK_ROOM_MIN;
    if (size > STEP)
        return (size + STEP - 1) / STEP * STEP;
    while (power < size)
        power *= 2;
    return power;
}

static bool make_room(struct room *room, uint64_t size)
{
    size = rounded(size);
    int fd = memfd_create("rankcall-payload", MFD_CLOEXEC);
    void *base = fd < 0 || ftruncate(fd, (off_t)(RK_ROOM_PAGE + size))
                     ? MAP_FAILED
                     : mmap(NULL, RK_ROOM_PAGE + size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) {
        rk_fd_close(&fd);
        return false;
    }
    *room = (struct room){.name = {(uint64_t)getpid() << 32 | ++all.made, size, fd, 0}, .base = base};
    return true;
}

/* The smallest free one that is large enough, else one that can be made anew: none yet, or the smallest. */
static struct room *choose(uint64_t size)
{
    struct room *best = NULL, *spare = NULL;
    for (struct room *room = all.rooms; room < all.rooms + RK_ROOMS; room++) {
        if (!is_free(room))
            continue;
        if (room->base && room->name.size >= size && (!best || room->name.size < best->name.size))
            best = room;
        if (!spare || room->name.size < spare->name.size)
            spare = room;
    }
    return best ? best : spare;
}

static uint8_t *take(void *context, uint64_t size)
{
    uint8_t *bytes = NULL;
    (void)context;
    if (size < RK_ROOM_MIN)
        return NULL;
    pthread_mutex_lock(&all.lock);
    struct room *room = choose(size);
    if (room && room->name.size < size) {
        close_room(room);
        if (!make_room(room, size))
            room = NULL;
    }
    if (room) {
        room->taken = room->warm = true;
        bytes = room->base + RK_ROOM_PAGE;
    }
    pthread_mutex_unlock(&all.lock);
    return bytes;
}

static struct room *find(const uint8_t *bytes)
{
    for (struct room *room = all.rooms; room < all.rooms + RK_ROOMS; room++)
        if (room->base && room->base + RK_ROOM_PAGE == bytes)
            return room;
    return NULL;
}

void rk_room_give(void *context, uint8_t *bytes)
{
    (void)context;
    pthread_mutex_lock(&all.lock);
    struct room *room = find(bytes);
    room->taken = false;
    room->given_us = rk_now_us();
    if (room->left)
        close_room(room);
    pthread_mutex_unlock(&all.lock);
}

void rk_room_forsake(uint8_t *bytes)
{
    pthread_mutex_lock(&all.lock);
    find(bytes)->left = true;
    pthread_mutex_unlock(&all.lock);
    rk_room_give(NULL, bytes);
}

struct rk_room_name rk_room_of(const uint8_t *bytes)
{
    pthread_mutex_lock(&all.lock);
    const struct room *room = bytes ? find(bytes) : NULL;
    struct rk_room_name name = room ? room->name : (struct rk_room_name){0};
    pthread_mutex_unlock(&all.lock);
    return name;
}

static void abandon(void)
{
    pthread_mutex_lock(&all.lock);
    for (struct room *room = all.rooms; room < all.rooms + RK_ROOMS; room++) {
        if (room->taken)
            room->left = true;
        else if (!is_free(room))
            close_room(room);
    }
    pthread_mutex_unlock(&all.lock);
}

const struct rk_payload_memory *rk_mesh_payload_memory(const struct rk_mesh *mesh)
{
    static const struct rk_payload_memory rooms = {take, rk_room_give, NULL};
    return mesh->rooms_work ? &rooms : NULL;
}

int64_t rk_mesh_payload_memory_rest_us(void)
{
    const char *test = getenv("RANKCALL_TEST_REST_MS");
    return test ? atoi(test) * INT64_C(1000) : RK_ROOM_REST_US;
}

bool rk_mesh_payload_memory_rest(void)
{
    bool later = false;
    int64_t now = rk_now_us(), rest_us = rk_mesh_payload_memory_rest_us();
    pthread_mutex_lock(&all.lock);
    for (struct room *room = all.rooms; room < all.rooms + RK_ROOMS; room++) {
        if (!room->warm)
            continue;
        bool rested = is_free(room) && now - room->given_us >= rest_us;
        if (rested && empty_room(room))
            room->warm = false;
        later |= room->warm;
    }
    pthread_mutex_unlock(&all.lock);
    return later;
}

/* ---- Whether it works at all: /proc may be closed to others of the same user ---- */

void rk_rooms_open(struct rk_mesh *mesh)
{
    struct room trial = {0};
    int works = 1, all_work = 0;
    mesh->rooms_work = false;
    abandon();
    if (mesh->nodes > 1)
        return;
    if (mesh->rank == 0)
        works = make_room(&trial, RK_ROOM_MIN);
    MPI_Bcast(&trial.name, sizeof trial.name, MPI_BYTE, 0, mesh->local);
    if (mesh->rank != 0) {
        uint8_t *bytes = trial.name.id ? rk_room_enter(mesh, &trial.name) : NULL;
        works = bytes != NULL;
        if (bytes)
            rk_room_leave(NULL, bytes);
    }
    MPI_Allreduce(&works, &all_work, 1, MPI_INT, MPI_MIN, mesh->local);
    if (mesh->rank == 0)
        close_room(&trial);
    mesh->rooms_work = all_work;
}
