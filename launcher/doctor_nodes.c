/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Whether the nodes of a Slurm job reach each other: one connection each way, to ports that the system picks, as Open
 * MPI makes them. On each other node `rankcall doctor --meet` runs as a step. */

#include <errno.h>
#include <math.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "launcher/allocation.h"
#include "launcher/doctor.h"
#include "launcher/program.h"

#define CONNECT_US 3000000  /* for a connection, which a firewall may swallow */
#define MEETING_US 20000000 /* for the other end to try */
#define SKEW_S     2.0      /* of a clock: more is a nuisance in logs, and munge's end at 300 */

static struct {
    bool known;
    int met, nodes;
    double skew; /* the largest */
    char skewed[RK_HOST_MAX], complaint[400];
} nodes;

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* A socket that listens on all addresses; *port is what the system has picked. -1: none. */
static int listen_anywhere(int *port)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6};
    struct sockaddr_in old = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), no = 0;
    if (fd >= 0) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no));
        if (!bind(fd, (struct sockaddr *)&address, sizeof(address)) && !listen(fd, 64) &&
            !getsockname(fd, (struct sockaddr *)&address, &size)) {
            *port = ntohs(address.sin6_port);
            return fd;
        }
        close(fd);
    }
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size = sizeof(old);
    if (fd >= 0 && !bind(fd, (struct sockaddr *)&old, sizeof(old)) && !listen(fd, 64) &&
        !getsockname(fd, (struct sockaddr *)&old, &size)) {
        *port = ntohs(old.sin_port);
        return fd;
    }
    rk_fd_close(&fd);
    return -1;
}

/* Connects for a limited time. Returns 0 or an errno. */
static int try_address(const struct addrinfo *address)
{
    int error = ETIMEDOUT, fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t size = sizeof(error);
    if (fd < 0)
        return errno;
    if (!connect(fd, address->ai_addr, address->ai_addrlen))
        error = 0;
    else if (errno != EINPROGRESS)
        error = errno;
    else if (rk_fd_wait(fd, POLLOUT, rk_now_us() + CONNECT_US))
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    close(fd);
    return error;
}

/* "" or why there is no connection. */
static void reach(const char *host, const char *port, char why[128])
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int found = getaddrinfo(host, port, &hints, &list), error = 0;
    snprintf(why, 128, "%s", found ? gai_strerror(found) : "");
    for (struct addrinfo *address = list; address; address = address->ai_next)
        if (!(error = try_address(address)))
            break;
    if (error)
        snprintf(why, 128, "%s", strerror(error));
    if (list)
        freeaddrinfo(list);
}

/* ---- There ---- */

int rk_doctor_meet(const char *where)
{
    char host[RK_HOST_MAX], name[RK_HOST_MAX] = "", why[128];
    const char *port = strrchr(where, ':'), *node = getenv("SLURMD_NODENAME");
    int own = 0, fd = listen_anywhere(&own);
    snprintf(host, sizeof(host), "%.*s", port ? (int)(port - where) : 0, where);
    gethostname(name, sizeof(name) - 1);
    printf("%s listens %d %.3f\n", node && *node ? node : name, own, now_s());
    fflush(stdout);
    reach(host, port ? port + 1 : "0", why);
    printf("%s reached %s\n", node && *node ? node : name, why[0] ? why : "ok");
    fflush(stdout);
    int peer = rk_fd_wait(fd, POLLIN, rk_now_us() + MEETING_US) ? accept4(fd, NULL, NULL, SOCK_CLOEXEC) : -1;
    if (peer >= 0)
        rk_fd_wait(peer, POLLIN, rk_now_us() + CONNECT_US); /* it closes first: else it may see a reset */
    rk_fd_close(&peer);
    rk_fd_close(&fd);
    return 0;
}

/* ---- Here ---- */

static void complain(const char *from, const char *to, const char *why)
{
    size_t size = strlen(nodes.complaint);
    snprintf(nodes.complaint + size, sizeof(nodes.complaint) - size, "%s%s does not reach %s: %s", size ? "; " : "",
             from, to, why);
}

