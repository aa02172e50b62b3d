/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* How a job is started in what a scheduler has given: how many ranks, by which command, from which node. */

#ifndef RK_LAUNCHER_LAUNCH_H
#define RK_LAUNCHER_LAUNCH_H

#include "launcher/allocation.h"
#include "launcher/plan.h"

/* Settles values->ranks and values->method, and says what was chosen and why where a scheduler has a say.
 * Errors: RANKCALL_EINVAL; RANKCALL_ELAUNCH, which names what is missing. */
int rk_launch_choose(const struct rk_allocation *allocation, struct rk_run_values *values);

/* Whether the command must first be started on another node, the one that rank 0 will run on. */
bool rk_launch_elsewhere(const struct rk_allocation *allocation);

/* Runs this command, with its arguments, on that node, through srun, and passes signals on.
 * Returns its exit status. */
int rk_launch_there(const struct rk_allocation *allocation, const struct rk_run_values *values, char **argv);

/* Whether the command reads its standard input; else rk_launch_there says by its end that the job is to end. */
bool rk_launch_reads(const struct rk_run_values *values);

/* Where rk_launch_there has started this process: makes its environment what it was there. False where it has not. */
bool rk_launch_arrive(void);

/* Of a heterogeneous job: the environment becomes that of one of its components, but for the job's number: srun wants
 * that of the whole. Errors: RANKCALL_EINVAL. */
int rk_launch_component(int component);

/* steps.c: changes Slurm's variables such that steps of the job can be made: mpirun's for its daemons on the other
 * nodes; those when only `left` of `nodes` nodes are left; one on the first node. */
void rk_launch_settle_steps(const struct rk_allocation *allocation, const struct rk_run_values *values);
void rk_launch_lose_nodes(int nodes, int left);
void rk_launch_settle_one_step(const struct rk_allocation *allocation);

/* Not every task of a step is to start a job. Errors: RANKCALL_ELAUNCH. */
int rk_launch_check_step(void);

#endif
