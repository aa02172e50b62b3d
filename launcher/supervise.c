/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A job's life. One thread waits for everything: signals, mpirun's output and end, rank 0's connection, the process
 * that started this one. Whatever happens ends in mpirun's end; what that means is decided then. */

#include "launcher/supervise.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "client/runner.h"
#include "launcher/describe.h"
#include "launcher/leftovers.h"
#include "launcher/processes.h"
#include "launcher/relay.h"
#include "launcher/report.h"
#include "launcher/say.h"
#include "launcher/verdict.h"
#include "launcher/watcher.h"

#define DRAIN        10.0     /* seconds that a running call has after Ctrl-C */
#define STOP_US      12000000 /* how long a job may take to end after its drain time */
#define END_US       10000000 /* how long mpirun may take to end after rank 0 has gone, or setup failed */
#define TERMINATE_US 3000000  /* how long mpirun may take to end its ranks */
#define REGROUP_US   60000000 /* how long the other ranks may take to replace rank 0 */
#define CENSUS_US    250000   /* how often ranks are counted during the start */
#define HINT_US      10000000 /* when to say what a start waits for */
#define START        1800.0   /* seconds until READY, if not chosen */

enum stage {
    STARTING, /* rank 0 has not connected */
    SETTING_UP,
    READY,
    REGROUPING, /* rank 0 has gone, and the others may replace it */
    STOPPING,   /* it is on its way out: asked, or rank 0 has gone */
    KILLING,
};

enum slot { SIGNALS, LISTENER, JOB, SUPERVISOR, PARENT, RELAY, SLOTS = RELAY + RK_RELAY_FDS };

struct life {
    const struct rk_run_values *values;
    const struct rk_plan *plan;
    enum stage stage;
    bool was_ready, hinted;
    bool asked;      /* to stop, by this process */
    int interrupted; /* the signal that asked for the end; 0 */
    int killed;      /* the signal that asked for the end at once; 0 */
    int64_t begun_us, deadline_us, census_us;
    size_t children;              /* of mpirun, most that were seen */
    struct rankcall_error *error; /* why the job failed, once that is known */
    int signals, listener, supervisor, parent;
    struct rankcall_runner *runner;
    struct rankcall_pending *ready, *question;
    struct rk_processes processes;
    struct rk_relay relay;
    struct rk_leftovers leftovers;
    struct rk_watcher watcher;
};

/* Remembers the thread's last error as the cause, unless there is an earlier one. */
static void blame(struct life *life)
{
    if (!life->error)
        life->error = rk_error_clone(rankcall_last_error());
}

static void enter(struct life *life, enum stage stage, int64_t patience_us)
{
    life->stage = stage;
    life->deadline_us = patience_us < 0 ? -1 : rk_now_us() + patience_us;
}

/* ---- Ending ---- */

/* Lets mpirun end its ranks; what is still there later is killed. */
static void terminate_job(struct life *life)
{
    rk_leftovers_note(&life->leftovers, life->processes.mpirun);
    rk_processes_signal(&life->processes, SIGTERM);
    enter(life, KILLING, TERMINATE_US);
}

/* Kills the ranks; mpirun then ends by itself, and cleans up better than anybody else could. */
static void kill_job(struct life *life)
{
    rk_leftovers_note(&life->leftovers, life->processes.mpirun);
    rk_processes_signal(&life->processes, SIGTERM);
    rk_processes_signal_all(&life->processes, SIGKILL, true);
    enter(life, KILLING, TERMINATE_US);
}

static void stop_job(struct life *life, double drain)
{
    if (!life->runner || !rk_runner_greeted(life->runner) || rk_runner_stop_begin(life->runner, drain)) {
        terminate_job(life);
        return;
    }
    life->asked = true;
    if (drain > 0 && life->stage == READY && !life->question)
        rk_runner_ask_status(life->runner, false, &life->question);
    enter(life, STOPPING, (int64_t)(drain * 1e6) + STOP_US);
}

