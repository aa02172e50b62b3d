/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What happens when the launcher is killed: rank 0 loses its connection and stops the job in order, mpirun ends, and
 * this process removes what the launcher would have removed. What does not end by itself is killed. */

#include "launcher/watcher.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "launcher/leftovers.h"
#include "launcher/processes.h"

#define ORDERLY_US   3000000 /* how long the job may take to stop by itself */
#define TERMINATE_US 2000000 /* how long mpirun may take to end its ranks */

/* Signals and output of the launcher's are none of the watcher's. */
static void detach(int pipe)
{
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2};
    setsid();
    prctl(PR_SET_NAME, "rankcall-watch");
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        signal(ignored[i], SIG_IGN);
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; fd++)
        dup2(null, fd);
    for (int fd = 3; fd < pipe; fd++)
        close(fd);
    syscall(SYS_close_range, pipe + 1, ~0u, 0);
}

static void await_end(int pipe)
{
    char byte;
    while (read(pipe, &byte, 1) < 0 && errno == EINTR)
        continue;
}

/* Looks now and then: nobody tells a process that is not the parent. */
static bool gone(pid_t mpirun, int64_t patience_us)
{
    int64_t deadline = rk_now_us() + patience_us;
    while (rk_processes_alive(mpirun)) {
        if (rk_now_us() >= deadline)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return true;
}

static bool unused(const struct rk_leftovers *leftovers, int64_t patience_us)
{
    int64_t deadline = rk_now_us() + patience_us;
    while (rk_leftovers_used(leftovers, false)) {
        if (rk_now_us() >= deadline)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    return true;
}

static void kill_below(pid_t mpirun)
{
    pid_t *pids;
    size_t count = rk_processes_list(mpirun, &pids);
    kill(mpirun, SIGKILL);
    for (size_t i = 0; i < count; i++)
        kill(pids[i], SIGKILL);
    free(pids);
}

_Noreturn static void watch(pid_t mpirun, const struct rk_plan *plan, int pipe)
{
    struct rk_leftovers leftovers = {0};
    detach(pipe);
    await_end(pipe);
    rk_leftovers_note(&leftovers, mpirun);
    if (!gone(mpirun, ORDERLY_US)) {
        kill(mpirun, SIGTERM);
        if (!gone(mpirun, TERMINATE_US))
            kill_below(mpirun);
        gone(mpirun, TERMINATE_US);
    }
    rk_leftovers_recall(&leftovers, plan->leftovers);
    if (!unused(&leftovers, ORDERLY_US)) { /* orphans, which nobody finds but by that */
        rk_leftovers_used(&leftovers, true);
        unused(&leftovers, TERMINATE_US);
    }
    unlink(plan->leftovers);
    rk_leftovers_remove(&leftovers, mpirun, plan->socket);
    unlink(plan->launcher);
    if (plan->setup[0])
        unlink(plan->setup);
    _exit(0);
}

int rk_watcher_start(struct rk_watcher *watcher, pid_t mpirun, const struct rk_plan *plan)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC))
        return rk_error_system("cannot make a pipe");
    watcher->pid = fork();
    if (watcher->pid == 0) {
        close(ends[1]);
        watch(mpirun, plan, ends[0]);
    }
    rk_fd_close(&ends[0]);
    watcher->pipe = ends[1];
    if (watcher->pid > 0)
        return RANKCALL_OK;
    watcher->pid = 0;
    rk_fd_close(&watcher->pipe);
    return rk_error_system("cannot start a process");
}

void rk_watcher_dismiss(struct rk_watcher *watcher)
{
    if (!watcher->pid)
        return;
    if (waitpid(watcher->pid, NULL, WNOHANG) == 0) { /* else somebody has killed it */
        kill(watcher->pid, SIGKILL);
        while (waitpid(watcher->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    rk_fd_close(&watcher->pipe);
    watcher->pid = 0;
}
