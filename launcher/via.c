/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Reaching a job on another host: `rankcall forward` runs there, below ssh or srun, and passes bytes on between them
 * and the job's socket. */

#include "launcher/via.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"

#define GREETING_US 30000000 /* for ssh to log in, or srun to begin a step, and the job to greet */
#define PAUSE_MS    250      /* between two looks whether a job is there */
#define END_US      1000000  /* for ssh or srun to say how it has ended */

#define SHORT_US     2000000 /* an ssh or srun that has failed before did not get through ... */
#define FAILURES_MAX 3       /* ... and after so many in a row no other is tried */

struct line {
    const char *words[16];
    char first[64], group[64], script[2 * PATH_MAX + 300];
};

/* A word for a shell. */
static bool quote(const char *text, char *out, size_t room)
{
    size_t at = 0;
    if (room < 3)
        return false;
    out[at++] = '\'';
    for (; *text && at + 6 < room; text++)
        if (*text == '\'')
            at += (size_t)sprintf(out + at, "'\\''");
        else
            out[at++] = *text;
    out[at++] = '\'';
    out[at] = '\0';
    return !*text;
}

/* This very command where it is there, too, as on file systems that nodes share; else PATH's. */
static int make_script(const char *job, double wait, struct line *line)
{
    char self[PATH_MAX] = "", command[PATH_MAX + 16], name[RK_PATH_MAX + 16] = "";
    ssize_t size = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[size > 0 ? size : 0] = '\0';
    if (!quote(self, command, sizeof(command)) || (job && !quote(job, name, sizeof(name))))
        return rk_error(RANKCALL_EINVAL, "the job's name is too long");
    snprintf(line->script, sizeof(line->script),
             "r=%s; [ -x \"$r\" ] || r=rankcall; exec \"$r\" forward --wait %.3f %s%s", command, wait, job ? "-j " : "",
             name);
    return RANKCALL_OK;
}

static int make_line(const char *via, const char *job, double wait, struct line *line)
{
    const char *ssh = getenv("RANKCALL_SSH"), *target = strchr(via, ':');
    target = target ? target + 1 : "";
    if (!strncmp(via, "ssh:", 4) && *target && *target != '-') {
        const struct line made = {
            .words = {ssh && *ssh ? ssh : "ssh", "-T", "-o", "BatchMode=yes", target, line->script}};
        memcpy(line->words, made.words, sizeof(made.words));
    } else if (!strncmp(via, "srun:", 5) && isdigit((unsigned char)*target)) {
        const struct line made = {.words = {"srun", line->first, "--nodes=1", "--ntasks=1", "--relative=0", "--overlap",
                                            "--mpi=none", "--gpus=0", "--export=ALL", "--quiet", "--unbuffered", "sh",
                                            "-c", line->script}};
        const char *component = strchr(target, '+');
        snprintf(line->first, sizeof(line->first), "--jobid=%.*s", (int)strcspn(target, "+") & 31, target);
        snprintf(line->group, sizeof(line->group), "--het-group=%.20s", component ? component + 1 : "");
        memcpy(line->words, made.words, sizeof(made.words));
        if (component)
            line->words[6] = line->group;
    } else {
        return rk_error(RANKCALL_EINVAL,
                        "--via is \"%s\", but takes ssh:HOST, or srun:N with the number of a Slurm job, N+1 for its "
                        "second component",
                        via);
    }
    return make_script(job, wait, line);
}

static int start(const struct line *line, int *fd, pid_t *pid)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        return rk_error_system("cannot make a pair of sockets");
    *pid = fork();
    if (*pid == 0) {
        setpgid(0, 0); /* Ctrl-C is a wish of this command's user, which the job hears of by the connection */
        dup2(ends[1], 0);
        dup2(ends[1], 1);
        execvp(line->words[0], (char *const *)line->words);
        fprintf(stderr, "rankcall: cannot run %s: %s\n", line->words[0], strerror(errno));
        _exit(127);
    }
    rk_fd_close(&ends[1]);
    if (*pid < 0) {
        rk_fd_close(&ends[0]);
        return rk_error_system("cannot start a process");
    }
    *fd = ends[0];
    return rk_fd_prepare(*fd);
}

