/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A job that ends without being asked to is started again. Its socket stays, and its clients wait there: rank 0's
 * death alone is left to the others to make good; when they can't, or nobody is left, mpirun is started anew. */

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "launcher/life.h"
#include "launcher/say.h"

#define REGROUP_US 25000000 /* how long the others may take to replace rank 0: the grace time, a step, and some */

bool rk_restart_possible(const struct rk_life *life)
{
    return life->was_ready && life->values->restarts > 0 && life->standin.journal && !life->leaving &&
           !rk_journal_stopping(life->standin.journal);
}

bool rk_restart_survivors(const struct rk_life *life)
{
    for (int rank = 1; rank < life->values->ranks; rank++) {
        int pid = rk_journal_pid(life->standin.journal, rank);
        if (pid < 0 || (pid && rk_processes_alive(pid))) /* of one on another node nothing is known here */
            return true;
    }
    return false;
}

/* The reason as it is told to those who wait, when it is also the last straw. */
static void give_up(struct rk_life *life)
{
    struct rankcall_error last = *rankcall_last_error();
    char text[512];
    snprintf(text, sizeof(text), "%s; %u deaths within an hour are made good, not more (see --restarts)", last.message,
             rk_journal_mended(life->standin.journal));
    last.message = text;
    last.code = RANKCALL_ERANKDIED;
    rk_standin_finish(&life->standin, &last);
    last.code = RANKCALL_EJOBDIED;
    life->leaving = true;
    rk_error_copy(&last);
    rk_life_blame(life);
}

/* Counts the death of which the thread's last error tells, once. False: no more are made good. */
static bool mend(struct rk_life *life)
{
    if (!life->mending && !rk_journal_mend(life->standin.journal, (unsigned)life->values->restarts))
        return false;
    life->mending = true;
    return true;
}

/* Nobody is left who could clean up: mpirun is killed, too. */
static void kill_all(struct rk_life *life)
{
    rk_leftovers_note(&life->leftovers, life->processes.mpirun);
    rk_processes_signal_all(&life->processes, SIGKILL, false);
    rk_life_enter(life, REGROUPING, REGROUP_US);
}

void rk_restart_lost(struct rk_life *life, bool ending)
{
    if (!mend(life)) {
        give_up(life);
        rk_life_kill(life);
        return;
    }
    rk_standin_begin(&life->standin, rankcall_last_error());
    rk_say_error();
    if (ending || !rk_plan_recovers(life->values))
        kill_all(life);
    else
        rk_life_enter(life, REGROUPING, REGROUP_US);
}

static void clean_up(struct rk_life *life)
{
    rk_rank0_forget(life);
    rk_leftovers_remove(&life->leftovers, life->processes.mpirun, NULL);
    rk_watcher_dismiss(&life->watcher);
    life->hinted = false;
    life->children = life->last_children = 0;
    rk_error_free(life->error);
    life->error = NULL;
}

static void pause_before(struct rk_life *life)
{
    int64_t pause_us = rk_journal_pause_us(life->standin.journal);
    rk_say("starting the job again%s (%u of %d times within an hour)", pause_us ? " after a pause" : "",
           rk_journal_mended(life->standin.journal), life->values->restarts);
    rk_life_enter(life, PAUSING, pause_us);
    while (life->stage == PAUSING && rk_now_us() < life->deadline_us)
        rk_life_step(life);
}

void rk_restart_plainly(struct rk_life *life)
{
    rk_say("rank 0 has not reported: starting the job again, such that mpirun tells of a rank that has ended");
    life->plainly = true;
    life->values->plain = true;
    rk_leftovers_note(&life->leftovers, life->processes.mpirun);
    rk_processes_signal_all(&life->processes, SIGKILL, false);
}

bool rk_restarted_plainly(struct rk_life *life)
{
    if (!life->plainly || life->interrupted || life->leaving || life->killed)
        return false;
    life->plainly = false;
    rk_plan_make_plain(life->plan);
    clean_up(life);
    if (!rk_life_launch(life))
        return true;
    rk_life_blame(life);
    return false;
}

bool rk_restart(struct rk_life *life)
{
    if (!rk_restart_possible(life) || life->killed || rk_rank0_said_goodbye(life))
        return false;
    if (life->error)
        rk_error_copy(life->error);
    else if (!life->standin.reason && !rk_life_judge(life))
        rk_error(RANKCALL_EJOBDIED, "all ranks have ended");
    else if (life->standin.reason)
        rk_error_copy(life->standin.reason);
    if (!mend(life)) {
        rk_error_free(life->error);
        life->error = NULL;
        give_up(life);
        return false;
    }
    if (!life->standin.reason) {
        rk_standin_begin(&life->standin, rankcall_last_error());
        rk_say_error();
    }
    clean_up(life);
    pause_before(life);
    if (life->stage == PAUSING)
        rk_nodes_look(life);
    life->mending = false;
    if (life->stage != PAUSING) {
        life->processes.wait_status = 0; /* as asked */
        unlink(life->plan->launcher);
        return false;
    }
    const char *lost[RK_LOST_MAX];
    size_t count = rk_journal_lost(life->standin.journal, lost);
    if ((!count || !rk_plan_leave_out(life->values, life->plan, lost, count)) && !rk_life_launch(life))
        return true;
    rk_life_blame(life);
    return false;
}
