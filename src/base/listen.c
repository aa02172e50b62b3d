/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Listening at a path: the socket appears there only when it listens, and replaces only a stale one.
 *
 * It is bound to a temporary name in the same folder and renamed. A lock on the folder's descriptor serialises those
 * who listen there, so the temporary name is theirs alone and a leftover of a killed process is removed by the next.
 * The temporary name is reached through /proc/self/fd because it may be longer than a socket's path may be. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/path.h"

#define LOCK_US (5 * 1000000)

struct place {
    const char *path;         /* as asked for */
    const char *base;         /* its last part */
    char folder[RK_PATH_MAX]; /* the rest, or "." */
    char temporary[32];       /* name within the folder */
    int folder_fd;
};

/* A system error that also says what can be done about it. */
static int place_error(const struct place *place, const char *what)
{
    const char *folder = place->folder;

    switch (errno) {
    case ENOSPC:
    case EDQUOT:
        return rk_error(RANKCALL_ESYSTEM,
                        "%s %s: no space is left in %s: free some, or choose another folder with --socket or "
                        "RANKCALL_RUNTIME_DIR",
                        what, place->path, folder);
    case EROFS:
        return rk_error(RANKCALL_ESYSTEM,
                        "%s %s: %s is on a read-only file system: choose another folder with --socket or "
                        "RANKCALL_RUNTIME_DIR",
                        what, place->path, folder);
    case EACCES:
    case EPERM:
        return rk_error(RANKCALL_ESYSTEM,
                        "%s %s: you may not write there: change the rights of %s, or choose another folder with "
                        "--socket or RANKCALL_RUNTIME_DIR",
                        what, place->path, folder);
    case ENOENT:
    case ENOTDIR:
        return rk_error(RANKCALL_ESYSTEM, "%s %s: there is no folder %s: make it first", what, place->path, folder);
    default: return rk_error_system("%s %s", what, place->path);
    }
}

static int split(const char *path, struct place *place)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;

    place->path = path;
    place->base = slash ? slash + 1 : path;
    place->folder_fd = -1;
    if (!*place->base || strcmp(place->base, ".") == 0 || strcmp(place->base, "..") == 0)
        return rk_error(RANKCALL_EINVAL, "\"%s\" names a folder, not a socket", path);
    if (!slash)
        strcpy(place->folder, ".");
    else
        snprintf(place->folder, sizeof place->folder, "%.*s", length ? (int)length : 1, path);
    snprintf(place->temporary, sizeof place->temporary, ".rankcall-%lu.new", (unsigned long)geteuid());
    return RANKCALL_OK;
}

/* Others may hold the lock for a moment, or, where the folder is not ours alone, for as long as they like. */
static int lock_folder(struct place *place)
{
    int64_t deadline = rk_now_us() + LOCK_US;

    place->folder_fd = open(place->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (place->folder_fd < 0)
        return place_error(place, "cannot listen at");
    while (flock(place->folder_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return rk_error_system("cannot lock the folder %s", place->folder);
        if (rk_now_us() >= deadline)
            return rk_error(RANKCALL_ESYSTEM, "another process has locked the folder %s for %d s: choose another",
                            place->folder, LOCK_US / 1000000);
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    return RANKCALL_OK;
}

/* Whether somebody accepts connections at the path: 1, 0, or -1 with an error set. */
static int is_live(const struct place *place, const struct sockaddr_un *address, socklen_t size)
{
    int live = 1, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        rk_error_system("cannot make a socket");
        return -1;
    }
    /* A full backlog (EAGAIN) is alive; what may not be asked (EACCES) is not ours to remove. */
    if (connect(fd, (const struct sockaddr *)address, size) < 0 && (errno == ECONNREFUSED || errno == ENOENT))
        live = 0;
    rk_fd_close(&fd);
    if (live)
        rk_error(RANKCALL_EEXIST,
                 "a live job listens at %s already: stop it (`rankcall stop -j %s`) or choose another name",
                 place->path, place->path);
    return live;
}

/* Whether the path is free or holds a stale socket, which may then be replaced. */
static int check_place(const struct place *place, const struct sockaddr_un *address, socklen_t size, bool *stale)
{
    struct stat found;
    int live;

    *stale = false;
    if (fstatat(place->folder_fd, place->base, &found, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? RANKCALL_OK : place_error(place, "cannot look at");
    if (!S_ISSOCK(found.st_mode))
        return rk_error(RANKCALL_EEXIST, "%s exists and is not a socket: remove it, or choose another path",
                        place->path);
    live = is_live(place, address, size);
    *stale = live == 0;
    return live == 0 ? RANKCALL_OK : rankcall_last_error()->code;
}

static int bind_temporary(const struct place *place, int fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", place->folder_fd, place->temporary);
    if (unlinkat(place->folder_fd, place->temporary, 0) < 0 && errno != ENOENT)
        return place_error(place, "cannot listen at");
    if (bind(fd, (const struct sockaddr *)&address, sizeof address) < 0)
        return place_error(place, "cannot listen at");
    return RANKCALL_OK;
}

static int publish(const struct place *place, int fd, bool replace)
{
    int flags = replace ? 0 : RENAME_NOREPLACE, folder = place->folder_fd;

    /* Nobody can connect before listen(), so the mode is closed in time. */
    if (fchmodat(folder, place->temporary, 0600, 0) < 0 || listen(fd, SOMAXCONN) < 0)
        return place_error(place, "cannot listen at");
    if (renameat2(folder, place->temporary, folder, place->base, flags) == 0)
        return RANKCALL_OK;
    /* Some file systems cannot rename without replacing; under the lock, nobody of ours comes in between. */
    if (errno == EINVAL && renameat(folder, place->temporary, folder, place->base) == 0)
        return RANKCALL_OK;
    if (errno == EEXIST)
        return rk_error(RANKCALL_EEXIST, "%s has just been made by somebody else", place->path);
    return place_error(place, "cannot listen at");
}

/* Binds, listens and renames; removes the temporary name on any failure. */
static int appear(const struct place *place, int fd, bool replace)
{
    int code = bind_temporary(place, fd);

    if (code)
        return code;
    if ((code = publish(place, fd, replace)))
        (void)unlinkat(place->folder_fd, place->temporary, 0);
    return code;
}

int rk_path_listen(const char *path, int *fd)
{
    struct place place;
    struct sockaddr_un address;
    socklen_t size;
    bool stale;
    int made = -1, code = rk_path_address(path, &address, &size);

    if (code || (code = split(path, &place)))
        return code;
    if ((code = lock_folder(&place)) || (code = check_place(&place, &address, size, &stale)))
        goto out;
    made = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    code = made < 0 ? rk_error_system("cannot make a socket") : appear(&place, made, stale);
out:
    rk_fd_close(&place.folder_fd); /* drops the lock */
    if (code)
        rk_fd_close(&made);
    else
        *fd = made;
    return code;
}

void rk_path_tidy(const char *path)
{
    struct place place;

    if (split(path, &place))
        return;
    if (lock_folder(&place) == RANKCALL_OK) /* whoever listens holds the lock: what is there now is a dead one's */
        (void)unlinkat(place.folder_fd, place.temporary, 0);
    rk_fd_close(&place.folder_fd);
}
