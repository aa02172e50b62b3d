/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Binding this process, and what the kernel says of it then. */

#include "unit.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "device/bind.h"
#include "device/device.h"

static struct rk_cpus given;

static int remember(void **state)
{
    (void)state;
    return rk_cpus_of_thread(0, &given) ? 0 : -1;
}

static int restore(void **state)
{
    (void)state;
    syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0ul);
    return rk_bind_process(&given) ? 0 : -1;
}

static struct rk_cpus one_of(const struct rk_cpus *set)
{
    struct rk_cpus one = {0};
    rk_cpus_add(&one, (unsigned)rk_cpus_last(set));
    return one;
}

struct sleeper {
    sem_t up, done;
    pid_t thread;
};

static void *sleep_in_thread(void *context)
{
    struct sleeper *sleeper = context;
    sleeper->thread = gettid();
    sem_post(&sleeper->up);
    sem_wait(&sleeper->done);
    return NULL;
}

/* MPI has threads before a rank is bound. */
static void threads_that_run_already_are_bound_too(void **state)
{
    (void)state;
    struct rk_cpus one = one_of(&given), now;
    struct sleeper sleeper = {0};
    pthread_t thread;
    sem_init(&sleeper.up, 0, 0);
    sem_init(&sleeper.done, 0, 0);
    assert_int_equal(pthread_create(&thread, NULL, sleep_in_thread, &sleeper), 0);
    sem_wait(&sleeper.up);
    assert_true(rk_bind_process(&one));
    assert_true(rk_cpus_of_thread(0, &now) && rk_cpus_equal(&now, &one));
    assert_true(rk_cpus_of_thread(sleeper.thread, &now) && rk_cpus_equal(&now, &one));
    sem_post(&sleeper.done);
    pthread_join(thread, NULL);
}

static void *look_at_memory(void *text)
{
    rk_bound_memory(text, 32);
    return NULL;
}

static void memory_is_preferred_from_a_node_and_threads_inherit_that(void **state)
{
    (void)state;
    char text[32], inherited[32];
    pthread_t thread;
    rk_bound_memory(text, sizeof text);
    if (!strcmp(text, "?"))
        skip(); /* the kernel, or a container, does not allow to ask */
    assert_string_equal(text, "default");
    assert_true(rk_bind_memory(-1));
    rk_bound_memory(text, sizeof text);
    assert_string_equal(text, "default");
    if (!rk_bind_memory(0)) {
        assert_true(errno == EPERM || errno == EINVAL); /* not allowed; or it has no node 0 */
        skip();
    }
    rk_bound_memory(text, sizeof text);
    assert_string_equal(text, "prefer:0");
    assert_int_equal(pthread_create(&thread, NULL, look_at_memory, inherited), 0);
    pthread_join(thread, NULL);
    assert_string_equal(inherited, "prefer:0");
    rk_device_memory_of(getpid(), text, sizeof text); /* as others see it */
    if (strcmp(text, "?"))
        assert_string_equal(text, "prefer:0");
}

static void a_policy_of_the_users_stays(void **state)
{
    (void)state;
    char text[32];
    unsigned long node_0[16] = {1};
    if (syscall(SYS_set_mempolicy, MPOL_BIND, node_0, sizeof node_0 * 8ul))
        skip(); /* the kernel, or a container, does not allow it */
    assert_true(rk_bind_memory(0));
    rk_bound_memory(text, sizeof text);
    assert_string_equal(text, "bind:0");
}

static void a_node_out_of_reach_is_left_alone(void **state)
{
    (void)state;
    char text[32];
    rk_bound_memory(text, sizeof text);
    if (!strcmp(text, "?"))
        skip();
    assert_true(rk_bind_memory(1000));
    rk_bound_memory(text, sizeof text);
    assert_string_equal(text, "default");
}

static void a_process_that_is_gone_is_not_known(void **state)
{
    (void)state;
    char text[32];
    struct rk_cpus cpus;
    rk_device_memory_of(0x3fffffff, text, sizeof text);
    assert_string_equal(text, "?");
    assert_false(rk_cpus_of_thread(0x3fffffff, &cpus));
}

