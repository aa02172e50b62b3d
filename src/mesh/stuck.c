/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A replacement while it is in MPI_Init.
 *
 * It may be stuck. mpirun sometimes answers no new process: one whose connection has got the number of another, of a
 * process whose death mpirun has overlooked. It then waits for ever, and the living for it in MPI_Comm_spawn. It ends,
 * which the living see (vigil.c). Where CPUs are short MPI_Init takes seconds, too; that gives it three times as long.
 *
 * It may be asked to end, by SIGTERM, when an attempt is given up. mpirun 4.1 breaks when a process ends while it
 * makes mpirun's acquaintance, so such a one waits until it has its answer. */

#include <errno.h>
#include <inttypes.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/ended.h"
#include "base/fd.h"
#include "base/log.h"
#include "mesh/internal.h"

#define TICK_MS     100
#define NAP_MS      2
#define WORK_NS     20000000 /* of a tick */
#define AT_REST     3        /* a tick at rest counts for so many under way */
#define DESCRIPTORS 256      /* so many are looked at */
#define ANSWER      64       /* bytes that mpirun sends when the two are acquainted: more than that, before: fewer */

static struct {
    pthread_t thread;
    sem_t changed;
    _Atomic bool done, asked;
    bool running;
    struct sigaction before;
    int ticks; /* until it counts as stuck */
} guard;

/* How long anybody on this machine has waited for a CPU; 0: nobody knows. */
static uint64_t pressure_ns(void)
{
    uint64_t total = 0;
    FILE *file = fopen("/proc/pressure/cpu", "re");
    if (file && fscanf(file, "some %*s %*s %*s total=%" SCNu64, &total) != 1)
        total = 0;
    if (file)
        fclose(file);
    return total * 1000;
}

/* In the last tick mpirun was at work, or somebody waited for a CPU. That this process runs tells nothing: MPI waits
 * by looking. */
static bool is_under_way(int mpirun, uint64_t *before)
{
    uint64_t run, waited, own_run, own_waited;
    rk_process_work(mpirun, &run, &waited);
    rk_process_work(getpid(), &own_run, &own_waited);
    uint64_t now = run + waited + own_waited + pressure_ns(), done = now - *before;
    *before = now;
    return done > WORK_NS;
}

static void pass(int ms)
{
    const struct timespec limit = rk_limit_after(ms * 1000L);
    while (sem_timedwait(&guard.changed, &limit) && errno == EINTR)
        continue;
}

/* Has turned to mpirun, which has not told it of the job yet. */
static bool is_connecting(void)
{
    for (int fd = 3; fd < DESCRIPTORS; fd++) {
        struct sockaddr_in peer = {0};
        struct tcp_info info = {0};
        socklen_t peer_size = sizeof peer, size = sizeof info;
        if (getpeername(fd, (struct sockaddr *)&peer, &peer_size) || peer.sin_family != AF_INET ||
            ntohl(peer.sin_addr.s_addr) >> 24 != IN_LOOPBACKNET)
            continue;
        if (!getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) && info.tcpi_bytes_received < ANSWER)
            return true;
    }
    return false;
}

static void end_as_asked(void)
{
    while (is_connecting())
        pass(NAP_MS);
    raise(SIGKILL);
}

static void *keep_time(void *context)
{
    int mpirun = getppid();
    uint64_t before = 0;
    (void)context;
    (void)is_under_way(mpirun, &before);
    while (guard.ticks > 0 && !atomic_load(&guard.done) && !atomic_load(&guard.asked)) {
        pass(TICK_MS);
        guard.ticks -= is_under_way(mpirun, &before) ? 1 : AT_REST;
    }
    if (atomic_load(&guard.asked))
        end_as_asked();
    if (atomic_load(&guard.done))
        return NULL;
    rk_log(RK_LOG_INFO, "this replacement is stuck in MPI_Init: mpirun does not answer it");
    _exit(1);
}

static void on_request(int number)
{
    (void)number;
    atomic_store(&guard.asked, true);
    sem_post(&guard.changed);
}

static void listen_to_requests(void)
{
    struct sigaction action = {.sa_handler = on_request, .sa_flags = SA_RESTART};
    sigaction(SIGTERM, NULL, &guard.before);
    if (guard.before.sa_handler == SIG_DFL)
        sigaction(SIGTERM, &action, NULL);
}

void rk_stuck_begin(void)
{
    const char *nodes = getenv("OMPI_MCA_orte_num_nodes");
    int limit_s = nodes && atoi(nodes) > 1 ? RK_STUCK_FAR_S : RK_STUCK_S;
    if (!getenv("OMPI_PARENT_PORT")) /* as Open MPI marks a process that another one started */
        return;
    guard.ticks = AT_REST * limit_s * 1000 / TICK_MS;
    guard.running = !sem_init(&guard.changed, 0, 0) && !pthread_create(&guard.thread, NULL, keep_time, NULL);
    if (guard.running)
        listen_to_requests();
}

void rk_stuck_end(void)
{
    if (!guard.running)
        return;
    if (guard.before.sa_handler == SIG_DFL)
        sigaction(SIGTERM, &guard.before, NULL);
    atomic_store(&guard.done, true);
    sem_post(&guard.changed);
    pthread_join(guard.thread, NULL);
    if (atomic_load(&guard.asked))
        raise(SIGKILL);
    guard.running = false;
}
