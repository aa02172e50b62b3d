/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Whole files as memory: mapped where that can be, else read. */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "launcher/file.h"

#define FIRST_READ 65536

static int read_all(int fd, const char *path, struct rk_file *file)
{
    size_t room = 0;
    char *data = NULL;
    for (;;) {
        if (file->size == room) {
            room = room ? 2 * room : FIRST_READ;
            char *more = realloc(data, room);
            if (!more) {
                free(data);
                return rk_error(RANKCALL_EINTERNAL, "no memory for %s", path);
            }
            data = more;
        }
        ssize_t some = read(fd, data + file->size, room - file->size);
        if (some < 0 && errno == EINTR)
            continue;
        if (some < 0) {
            free(data);
            return rk_error_system("cannot read %s", path);
        }
        if (some == 0)
            break;
        file->size += (size_t)some;
    }
    file->data = data;
    return RANKCALL_OK;
}

static int map(int fd, const char *path, size_t size, struct rk_file *file)
{
    file->data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (file->data == MAP_FAILED) {
        file->data = NULL;
        return read_all(fd, path, file);
    }
    file->size = size;
    file->mapped = true;
    return RANKCALL_OK;
}

static int open_input(const char *path, int *fd)
{
    static bool stdin_was_read;
    if (strcmp(path, "-") != 0) {
        *fd = open(path, O_RDONLY | O_CLOEXEC);
        return *fd < 0 ? rk_error_system("cannot open %s", path) : RANKCALL_OK;
    }
    if (stdin_was_read)
        return rk_error(RANKCALL_EINVAL, "standard input (-) can be read only once");
    stdin_was_read = true;
    *fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    return *fd < 0 ? rk_error_system("cannot read standard input") : RANKCALL_OK;
}

int rk_file_open(const char *path, struct rk_file *file)
{
    int fd;
    struct stat status;
    *file = (struct rk_file){0};
    int code = open_input(path, &fd);
    if (code)
        return code;
    if (fstat(fd, &status))
        code = rk_error_system("cannot look at %s", path);
    else if (S_ISDIR(status.st_mode))
        code = rk_error(RANKCALL_ESYSTEM, "%s is a folder", path);
    else if (S_ISREG(status.st_mode) && status.st_size > 0 && strcmp(path, "-") != 0)
        code = map(fd, path, (size_t)status.st_size, file);
    else
        code = read_all(fd, path, file);
    rk_fd_close(&fd);
    return code;
}

void rk_file_close(struct rk_file *file)
{
    if (file->mapped)
        munmap(file->data, file->size);
    else
        free(file->data);
    *file = (struct rk_file){0};
}
