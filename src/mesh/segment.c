/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The memory that the ranks of a node share, and the pipe that wakes rank 0's IO thread.
 *
 * Both are opened by name by every rank and unlinked before anybody goes on, so that nothing is left behind however
 * the job ends. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "mesh/internal.h"
#include "mesh/links.h"

#define NAME_SIZE 64

/* The ranks of a node agree whether a step worked on all of them. */
static int agree(struct rk_mesh *mesh, int code)
{
    int worst = 0;
    MPI_Allreduce(&code, &worst, 1, MPI_INT, MPI_MAX, mesh->local);
    if (code || !worst)
        return code;
    return rk_error(RANKCALL_ESYSTEM, "another rank of this node could not join the shared memory");
}

static int create_segment(const char *name, size_t size)
{
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return rk_error_system("cannot create shared memory %s", name);
    int code = RANKCALL_OK;
    int failure = posix_fallocate(fd, 0, (off_t)size); /* a full /dev/shm must fail here, not with SIGBUS later */
    if (failure) {
        errno = failure;
        code = rk_error_system("cannot take %zu bytes of shared memory (is /dev/shm full?)", size);
    }
    close(fd);
    return code;
}

static int map_segment(const char *name, size_t size, void **memory)
{
    int fd = shm_open(name, O_RDWR, 0);
    if (fd < 0)
        return rk_error_system("cannot open shared memory %s", name);
    *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (*memory != MAP_FAILED)
        return RANKCALL_OK;
    *memory = NULL;
    return rk_error_system("cannot map shared memory %s", name);
}

int rk_segment_share(struct rk_mesh *mesh, size_t size, void **memory)
{
    char name[NAME_SIZE] = "";
    int code = RANKCALL_OK;
    *memory = NULL;
    if (mesh->local_rank == 0) {
        snprintf(name, NAME_SIZE, "/rankcall-%ld-%llx", (long)getpid(), (unsigned long long)rk_now_us());
        code = create_segment(name, size);
    }
    MPI_Bcast(name, NAME_SIZE, MPI_CHAR, 0, mesh->local);
    code = agree(mesh, code);
    if (!code)
        code = agree(mesh, map_segment(name, size, memory));
    if (mesh->local_rank == 0)
        shm_unlink(name);
    if (code && *memory) {
        munmap(*memory, size);
        *memory = NULL;
    }
    return code;
}

static int join_segment(struct rk_mesh *mesh)
{
    void *memory = NULL;
    mesh->segment_size = sizeof(struct rk_segment) + (size_t)mesh->local_size * sizeof(struct rk_place);
    if (mesh->nodes > 1)
        mesh->segment_size += (size_t)mesh->size * sizeof(struct rk_far);
    int code = rk_segment_share(mesh, mesh->segment_size, &memory);
    mesh->segment = code ? NULL : memory;
    if (!code && mesh->local_rank == 0)
        code = rk_liveness_prepare(mesh->segment, mesh->local_size);
    if (!code) {
        atomic_store(&mesh->segment->rank[mesh->local_rank].rank, mesh->rank);
        atomic_store(&mesh->segment->rank[mesh->local_rank].pid, (int)getpid());
    }
    return agree(mesh, code); /* who watches must know whom */
}

/* A pipe to the first rank of the node. It has a name for as long as the others need to open it. */
static int join_pipe(struct rk_mesh *mesh, int *fd)
{
    char folder[NAME_SIZE], path[NAME_SIZE + 8];
    int code = RANKCALL_OK;
    snprintf(folder, sizeof folder, "/tmp/rankcall-pipe-%ld-XXXXXX", (long)getpid());
    bool first = mesh->local_rank == 0;
    if (first && !mkdtemp(folder))
        code = rk_error_system("cannot make a folder in /tmp");
    MPI_Bcast(folder, NAME_SIZE, MPI_CHAR, 0, mesh->local);
    snprintf(path, sizeof path, "%s/io", folder);
    if (!code && first && mkfifo(path, 0600))
        code = rk_error_system("cannot make a pipe at %s", path);
    if (!code && first)
        *fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    code = agree(mesh, code);
    if (!code && !first)
        *fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (!code && *fd < 0)
        code = rk_error_system("cannot open the pipe %s", path);
    code = agree(mesh, code);
    if (first) {
        unlink(path);
        rmdir(folder);
    }
    return code;
}

/* Whether `name` is `prefix`, the process, and a dash. */
static bool is_of(const char *name, const char *prefix, int pid)
{
    char begin[NAME_SIZE];
    snprintf(begin, sizeof begin, "%s%d-", prefix, pid);
    return !strncmp(name, begin, strlen(begin));
}

static void remove_pipe(const char *name)
{
    char path[NAME_SIZE + 256];
    snprintf(path, sizeof path, "/tmp/%s/io", name);
    unlink(path);
    *strrchr(path, '/') = '\0';
    rmdir(path);
}

void rk_segment_sweep(int pid)
{
    const struct dirent *entry;
    char name[NAME_SIZE + 256];
    DIR *memory = opendir("/dev/shm"), *pipes = opendir("/tmp");
    while (memory && (entry = readdir(memory)))
        if (is_of(entry->d_name, "rankcall-", pid)) {
            snprintf(name, sizeof name, "/%s", entry->d_name);
            shm_unlink(name);
        }
    while (pipes && (entry = readdir(pipes)))
        if (is_of(entry->d_name, "rankcall-pipe-", pid))
            remove_pipe(entry->d_name);
    if (memory)
        closedir(memory);
    if (pipes)
        closedir(pipes);
}

int rk_segment_open(struct rk_mesh *mesh)
{
    mesh->io_fifo = mesh->link_fifo = -1;
    int code = join_segment(mesh);
    if (!code && mesh->ranks[mesh->rank].node == 0)
        code = join_pipe(mesh, &mesh->io_fifo);
    if (!code && mesh->nodes > 1)
        code = join_pipe(mesh, &mesh->link_fifo);
    return code;
}

void rk_segment_close(struct rk_mesh *mesh)
{
    rk_fd_close(&mesh->io_fifo);
    rk_stacks_close();
    mesh->segment = NULL;
}

int rk_io_bell_fd(const struct rk_mesh *mesh)
{
    return mesh->io_fifo;
}

void rk_io_doze(struct rk_mesh *mesh)
{
    atomic_store(&mesh->segment->io_asleep, 1);
}

void rk_io_wake(struct rk_mesh *mesh)
{
    atomic_store(&mesh->segment->io_asleep, 0);
}

void rk_io_drain(struct rk_mesh *mesh)
{
    char bytes[64];
    while (read(mesh->io_fifo, bytes, sizeof bytes) == (ssize_t)sizeof bytes)
        continue;
}

void rk_io_ring(struct rk_mesh *mesh)
{
    rk_baton_claim(mesh);
    rk_io_ring_late(mesh);
}

void rk_io_ring_late(struct rk_mesh *mesh)
{
    if (mesh->io_fifo < 0 && mesh->links && !(mesh->local_rank == 0 && rk_links_ring_up(mesh->links)))
        rk_links_want(mesh->segment, mesh->link_fifo, RK_WANT_RING);
    if (mesh->io_fifo < 0)
        return;
    atomic_thread_fence(memory_order_seq_cst); /* the work is visible before the look at the sleeper */
    if (atomic_load(&mesh->segment->io_asleep) && atomic_exchange(&mesh->segment->io_asleep, 0))
        while (write(mesh->io_fifo, "", 1) < 0 && errno == EINTR)
            continue;
}