static void take_line(const char *line, const char *self)
{
    char host[RK_HOST_MAX], why[128] = "", port[16];
    double then;
    int number;
    if (sscanf(line, "%255s listens %d %lf", host, &number, &then) == 3) {
        double skew = fabs(now_s() - then);
        if (skew >= nodes.skew) {
            nodes.skew = skew;
            snprintf(nodes.skewed, sizeof(nodes.skewed), "%s", host);
        }
        snprintf(port, sizeof(port), "%d", number);
        reach(host, port, why);
        if (why[0])
            complain(self, host, why);
    } else if (sscanf(line, "%255s reached %127[^\n]", host, why) == 2) {
        nodes.met++;
        if (strcmp(why, "ok") != 0)
            complain(host, self, why);
    }
}

static void meet_all(const struct rk_allocation *allocation, const char *self)
{
    char command[PATH_MAX + 1024], line[512], path[PATH_MAX];
    int port, fd = listen_anywhere(&port);
    ssize_t size = readlink("/proc/self/exe", path, sizeof(path) - 1);
    path[size > 0 ? size : 0] = '\0';
    snprintf(command, sizeof(command),
             "srun --jobid=%s --overlap --mpi=none --gpus=0 --export=ALL --quiet --exclude=%s --nodes=%d --ntasks=%d "
             "--ntasks-per-node=1 "
             "--overcommit --input=none --unbuffered '%s' doctor --meet %s:%d 2>&1",
             allocation->job, self, allocation->nodes - 1, allocation->nodes - 1, path, self, port);
    FILE *pipe = fd < 0 ? NULL : popen(command, "re");
    line[0] = '\0';
    while (pipe && fgets(line, sizeof(line), pipe))
        take_line(line, self);
    if (pipe)
        pclose(pipe);
    rk_fd_close(&fd);
    if (!nodes.met)
        snprintf(nodes.complaint, sizeof(nodes.complaint), "srun started nothing on the other nodes: %.*s",
                 (int)strcspn(line, "\n"), line);
}

static bool count_host(void *context, const char *host)
{
    (void)host;
    ++*(int *)context;
    return true;
}

/* In a step that was started from outside the job, only Slurm's older name for the list has all of its nodes. */
static void see_whole_job(struct rk_allocation *allocation)
{
    const char *hosts = getenv("SLURM_NODELIST");
    int count = 0;
    if (hosts)
        rk_hosts_visit(hosts, count_host, &count);
    if (count <= allocation->nodes || allocation->scheduler != RK_SLURM)
        return;
    allocation->nodes = count;
    allocation->hosts = hosts;
    allocation->among = true;
    setenv("SLURM_JOB_NODELIST", hosts, 1); /* where srun looks */
}

static void look(void)
{
    struct rk_allocation allocation;
    char host[RK_HOST_MAX] = "";
    const char *node = getenv("SLURMD_NODENAME");
    rk_allocation_read(&allocation);
    see_whole_job(&allocation);
    gethostname(host, sizeof(host) - 1);
    host[strcspn(host, ".")] = '\0';
    nodes.known = true;
    if (allocation.scheduler != RK_SLURM || allocation.nodes < 2 || !allocation.among || !rk_program_on_path("srun"))
        return;
    nodes.nodes = allocation.nodes - 1;
    meet_all(&allocation, node && rk_hosts_have(allocation.hosts, node) ? node : host);
}

void rk_check_nodes(struct rk_finding *finding)
{
    if (!nodes.known)
        look();
    if (!nodes.nodes)
        rk_find(finding, RK_ABSENT, NULL,
                "no other nodes: run this in a Slurm job of several to try their connections");
    else if (nodes.complaint[0])
        rk_find(finding, RK_ILL,
                "open all TCP ports between compute nodes, or name the right network: OMPI_MCA_btl_tcp_if_include, "
                "OMPI_MCA_oob_tcp_if_include",
                "%s", nodes.complaint);
    else
        rk_find(finding, nodes.met == nodes.nodes ? RK_WELL : RK_POOR,
                nodes.met == nodes.nodes ? NULL : "look at sinfo", "connections to and from %d of %d other nodes",
                nodes.met, nodes.nodes);
}

void rk_check_clock(struct rk_finding *finding)
{
    if (!nodes.known)
        look();
    if (!nodes.met)
        rk_find(finding, RK_ABSENT, NULL, "no other nodes to compare with");
    else
        rk_find(finding, nodes.skew > SKEW_S ? RK_POOR : RK_WELL,
                nodes.skew > SKEW_S ? "run chrony or ntpd on all nodes: munge refuses what is minutes old" : NULL,
                "%.1f s apart at most (%s)", nodes.skew, nodes.skewed);
}
