/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Descriptors handed from process to process: parcels of so many as the kernel takes in one message, each led by how
 * many it has and how many are still to come. */

#include "base/handover.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/fd.h"

#define MAGIC    UINT32_C(0x4f484b52) /* "RKHO" */
#define PARCEL   128                  /* descriptors; Linux takes 253 */
#define OWN      3                    /* those that are no clients */
#define LIMIT_US 5000000

struct label {
    uint32_t magic, count, behind; /* behind: how many come in later parcels */
};

union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(PARCEL * sizeof(int))];
};

static int send_parcel(int fd, const int *fds, size_t count, size_t behind, int64_t deadline_us)
{
    struct label label = {MAGIC, (uint32_t)count, (uint32_t)behind};
    union control control = {0};
    struct iovec data = {&label, sizeof label};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control};
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(header), fds, count * sizeof(int));
    while (sendmsg(fd, &message, MSG_NOSIGNAL) != (ssize_t)sizeof label) {
        if (errno != EAGAIN && errno != EINTR)
            return rk_error_system("cannot hand over to rank 0");
        if (!rk_fd_wait(fd, POLLOUT, deadline_us))
            return rk_error(RANKCALL_ECLOSED, "rank 0 does not take what is handed over to it");
    }
    return RANKCALL_OK;
}

int rk_handover_send(int fd, const struct rk_handover *handover)
{
    int64_t deadline = rk_now_us() + LIMIT_US;
    size_t total = OWN + handover->client_count;
    int *fds = calloc(total, sizeof *fds), code = RANKCALL_OK;
    if (!fds)
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    fds[0] = handover->listener;
    fds[1] = handover->journal;
    fds[2] = handover->keeper;
    for (size_t i = 0; i < handover->client_count; i++)
        fds[OWN + i] = handover->clients[i];
    for (size_t sent = 0; !code && sent < total;) {
        size_t count = total - sent < PARCEL ? total - sent : PARCEL;
        code = send_parcel(fd, fds + sent, count, total - sent - count, deadline);
        sent += count;
    }
    free(fds);
    return code;
}

/* Takes the descriptors of a message into `fds`, which has room for PARCEL. */
static size_t unpack(struct msghdr *message, int *fds)
{
    size_t count = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header))
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
            count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(fds, CMSG_DATA(header), count * sizeof(int));
        }
    return count;
}

static void drop(int *fds, size_t count)
{
    while (count)
        rk_fd_close(&fds[--count]);
}

static int receive_parcel(int fd, int *fds, struct label *label, int64_t deadline_us)
{
    union control control;
    struct iovec data = {label, sizeof *label};
    for (;;) {
        struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control};
        message.msg_controllen = sizeof control;
        ssize_t size = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
        if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
            if (!rk_fd_wait(fd, POLLIN, deadline_us))
                return rk_error(RANKCALL_ETIMEOUT, "the launcher hands nothing over");
            continue;
        }
        size_t count = size < 0 ? 0 : unpack(&message, fds);
        if (size == (ssize_t)sizeof *label && label->magic == MAGIC && label->count == count)
            return RANKCALL_OK;
        drop(fds, count);
        if (size <= 0)
            return rk_error(RANKCALL_ECLOSED, "the launcher has gone");
        if (size == (ssize_t)sizeof *label && label->magic == MAGIC)
            return rk_error(RANKCALL_ESYSTEM, "cannot take the sockets that the launcher hands over: raise ulimit -n");
        return rk_error(RANKCALL_EPROTOCOL, "the launcher speaks another version: install both from one build");
    }
}

int rk_handover_receive(int fd, struct rk_handover *handover)
{
    int64_t deadline = rk_now_us() + LIMIT_US;
    int *fds = NULL, code;
    size_t count = 0;
    struct label label;
    *handover = (struct rk_handover){.listener = -1, .journal = -1, .keeper = -1};
    do {
        int *more = reallocarray(fds, count + PARCEL, sizeof *fds);
        if (more)
            fds = more;
        code = more ? receive_parcel(fd, fds + count, &label, deadline) : rk_error(RANKCALL_EINTERNAL, "out of memory");
        if (!code)
            count += label.count;
    } while (!code && label.behind);
    if (!code && count < OWN)
        code = rk_error(RANKCALL_EPROTOCOL, "the launcher hands over too little");
    if (code) {
        drop(fds, count);
        free(fds);
        return code;
    }
    handover->listener = fds[0];
    handover->journal = fds[1];
    handover->keeper = fds[2];
    handover->client_count = count - OWN;
    memmove(fds, fds + OWN, (count - OWN) * sizeof *fds);
    handover->clients = fds;
    return RANKCALL_OK;
}

bool rk_handover_lend(int fd, int lent)
{
    char byte = 0;
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control};
    message.msg_controllen = sizeof control;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &lent, sizeof(int));
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == 1;
}

int rk_handover_borrow(int fd, bool *over)
{
    char byte;
    int fds[PARCEL];
    union control control;
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control};
    message.msg_controllen = sizeof control;
    ssize_t size = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    *over = size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR);
    size_t count = size > 0 ? unpack(&message, fds) : 0;
    if (count == 1)
        return fds[0];
    drop(fds, count);
    return -1;
}
