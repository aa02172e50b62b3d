/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The `rankcall` command as a child process: spawned, listened to over a socket pair, ended.
 *
 * The launcher writes JSON lines on its end; it takes "stop" and "kill" as orders, and the end of the stream, which
 * comes when this process dies however it dies, as "stop". */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "client/internal.h"

#define SUPERVISOR_FD 3         /* in the child */
#define SETUP_FD      4         /* in the child, where setup's arguments are too long for a command line */
#define SETUP_INLINE  32768     /* bytes of setup's arguments that go on the command line */
#define LINE_CAP      (1 << 20) /* bytes of one line of the launcher's */
#define KILL_US       5000000   /* how long the launcher may take to kill everything */

struct rk_child {
    pid_t pid;
    int pidfd; /* -1 where the kernel has none */
    int fd;
    bool reaped;
    int status; /* as waitpid gives it; 0 when somebody else has reaped */
    char *buffer;
    size_t size;
};

/* What is needed to spawn; descriptors from 10 up, so that they can be moved to 3 and 4 in any order. */
struct recipe {
    const char **argv;
    size_t argc;
    char ranks[16], timeout[32], name[80];
    char *setup;
    int setup_fd;
    int socket;
};

extern char **environ;

static int add(struct recipe *recipe, const char *argument)
{
    /* Room for this one and the NULL at the end. */
    const char **argv = reallocarray(recipe->argv, recipe->argc + 2, sizeof(*argv));
    if (!argv)
        return rk_error(RANKCALL_EINTERNAL, "no memory for a command line");
    recipe->argv = argv;
    argv[recipe->argc++] = argument;
    argv[recipe->argc] = NULL;
    return RANKCALL_OK;
}

static int add_two(struct recipe *recipe, const char *option, const char *value)
{
    int code = add(recipe, option);
    return code ? code : add(recipe, value);
}

static int add_all(struct recipe *recipe, const char *const *arguments)
{
    int code = RANKCALL_OK;
    for (; !code && arguments && *arguments; arguments++)
        code = add(recipe, *arguments);
    return code;
}

static const char *command(void)
{
    const char *chosen = getenv("RANKCALL_COMMAND");
    if (chosen && chosen[0])
        return chosen;
    return access(RANKCALL_BINDIR "/rankcall", X_OK) ? "rankcall" : RANKCALL_BINDIR "/rankcall";
}

/* A name of this process's own: the program's, as far as it is fit for one, the process id, a count. */
static void make_name(const char *program, char *name, size_t size)
{
    static unsigned made;
    char base[41] = "";
    const char *slash = strrchr(program, '/');
    size_t used = 0;
    for (const char *c = slash ? slash + 1 : program; *c && used < sizeof(base) - 1; c++) {
        char one[2] = {*c, '\0'};
        base[used] = rk_path_name_ok(one) ? *c : '-';
        used += used > 0 || base[0] != '-';
    }
    base[used] = '\0';
    snprintf(name, size, "%s-%d-%u", used ? base : "job", (int)getpid(),
             __atomic_fetch_add(&made, 1, __ATOMIC_RELAXED));
}

/* Long arguments of setup go by a descriptor that the launcher reads. */
static int add_setup(struct recipe *recipe, const struct rankcall_payload *setup)
{
    size_t size;
    const char *json = rankcall_payload_json(setup, &size);
    if (!json)
        return rk_error(RANKCALL_EINTERNAL, "no memory for setup's arguments");
    if (rankcall_attachment_count(setup))
        return rk_error(RANKCALL_EINVAL,
                        "setup's arguments are JSON only: pass a file's path instead of an attachment");
    if (size <= SETUP_INLINE)
        return add_two(recipe, "--setup", json);
    int fd = memfd_create("rankcall-setup", MFD_CLOEXEC);
    recipe->setup_fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 10);
    rk_fd_close(&fd);
    for (size_t done = 0; recipe->setup_fd >= 0 && done < size;) {
        ssize_t some = pwrite(recipe->setup_fd, json + done, size - done, (off_t)done);
        if (some <= 0)
            return rk_error_system("cannot hold setup's arguments in memory");
        done += (size_t)some;
    }
    if (recipe->setup_fd < 0)
        return rk_error_system("cannot hold setup's arguments in memory");
    return add_two(recipe, "--setup", "@/proc/self/fd/4");
}

