/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What Slurm says: lists of hosts, an allocation's environment, times, the ends of ranks. */

#include "unit.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/walltime.h"
#include "launcher/allocation.h"
#include "launcher/plan.h"
#include "launcher/verdict.h"

static const char *const variables[] = {
    "SLURM_JOB_ID",          "SLURM_JOB_NODELIST",  "SLURM_JOB_NUM_NODES", "SLURM_NNODES",    "SLURM_NTASKS",
    "SLURM_NTASKS_PER_NODE", "SLURM_GPUS_PER_NODE", "SLURM_GPUS_ON_NODE",  "SLURMD_NODENAME", "SLURM_JOB_END_TIME",
    RK_WALLTIME_VARIABLE,    "PBS_JOBID",           "PBS_NODEFILE",        "LSB_JOBID",       "LSB_DJOB_NUMPROC"};

static int forget(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(variables); i++)
        unsetenv(variables[i]);
    return 0;
}

static void the_first_host_of_a_list(void **state)
{
    char host[RK_HOST_MAX];
    static const char *const lists[][2] = {{"node1", "node1"},           {"node[3-5,9]", "node3"},
                                           {"gpu[007-011]", "gpu007"},   {"a[1,3]x,b2", "a1x"},
                                           {"login,node[1-2]", "login"}, {"r1n[08-10].site", "r1n08.site"}};
    (void)state;
    for (size_t i = 0; i < COUNT(lists); i++) {
        assert_true(rk_hosts_first(lists[i][0], host));
        assert_string_equal(host, lists[i][1]);
    }
    assert_false(rk_hosts_first("", host));
    assert_false(rk_hosts_first("node[x]", host));
}

static void which_hosts_a_list_has(void **state)
{
    (void)state;
    assert_true(rk_hosts_have("node[1-3],gpu[08-11]", "node2"));
    assert_true(rk_hosts_have("node[1-3],gpu[08-11]", "gpu10.site.example"));
    assert_true(rk_hosts_have("node[1-3],gpu[08-11]", "gpu08"));
    assert_false(rk_hosts_have("node[1-3],gpu[08-11]", "gpu8"));
    assert_false(rk_hosts_have("node[1-3],gpu[08-11]", "node4"));
    assert_false(rk_hosts_have("node[1-3", "node1"));
    assert_false(rk_hosts_have("", "node1"));
    assert_false(rk_hosts_have("node[1-3]", ""));
}

static void tasks_of_each_node(void **state)
{
    static const int wanted[] = {2, 2, 2, 1, 16, 0, 0};
    (void)state;
    for (int i = 0; i < (int)COUNT(wanted); i++)
        assert_int_equal(rk_slurm_tasks("2(x3),1,16", i), wanted[i]);
    assert_int_equal(rk_slurm_tasks("4", 0), 4);
    assert_int_equal(rk_slurm_tasks("4", 1), 0);
    assert_int_equal(rk_slurm_tasks("", 0), 0);
    assert_int_equal(rk_slurm_tasks("many", 0), 0);
}

/* ---- A lost node ---- */

struct line {
    const char *words[16];
    int code; /* of leaving node2 out */
    const char *after[16];
    int ranks;
};

static void without_node2(struct line *line, enum rk_method method, bool shrinks)
{
    struct rk_run_values values = {.ranks = 4, .method = method, .on_node_loss = shrinks ? "shrink" : NULL};
    struct rk_plan plan = {0};
    const char *lost[] = {"node2"};
    size_t count = 0;
    while (line->words[count])
        count++;
    plan.argv = (struct rk_list){.items = calloc(count + 1, sizeof *plan.argv.items), .count = count};
    assert_non_null(plan.argv.items);
    memcpy(plan.argv.items, line->words, count * sizeof *line->words);
    while (strcmp(plan.argv.items[plan.worker], "worker"))
        plan.worker++;
    assert_int_equal(rk_plan_leave_out(&values, &plan, lost, 1), line->code);
    for (count = 0; !line->code && line->after[count]; count++)
        assert_string_equal(plan.argv.items[count], line->after[count]);
    if (!line->code) {
        assert_int_equal(plan.argv.count, count);
        assert_string_equal(plan.argv.items[plan.worker], "worker");
    }
    assert_int_equal(values.ranks, line->ranks);
    rk_plan_free(&plan);
}

static void a_lost_node_is_left_out(void **state)
{
    static struct line lines[] = {
        {{"mpirun", "-n", "4", "worker", "--host"},
         RANKCALL_OK,
         {"mpirun", "-n", "4", "--host", "node1:2,node3:2", "worker", "--host"},
         4},
        {{"mpirun", "-n", "4", "--host", "a:2,node2:2", "worker"},
         RANKCALL_OK,
         {"mpirun", "-n", "2", "--host", "a:2", "worker"},
         2},
        {{"mpirun", "-n", "4", "--host", "a:2,node2:2", "worker"}, RANKCALL_ERANKDIED, {NULL}, 4},
        {{"srun", "-n", "4", "-N", "3", "worker", "-n", "7"},
         RANKCALL_OK,
         {"srun", "-n", "4", "-N", "2", "--nodelist", "node1,node3", "worker", "-n", "7"},
         4}};
    (void)state;
    setenv("SLURM_JOB_ID", "5", 1);
    setenv("SLURM_JOB_NODELIST", "node[1-3]", 1);
    setenv("SLURM_JOB_NUM_NODES", "3", 1);
    setenv("SLURM_TASKS_PER_NODE", "2(x3)", 1);
    without_node2(&lines[0], RK_MPIRUN, false);
    without_node2(&lines[1], RK_MPIRUN, true);
    without_node2(&lines[2], RK_MPIRUN, false);
    without_node2(&lines[3], RK_SRUN, false);
    unsetenv("SLURM_TASKS_PER_NODE");
    unsetenv("SLURM_OVERLAP");
}

