/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The conversation with rank 0, from its first word to how it ended. */

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/ended.h"
#include "base/fd.h"
#include "launcher/describe.h"
#include "launcher/life.h"
#include "launcher/report.h"
#include "launcher/say.h"
#include "launcher/supervise.h"
#include "launcher/verdict.h"

#define END_US 10000000 /* how long mpirun may take to end after rank 0 has gone, or setup failed */
#define LINGER_US                                                                                                 \
    2000000            /* the same in order, on several nodes: when ranks were replaced mpirun 4.1 may not notice \
                        */
#define EXIT_US 200000 /* from the end of a process's connections to its own */

/* Only this user's processes are the job's. Returns the process, 0: another user's. */
static int peer_of(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) && peer.uid == geteuid() ? peer.pid : 0;
}

bool rk_rank0_said_goodbye(const struct rk_life *life)
{
    return life->listener < 0 || access(life->plan->launcher, F_OK); /* its last act is to remove that name */
}

void rk_rank0_forget(struct rk_life *life)
{
    rankcall_runner_free(life->runner);
    life->runner = NULL;
    life->ready = life->question = NULL; /* they were the runner's */
    rk_fd_close(&life->rank0_fd);
    rk_keeper_close(&life->keeper);
    life->rank0_died = false;
}

/* With the thread's last error. The job knows, and ends by itself; an end of the connection alone is no reason, mpirun
 * will tell more. */
static void setup_failed(struct rk_life *life, int code)
{
    bool lost = code == RANKCALL_ECLOSED || code == RANKCALL_EJOBDIED || code == RANKCALL_ESHUTTINGDOWN;
    if (life->interrupted)
        return;
    if (!lost)
        rk_life_blame(life);
    bool lingers = rk_rank0_said_goodbye(life) && rk_plan_recovers(life->values) && rk_plan_spreads(life->values);
    if (life->stage < STOPPING || (lingers && life->stage == STOPPING))
        rk_life_enter(life, STOPPING, lingers ? LINGER_US : END_US);
}

static int welcome(struct rk_life *life, int fd)
{
    struct rk_standin *standin = &life->standin;
    const struct rk_standin_job job = {life->plan->name, life->plan->socket, life->values->ranks,
                                       life->values->restarts};
    int code = standin->listener < 0 ? rk_standin_open(standin, &job) : RANKCALL_OK;
    life->relay.journal = standin->journal;
    int end = -1;
    if (!code)
        code = rk_keeper_open(&life->keeper, &end);
    if (!code)
        code = rk_standin_hand_over(standin, fd, end);
    rk_fd_close(&end);
    if (code) {
        rk_fd_close(&fd);
        return code;
    }
    code = rk_runner_attach(fd, &life->runner);
    return code ? code : rk_runner_ask_status(life->runner, true, &life->ready);
}