static int fill(struct recipe *recipe, const struct rankcall_start_options *options)
{
    int code;
    if (!options->program || !options->program[0])
        return rk_error(RANKCALL_EINVAL, "no program is named");
    if (options->ranks < 0)
        return rk_error(RANKCALL_EINVAL, "%d ranks are asked for", options->ranks);
    if (!options->name)
        make_name(options->program[0], recipe->name, sizeof(recipe->name));
    snprintf(recipe->ranks, sizeof(recipe->ranks), "%d", options->ranks ? options->ranks : 1);
    snprintf(recipe->timeout, sizeof(recipe->timeout), "%.3f", options->timeout > 0 ? options->timeout : 1800.0);
    if ((code = add_two(recipe, command(), "run")) || (code = add_two(recipe, "--supervisor-fd", "3")) ||
        (code = add_two(recipe, "-n", recipe->ranks)) ||
        (code = add_two(recipe, "--name", options->name ? options->name : recipe->name)) ||
        (code = add_two(recipe, "--timeout", recipe->timeout)))
        return code;
    if (options->setup && (code = add_setup(recipe, options->setup)))
        return code;
    if ((code = add_all(recipe, options->run_options)) || (code = add(recipe, "--")))
        return code;
    return add_all(recipe, options->program);
}

static int prepare_files(const struct recipe *recipe, bool quiet, posix_spawn_file_actions_t *files)
{
    int error = posix_spawn_file_actions_addopen(files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (!error && quiet)
        error = posix_spawn_file_actions_addopen(files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (!error && quiet)
        error = posix_spawn_file_actions_addopen(files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if (!error)
        error = posix_spawn_file_actions_adddup2(files, recipe->socket, SUPERVISOR_FD);
    if (!error && recipe->setup_fd >= 0)
        error = posix_spawn_file_actions_adddup2(files, recipe->setup_fd, SETUP_FD);
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 34)
    /* What this process left open without close-on-exec is none of the job's. */
    if (!error)
        error = posix_spawn_file_actions_addclosefrom_np(files, recipe->setup_fd >= 0 ? SETUP_FD + 1 : SETUP_FD);
#endif
    return error;
}

/* The launcher's own process group: Ctrl-C on a terminal is for this process to deal with. Signals as a fresh program
 * has them. */
static int prepare_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int error =
        posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (!error)
        error = posix_spawnattr_setpgroup(attributes, 0);
    if (!error)
        error = posix_spawnattr_setsigmask(attributes, &none);
    return error ? error : posix_spawnattr_setsigdefault(attributes, &all);
}

static int spawn(const struct recipe *recipe, bool quiet, pid_t *pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    int error = posix_spawn_file_actions_init(&files);
    if (error)
        goto out;
    error = posix_spawnattr_init(&attributes);
    if (error)
        goto out_files;
    error = prepare_files(recipe, quiet, &files);
    if (!error)
        error = prepare_attributes(&attributes);
    if (!error)
        error = posix_spawnp(pid, recipe->argv[0], &files, &attributes, (char *const *)recipe->argv, environ);
    posix_spawnattr_destroy(&attributes);
out_files:
    posix_spawn_file_actions_destroy(&files);
out:
    if (!error)
        return RANKCALL_OK;
    return rk_error(RANKCALL_ELAUNCH, "cannot run %s: %s (set RANKCALL_COMMAND to the rankcall command's path)",
                    recipe->argv[0], strerror(error));
}

/* A socket pair: ours, and the child's from descriptor 10 up. */
static int make_pair(struct rk_child *child, struct recipe *recipe)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return rk_error_system("cannot make a socket pair");
    recipe->socket = fcntl(pair[1], F_DUPFD_CLOEXEC, 10);
    rk_fd_close(&pair[1]);
    child->fd = pair[0];
    return recipe->socket < 0 ? rk_error_system("cannot make a socket pair") : rk_fd_prepare(child->fd);
}

int rk_child_start(const struct rankcall_start_options *options, struct rk_child **out)
{
    struct recipe recipe = {.setup_fd = -1, .socket = -1};
    struct rk_child *child = calloc(1, sizeof(*child));
    if (!child)
        return rk_error(RANKCALL_EINTERNAL, "no memory for a child process");
    child->fd = child->pidfd = -1;
    child->reaped = true;
    int code = fill(&recipe, options);
    if (!code)
        code = make_pair(child, &recipe);
    if (!code)
        code = spawn(&recipe, options->quiet, &child->pid);
    if (!code) {
        child->reaped = false;
        child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
        *out = child;
    } else {
        rk_child_free(child);
    }
    rk_fd_close(&recipe.socket);
    rk_fd_close(&recipe.setup_fd);
    free(recipe.argv);
    return code;
}

