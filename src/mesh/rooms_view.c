/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* How other ranks look into rank 0's rooms. */

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "mesh/internal.h"
#include "mesh/pages.h"
#include "mesh/rooms.h"
#include "mesh/rooms_internal.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14, as is the other */
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define VIEWS (2 * RK_ROOMS) /* a worker may hold payloads of rooms that rank 0 has no more */

struct view {
    uint64_t id, size; /* of the room; 0: none */
    struct rk_room_head *head;
    uint8_t *bytes;
    unsigned holds;
    uint64_t looked_up; /* bytes from the first on whose pages are at hand */
    uint32_t emptied;   /* of the head, when they were looked up */
    bool used;          /* since it was tidied */
};

/* Of this process: payloads may outlive the mesh. */
static struct {
    pthread_mutex_t lock;
    struct view views[VIEWS];
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void close_view(struct view *view)
{
    if (view->head)
        munmap(view->head, RK_ROOM_PAGE + view->size);
    *view = (struct view){0};
}

static int open_room(int pid, const struct rk_room_name *name)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, (int)name->fd);
    return open(path, O_RDWR | O_CLOEXEC);
}

/* The head is shared and what lies behind it private, in one piece of addresses. */
static bool open_view(struct view *view, int pid, const struct rk_room_name *name)
{
    int fd = open_room(pid, name);
    if (fd < 0)
        return false;
    uint8_t *base = mmap(NULL, RK_ROOM_PAGE + name->size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    void *head = base == MAP_FAILED ? MAP_FAILED
                                    : mmap(base, RK_ROOM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    close(fd);
    if (base != MAP_FAILED && head == MAP_FAILED)
        munmap(base, RK_ROOM_PAGE + name->size);
    if (head == MAP_FAILED)
        return false;
    *view = (struct view){.id = name->id, .size = name->size, .head = head, .bytes = base + RK_ROOM_PAGE};
    return true;
}

static _Atomic bool untidy; /* a view has been left */

/* What this rank has written there goes; the room's own pages stay, if that can be. */
static void tidy(struct view *view)
{
    if (!view->used || view->holds)
        return;
    if (!rk_pages_unwrite(view->bytes, view->size))
        view->looked_up = 0;
    view->used = false;
}

void rk_mesh_tidy(void)
{
    if (!atomic_load_explicit(&untidy, memory_order_relaxed)) /* as for most calls, which are small */
        return;
    pthread_mutex_lock(&all.lock);
    atomic_store_explicit(&untidy, false, memory_order_relaxed);
    for (struct view *view = all.views; view < all.views + VIEWS; view++)
        tidy(view);
    pthread_mutex_unlock(&all.lock);
}

/* That of the room, or one that can be made so. */
static struct view *choose(uint64_t id)
{
    struct view *spare = NULL;
    for (struct view *view = all.views; view < all.views + VIEWS; view++) {
        if (view->id == id)
            return view;
        if (!view->holds && (!spare || view->id < spare->id))
            spare = view;
    }
    return spare;
}

uint8_t *rk_room_enter(const struct rk_mesh *mesh, const struct rk_room_name *name)
{
    uint8_t *bytes = NULL;
    pthread_mutex_lock(&all.lock);
    struct view *view = choose(name->id);
    if (view && view->id != name->id) {
        close_view(view);
        if (!open_view(view, mesh->ranks[0].pid, name))
            view = NULL;
    }
    if (view) {
        tidy(view);
        view->used = true;
        view->holds++;
        atomic_fetch_add(&view->head->holders, 1);
        bytes = view->bytes;
    }
    pthread_mutex_unlock(&all.lock);
    return bytes;
}

bool rk_room_copy(const struct rk_mesh *mesh, const struct rk_room_name *name, uint8_t *bytes, uint64_t size)
{
    int fd = open_room(mesh->ranks[0].pid, name);
    uint64_t done = 0;
    ssize_t got = 1;
    for (; fd >= 0 && done < size && got > 0; done += got > 0 ? (uint64_t)got : 0)
        got = pread(fd, bytes + done, size - done, (off_t)(RK_ROOM_PAGE + done));
    rk_fd_close(&fd);
    if (done < size)
        rk_error_system("cannot read the room that rank 0 has it in");
    return done == size;
}

/* Rooms that this process has written into, and may again. */
#define DESKS     RK_ROOMS
#define DESK_SIZE (8u << 20) /* of a larger room no view is kept */
struct desk {
    uint64_t id, size, used; /* used: when, in order */
    uint8_t *bytes;
};
static struct desk desks[DESKS];

/* NULL: it can't be. */
static uint8_t *take_desk(const struct rk_mesh *mesh, const struct rk_room_name *name, uint64_t size)
{
    static uint64_t uses;
    struct desk *desk = desks;
    for (struct desk *other = desks; other < desks + DESKS && desk->id != name->id; other++)
        if (other->id == name->id || other->used < desk->used)
            desk = other;
    if (desk->id != name->id) {
        int fd = name->size > DESK_SIZE ? -1 : open_room(mesh->ranks[0].pid, name);
        uint8_t *bytes =
            fd < 0 ? MAP_FAILED : mmap(NULL, name->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, RK_ROOM_PAGE);
        rk_fd_close(&fd);
        if (bytes == MAP_FAILED)
            return NULL;
        madvise(bytes, size, MADV_POPULATE_WRITE);
        if (desk->bytes)
            munmap(desk->bytes, desk->size);
        *desk = (struct desk){name->id, name->size, 0, bytes};
    }
    desk->used = ++uses;
    return desk->bytes;
}

static bool write_large(const struct rk_mesh *mesh, const struct rk_room_name *name, uint64_t offset,
                        const struct iovec *pieces, size_t count)
{
    int fd = open_room(mesh->ranks[0].pid, name);
    bool written = fd >= 0;
    offset += RK_ROOM_PAGE;
    for (size_t i = 0; written && i < count; i++)
        for (size_t done = 0; written && done < pieces[i].iov_len;) {
            ssize_t put =
                pwrite(fd, (const uint8_t *)pieces[i].iov_base + done, pieces[i].iov_len - done, (off_t)offset);
            written = put > 0;
            done += written ? (size_t)put : 0;
            offset += written ? (uint64_t)put : 0;
        }
    rk_fd_close(&fd);
    return written;
}

/* A copy into a view is faster than a system call that looks up every page. */
bool rk_room_write(const struct rk_mesh *mesh, const struct rk_room_name *name, uint64_t offset,
                   const struct iovec *pieces, size_t count)
{
    uint64_t size = offset;
    for (size_t i = 0; i < count; i++)
        size += pieces[i].iov_len;
    uint8_t *to = take_desk(mesh, name, size);
    if (!to)
        return write_large(mesh, name, offset, pieces, count);
    to += offset;
    for (size_t i = 0; i < count; i++) {
        memcpy(to, pieces[i].iov_base, pieces[i].iov_len);
        to += pieces[i].iov_len;
    }
    return true;
}

/* Of the process's views, with the lock. */
static struct view *find(const uint8_t *bytes)
{
    for (struct view *view = all.views; view < all.views + VIEWS; view++)
        if (view->holds && view->bytes == bytes)
            return view;
    return NULL;
}

/* Rank 0 may fill the room again before this process has tidied its view: nobody looks there until it has. */
void rk_room_leave(void *context, uint8_t *bytes)
{
    (void)context;
    pthread_mutex_lock(&all.lock);
    struct view *view = find(bytes);
    view->holds--;
    atomic_fetch_sub(&view->head->holders, 1);
    atomic_store_explicit(&untidy, true, memory_order_relaxed);
    pthread_mutex_unlock(&all.lock);
}

void rk_room_look_up(uint8_t *bytes, uint64_t size)
{
    if (size < RK_ROOM_POPULATE)
        return;
    pthread_mutex_lock(&all.lock);
    struct view *view = find(bytes);
    uint32_t emptied = atomic_load(&view->head->emptied);
    uint64_t done = view->emptied == emptied ? view->looked_up : 0;
    if (size > done) {
        madvise(bytes + done / RK_ROOM_PAGE * RK_ROOM_PAGE, size - done / RK_ROOM_PAGE * RK_ROOM_PAGE,
                MADV_POPULATE_READ);
        view->looked_up = size;
        view->emptied = emptied;
    }
    pthread_mutex_unlock(&all.lock);
}