/* Of what has carried a connection that has ended: 0 if it does not end. */
static pid_t await_end(pid_t pid, int *status)
{
    pid_t ended = 0;
    for (int64_t deadline_us = rk_now_us() + END_US; !ended && rk_now_us() < deadline_us;) {
        ended = waitpid(pid, status, WNOHANG);
        if (!ended)
            nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    return ended;
}

/* The connection ended before the greeting: what carried it has said why, as far as it knows. */
static int explain(const char *via, pid_t pid)
{
    int status = 0;
    pid_t ended = await_end(pid, &status);
    if (ended == pid && WIFEXITED(status) && WEXITSTATUS(status) == rankcall_code_exit_status(RANKCALL_ENOJOB))
        return rk_error(RANKCALL_ENOJOB, "no such job there (%s)", via);
    if (ended == pid && WIFEXITED(status))
        return rk_error(RANKCALL_ENOJOB, "%s ended with status %d before a job greeted", via, WEXITSTATUS(status));
    return rk_error(RANKCALL_ENOJOB, "%s closed the connection before the job greeted", via);
}

/* The way, for coming back on it. */
struct way {
    const char *via;
    struct line line; /* its words point into it */
    pid_t pid;        /* of what carries the connection */
    int64_t begun_us;
    int failures; /* of it in a row, soon after the beginning */
};

/* The connection has ended: as a rule since rank 0 has died, and whoever is there in its place is spoken to anew. */
static int dial_again(void *context, int *fd)
{
    struct way *way = context;
    const bool short_lived = rk_now_us() - way->begun_us < SHORT_US;
    int status = -1;
    pid_t ended = await_end(way->pid, &status);
    if (!ended)
        kill(way->pid, SIGTERM);
    if (ended > 0 && WIFEXITED(status) && WEXITSTATUS(status) == rankcall_code_exit_status(RANKCALL_ENOJOB))
        return rk_error(RANKCALL_ENOJOB, "the job is gone (%s)", way->via);
    way->failures = status && short_lived ? way->failures + 1 : 0;
    if (way->failures == FAILURES_MAX)
        return rk_error(RANKCALL_ECLOSED, "%s does not get through any more", way->via);
    way->begun_us = rk_now_us();
    return start(&way->line, fd, &way->pid);
}

static int connect_via(const char *via, const char *job, double wait, struct rankcall_runner **out)
{
    struct way *way = calloc(1, sizeof(*way));
    int fd = -1, code = way ? make_line(via, job, wait, &way->line) : rk_error(RANKCALL_EINTERNAL, "out of memory");
    *out = NULL;
    if (code || (code = start(&way->line, &fd, &way->pid)) || (code = rk_runner_attach(fd, out))) {
        free(way);
        return code;
    }
    way->via = via;
    way->begun_us = rk_now_us();
    code = rk_runner_greet(*out, rk_now_us() + GREETING_US + (int64_t)(wait * 1e6));
    if (!code) {
        rk_runner_redial(*out, dial_again, way);
        return make_line(via, job, 0, &way->line); /* whoever is gone then is not waited for */
    }
    rankcall_runner_free(*out);
    *out = NULL;
    const pid_t pid = way->pid;
    free(way);
    return code == RANKCALL_ETIMEOUT ? (kill(pid, SIGTERM), code) : explain(via, pid);
}

int rk_reach_connect(const struct rk_reach *reach, int64_t away_until_us, struct rankcall_runner **out)
{
    const char *via = reach->via ? reach->via : getenv("RANKCALL_VIA");
    int64_t until_us = rk_now_us() + (int64_t)(reach->wait * 1e6);
    int code;
    do /* the far end waits, too: that saves steps, and their complaints */
        code = via && *via ? connect_via(via, reach->job, reach->wait, out)
                           : rk_runner_connect(reach->job, away_until_us, out);
    while (code && rk_reach_again(code, until_us));
    return code;
}

bool rk_reach_again(int code, int64_t until_us)
{
    if ((code != RANKCALL_ENOJOB && code != RANKCALL_ESHUTTINGDOWN) || rk_now_us() >= until_us)
        return false;
    nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000}, NULL);
    return true;
}
