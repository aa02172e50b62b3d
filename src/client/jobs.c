/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Jobs by name: the sockets of the runtime folder, which of them live, and who listens there. */

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "client/runner.h"

#define SUFFIX ".sock"

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct rk_job_entry *)a)->name, ((const struct rk_job_entry *)b)->name);
}

/* Fills an entry from a file's name; false when the file is no job's socket. */
static bool is_job(const char *file, struct rk_job_entry *entry)
{
    size_t size = strlen(file), suffix = strlen(SUFFIX);
    if (size <= suffix || size - suffix >= sizeof(entry->name) || strcmp(file + size - suffix, SUFFIX) != 0)
        return false;
    memcpy(entry->name, file, size - suffix);
    entry->name[size - suffix] = '\0';
    return rk_path_name_ok(entry->name) && !rk_path_socket(entry->name, entry->path);
}

static int read_folder(DIR *folder, struct rk_job_entry **jobs, size_t *count)
{
    struct dirent *file;
    struct rk_job_entry entry;
    while ((file = readdir(folder))) {
        if (!is_job(file->d_name, &entry))
            continue;
        struct rk_job_entry *more = reallocarray(*jobs, *count + 1, sizeof(**jobs));
        if (!more)
            return rk_error(RANKCALL_EINTERNAL, "no memory for the list of jobs");
        *jobs = more;
        (*jobs)[(*count)++] = entry;
    }
    return RANKCALL_OK;
}

int rk_jobs_list(struct rk_job_entry **jobs, size_t *count)
{
    char path[RK_PATH_MAX];
    *jobs = NULL;
    *count = 0;
    int code = rk_path_folder(false, path);
    if (code)
        return code;
    DIR *folder = opendir(path);
    if (!folder)
        return errno == ENOENT ? RANKCALL_OK : rk_error_system("cannot list the jobs in %s", path);
    code = read_folder(folder, jobs, count);
    closedir(folder);
    if (code) {
        free(*jobs);
        *jobs = NULL;
        *count = 0;
    } else if (*count) {
        qsort(*jobs, *count, sizeof(**jobs), by_name);
    }
    return code;
}

int rk_jobs_dial(const char *path, int *fd)
{
    int code = rk_path_connect(path, fd);
    if (code)
        return code;
    struct ucred peer;
    socklen_t size = sizeof(peer);
    uid_t self = geteuid();
    if (getsockopt(*fd, SOL_SOCKET, SO_PEERCRED, &peer, &size))
        code = rk_error_system("cannot tell who listens at %s", path);
    else if (self && peer.uid && peer.uid != self)
        code = rk_error(RANKCALL_EFORBIDDEN, "user %u listens at %s, not you (user %u)", peer.uid, path, self);
    if (code)
        rk_fd_close(fd);
    return code;
}

/* Keeps the live ones of `jobs` at its front. */
static size_t keep_live(struct rk_job_entry *jobs, size_t count)
{
    size_t live = 0;
    for (size_t i = 0; i < count; i++) {
        int fd;
        if (rk_jobs_dial(jobs[i].path, &fd))
            continue;
        rk_fd_close(&fd);
        jobs[live++] = jobs[i];
    }
    return live;
}

static int several(const struct rk_job_entry *jobs, size_t count)
{
    char names[256] = "";
    for (size_t i = 0, size = 0; i < count && size < sizeof(names); i++)
        size += (size_t)snprintf(names + size, sizeof(names) - size, "%s%s", i ? ", " : "", jobs[i].name);
    return rk_error(RANKCALL_EINVAL, "several jobs run (%s): name one, or set RANKCALL_JOB", names);
}

static int only_live_job(char path[RK_PATH_MAX])
{
    struct rk_job_entry *jobs;
    size_t count;
    int code = rk_jobs_list(&jobs, &count);
    if (code)
        return code;
    count = keep_live(jobs, count);
    if (count == 1)
        memcpy(path, jobs[0].path, RK_PATH_MAX);
    else if (count == 0)
        code = rk_error(RANKCALL_ENOJOB, "no job runs: start one with `rankcall run`");
    else
        code = several(jobs, count);
    free(jobs);
    return code;
}

int rk_jobs_resolve(const char *job, char path[RK_PATH_MAX])
{
    const char *chosen = getenv("RANKCALL_JOB");
    if (!job && chosen && chosen[0])
        job = chosen;
    return job ? rk_path_socket(job, path) : only_live_job(path);
}
