/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* mpirun and everything below it. */

#include "launcher/processes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/ended.h"
#include "base/error.h"
#include "base/fd.h"

#define SWEEP_US 5000000 /* how long killed processes may take to be gone */

struct process {
    pid_t pid, parent;
    bool below;
};

static struct rlimit open_files; /* as this process was given it */

void rk_processes_adopt(void)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    getrlimit(RLIMIT_NOFILE, &open_files);
    rk_fd_raise_limit();
}

/* In the child: becomes mpirun, or tells why not through `report`. */
_Noreturn static void become(char *const argv[], char *const environment[], const int fds[3], int report)
{
    sigset_t none;
    sigemptyset(&none);
    setpgid(0, 0);
    setrlimit(RLIMIT_NOFILE, &open_files);
    for (int i = 1; i < 32; i++)
        signal(i, SIG_DFL);
    signal(SIGPIPE, SIG_IGN); /* should this process be killed, mpirun cleans up rather than die of its output */
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int i = 0; i < 3; i++)
        dup2(fds[i], i);
    for (; *environment; environment++)
        putenv(*environment);
    execvp(argv[0], argv);
    int error = errno;
    _exit(write(report, &error, sizeof(error)) == sizeof(error) ? 127 : 126);
}

/* Waits until the child has become mpirun. */
static int await_exec(int report, const char *program)
{
    int error;
    ssize_t size;
    do
        size = read(report, &error, sizeof(error));
    while (size < 0 && errno == EINTR);
    if (size <= 0)
        return RANKCALL_OK;
    return rk_error(RANKCALL_ELAUNCH, "cannot run %s: %s", program, strerror(error));
}

static int spawn(struct rk_processes *processes, char *const argv[], char *const environment[], const int fds[3])
{
    int report[2];
    if (pipe2(report, O_CLOEXEC))
        return rk_error_system("cannot make a pipe");
    pid_t pid = fork();
    if (pid == 0)
        become(argv, environment, fds, report[1]);
    rk_fd_close(&report[1]);
    int code = pid < 0 ? rk_error_system("cannot start a process") : await_exec(report[0], argv[0]);
    rk_fd_close(&report[0]);
    if (code) {
        if (pid > 0)
            waitpid(pid, NULL, 0);
        return code;
    }
    setpgid(pid, pid);
    processes->mpirun = pid;
    processes->running = true;
    return RANKCALL_OK;
}

int rk_processes_start(struct rk_processes *processes, char *const argv[], char *const environment[])
{
    int out[2] = {-1, -1}, err[2] = {-1, -1}, code = RANKCALL_OK;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    *processes = (struct rk_processes){.out = -1, .err = -1};
    if (null < 0 || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
        code = rk_error_system("cannot make a pipe");
    if (!code)
        code = spawn(processes, argv, environment, (const int[]){null, out[1], err[1]});
    if (!code && !(code = rk_fd_prepare(out[0])) && !(code = rk_fd_prepare(err[0]))) {
        processes->out = out[0];
        processes->err = err[0];
    } else {
        rk_fd_close(&out[0]);
        rk_fd_close(&err[0]);
    }
    rk_fd_close(&null);
    rk_fd_close(&out[1]);
    rk_fd_close(&err[1]);
    return code;
}

bool rk_processes_reap(struct rk_processes *processes)
{
    bool ended = false;
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == processes->mpirun) {
            processes->wait_status = status;
            processes->running = false;
            ended = true;
        }
    return ended;
}

void rk_processes_signal(const struct rk_processes *processes, int signal)
{
    if (processes->running)
        kill(processes->mpirun, signal);
}

/* A process's state and parent by /proc; false when it is gone. */
static bool look(const char *pid, char *state, pid_t *parent)
{
    char path[64], text[512];
    snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    rk_fd_close(&fd);
    if (size <= 0)
        return false;
    text[size] = '\0';
    const char *name_end = strrchr(text, ')'); /* a name may hold spaces and brackets */
    return name_end && sscanf(name_end + 1, " %c %d", state, parent) == 2;
}

bool rk_processes_alive(pid_t pid)
{
    char state = rk_process_state((int)pid);
    return state != '?' && state != 'Z';
}

static size_t read_all(pid_t root, struct process **list)
{
    size_t count = 0, room = 0;
    struct dirent *entry;
    DIR *proc = opendir("/proc");
    *list = NULL;
    while (proc && (entry = readdir(proc))) {
        pid_t pid = atoi(entry->d_name);
        pid_t parent;
        char state;
        if (pid <= 0 || !look(entry->d_name, &state, &parent))
            continue;
        if (count == room) {
            room = room ? 2 * room : 256;
            struct process *more = reallocarray(*list, room, sizeof(**list));
            if (!more)
                break;
            *list = more;
        }
        (*list)[count++] = (struct process){pid, parent, parent == root};
    }
    if (proc)
        closedir(proc);
    return count;
}

static bool is_below(const struct process *list, size_t count, pid_t parent)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].pid == parent)
            return list[i].below;
    return false;
}

size_t rk_processes_children(const struct rk_processes *processes)
{
    struct process *list;
    size_t count = read_all(processes->mpirun, &list), children = 0;
    for (size_t i = 0; i < count; i++)
        children += list[i].below;
    free(list);
    return children;
}

size_t rk_processes_list(pid_t root, pid_t **pids)
{
    struct process *list;
    size_t count = read_all(root, &list), below = 0;
    bool more = count > 0;
    while (more) {
        more = false;
        for (size_t i = 0; i < count; i++)
            if (!list[i].below && is_below(list, count, list[i].parent))
                more = list[i].below = true;
    }
    *pids = calloc(count + 1, sizeof(**pids));
    for (size_t i = 0; *pids && i < count; i++)
        if (list[i].below)
            (*pids)[below++] = list[i].pid;
    free(list);
    return below;
}

/* A process of srun's looks after the ranks, and ends them should srun be killed: it is left alone. */
static size_t end_srun(struct rk_processes *processes)
{
    if (processes->running)
        kill(processes->mpirun, processes->kills++ ? SIGKILL : SIGINT);
    return processes->running;
}

size_t rk_processes_signal_all(struct rk_processes *processes, int signal, bool spare_mpirun)
{
    pid_t *pids;
    if (processes->by_srun && processes->running)
        return end_srun(processes);
    size_t count = rk_processes_list(getpid(), &pids), signalled = 0;
    for (size_t i = 0; i < count; i++)
        if (pids[i] != processes->spared && !(spare_mpirun && pids[i] == processes->mpirun)) {
            kill(pids[i], signal);
            signalled++;
        }
    free(pids);
    return signalled;
}

void rk_processes_sweep(struct rk_processes *processes)
{
    int64_t deadline = rk_now_us() + SWEEP_US;
    pid_t *pids;
    size_t spared = processes->spared > 0;
    for (size_t left = SIZE_MAX; processes->by_srun && left > spared && rk_now_us() < deadline;
         rk_processes_reap(processes)) {
        left = rk_processes_list(getpid(), &pids);
        free(pids);
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    while (rk_processes_signal_all(processes, SIGKILL, false) && rk_now_us() < deadline) {
        rk_processes_reap(processes);
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    rk_processes_reap(processes);
}
