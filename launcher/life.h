/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A job's life at the launcher: what its files share. supervise.c is the loop, rank0.c the conversation with rank 0,
 * ending.c the ways out, restart.c the way back. */

#ifndef RK_LAUNCHER_LIFE_H
#define RK_LAUNCHER_LIFE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "client/runner.h"
#include "launcher/keeper.h"
#include "launcher/leftovers.h"
#include "launcher/plan.h"
#include "launcher/processes.h"
#include "launcher/relay.h"
#include "launcher/standin.h"
#include "launcher/walltime.h"
#include "launcher/watcher.h"

enum rk_stage {
    STARTING, /* rank 0 has not connected */
    SETTING_UP,
    READY,
    REGROUPING, /* rank 0 has gone, and the others may replace it */
    PAUSING,    /* the job has ended, and is started again when the pause is over */
    STOPPING,   /* it is on its way out: asked, or rank 0 has gone */
    KILLING,
};

struct rk_life {
    struct rk_run_values *values;
    struct rk_plan *plan;
    enum rk_stage stage;
    bool was_ready, hinted;
    bool asked;      /* to stop, by this process */
    bool leaving;    /* whatever happens, it is not started again */
    bool stop_later; /* it is asked when rank 0 has greeted, to stop within `drain` seconds */
    double drain;
    bool plainly;    /* it is being started again, once, such that a rank's end ends it */
    bool outlasted;  /* all ranks have left in order, and mpirun had to be told */
    bool orphaned;   /* mpirun ended before rank 0 */
    bool mending;    /* the death that is being made good has been counted */
    int interrupted; /* the signal that asked for the end; 0 */
    int killed;      /* the signal that asked for the end at once; 0 */
    int64_t begun_us, deadline_us, census_us;
    size_t children;              /* of mpirun, most that were seen */
    size_t last_children;         /* when they were counted last */
    int64_t short_since_us;       /* since when there have been some, not all, and no more */
    int64_t alone_since_us;       /* since when mpirun has been without ranks; 0: it is not */
    struct rankcall_error *error; /* why the job failed, once that is known */
    int signals, listener, supervisor, parent;
    int rank0_pid, rank0_fd;           /* a descriptor of the process */
    bool rank0_died;                   /* though the kernel may not be done with it */
    int64_t look_us, stopped_since_us; /* at rank 0: when next; since when it is stopped, 0: it is not */
    struct rankcall_runner *runner;
    struct rankcall_pending *ready, *question;
    struct rk_processes processes;
    struct rk_relay relay;
    struct rk_leftovers leftovers;
    uint64_t noted; /* whose */
    struct rk_watcher watcher;
    struct rk_standin standin;
    struct rk_keeper keeper;
    struct rk_limit limit; /* of the allocation */
};

/* supervise.c */
void rk_life_enter(struct rk_life *life, enum rk_stage stage, int64_t patience_us); /* negative: for ever */
int rk_life_launch(struct rk_life *life);                                           /* mpirun and its watcher */
void rk_life_step(struct rk_life *life);                                            /* waits for one thing or more */

/* ending.c */
void rk_life_blame(struct rk_life *life); /* the thread's last error, unless there is an earlier one */
void rk_life_terminate(struct rk_life *life);
void rk_life_kill(struct rk_life *life);
void rk_life_stop(struct rk_life *life, double drain);
void rk_life_deadline(struct rk_life *life);
void rk_life_look_behind(struct rk_life *life); /* ends what ranks have left behind */
void rk_life_note(struct rk_life *life);        /* writes down what is to be removed, when ranks have come */
int rk_life_judge(struct rk_life *life);        /* mpirun has ended and nobody said why: sets the last error */

/* rank0.c */
void rk_rank0_connected(struct rk_life *life);
void rk_rank0_moved(struct rk_life *life);
void rk_rank0_kept(struct rk_life *life);   /* there is something for the keeper to do */
void rk_rank0_bereft(struct rk_life *life); /* srun says that a rank has ended: rank 0 may not know */
void rk_rank0_forget(struct rk_life *life);
bool rk_rank0_said_goodbye(const struct rk_life *life);

/* stopped.c */
void rk_stopped_look(struct rk_life *life); /* kills a rank 0 that has been stopped for too long */

/* restart.c */
bool rk_restart_possible(const struct rk_life *life);
bool rk_restart_survivors(const struct rk_life *life); /* somebody is left who can replace rank 0 */
void rk_restart_lost(struct rk_life *life,
                     bool ending); /* rank 0 has gone with the last error; `ending`: so does the job */
/* A start on several nodes that does not come to an end: mpirun is killed, and started again without --enable-recovery,
 * under which it would hang and not tell of a rank that has ended. */
void rk_restart_plainly(struct rk_life *life);
bool rk_restarted_plainly(struct rk_life *life);
bool rk_restart(struct rk_life *life); /* the job has ended: whether it has been started again */

/* nodes.c: before a restart in a Slurm job, notes in the journal which nodes are gone */
void rk_nodes_look(struct rk_life *life);

#endif
