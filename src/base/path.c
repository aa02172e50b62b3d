/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Names of jobs, the folder of sockets, and connecting by path. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/path.h"

#define CONNECT_SECONDS 10 /* a job whose backlog is full this long does not answer */

bool rk_path_name_ok(const char *name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t length = strspn(name, allowed);

    return length >= 1 && length <= 64 && name[length] == '\0' && name[0] != '.' && name[0] != '-';
}

static int too_long(const char *path)
{
    return rk_error(RANKCALL_EINVAL,
                    "\"%s\" has %zu bytes, but a socket's path holds at most %zu: choose a shorter path "
                    "(or a shorter RANKCALL_RUNTIME_DIR)",
                    path, strlen(path), RK_PATH_MAX - 1);
}

/* Writes the folder's path without looking at the disk. */
static int folder_path(char folder[RK_PATH_MAX], bool *chosen)
{
    const char *wanted = getenv("RANKCALL_RUNTIME_DIR");
    size_t length;

    *chosen = wanted && *wanted;
    if (!*chosen) {
        snprintf(folder, RK_PATH_MAX, "/tmp/rankcall-%lu", (unsigned long)geteuid());
        return RANKCALL_OK;
    }
    if (wanted[0] != '/')
        return rk_error(RANKCALL_EINVAL, "RANKCALL_RUNTIME_DIR is \"%s\": it must be an absolute path", wanted);
    length = strlen(wanted);
    while (length > 1 && wanted[length - 1] == '/')
        length--;
    if (length >= RK_PATH_MAX)
        return too_long(wanted);
    memcpy(folder, wanted, length);
    folder[length] = '\0';
    return RANKCALL_OK;
}

static int check_folder(const char *folder, const struct stat *found, bool chosen)
{
    if (!S_ISDIR(found->st_mode))
        return rk_error(RANKCALL_ESYSTEM,
                        "%s is not a folder (nor may it be a symbolic link): remove it, or set "
                        "RANKCALL_RUNTIME_DIR to another folder",
                        folder);
    if (found->st_uid != geteuid() && !(geteuid() == 0 && chosen))
        return rk_error(RANKCALL_ESYSTEM,
                        "%s belongs to user %lu, not to you (%lu): set RANKCALL_RUNTIME_DIR to a folder of your own",
                        folder, (unsigned long)found->st_uid, (unsigned long)geteuid());
    if (found->st_mode & 077)
        return rk_error(RANKCALL_ESYSTEM, "%s is open to other users (mode %04o): run `chmod 700 %s`", folder,
                        (unsigned)(found->st_mode & 07777), folder);
    return RANKCALL_OK;
}

int rk_path_folder(bool create, char folder[RK_PATH_MAX])
{
    struct stat found;
    bool chosen;
    int code = folder_path(folder, &chosen);

    if (code)
        return code;
    if (create && mkdir(folder, 0700) < 0 && errno != EEXIST)
        return rk_error_system("cannot make the folder %s (set RANKCALL_RUNTIME_DIR to one that can be written)",
                               folder);
    if (lstat(folder, &found) < 0) {
        if (errno == ENOENT && !create)
            return RANKCALL_OK;
        return rk_error_system("cannot look at the folder %s", folder);
    }
    return check_folder(folder, &found, chosen);
}

int rk_path_make_folder_of(const char *path)
{
    char folder[RK_PATH_MAX];
    int code = rk_path_folder(false, folder);
    size_t size = strlen(folder);

    if (!code && !strncmp(path, folder, size) && path[size] == '/')
        code = rk_path_folder(true, folder);
    return code;
}

int rk_path_socket(const char *job, char path[RK_PATH_MAX])
{
    char folder[RK_PATH_MAX], wanted[RK_PATH_MAX + 80];
    int code;

    if (!job || !*job)
        return rk_error(RANKCALL_EINVAL, "a job's name is empty");
    if (strchr(job, '/')) {
        if (strlen(job) >= RK_PATH_MAX)
            return too_long(job);
        strcpy(path, job);
        return RANKCALL_OK;
    }
    if (!rk_path_name_ok(job))
        return rk_error(RANKCALL_EINVAL,
                        "\"%s\" is no job name: 1 to 64 of A-Z a-z 0-9 . _ - are, not beginning with . or - "
                        "(a path needs a /)",
                        job);
    if ((code = rk_path_folder(false, folder)))
        return code;
    snprintf(wanted, sizeof wanted, "%s/%s.sock", folder, job);
    if (strlen(wanted) >= RK_PATH_MAX)
        return too_long(wanted);
    strcpy(path, wanted);
    return RANKCALL_OK;
}

int rk_path_address(const char *path, struct sockaddr_un *address, socklen_t *size)
{
    size_t length = strlen(path);

    if (length >= RK_PATH_MAX)
        return too_long(path);
    if (length == 0)
        return rk_error(RANKCALL_EINVAL, "a socket's path is empty");
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, length + 1);
    *size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
    return RANKCALL_OK;
}

static int connect_failed(const char *path)
{
    switch (errno) {
    case ENOENT:
    case ENOTDIR:
        return rk_error(RANKCALL_ENOJOB, "no job at %s: there is no such socket (`rankcall ps` lists the jobs)", path);
    case ECONNREFUSED:
    case EPROTOTYPE:
        return rk_error(RANKCALL_ENOJOB, "no job at %s: nobody listens there (`rankcall ps` lists the jobs)", path);
    case EACCES:
    case EPERM: return rk_error(RANKCALL_EFORBIDDEN, "%s belongs to another user", path);
    case EAGAIN:
        return rk_error(RANKCALL_ETIMEOUT, "the job at %s has taken no connection for %d s", path, CONNECT_SECONDS);
    default: return rk_error_system("cannot connect to %s", path);
    }
}

/* A blocking connect, which the socket's send timeout bounds. */
static int connect_within(int fd, const struct sockaddr_un *address, socklen_t size)
{
    struct timeval limit = {.tv_sec = CONNECT_SECONDS}, none = {0};
    int result;

    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    do
        result = connect(fd, (const struct sockaddr *)address, size);
    while (result < 0 && errno == EINTR);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof none);
    return result;
}

int rk_path_connect(const char *path, int *fd)
{
    struct sockaddr_un address;
    socklen_t size;
    int made, code = rk_path_address(path, &address, &size);

    if (code)
        return code;
    made = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (made < 0)
        return rk_error_system("cannot make a socket");
    if (connect_within(made, &address, size) < 0)
        code = connect_failed(path);
    else
        code = rk_fd_prepare(made);
    if (code)
        rk_fd_close(&made);
    else
        *fd = made;
    return code;
}