static void deadline_passed(struct life *life)
{
    switch (life->stage) {
    case STARTING:
        rk_error(RANKCALL_ETIMEOUT, "rank 0 has not reported within %.6g s: is %s a rankcall worker?",
                 life->values->timeout, life->values->program[0]);
        break;
    case SETTING_UP:
        rk_error(RANKCALL_ETIMEOUT, "not every rank was READY within %.6g s", life->values->timeout);
        break;
    case STOPPING:
        rk_error(life->asked ? RANKCALL_EWEDGED : RANKCALL_EJOBDIED, life->asked
                                                                         ? "the job did not end in time and was killed"
                                                                         : "rank 0 is gone; what was left was killed");
        break;
    case KILLING:
        rk_processes_signal_all(&life->processes, SIGKILL, false);
        enter(life, KILLING, TERMINATE_US);
        return;
    case REGROUPING: rk_error(RANKCALL_EJOBDIED, "rank 0 is gone, and no other took its place"); break;
    case READY: return;
    }
    blame(life);
    terminate_job(life);
}

/* ---- Signals and the process that started this one ---- */

static void interrupt(struct life *life, int signal)
{
    if (life->stage == KILLING || life->interrupted) {
        rk_say("killing the job");
        life->killed = signal;
        kill_job(life);
        return;
    }
    life->interrupted = signal;
    if (life->stage < READY)
        rk_say("ending the start; once more to kill the job");
    stop_job(life, life->stage == READY ? DRAIN : 0);
}

static void on_signal(struct life *life)
{
    struct signalfd_siginfo info;
    while (read(life->signals, &info, sizeof(info)) == sizeof(info))
        switch (info.ssi_signo) {
        case SIGINT:
        case SIGTERM:
        case SIGHUP: interrupt(life, (int)info.ssi_signo); break;
        case SIGUSR1:
        case SIGUSR2: rk_processes_signal(&life->processes, (int)info.ssi_signo); break;
        default: break; /* SIGCHLD: the loop reaps */
        }
}

static void supervisor_gone(struct life *life)
{
    rk_fd_close(&life->supervisor);
    rk_fd_close(&life->parent);
    if (life->stage < STOPPING)
        stop_job(life, 0);
}

static void on_supervisor(struct life *life)
{
    char words[64];
    ssize_t size = recv(life->supervisor, words, sizeof(words) - 1, MSG_DONTWAIT);
    if (size <= 0) {
        supervisor_gone(life);
        return;
    }
    words[size] = '\0';
    if (strstr(words, "kill"))
        kill_job(life);
    else if (strstr(words, "stop") && life->stage < STOPPING)
        stop_job(life, 0);
}

/* ---- Rank 0 ---- */

/* Only this user's processes are the job's. */
static bool is_ours(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) && peer.uid == geteuid();
}

static void stop_listening(struct life *life)
{
    if (life->listener >= 0)
        unlink(life->plan->launcher);
    rk_fd_close(&life->listener);
}

/* With the thread's last error. The job knows, and ends by itself; an end of the connection alone is no reason, mpirun
 * will tell more. */
static void setup_failed(struct life *life, int code)
{
    bool lost = code == RANKCALL_ECLOSED || code == RANKCALL_EJOBDIED || code == RANKCALL_ESHUTTINGDOWN;
    if (life->interrupted)
        return;
    if (!lost)
        blame(life);
    if (life->stage < STOPPING)
        enter(life, STOPPING, END_US);
}