/* The launcher closed its end and had said nothing: its command line was wrong, or it was killed. */
static int silent_end(struct rk_child *child)
{
    rk_child_wait(child, rk_now_us() + KILL_US);
    if (WIFSIGNALED(child->status))
        return rk_error(RANKCALL_ELAUNCH, "the rankcall command was killed by signal %d", WTERMSIG(child->status));
    if (WEXITSTATUS(child->status) == rankcall_code_exit_status(RANKCALL_EINVAL))
        return rk_error(RANKCALL_EINVAL, "the rankcall command refused an option: it says which on standard error");
    return rk_error(RANKCALL_ELAUNCH, "the rankcall command ended with status %d and did not say why",
                    WEXITSTATUS(child->status));
}

static int receive(struct rk_child *child, int64_t deadline_us)
{
    char *buffer = realloc(child->buffer, child->size + 4096);
    if (!buffer)
        return rk_error(RANKCALL_EINTERNAL, "no memory for the launcher's answer");
    child->buffer = buffer;
    if (!rk_fd_wait(child->fd, POLLIN, deadline_us))
        return rk_error(RANKCALL_ETIMEOUT, "the launcher did not answer in time");
    ssize_t size = read(child->fd, child->buffer + child->size, 4096);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return RANKCALL_OK;
    if (size <= 0)
        return silent_end(child);
    child->size += (size_t)size;
    if (child->size > LINE_CAP)
        return rk_error(RANKCALL_EPROTOCOL, "the launcher's answer is over %d bytes", LINE_CAP);
    return RANKCALL_OK;
}

int rk_child_read(struct rk_child *child, int64_t deadline_us, struct rankcall_payload **line)
{
    char *end;
    while (!(end = child->size ? memchr(child->buffer, '\n', child->size) : NULL)) {
        int code = receive(child, deadline_us);
        if (code)
            return code;
    }
    size_t size = (size_t)(end - child->buffer);
    int code = rankcall_payload_from_json(child->buffer, size, line);
    child->size -= size + 1;
    memmove(child->buffer, end + 1, child->size);
    return code;
}

/* For kernels without process descriptors: looks every few milliseconds. */
static bool wait_by_looking(struct rk_child *child, int64_t deadline_us)
{
    for (;;) {
        pid_t pid = waitpid(child->pid, &child->status, WNOHANG);
        if (pid > 0 || (pid < 0 && errno != EINTR))
            return true;
        if (deadline_us >= 0 && rk_now_us() >= deadline_us)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
}

bool rk_child_wait(struct rk_child *child, int64_t deadline_us)
{
    if (child->reaped)
        return true;
    if (child->pidfd < 0)
        return child->reaped = wait_by_looking(child, deadline_us);
    if (!rk_fd_wait(child->pidfd, POLLIN, deadline_us))
        return false;
    /* ECHILD: this process ignores SIGCHLD, or somebody else has reaped. */
    while (waitpid(child->pid, &child->status, 0) < 0 && errno == EINTR)
        continue;
    return child->reaped = true;
}

void rk_child_say(struct rk_child *child, const char *word)
{
    char line[16];
    int size = snprintf(line, sizeof(line), "%s\n", word);
    if (child->fd >= 0)
        (void)!send(child->fd, line, (size_t)size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void rk_child_end(struct rk_child *child, int64_t grace_us)
{
    if (rk_child_wait(child, rk_now_us() + grace_us))
        return;
    rk_child_say(child, "kill");
    if (rk_child_wait(child, rk_now_us() + KILL_US))
        return;
    if (child->pidfd < 0 || syscall(SYS_pidfd_send_signal, child->pidfd, SIGKILL, NULL, 0))
        kill(child->pid, SIGKILL);
    rk_child_wait(child, -1);
}

void rk_child_free(struct rk_child *child)
{
    if (!child)
        return;
    int saved = errno;
    rk_child_end(child, 0);
    rk_fd_close(&child->fd);
    rk_fd_close(&child->pidfd);
    free(child->buffer);
    free(child);
    errno = saved;
}
