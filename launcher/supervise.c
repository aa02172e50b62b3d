/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A job's life. One thread waits for everything: signals, mpirun's output and end, rank 0's connection, the process
 * that started this one. Whatever happens ends in mpirun's end; what that means is decided then. */

#include "launcher/supervise.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "launcher/describe.h"
#include "launcher/launch.h"
#include "launcher/life.h"
#include "launcher/report.h"
#include "launcher/say.h"

#define CENSUS_US  250000  /* how often ranks are counted during the start */
#define RECOUNT_US 20000   /* the same when rank 0 has gone */
#define SHORT_US   2000000 /* for which there may be fewer than all, and no more coming */
#define PLAIN_US \
    20000000 /* on several nodes without a word of rank 0: mpirun, which outlives ranks, may hide one's end */
#define EMPTY_US    5000000  /* for which it may have no process after that */
#define HINT_US     10000000 /* when to say what a start waits for */
#define FAREWELL_US 100000   /* for clients to hear that there is no more rank 0 */

enum slot { SIGNALS, LISTENER, JOB, SUPERVISOR, PARENT, STANDIN, KEEPER, RELAY, SLOTS = RELAY + RK_RELAY_FDS };

void rk_life_enter(struct rk_life *life, enum rk_stage stage, int64_t patience_us)
{
    life->stage = stage;
    life->deadline_us = patience_us < 0 ? -1 : rk_now_us() + patience_us;
}

/* ---- Signals and the process that started this one ---- */

static void interrupt(struct rk_life *life, int signal)
{
    if (life->stage == KILLING || life->interrupted) {
        rk_say("killing the job");
        life->killed = signal;
        rk_life_kill(life);
        return;
    }
    life->interrupted = signal;
    if (life->stage < READY)
        rk_say("ending the start; once more to kill the job");
    rk_life_stop(life, life->stage == READY ? RK_LAUNCHER_DRAIN_S : 0);
}

static void on_signal(struct rk_life *life)
{
    struct signalfd_siginfo info;
    while (read(life->signals, &info, sizeof(info)) == sizeof(info))
        switch (info.ssi_signo) {
        case SIGINT:
        case SIGTERM:
        case SIGHUP: interrupt(life, (int)info.ssi_signo); break;
        case SIGUSR1:
            if (rk_limit_warn(&life->limit, life->rank0_pid))
                break;
            __attribute__((fallthrough));
        case SIGUSR2: rk_processes_signal(&life->processes, (int)info.ssi_signo); break;
        default: break; /* SIGCHLD: the loop reaps */
        }
}

static void supervisor_gone(struct rk_life *life)
{
    rk_fd_close(&life->supervisor);
    rk_fd_close(&life->parent);
    if (life->stage < STOPPING)
        rk_life_stop(life, 0);
}

/* Whoever sent this process here from another host closes its standard input when the job is to end. */
static void parent_gone(struct rk_life *life)
{
    if (!life->values->arrived) {
        supervisor_gone(life);
        return;
    }
    rk_fd_close(&life->parent);
    interrupt(life, SIGTERM);
}

static void on_supervisor(struct rk_life *life)
{
    char words[64];
    ssize_t size = recv(life->supervisor, words, sizeof(words) - 1, MSG_DONTWAIT);
    if (size <= 0) {
        supervisor_gone(life);
        return;
    }
    words[size] = '\0';
    if (strstr(words, "kill")) {
        life->leaving = true;
        rk_life_kill(life);
    }
    if (strstr(words, "stop") && life->stage < STOPPING)
        rk_life_stop(life, 0);
}

/* ---- The loop ---- */

static bool is_counted(const struct rk_life *life)
{
    return rk_plan_recovers(life->values) || (life->values->plain && life->stage == STARTING);
}

/* mpirun 4.1 may stay for ever when it has said that a rank of another node has ended, and killed its own. */
static void see_empty_mpirun(struct rk_life *life)
{
    size_t children = rk_processes_children(&life->processes);
    if (children || life->short_since_us < life->begun_us)
        life->short_since_us = rk_now_us();
    if (rk_now_us() - life->short_since_us >= EMPTY_US)
        rk_processes_signal_all(&life->processes, SIGKILL, false);
}