static void on_connection(struct life *life)
{
    int fd = accept4(life->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    if (!is_ours(fd)) {
        rk_fd_close(&fd);
        return;
    }
    if (life->runner) {
        rk_fd_close(&fd);
        return;
    }
    if (!rk_plan_recovers(life->values))
        stop_listening(life); /* else another process may become rank 0 */
    int code = rk_runner_attach(fd, &life->runner);
    if (!code)
        code = rk_runner_ask_status(life->runner, true, &life->ready);
    if (code)
        setup_failed(life, code);
    else if (life->stage == STARTING)
        life->stage = SETTING_UP;
    else if (life->stage == REGROUPING)
        enter(life, READY, -1);
}

/* Takes a question's answer; false while there is none. */
static bool answered(struct rankcall_pending **pending, int *code, struct rankcall_payload **payload)
{
    struct rankcall_item item = {0};
    if (!*pending || (*code = rankcall_next(*pending, 0, &item)) == RANKCALL_EAGAIN)
        return false;
    *payload = *code ? NULL : item.payload;
    return true;
}

static void on_ready(struct life *life, int code, const struct rankcall_payload *status)
{
    const struct rk_report report = {life->values, life->plan, &life->relay, life->supervisor};
    if (code) {
        setup_failed(life, code);
    } else if (life->stage == SETTING_UP) {
        life->was_ready = true;
        enter(life, READY, -1);
        rk_report_ready(&report, status, (double)(rk_now_us() - life->begun_us) / 1e6);
        rk_leftovers_note(&life->leftovers, life->processes.mpirun);
    }
}

static void on_question(const struct rankcall_payload *status)
{
    char text[320];
    if (!rankcall_has(status, "running"))
        return;
    rk_describe_running(status, text, sizeof(text));
    rk_say("waiting up to %.3g s for the running call (%s); once more to kill the job", DRAIN, text);
}

static void on_job(struct life *life)
{
    struct rankcall_payload *status;
    int code, gone = rankcall_process(life->runner);
    if (answered(&life->ready, &code, &status)) {
        rankcall_pending_free(life->ready);
        life->ready = NULL;
        on_ready(life, code, status);
        rankcall_payload_free(status);
    }
    if (answered(&life->question, &code, &status)) {
        rankcall_pending_free(life->question);
        life->question = NULL;
        if (!code)
            on_question(status);
        rankcall_payload_free(status);
    }
    if (!gone)
        return;
    if (gone == RANKCALL_EJOBDIED && rankcall_last_error()->rank >= 0)
        blame(life); /* rank 0 has said which rank died of what */
    rankcall_runner_free(life->runner);
    life->runner = NULL;
    if (life->stage == READY && rk_plan_recovers(life->values))
        enter(life, REGROUPING, REGROUP_US);
    else if (life->stage < STOPPING)
        enter(life, STOPPING, END_US);
}

/* ---- The loop ---- */

/* A rank that dies before rank 0 knows of it: nobody else would notice, since mpirun lets the others live. */
static void count_ranks(struct life *life)
{
    if (life->stage >= READY || !rk_plan_recovers(life->values) || rk_now_us() < life->census_us)
        return;
    size_t children = rk_processes_children(&life->processes);
    life->census_us = rk_now_us() + CENSUS_US;
    if (children < life->children && life->stage == STARTING) {
        rk_error(RANKCALL_ELAUNCH, "a rank ended before the job was READY");
        blame(life);
        terminate_job(life);
    }
    if (children > life->children)
        life->children = children;
}

static void say_hint(struct life *life)
{
    char limit[32];
    life->hinted = true;
    rk_describe_time(life->values->timeout, limit, sizeof(limit));
    if (life->stage == STARTING)
        rk_say("still waiting for rank 0 to report, %s in all", limit);
    else if (life->stage == SETTING_UP)
        rk_say("still waiting for setup on every rank, %s in all", limit);
}

static int patience_ms(const struct life *life)
{
    int64_t until = life->deadline_us;
    if (!life->hinted && (until < 0 || life->begun_us + HINT_US < until))
        until = life->begun_us + HINT_US;
    if (life->stage == STARTING && rk_plan_recovers(life->values) && (until < 0 || life->census_us < until))
        until = life->census_us;
    if (until < 0)
        return -1;
    int64_t left = until - rk_now_us();
    return left <= 0 ? 0 : (int)(left / 1000 + 1 < 1000000 ? left / 1000 + 1 : 1000000);
}

static void fill(const struct life *life, struct pollfd fds[SLOTS])
{
    const int watched[] = {life->signals, life->listener, life->runner ? rankcall_runner_fd(life->runner) : -1,
                           life->supervisor, life->parent};
    for (int i = 0; i < RELAY; i++)
        fds[i] = (struct pollfd){.fd = watched[i], .events = POLLIN};
    if (life->runner)
        fds[JOB].events = rankcall_runner_poll_events(life->runner);
    rk_relay_poll(&life->relay, fds + RELAY);
}

static void dispatch(struct life *life, const struct pollfd fds[SLOTS])
{
    rk_relay_move(&life->relay, fds + RELAY);
    if (fds[SIGNALS].revents)
        on_signal(life);
    if (fds[LISTENER].revents && life->listener >= 0)
        on_connection(life);
    if (fds[JOB].revents && life->runner)
        on_job(life);
    if (fds[SUPERVISOR].revents && life->supervisor >= 0)
        on_supervisor(life);
    if (fds[PARENT].revents && life->parent >= 0)
        supervisor_gone(life);
    if (life->deadline_us >= 0 && rk_now_us() >= life->deadline_us)
        deadline_passed(life);
    count_ranks(life);
    if (!life->hinted && rk_now_us() >= life->begun_us + HINT_US)
        say_hint(life);
}

static void watch(struct life *life)
{
    struct pollfd fds[SLOTS];
    while (!rk_processes_reap(&life->processes)) {
        fill(life, fds);
        if (poll(fds, SLOTS, patience_ms(life)) < 0)
            memset(fds, 0, sizeof(fds)); /* a signal: looked at next time */
        dispatch(life, fds);
    }
}

/* ---- Beginning and end ---- */

/* A signal that was ignored when this process began stays so: nohup. Not SIGINT, which shells ignore for what scripts
 * start in the background: `kill -INT` and Ctrl-C on the script mean the job, too, which would be left over otherwise.
 */
static void watch_signals(struct life *life)
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

static void watch_supervisor(struct life *life)
{
    life->supervisor = life->parent = -1;
    if (!life->values->supervisor_fd)
        return;
    life->supervisor = life->values->supervisor_fd;
    /* Forked children of the process that started this one may keep the other end open after its death. */
    life->parent = (int)syscall(SYS_pidfd_open, getppid(), 0);
}

static int begin(struct life *life)
{
    const struct rk_plan *plan = life->plan;
    watch_signals(life);
    watch_supervisor(life);
    rk_processes_adopt();
    if (life->signals < 0)
        return rk_error_system("cannot watch for signals");
    int code = rk_path_listen(plan->launcher, &life->listener);
    if (!code)
        code = rk_processes_start(&life->processes, (char *const *)plan->argv.items,
                                  (char *const *)plan->environment.items);
    if (!code)
        code = rk_watcher_start(&life->watcher, life->processes.mpirun, plan);
    life->processes.spared = life->watcher.pid;
    if (!code)
        code = rk_relay_attach(&life->relay, life->processes.out, life->processes.err, life->values->ranks,
                               plan->line >= 5, life->values->json);
    enter(life, STARTING, (int64_t)(life->values->timeout * 1e6));
    return code;
}

/* mpirun has ended and nobody said why. */
static void judge(struct life *life)
{
    char *last = rk_relay_last(&life->relay);
    bool recovers = rk_plan_recovers(life->values);
    bool lost = recovers && !access(life->plan->launcher, F_OK); /* rank 0 removes it in the end */
    int status = life->processes.wait_status;
    if (recovers && !lost && life->was_ready && life->plan->line >= 5)
        status = 0; /* else that of a rank that was replaced: mpirun 5 remembers those */
    int code = rk_verdict(status, last ? last : "", life->was_ready, lost);
    if (code && life->interrupted && !life->was_ready)
        life->killed = life->interrupted;
    else if (code)
        blame(life);
    free(last);
}

static int report_end(struct life *life)
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

int rk_supervise(const struct rk_run_values *values, const struct rk_plan *plan)
{
    struct life life = {.values = values, .plan = plan, .signals = -1, .listener = -1, .begun_us = rk_now_us()};
    rk_relay_open(&life.relay);
    if (begin(&life)) {
        blame(&life);
        if (life.processes.running)
            kill_job(&life);
    }
    if (life.processes.running) {
        watch(&life);
        rk_processes_sweep(&life.processes);
        rk_relay_end(&life.relay);
        if (!life.error && !life.killed)
            judge(&life);
    }
    stop_listening(&life);
    rankcall_runner_free(life.runner);
    rk_leftovers_remove(&life.leftovers, life.processes.mpirun, plan->socket);
    rk_watcher_dismiss(&life.watcher);
    int status = report_end(&life);
    rk_relay_close(&life.relay);
    rk_fd_close(&life.signals);
    rk_fd_close(&life.supervisor);
    rk_fd_close(&life.parent);
    rk_error_free(life.error);
    return status;
}
