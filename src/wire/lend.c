/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

#include "wire/lend.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fd.h"
#include "wire/conn_internal.h"

#define PIPE (1u << 20)   /* bytes that it should hold */
#define STEP (256u << 10) /* bytes that go through it in one turn: what the socket does not take was in vain */

/* What a connection that is over had not yet read. */
struct heritage {
    struct heritage *next;
    int fd;
    struct rk_block *first;
};

struct rk_lending {
    int in, out; /* the pipe's ends; -1: it does not work */
    int nowhere; /* where pages go that the socket did not take */
    bool quiet;  /* splice(2) raises no SIGPIPE */
    struct heritage *heritages;
};

static struct heritage *forgotten; /* so that nobody takes it for a leak */

static void stop(struct rk_lending *lending)
{
    rk_fd_close(&lending->in);
    rk_fd_close(&lending->out);
    rk_fd_close(&lending->nowhere);
}

struct rk_lending *rk_lending_open(void)
{
    struct rk_lending *lending = calloc(1, sizeof *lending);
    int ends[2];

    if (!lending)
        return NULL;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK)) {
        free(lending);
        return NULL;
    }
    lending->out = ends[0];
    lending->in = ends[1];
    lending->nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    (void)fcntl(lending->in, F_SETPIPE_SZ, (int)PIPE); /* a smaller one does, too */
    if (lending->nowhere < 0) {
        stop(lending);
        free(lending);
        return NULL;
    }
    return lending;
}

void rk_lending_close(struct rk_lending *lending)
{
    if (!lending)
        return;
    (void)rk_lending_settle(lending);
    while (lending->heritages) {
        struct heritage *heritage = lending->heritages;

        lending->heritages = heritage->next;
        heritage->next = forgotten;
        forgotten = heritage;
        rk_fd_close(&heritage->fd);
    }
    stop(lending);
    free(lending);
}

/* The pipe is empty between two calls. */
static void empty(struct rk_lending *lending, size_t size)
{
    while (size > 0) {
        ssize_t gone = splice(lending->out, NULL, lending->nowhere, NULL, size, SPLICE_F_NONBLOCK);

        if (gone == 0 || (gone < 0 && errno != EINTR)) {
            stop(lending);
            return;
        }
        size -= gone > 0 ? (size_t)gone : 0;
    }
}

static void be_quiet(struct rk_lending *lending)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    lending->quiet = true;
}

ssize_t rk_lend(struct rk_lending *lending, int fd, const void *bytes, size_t size)
{
    struct iovec piece = {(void *)bytes, size < STEP ? size : STEP};
    ssize_t piped = lending->in < 0 ? -1 : vmsplice(lending->in, &piece, 1, SPLICE_F_NONBLOCK), taken = 0;
    size_t done = 0;

    if (!lending->quiet)
        be_quiet(lending);
    if (piped <= 0) {
        errno = ENOTSUP;
        return -1;
    }
    while (done < (size_t)piped) {
        taken = splice(lending->out, NULL, fd, NULL, (size_t)piped - done, SPLICE_F_NONBLOCK);
        if (taken == 0 || (taken < 0 && errno != EINTR))
            break;
        done += taken > 0 ? (size_t)taken : 0;
    }
    if (done < (size_t)piped) {
        int kept = taken == 0 || errno == EINVAL || errno == ENOSYS ? ENOTSUP : errno;

        empty(lending, (size_t)piped - done);
        errno = kept;
    }
    return done ? (ssize_t)done : -1;
}

size_t rk_lent_unread(int fd)
{
    int unread = 0;

    return ioctl(fd, SIOCOUTQ, &unread) || unread < 0 ? SIZE_MAX : (size_t)unread;
}

void rk_lending_inherit(struct rk_lending *lending, int fd, struct rk_block *first)
{
    struct heritage *heritage = malloc(sizeof *heritage);

    shutdown(fd, SHUT_RDWR);
    if (!heritage) { /* a leak is better than wrong bytes */
        close(fd);
        return;
    }
    *heritage = (struct heritage){lending->heritages, fd, first};
    lending->heritages = heritage;
}

bool rk_lending_settle(struct rk_lending *lending)
{
    for (struct heritage **link = &lending->heritages; *link;) {
        struct heritage *heritage = *link;

        if (rk_lent_unread(heritage->fd) > 0) {
            link = &heritage->next;
            continue;
        }
        *link = heritage->next;
        rk_blocks_free(heritage->first);
        rk_fd_close(&heritage->fd);
        free(heritage);
    }
    return lending->heritages;
}