/* For tests RANKCALL_TEST_PLAIN_US is another limit. */
static int64_t plain_us(void)
{
    const char *limit = getenv("RANKCALL_TEST_PLAIN_US");
    return limit ? atoll(limit) : PLAIN_US;
}

/* A rank that dies before rank 0 knows of it: nobody else would notice, since mpirun lets the others live. When rank 0
 * has died and nobody is left to replace it, mpirun may take long to notice. */
static void count_ranks(struct rk_life *life)
{
    bool starting = life->stage == STARTING || life->stage == SETTING_UP;
    if ((!starting && life->stage != REGROUPING) || !is_counted(life) || rk_now_us() < life->census_us)
        return;
    if (starting && rk_plan_spreads(life->values)) { /* not all ranks are this mpirun's children */
        life->census_us = rk_now_us() + CENSUS_US;
        if (life->values->plain)
            see_empty_mpirun(life);
        else if (life->stage == STARTING && rk_now_us() > life->begun_us + plain_us())
            rk_restart_plainly(life);
        return;
    }
    size_t children = rk_processes_children(&life->processes);
    life->census_us = rk_now_us() + (starting ? CENSUS_US : RECOUNT_US);
    if (children == 0 || children >= (size_t)life->values->ranks || children != life->last_children)
        life->short_since_us = rk_now_us();
    life->last_children = children;
    bool too_few = rk_now_us() - life->short_since_us >= SHORT_US; /* it died before it was ever counted */
    if ((children < life->children || too_few) && life->stage == STARTING) {
        rk_error(RANKCALL_ELAUNCH, "a rank ended before the job was READY");
        rk_life_blame(life);
        rk_life_terminate(life);
    }
    if (life->stage == REGROUPING && !rk_restart_survivors(life))
        rk_processes_signal_all(&life->processes, SIGKILL, false);
    if (children > life->children)
        life->children = children;
}

static void say_hint(struct rk_life *life)
{
    char limit[32];
    life->hinted = true;
    rk_describe_time(life->values->timeout, limit, sizeof(limit));
    if (life->stage == STARTING)
        rk_say("still waiting for rank 0 to report, %s in all", limit);
    else if (life->stage == SETTING_UP)
        rk_say("still waiting for setup on every rank, %s in all", limit);
}

static int patience_ms(const struct rk_life *life)
{
    int64_t until = life->deadline_us;
    if (!life->hinted && (until < 0 || life->begun_us + HINT_US < until))
        until = life->begun_us + HINT_US;
    bool counts = life->stage == STARTING || life->stage == REGROUPING;
    if (((counts && is_counted(life)) || life->stage == STOPPING) && (until < 0 || life->census_us < until))
        until = life->census_us;
    if (life->stage == READY && (until < 0 || life->look_us < until))
        until = life->look_us;
    if (until < 0)
        return -1;
    int64_t left = until - rk_now_us();
    return left <= 0 ? 0 : (int)(left / 1000 + 1 < 1000000 ? left / 1000 + 1 : 1000000);
}

static void fill(const struct rk_life *life, struct pollfd fds[SLOTS])
{
    const int watched[] = {life->signals,
                           life->listener,
                           life->runner ? rankcall_runner_fd(life->runner) : -1,
                           life->supervisor,
                           life->parent,
                           rk_standin_fd(&life->standin),
                           rk_keeper_fd(&life->keeper)};
    for (int i = 0; i < RELAY; i++)
        fds[i] = (struct pollfd){.fd = watched[i], .events = POLLIN};
    if (life->runner)
        fds[JOB].events = rankcall_runner_poll_events(life->runner);
    rk_relay_poll(&life->relay, fds + RELAY);
}

