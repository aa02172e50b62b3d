/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What a killed job leaves on this host. Only what bears this job's own numbers, or was seen in its processes, is
 * touched. */

#include "launcher/leftovers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/path.h"
#include "launcher/processes.h"

#define SHARED_MEMORY "/dev/shm/"

/* How Open MPI names its segments there; anything else may be the worker's own affair. */
static const char *const segments[] = {"vader_segment.", "sm_segment.", "osc_rdma.", "mca_btl_sm_"};

static bool is_segment(const char *path)
{
    for (size_t i = 0; i < sizeof(segments) / sizeof(segments[0]); i++)
        if (strncmp(path + strlen(SHARED_MEMORY), segments[i], strlen(segments[i])) == 0)
            return true;
    return false;
}

static void add(struct rk_leftovers *leftovers, const char *path)
{
    for (size_t i = 0; i < leftovers->count; i++)
        if (strcmp(leftovers->files[i], path) == 0)
            return;
    char **files = reallocarray(leftovers->files, leftovers->count + 1, sizeof(*files));
    if (!files)
        return;
    leftovers->files = files;
    if ((files[leftovers->count] = strdup(path)))
        leftovers->count++;
}

void rk_leftovers_record(const struct rk_leftovers *leftovers, pid_t mpirun, const char *path)
{
    struct stat status;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file)
        return;
    fprintf(file, "%d\n", (int)mpirun);
    for (size_t i = 0; i < leftovers->count; i++)
        if (!stat(leftovers->files[i], &status))
            fprintf(file, "%llu %s\n", (unsigned long long)status.st_ino, leftovers->files[i]);
    if (fclose(file))
        unlink(path);
}

pid_t rk_leftovers_recall(struct rk_leftovers *leftovers, const char *path)
{
    char name[256];
    struct stat status;
    unsigned long long inode;
    int mpirun = 0;
    FILE *file = fopen(path, "re");
    if (!file || fscanf(file, "%d", &mpirun) != 1)
        mpirun = 0;
    while (mpirun && fscanf(file, "%llu %255s", &inode, name) == 2)
        if (!strncmp(name, SHARED_MEMORY, strlen(SHARED_MEMORY)) && is_segment(name) && !stat(name, &status) &&
            status.st_ino == inode && status.st_uid == geteuid())
            add(leftovers, name);
    if (file)
        fclose(file);
    return mpirun;
}

static void note_process(struct rk_leftovers *leftovers, pid_t pid)
{
    char path[32], *line = NULL;
    size_t room = 0;
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "re");
    while (maps && getline(&line, &room, maps) > 0) {
        char *file = strstr(line, SHARED_MEMORY);
        if (!file || !is_segment(file) || strstr(file, " (deleted)"))
            continue;
        file[strcspn(file, "\n")] = '\0';
        add(leftovers, file);
    }
    free(line);
    if (maps)
        fclose(maps);
}

void rk_leftovers_note(struct rk_leftovers *leftovers, pid_t root)
{
    pid_t *pids;
    size_t count = rk_processes_list(root, &pids);
    for (size_t i = 0; i < count; i++)
        note_process(leftovers, pids[i]);
    free(pids);
}

static void forget(struct rk_leftovers *leftovers)
{
    for (size_t i = 0; i < leftovers->count; i++)
        free(leftovers->files[i]);
    free(leftovers->files);
    *leftovers = (struct rk_leftovers){0};
}

static bool shares(const struct rk_leftovers *one, const struct rk_leftovers *other)
{
    for (size_t i = 0; i < one->count; i++)
        for (size_t k = 0; k < other->count; k++)
            if (!strcmp(one->files[i], other->files[k]))
                return true;
    return false;
}

bool rk_leftovers_used(const struct rk_leftovers *leftovers, bool kill_them)
{
    pid_t *pids;
    bool used = false;
    size_t count = leftovers->count ? rk_processes_list(0, &pids) : 0;
    for (size_t i = 0; i < count; i++) {
        struct rk_leftovers theirs = {0};
        note_process(&theirs, pids[i]);
        if (shares(&theirs, leftovers)) {
            used = true;
            if (kill_them)
                kill(pids[i], SIGKILL);
        }
        forget(&theirs);
    }
    if (leftovers->count)
        free(pids);
    return used;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    remove(path);
    return 0;
}

static void remove_tree(const char *path)
{
    struct stat status;
    if (!lstat(path, &status) && S_ISDIR(status.st_mode) && status.st_uid == geteuid())
        nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* The folders named after an mpirun's process id: line 4 has /tmp/ompi.HOST.UID/pid.PID, line 5 /tmp/ompi.PID. */
static void remove_session(pid_t mpirun)
{
    const char *base = getenv("TMPDIR");
    char host[256] = "", path[4096];
    if (!base || !base[0])
        base = "/tmp";
    gethostname(host, sizeof(host) - 1);
    host[strcspn(host, ".")] = '\0';
    snprintf(path, sizeof(path), "%s/ompi.%s.%u/pid.%d", base, host, (unsigned)geteuid(), (int)mpirun);
    remove_tree(path);
    *strrchr(path, '/') = '\0';
    rmdir(path); /* unless other jobs use it */
    snprintf(path, sizeof(path), "%s/ompi.%d", base, (int)mpirun);
    remove_tree(path);
    snprintf(path, sizeof(path), "%s/prte.%s.%d.%u", base, host, (int)mpirun, (unsigned)geteuid());
    remove_tree(path);
}

static void remove_socket(const char *path)
{
    struct stat status;
    int fd;
    if (lstat(path, &status) || !S_ISSOCK(status.st_mode))
        return;
    if (!rk_path_connect(path, &fd))
        rk_fd_close(&fd); /* another job has taken the place */
    else if (rankcall_last_error()->code == RANKCALL_ENOJOB)
        unlink(path);
}

void rk_leftovers_remove(struct rk_leftovers *leftovers, pid_t mpirun, const char *socket)
{
    for (size_t i = 0; i < leftovers->count; i++)
        unlink(leftovers->files[i]);
    forget(leftovers);
    if (mpirun > 0)
        remove_session(mpirun);
    if (socket) {
        remove_socket(socket);
        rk_path_tidy(socket);
    }
}

/* What a launcher that was killed with all its processes has written down. Should some still live, they are on their
 * way out, and it stays for the next time. */
static void clear_up_after(const char *path)
{
    struct rk_leftovers found = {0};
    pid_t mpirun = rk_leftovers_recall(&found, path);
    if ((!mpirun || !rk_processes_alive(mpirun)) && !rk_leftovers_used(&found, false)) {
        rk_leftovers_remove(&found, mpirun, NULL);
        unlink(path);
    }
    forget(&found);
}

void rk_leftovers_of_others(void)
{
    char folder[RK_PATH_MAX], path[RK_PATH_MAX + 300];
    struct dirent *entry;
    int pid, end;
    DIR *list = rk_path_folder(false, folder) ? NULL : opendir(folder);
    while (list && (entry = readdir(list))) {
        end = 0;
        if (sscanf(entry->d_name, ".%d.%n", &pid, &end) != 1 || !end || pid <= 0)
            continue;
        bool record = !strcmp(entry->d_name + end, "leftovers");
        if (!record && strcmp(entry->d_name + end, "launcher") != 0 && strcmp(entry->d_name + end, "setup") != 0)
            continue;
        if (!kill(pid, 0) || errno != ESRCH)
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (record)
            clear_up_after(path);
        else
            unlink(path);
    }
    if (list)
        closedir(list);
}
