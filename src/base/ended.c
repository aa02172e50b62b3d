/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* How a process is, and how one ended that is not one's own child. */

#include "base/ended.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

/* As linux/pidfd.h of Linux 6.15 has it. */
struct pidfd_exit {
    uint64_t mask, cgroup;
    uint32_t ids[11];
    int32_t exit_code;
};
#define GET_INFO  _IOWR(0xFF, 11, struct pidfd_exit)
#define INFO_EXIT (UINT64_C(1) << 3)

/* How the process ended, as waitpid(2) would say; -1: not known. Linux before 6.15 doesn't tell. */
static int status_by_descriptor(int pidfd)
{
    struct pidfd_exit info = {.mask = INFO_EXIT};
    if (pidfd < 0 || ioctl(pidfd, GET_INFO, &info) || !(info.mask & INFO_EXIT))
        return -1;
    return info.exit_code;
}

/* Its line in /proc; "" when it is gone. */
static void read_line(int pid, char line[1024])
{
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    size_t size = file ? fread(line, 1, 1023, file) : 0;
    if (file)
        fclose(file);
    line[size] = '\0';
}

char rk_process_state(int pid)
{
    char line[1024];
    read_line(pid, line);
    const char *end = strrchr(line, ')'); /* a name may hold spaces and brackets */
    return end && end[1] == ' ' && end[2] ? end[2] : '?';
}

bool rk_process_busy(int pid)
{
    char state = rk_process_state(pid);
    return state == 'R' || state == 'D';
}

static void add_work(int pid, const char *thread, uint64_t *run_ns, uint64_t *waited_ns)
{
    char path[320];
    uint64_t run, waited;
    snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, thread);
    FILE *file = fopen(path, "re");
    if (file && fscanf(file, "%" SCNu64 " %" SCNu64, &run, &waited) == 2) {
        *run_ns += run;
        *waited_ns += waited;
    }
    if (file)
        fclose(file);
}

void rk_process_work(int pid, uint64_t *run_ns, uint64_t *waited_ns)
{
    char path[32];
    const struct dirent *entry;
    *run_ns = *waited_ns = 0;
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *threads = opendir(path);
    while (threads && (entry = readdir(threads)))
        if (entry->d_name[0] != '.')
            add_work(pid, entry->d_name, run_ns, waited_ns);
    if (threads)
        closedir(threads);
}

/* The same from that line, where it stays until its parent has taken note. */
static int status_by_proc(int pid)
{
    char line[1024];
    read_line(pid, line);
    char *last = strrchr(line, ' '); /* exit_code is the last field: proc(5) */
    int status = -1;
    if (!last || sscanf(last, "%d", &status) != 1)
        return -1;
    return status;
}

int rk_ended_how(int pid, int pidfd)
{
    int status = status_by_proc(pid);
    return status >= 0 ? status : status_by_descriptor(pidfd);
}

void rk_ended_text(int status, char *text, size_t size)
{
    if (status > 0 && WIFSIGNALED(status))
        snprintf(text, size, "was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (status >= 0 && WIFEXITED(status))
        snprintf(text, size, "ended with exit status %d", WEXITSTATUS(status));
    else
        snprintf(text, size, "has died");
}