static void dispatch(struct rk_life *life, const struct pollfd fds[SLOTS])
{
    rk_relay_move(&life->relay, fds + RELAY);
    rk_rank0_bereft(life);
    if (fds[SIGNALS].revents)
        on_signal(life);
    if (fds[LISTENER].revents && life->listener >= 0)
        rk_rank0_connected(life);
    if (fds[JOB].revents && life->runner)
        rk_rank0_moved(life);
    if (fds[KEEPER].revents && rk_keeper_fd(&life->keeper) >= 0)
        rk_rank0_kept(life);
    if (fds[SUPERVISOR].revents && life->supervisor >= 0)
        on_supervisor(life);
    if (fds[PARENT].revents && life->parent >= 0)
        parent_gone(life);
    if (fds[STANDIN].revents && rk_standin_fd(&life->standin) >= 0)
        rk_standin_work(&life->standin);
    if (life->standin.stop && life->stage < STOPPING)
        rk_life_stop(life, 0);
    if (life->deadline_us >= 0 && rk_now_us() >= life->deadline_us)
        rk_life_deadline(life);
    count_ranks(life);
    rk_life_look_behind(life);
    rk_stopped_look(life);
    if (!life->hinted && rk_now_us() >= life->begun_us + HINT_US)
        say_hint(life);
}

void rk_life_step(struct rk_life *life)
{
    struct pollfd fds[SLOTS];
    fill(life, fds);
    if (poll(fds, SLOTS, patience_ms(life)) < 0)
        memset(fds, 0, sizeof(fds)); /* a signal: looked at next time */
    dispatch(life, fds);
}

/* Until nothing of the job is left. */
static void watch(struct rk_life *life)
{
    while (!rk_processes_reap(&life->processes))
        rk_life_step(life);
    if (life->runner)
        rk_rank0_moved(life); /* its last words */
    life->orphaned = life->runner != NULL;
    rk_leftovers_note(&life->leftovers, getpid());
    rk_processes_sweep(&life->processes);
    rk_relay_end(&life->relay);
}

/* ---- Beginning and end ---- */

/* A signal that was ignored when this process began stays so: nohup. Not SIGINT, which shells ignore for what scripts
 * start in the background: `kill -INT` and Ctrl-C on the script mean the job, too, which would be left over otherwise.
 */
static void watch_signals(struct rk_life *life)
{
    static const int wanted[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGINT, SIG_DFL);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        struct sigaction now;
        if (wanted[i] == SIGCHLD)
            signal(SIGCHLD, SIG_DFL);
        if (!sigaction(wanted[i], NULL, &now) && now.sa_handler != SIG_IGN)
            sigaddset(&set, wanted[i]);
    }
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTTOU,
           SIG_IGN); /* started in the background by the runner library, its output may still reach a terminal */
    life->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void watch_supervisor(struct rk_life *life)
{
    life->supervisor = life->parent = -1;
    if (life->values->arrived && !rk_launch_reads(life->values))
        life->parent = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    if (!life->values->supervisor_fd)
        return;
    life->supervisor = life->values->supervisor_fd;
    /* Forked children of the process that started this one may keep the other end open after its death. */
    life->parent = (int)syscall(SYS_pidfd_open, getppid(), 0);
}

static enum rk_tags tags_of(const struct rk_life *life)
{
    if (life->values->method == RK_SRUN)
        return RK_TAGS_LABELS;
    return life->plan->line >= 5 ? RK_TAGS_SPACED : RK_TAGS_PLAIN;
}

int rk_life_launch(struct rk_life *life)
{
    const struct rk_plan *plan = life->plan;
    int code =
        rk_processes_start(&life->processes, (char *const *)plan->argv.items, (char *const *)plan->environment.items);
    if (!code)
        code = rk_watcher_start(&life->watcher, life->processes.mpirun, plan);
    life->processes.spared = life->watcher.pid;
    life->processes.by_srun = life->values->method == RK_SRUN;
    if (!code)
        code = rk_relay_attach(&life->relay, life->processes.out, life->processes.err, life->values->ranks,
                               tags_of(life), life->values->json);
    free(life->relay.end_of_rank);
    life->relay.end_of_rank = NULL;
    life->begun_us = rk_now_us();
    rk_life_enter(life, STARTING, (int64_t)(life->values->timeout * 1e6));
    return code;
}

