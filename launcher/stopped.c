/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A rank 0 that is stopped, by SIGSTOP or a debugger, keeps no deadline and finds out nobody: so the launcher looks
 * after it. A job that is stopped as a whole, by a scheduler say, is left alone. */

#include <signal.h>
#include <string.h>

#include "base/defaults.h"
#include "base/ended.h"
#include "base/fd.h"
#include "launcher/life.h"
#include "launcher/say.h"

#define LOOK_US 1000000

static bool another_runs(const struct rk_life *life)
{
    for (int rank = 1; rank < life->values->ranks; rank++) {
        int pid = rk_journal_pid(life->standin.journal, rank);
        if (pid < 0)
            return true; /* on another node: it does for all that is known */
        if (pid && !strchr("?TtZ", rk_process_state(pid)))
            return true;
    }
    return false;
}

void rk_stopped_look(struct rk_life *life)
{
    double grace = life->values->grace >= 0 ? life->values->grace : RK_GRACE_DEFAULT_S;
    int64_t now = rk_now_us();
    if (life->stage != READY || now < life->look_us)
        return;
    life->look_us = now + LOOK_US;
    if (!life->runner || !life->standin.journal)
        return;
    rk_life_note(life);
    if (grace == 0)
        return;
    if (rk_process_state(life->rank0_pid) != 'T' || !another_runs(life)) {
        life->stopped_since_us = 0;
        return;
    }
    if (!life->stopped_since_us)
        life->stopped_since_us = now;
    if (now - life->stopped_since_us < (int64_t)(grace * 1e6))
        return;
    rk_say("rank 0 (pid %d) has been stopped for %.3g s: killing it", life->rank0_pid, grace);
    kill(life->rank0_pid, SIGKILL);
    life->stopped_since_us = 0;
}