void rk_rank0_connected(struct rk_life *life)
{
    int fd = accept4(life->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    int peer = fd < 0 ? 0 : peer_of(fd);
    if (!peer || life->runner) {
        rk_fd_close(&fd);
        return;
    }
    life->rank0_pid = peer;
    rk_fd_close(&life->rank0_fd);
    life->rank0_fd = (int)syscall(SYS_pidfd_open, peer, 0);
    int code = welcome(life, fd);
    if (code && life->standin.listener < 0) { /* the socket's place is taken, or cannot be */
        rk_life_blame(life);
        rk_life_terminate(life);
    } else if (code) {
        setup_failed(life, code);
    } else if (life->stage == STARTING) {
        life->stage = SETTING_UP;
    } else if (life->stage == REGROUPING) {
        life->mending = false; /* should this one die, too, that is one more */
        rk_life_enter(life, READY, -1);
    }
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

static void on_ready(struct rk_life *life, int code, const struct rankcall_payload *status)
{
    const struct rk_report report = {life->values, life->plan, &life->relay, life->supervisor};
    double seconds = (double)(rk_now_us() - life->begun_us) / 1e6;
    bool again = life->was_ready;
    if (code && !again)
        setup_failed(life, code);
    if (code)
        return;
    life->mending = false;
    if (life->stage != SETTING_UP)
        return;
    life->was_ready = true;
    rk_life_enter(life, READY, -1);
    if (again)
        rk_say("READY again after %.1f s", seconds);
    else
        rk_report_ready(&report, status, seconds);
    rk_life_note(life);
}

static void on_question(const struct rankcall_payload *status)
{
    char text[320];
    if (!rankcall_has(status, "running"))
        return;
    rk_describe_running(status, text, sizeof(text));
    rk_say("waiting up to %d s for the running call (%s); once more to kill the job", RK_LAUNCHER_DRAIN_S, text);
}

static void take_answers(struct rk_life *life)
{
    struct rankcall_payload *status;
    int code;
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
}

/* What is known of rank 0's end when it said nothing: sets the last error. Returns how it ended, as
 * waitpid(2) would say; -1: not known. */
static int describe_end(struct rk_life *life)
{
    char how[96], host[256] = "", text[400], words[RK_WORDS_SIZE + 1] = "";
    gethostname(host, sizeof(host) - 1);
    rk_relay_catch_up(&life->relay, life->processes.mpirun);
    if (life->rank0_fd >= 0 && !life->rank0_died)
        rk_fd_wait(life->rank0_fd, POLLIN, rk_now_us() + EXIT_US);
    int left = life->standin.journal ? atomic_load(rk_journal_left(life->standin.journal)) : -1;
    bool ended = life->rank0_died || life->rank0_fd < 0 || rk_fd_wait(life->rank0_fd, POLLIN, 0);
    int status = left >= 0 ? left : ended ? rk_ended_how(life->rank0_pid, life->rank0_fd) : -1;
    rk_ended_text(status, how, sizeof(how));
    snprintf(text, sizeof(text), "rank 0 (pid %d) on %s %s", life->rank0_pid, host, how);
    if (life->standin.journal)
        rk_journal_last_words(life->standin.journal, 0, words);
    rk_error_copy(&(struct rankcall_error){RANKCALL_ERANKDIED, 0, host, text, words});
    return status;
}

/* Where the others live on without rank 0, nobody else would end them. A rank 0 that ended because of another rank's
 * death has said so in its output. */
static void end_the_others(struct rk_life *life, int status)
{
    if (!WIFEXITED(status) || WEXITSTATUS(status) != rankcall_code_exit_status(RANKCALL_ERANKDIED))
        rk_life_blame(life);
    if (life->error)
        rk_standin_finish(&life->standin, life->error);
    if (life->error && life->was_ready)
        life->error->code = RANKCALL_EJOBDIED;
    rk_rank0_forget(life);
    rk_life_kill(life);
}

void rk_rank0_moved(struct rk_life *life)
{
    int gone = rankcall_process(life->runner);
    struct rankcall_error *said = gone ? rk_error_clone(rankcall_last_error()) : NULL;
    take_answers(life);
    if (!gone) {
        if (life->stop_later && rk_runner_greeted(life->runner))
            rk_life_stop(life, life->drain);
        if (life->standin.journal && rk_journal_lives(life->standin.journal))
            rk_keeper_watch(&life->keeper, life->standin.journal_fd);
        return;
    }
    /* It has told which rank died of what, or that some did not come back. */
    bool ending = said && ((said->rank >= 0 && gone == RANKCALL_EJOBDIED) || gone == RANKCALL_EWEDGED);
    int status = -1;
    if (ending)
        rk_error_copy(said);
    else
        status = describe_end(life);
    rk_error_free(said);
    /* On several nodes the others may have ended it with them. */
    if (!ending && rk_plan_spreads(life->values) && WIFEXITED(status) && status >= 0)
        ending = WEXITSTATUS(status) == rankcall_code_exit_status(RANKCALL_ERANKDIED);
    bool bad = life->was_ready && life->stage < STOPPING && !life->leaving && !rk_rank0_said_goodbye(life);
    if (life->standin.journal && rk_journal_stopping(life->standin.journal))
        bad = false;
    if (ending && !(bad && life->values->restarts > 0))
        rk_life_blame(life);
    bool asked = life->error || life->asked || life->leaving || life->stage == KILLING || rk_rank0_said_goodbye(life);
    bool alone = life->values->ranks == 1 && life->values->method == RK_MPIRUN;
    if (!ending && !bad && !asked && (alone || rk_plan_recovers(life->values))) {
        end_the_others(life, status);
        return;
    }
    rk_rank0_forget(life);
    if (bad && life->values->restarts > 0) {
        rk_restart_lost(life, ending);
        return;
    }
    if (bad) /* mpirun, which ends rank 0 when another has died, will tell why */
        rk_standin_begin(&life->standin, rankcall_last_error());
    if (life->stage < STOPPING)
        rk_life_enter(life, STOPPING, END_US);
}

/* Its connections end now, its own to this process too: what it had said is read before that is seen. */
void rk_rank0_kept(struct rk_life *life)
{
    if (!rk_keeper_work(&life->keeper))
        return;
    rk_keeper_end_all(&life->keeper);
    if (!life->runner)
        return;
    if (life->rank0_fd >= 0) /* its main thread may have ended alone: others would go on */
        syscall(SYS_pidfd_send_signal, life->rank0_fd, SIGKILL, NULL, 0);
    life->rank0_died = true;
    shutdown(rankcall_runner_fd(life->runner), SHUT_RDWR);
    rk_rank0_moved(life);
}

void rk_rank0_bereft(struct rk_life *life)
{
    const char *line = life->relay.end_of_rank;
    if (!line || life->stage != READY || !life->runner || life->leaving || life->asked)
        return;
    if (rk_rank0_said_goodbye(life) || (life->standin.journal && rk_journal_stopping(life->standin.journal)))
        return;
    rk_verdict_of_end(line);
    kill(life->rank0_pid, SIGKILL); /* first: it would stop in order when it loses this connection, or srun ends */
    rk_rank0_forget(life);
    if (life->values->restarts > 0) {
        rk_restart_lost(life, true);
        return;
    }
    rk_life_blame(life);
    rk_life_kill(life);
}
