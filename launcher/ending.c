/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* How a job is ended, and why it has. */

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "launcher/life.h"
#include "launcher/verdict.h"

#define STOP_US      12000000 /* how long a job may take to end after its drain time */
#define TERMINATE_US 3000000  /* how long mpirun may take to end its ranks */
#define BEHIND_US    1000000  /* how long what ranks have started may outlive them all */
#define LOOK_US      100000   /* how often that is looked at */

void rk_life_blame(struct rk_life *life)
{
    if (!life->error)
        life->error = rk_error_clone(rankcall_last_error());
}

/* Lets mpirun end its ranks; what is still there later is killed. */
void rk_life_terminate(struct rk_life *life)
{
    rk_leftovers_note(&life->leftovers, life->processes.mpirun);
    rk_processes_signal(&life->processes, SIGTERM);
    rk_life_enter(life, KILLING, TERMINATE_US);
}

/* Kills the ranks; mpirun then ends by itself, and cleans up better than anybody else could. */
void rk_life_kill(struct rk_life *life)
{
    rk_leftovers_note(&life->leftovers, life->processes.mpirun);
    rk_processes_signal(&life->processes, SIGTERM);
    rk_processes_signal_all(&life->processes, SIGKILL, true);
    rk_life_enter(life, KILLING, TERMINATE_US);
}

void rk_life_note(struct rk_life *life)
{
    uint64_t ranks = 0;
    for (int rank = 0; rank < life->values->ranks; rank++)
        ranks = ranks * 31 + (uint64_t)rk_journal_pid(life->standin.journal, rank);
    if (ranks == life->noted)
        return;
    life->noted = ranks;
    rk_leftovers_note(&life->leftovers, life->processes.mpirun);
    rk_leftovers_record(&life->leftovers, life->processes.mpirun, life->plan->leftovers);
}

void rk_life_stop(struct rk_life *life, double drain)
{
    life->leaving = true;
    life->stop_later = life->was_ready && life->runner && !rk_runner_greeted(life->runner);
    if (life->stop_later) { /* a new rank 0: it is asked when it has answered */
        life->drain = drain;
        rk_life_enter(life, STOPPING, (int64_t)(drain * 1e6) + STOP_US);
        return;
    }
    if (!life->runner || !rk_runner_greeted(life->runner) || rk_runner_stop_begin(life->runner, drain)) {
        rk_life_terminate(life);
        return;
    }
    life->asked = true;
    if (drain > 0 && life->stage == READY && !life->question)
        rk_runner_ask_status(life->runner, false, &life->question);
    rk_life_enter(life, STOPPING, (int64_t)(drain * 1e6) + STOP_US);
}

static bool ranks_live(const struct rk_life *life)
{
    for (int rank = 0; rank < life->values->ranks; rank++) {
        int pid = rk_journal_pid(life->standin.journal, rank);
        if (pid < 0 || (pid && rk_processes_alive(pid)))
            return true;
    }
    return false;
}

/* mpirun waits until nobody holds the ends of its pipes any more: for the children of its ranks, too. */
void rk_life_look_behind(struct rk_life *life)
{
    int64_t now = rk_now_us();
    if (life->stage != STOPPING || now < life->census_us)
        return;
    life->census_us = now + LOOK_US;
    if (!life->standin.journal || life->processes.by_srun || rk_plan_spreads(life->values) || ranks_live(life))
        life->alone_since_us = 0;
    else if (!life->alone_since_us)
        life->alone_since_us = now;
    else if (now - life->alone_since_us >= BEHIND_US) {
        life->outlasted = life->outlasted || rk_rank0_said_goodbye(life);
        rk_processes_signal_all(&life->processes, SIGKILL, true);
    }
}

void rk_life_deadline(struct rk_life *life)
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
        if (rk_rank0_said_goodbye(life) && rk_plan_recovers(life->values) && rk_plan_spreads(life->values)) {
            life->outlasted = true;
            rk_life_terminate(life);
            return;
        }
        rk_error(life->asked ? RANKCALL_EWEDGED : RANKCALL_EJOBDIED, life->asked
                                                                         ? "the job did not end in time and was killed"
                                                                         : "rank 0 is gone; what was left was killed");
        break;
    case KILLING:
        rk_processes_signal_all(&life->processes, SIGKILL, false);
        rk_life_enter(life, KILLING, TERMINATE_US);
        return;
    case REGROUPING: rk_error(RANKCALL_EJOBDIED, "rank 0 is gone, and no other took its place"); break;
    case PAUSING:
    case READY: return;
    }
    rk_life_blame(life);
    rk_life_terminate(life);
}

/* A client has stopped the job before this process knew that it was READY, or before it was. */
static bool stopped_early(const struct rk_life *life)
{
    return !life->was_ready && life->standin.journal && rk_journal_stopping(life->standin.journal);
}

int rk_life_judge(struct rk_life *life)
{
    char *last = rk_relay_last(&life->relay);
    bool recovers = rk_plan_recovers(life->values), lost = recovers && !rk_rank0_said_goodbye(life);
    int status = life->processes.wait_status;
    if (recovers && !lost && life->was_ready && life->plan->line >= 5)
        status = 0; /* else that of a rank that was replaced: mpirun 5 remembers those */
    if (life->outlasted)
        status = 0;
    int code;
    if (status || lost || !stopped_early(life))
        code = rk_verdict(status, last ? last : "", life->was_ready, lost);
    else if (life->values->supervisor_fd)
        code = rk_error(RANKCALL_ESHUTTINGDOWN, "the job was stopped before it was READY");
    else
        code = RANKCALL_OK;
    free(last);
    return code;
}