static int begin(struct rk_life *life)
{
    watch_signals(life);
    rk_limit_learn(&life->limit, life->values);
    watch_supervisor(life);
    rk_processes_adopt();
    if (life->signals < 0)
        return rk_error_system("cannot watch for signals");
    int code = rk_path_listen(life->plan->launcher, &life->listener);
    return code ? code : rk_life_launch(life);
}

/* mpirun has ended and nobody said why. */
static void judge(struct rk_life *life)
{
    int code = rk_life_judge(life);
    if (code && life->interrupted && !life->was_ready)
        life->killed = life->interrupted;
    else if (code)
        rk_life_blame(life);
}

static int report_end(struct rk_life *life)
{
    const struct rk_report report = {life->values, life->plan, &life->relay, life->supervisor};
    if (!life->error && !life->killed) {
        rk_report_end(&report);
        return 0;
    }
    if (life->killed)
        return 128 + life->killed;
    /* A failure of setup explains itself; for the rest the output may. */
    char *last = life->error->code == RANKCALL_EWORKER ? NULL : rk_relay_last(&life->relay);
    rk_report_failure(&report, life->error, last ? last : "", life->was_ready);
    free(last);
    return rankcall_code_exit_status(life->error->code);
}

/* What those who come back are told: mpirun knows which rank has died first, rank 0's end is known better here. */
static struct rankcall_error last_words(const struct rk_life *life)
{
    const struct rankcall_error *reason = life->standin.reason;
    struct rankcall_error last = {RANKCALL_ESHUTTINGDOWN, -1, "", "the job has stopped", ""};
    if (life->error)
        last = *life->error;
    if (!life->error || life->values->restarts > 0)
        return last;
    if (reason && last.rank <= 0)
        last = *reason;
    if (last.code == RANKCALL_EJOBDIED && last.rank >= 0)
        last.code = RANKCALL_ERANKDIED;
    return last;
}

static void stop_listening(struct rk_life *life)
{
    const struct rankcall_error last = last_words(life);
    struct rankcall_error *copy = rk_error_clone(&last);
    if (life->listener >= 0)
        unlink(life->plan->launcher);
    rk_fd_close(&life->listener);
    if (copy && (rk_standin_fd(&life->standin) >= 0 || (life->error && life->was_ready))) {
        int64_t deadline = rk_now_us() + FAREWELL_US; /* clients are on their way back, or wait */
        rk_standin_finish(&life->standin, copy);
        while (rk_fd_wait(rk_standin_fd(&life->standin), POLLIN, deadline))
            rk_standin_work(&life->standin);
    }
    rk_error_free(copy);
    life->relay.journal = NULL;
    rk_standin_end(&life->standin);
}

int rk_supervise(struct rk_run_values *values, struct rk_plan *plan)
{
    struct rk_life life = {.values = values, .plan = plan, .signals = -1, .listener = -1, .rank0_fd = -1};
    rk_relay_open(&life.relay);
    rk_standin_init(&life.standin);
    rk_keeper_init(&life.keeper);
    if (begin(&life)) {
        rk_life_blame(&life);
        if (life.processes.running)
            rk_life_kill(&life);
    }
    if (life.processes.running) {
        do
            watch(&life);
        while (rk_restarted_plainly(&life) || rk_restart(&life));
        if (!life.error && !life.killed)
            judge(&life);
    }
    rk_rank0_forget(&life);
    stop_listening(&life);
    unlink(plan->leftovers);
    rk_leftovers_remove(&life.leftovers, life.processes.mpirun, plan->socket);
    rk_watcher_dismiss(&life.watcher);
    int status = report_end(&life);
    rk_limit_requeue(&life.limit, life.interrupted || life.killed);
    rk_relay_close(&life.relay);
    rk_fd_close(&life.signals);
    rk_fd_close(&life.supervisor);
    rk_fd_close(&life.parent);
    rk_error_free(life.error);
    return status;
}