/* Ranks of one node come to the same plan, and one that was placed stays, whatever comes. */
static void a_rank_settles_once(void **state)
{
    (void)state;
    static const int ranks[] = {0, 1};
    struct rk_device *device;
    struct rk_device_report report;
    struct rk_cpus now;
    char text[RK_CPUS_TEXT];
    setenv("CUDA_VISIBLE_DEVICES", "0,1", 1);
    assert_ok(rk_device_open(RK_BIND_AUTO, "none", &device));
    assert_string_equal(getenv("CUDA_VISIBLE_DEVICES"), ""); /* other libraries of the process see none, too */
    struct rk_offer offers[2] = {*rk_device_offer(device), *rk_device_offer(device)};
    assert_true(rk_cpus_equal(&offers[0].given, &given));
    rk_device_settle(device, offers, ranks, 2, 1);
    assert_true(rk_cpus_of_thread(0, &now) && rk_cpus_within(&now, &given));
    rk_device_report(device, &report);
    assert_string_equal(report.device, "cpu");
    assert_string_equal(report.cpus, rk_cpus_text(&now, text, sizeof text));
    offers[1].given = one_of(&given);
    rk_device_settle(device, offers, ranks, 2, 1);
    struct rk_device_report again;
    rk_device_report(device, &again);
    assert_memory_equal(&again, &report, sizeof report);
    rk_device_close(device);
    rk_device_close(NULL);
    unsetenv("CUDA_VISIBLE_DEVICES");
}

/* CUDA shows a process the first of a list of slices alone. */
static void a_rank_that_gets_a_slice_has_it_for_itself(void **state)
{
    (void)state;
    static const char first[] = "MIG-0a0b0c0d-1111-2222-3333-444455556661",
                      second[] = "MIG-0a0b0c0d-1111-2222-3333-444455556662";
    static const int ranks[] = {0, 1};
    char list[128];
    struct rk_device *device;
    struct rk_device_report report;
    snprintf(list, sizeof list, "%s,%s", first, second);
    setenv("RANKCALL_TEST_GPUS", "/nowhere", 1);
    setenv("RANKCALL_TEST_CUDA_MODULE", "/nowhere/module.so", 1);
    setenv("HWLOC_COMPONENTS", "-pci", 1); /* the library for PCI keeps memory, which sanitizers tell */
    setenv("CUDA_VISIBLE_DEVICES", list, 1);
    assert_ok(rk_device_open(RK_BIND_NONE, NULL, &device));
    struct rk_offer offers[2] = {*rk_device_offer(device), *rk_device_offer(device)};
    assert_int_equal(offers[0].gpu_count, 2);
    assert_string_equal(getenv("CUDA_VISIBLE_DEVICES"), list);
    rk_device_settle(device, offers, ranks, 2, 1);
    assert_string_equal(getenv("CUDA_VISIBLE_DEVICES"), second);
    rk_device_report(device, &report);
    assert_string_equal(report.uuid, second);
    rk_device_close(device);
    unsetenv("CUDA_VISIBLE_DEVICES");
    unsetenv("RANKCALL_TEST_GPUS");
    unsetenv("RANKCALL_TEST_CUDA_MODULE");
    unsetenv("HWLOC_COMPONENTS");
}

/* A replacement was started with all of mpirun's CPUs; the dead rank had one. */
static void a_replacement_takes_the_place_of_a_bound_rank(void **state)
{
    (void)state;
    static const int ranks[] = {0, 1};
    struct rk_device *device;
    struct rk_device_report report;
    struct rk_cpus now;
    if (rk_cpus_count(&given) < 2)
        skip();
    assert_ok(rk_device_open(RK_BIND_AUTO, NULL, &device));
    struct rk_offer offers[2] = {*rk_device_offer(device), *rk_device_offer(device)};
    offers[1].given = one_of(&given);
    offers[0].given = rk_cpus_without(&given, &offers[1].given);
    rk_device_settle(device, offers, ranks, 2, 1);
    assert_true(rk_cpus_of_thread(0, &now) && rk_cpus_equal(&now, &offers[1].given));
    rk_device_report(device, &report);
    assert_string_equal(report.bound, "found");
    rk_device_close(device);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, remember, restore)
UNIT_MAIN(CASE(threads_that_run_already_are_bound_too), CASE(memory_is_preferred_from_a_node_and_threads_inherit_that),
          CASE(a_policy_of_the_users_stays), CASE(a_node_out_of_reach_is_left_alone),
          CASE(a_process_that_is_gone_is_not_known), CASE(a_rank_settles_once),
          CASE(a_rank_that_gets_a_slice_has_it_for_itself), CASE(a_replacement_takes_the_place_of_a_bound_rank))