static void an_allocation_is_read(void **state)
{
    struct rk_allocation allocation;
    (void)state;
    rk_allocation_read(&allocation);
    assert_true(allocation.scheduler == RK_NO_SCHEDULER && allocation.here);
    setenv("SLURM_JOB_ID", "17", 1);
    setenv("SLURM_JOB_NODELIST", "no-such-node[4-5]", 1);
    setenv("SLURM_JOB_NUM_NODES", "2", 1);
    setenv("SLURM_NTASKS_PER_NODE", "3", 1);
    setenv("SLURM_GPUS_PER_NODE", "a100:4", 1);
    rk_allocation_read(&allocation);
    assert_int_equal(allocation.scheduler, RK_SLURM);
    assert_true(allocation.nodes == 2 && allocation.tasks == 6 && allocation.gpus == 4);
    assert_true(!allocation.here && !allocation.among);
    assert_string_equal(allocation.first, "no-such-node4");
    setenv("SLURMD_NODENAME", "no-such-node4", 1); /* where nodes are named otherwise than hosts */
    setenv("SLURM_NTASKS", "5", 1);
    rk_allocation_read(&allocation);
    assert_true(allocation.here && allocation.tasks == 5);
}

static void other_schedulers_tell_how_many(void **state)
{
    struct rk_allocation allocation;
    char path[] = "/tmp/rankcall-nodes-XXXXXX";
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0 && write(fd, "a\na\nb\n", 6) == 6);
    close(fd);
    setenv("PBS_JOBID", "5.server", 1);
    setenv("PBS_NODEFILE", path, 1);
    rk_allocation_read(&allocation);
    assert_true(allocation.scheduler == RK_OTHER_SCHEDULER && allocation.tasks == 3 && allocation.here);
    unlink(path);
    forget(NULL);
    setenv("LSB_JOBID", "6", 1);
    setenv("LSB_DJOB_NUMPROC", "8", 1);
    rk_allocation_read(&allocation);
    assert_int_equal(allocation.tasks, 8);
}

static void times_are_read(void **state)
{
    (void)state;
    assert_int_equal(rk_walltime_parse("1-02:03:04\n"), 93784);
    assert_int_equal(rk_walltime_parse("10:00\n"), 600);
    assert_int_equal(rk_walltime_parse("   1:00:05\n"), 3605);
    assert_int_equal(rk_walltime_parse("59"), 59);
    static const char *const others[] = {"UNLIMITED", "INVALID", "NOT_SET", "", "1-", "1:2:3:4", "-5", "1:x"};
    for (size_t i = 0; i < COUNT(others); i++)
        assert_true(rk_walltime_parse(others[i]) < 0);
}

static void the_end_is_taken_from_the_environment(void **state)
{
    (void)state;
    assert_true(rk_walltime_end_us(0) == 0);
    rk_walltime_pass_on(rk_now_us() + 100000000);
    int64_t left = rk_walltime_end_us(0) - rk_now_us();
    assert_true(left > 99000000 && left <= 100100000);
    setenv(RK_WALLTIME_VARIABLE, "1", 1); /* long ago */
    left = rk_walltime_end_us(0) - rk_now_us();
    assert_true(left <= 0 && left > -1000000);
    setenv(RK_WALLTIME_VARIABLE, "soon", 1);
    assert_true(rk_walltime_end_us(0) == 0);
}

static void little_time_has_a_short_end(void **state)
{
    (void)state;
    assert_true(rk_walltime_drain_us(3600000000, -1) == 60000000);
    assert_true(rk_walltime_drain_us(60000000, -1) == 15000000);
    assert_true(rk_walltime_drain_us(60000000, 40) == 40000000);
    assert_true(rk_walltime_reserve_us(60000000) == 10000000);
    assert_true(rk_walltime_reserve_us(8000000) == 4000000);
}

static void ends_of_ranks_are_read(void **state)
{
    static const char *const ends[] = {"srun: error: node2: task 3: Killed",
                                       "srun: error: node[1-2]: tasks 3-5: Exited with exit code 9"};
    static const char *const others[] = {"srun: error: Unable to create step", "srun: node2: task 3: Killed", "",
                                         "slurmstepd-node1: error: *** STEP 1.0 ON node1 CANCELLED ***"};
    (void)state;
    for (size_t i = 0; i < COUNT(ends); i++) {
        assert_true(rk_verdict_is_end(ends[i], strlen(ends[i])));
        rk_verdict_of_end(ends[i]);
        assert_int_equal(rankcall_last_error()->code, RANKCALL_ERANKDIED);
        assert_int_equal(rankcall_last_error()->rank, 3);
    }
    assert_non_null(strstr(rankcall_last_error()->message, "Exited with exit code 9"));
    for (size_t i = 0; i < COUNT(others); i++)
        assert_false(rk_verdict_is_end(others[i], strlen(others[i])));
}

UNIT_MAIN(cmocka_unit_test_setup(the_first_host_of_a_list, forget),
          cmocka_unit_test_setup(which_hosts_a_list_has, forget), cmocka_unit_test_setup(an_allocation_is_read, forget),
          cmocka_unit_test_setup(tasks_of_each_node, forget), cmocka_unit_test_setup(a_lost_node_is_left_out, forget),
          cmocka_unit_test_setup(other_schedulers_tell_how_many, forget),
          cmocka_unit_test_setup(times_are_read, forget),
          cmocka_unit_test_setup(the_end_is_taken_from_the_environment, forget),
          cmocka_unit_test_setup(little_time_has_a_short_end, forget),
          cmocka_unit_test_setup(ends_of_ranks_are_read, forget))
