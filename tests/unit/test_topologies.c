/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Machines read from files, and which of their GPUs ranks may use. */

#include "unit.h"

#include <fcntl.h>
#include <unistd.h>

#include "device/placement.h"

#define RANKS 16

struct plan {
    struct rk_machine *machine;
    struct rk_request requests[RANKS];
    struct rk_place places[RANKS];
    struct rk_remark remarks[RANKS];
    int remark_count;
};

static const char *path_of(const char *name)
{
    static char path[512];
    const char *root = getenv("abs_top_srcdir");
    snprintf(path, sizeof path, "%s/tests/topologies/%s.xml", root ? root : ".", name);
    return path;
}

static void open_machine(const char *name, struct rk_machine **machine)
{
    assert_ok(rk_machine_open(path_of(name), RK_CORES_AND_GPUS, machine));
}

static void place(const char *name, int ranks, struct plan *plan)
{
    static const int all[] = {0, 1, 2, 3, 4, 5, 6, 7};
    struct rk_wishes wishes = {RK_BIND_AUTO, 0};
    *plan = (struct plan){0};
    open_machine(name, &plan->machine);
    for (int i = 0; i < ranks; i++)
        plan->requests[i] = (struct rk_request){plan->machine->allowed, all, plan->machine->gpu_count};
    assert_ok(rk_placement_make(plan->machine, plan->machine->gpus, plan->machine->gpu_count, plan->requests, ranks,
                                &wishes, plan->places));
    plan->remark_count = rk_placement_remarks(plan->machine->gpus, plan->places, ranks, NULL, plan->remarks, RANKS);
}

static void check_rank(const struct plan *plan, int rank, const char *cpus, int gpu, int memory)
{
    char text[RK_CPUS_TEXT];
    assert_string_equal(rk_cpus_text(&plan->places[rank].workers, text, sizeof text), cpus);
    assert_int_equal(plan->places[rank].gpu, gpu);
    assert_int_equal(plan->places[rank].memory, memory);
}

static void check_io(const struct plan *plan, const char *cpus)
{
    char text[RK_CPUS_TEXT];
    assert_string_equal(rk_cpus_text(&plan->places[0].io, text, sizeof text), cpus);
}

/* ---- Machines ---- */

static void two_sockets_share_out_their_cores(void **state)
{
    (void)state;
    struct plan plan;
    place("dual-socket-8gpu", 8, &plan);
    assert_int_equal(plan.machine->gpu_count, 8); /* and not the display of the management controller */
    assert_string_equal(plan.machine->name, "dual-socket-8gpu");
    assert_string_equal(plan.machine->gpus[4].address, "0000:87:00.0");
    assert_string_equal(plan.machine->gpus[4].uuid, "GPU-5eed0004-0000-4000-8000-000000000004");
    check_rank(&plan, 0, "0-2,32-34", 0, 0);
    check_io(&plan, "3,35");
    check_rank(&plan, 3, "12-15,44-47", 3, 0);
    check_rank(&plan, 4, "16-19,48-51", 4, 1);
    check_rank(&plan, 7, "28-31,60-63", 7, 1);
    assert_int_equal(plan.remark_count, 0);
    rk_machine_free(plan.machine);
}

static void switches_are_no_gpus(void **state)
{
    (void)state;
    struct plan plan;
    place("nvswitch", 8, &plan);
    assert_int_equal(plan.machine->gpu_count, 8);
    assert_int_equal(plan.machine->locality_count, 8);
    check_rank(&plan, 0, "0-10,96-106", 0, 0);
    check_rank(&plan, 6, "72-83,168-179", 6, 6);
    assert_int_equal(plan.remark_count, 0);
    rk_machine_free(plan.machine);
}

static void nodes_with_gaps_keep_their_numbers(void **state)
{
    (void)state;
    struct plan plan;
    place("power8", 4, &plan);
    assert_string_equal(plan.machine->gpus[2].address, "000a:01:00.0");
    check_rank(&plan, 0, "0-31", 0, 0);
    check_io(&plan, "32-39");
    check_rank(&plan, 1, "40-79", 1, 1);
    check_rank(&plan, 2, "80-119", 2, 16);
    check_rank(&plan, 3, "120-159", 3, 17);
    rk_machine_free(plan.machine);
}

static void two_gpus_at_a_node_share_out_its_cores(void **state)
{
    (void)state;
    struct plan plan;
    place("nps4", 8, &plan);
    assert_int_equal(plan.machine->locality_count, 8);
    check_rank(&plan, 0, "4,36", 0, 1);
    check_io(&plan, "5,37");
    check_rank(&plan, 1, "6-7,38-39", 1, 1);
    check_rank(&plan, 7, "30-31,62-63", 7, 7);
    assert_int_equal(plan.remark_count, 0);
    rk_machine_free(plan.machine);
}

static void the_memory_of_a_gpu_is_not_that_of_ranks(void **state)
{
    (void)state;
    struct plan plan;
    place("grace-hopper", 1, &plan);
    assert_int_equal(plan.machine->locality_count, 1);
    assert_string_equal(plan.machine->gpus[0].address, "0009:01:00.0");
    check_rank(&plan, 0, "0-70", 0, 0);
    rk_machine_free(plan.machine);
}

static void without_a_gpu_ranks_are_spread(void **state)
{
    (void)state;
    struct plan plan;
    place("no-gpu", 4, &plan);
    check_rank(&plan, 0, "0-4", -1, 0);
    check_rank(&plan, 1, "6-11", -1, 0);
    check_rank(&plan, 2, "12-17", -1, 1);
    check_rank(&plan, 3, "18-23", -1, 1);
    rk_machine_free(plan.machine);
    place("no-gpu", 1, &plan);
    check_rank(&plan, 0, "0-22", -1, -1);
    rk_machine_free(plan.machine);
}

static void missing_cores_are_never_used(void **state)
{
    (void)state;
    struct plan plan;
    place("cores-missing", 6, &plan);
    check_rank(&plan, 0, "3,35", 0, 0);
    check_io(&plan, "4,36");
    check_rank(&plan, 3, "7,39", 3, 0);
    check_rank(&plan, 4, "16,48", 4, 1);
    check_rank(&plan, 5, "17,49", 5, 1);
    rk_machine_free(plan.machine);
    place("cores-missing", 8, &plan);
    check_rank(&plan, 0, "3-7,16-17,35-39,48-49", 0, -1);
    assert_string_equal(plan.remarks[0].kind, "crowded");
    rk_machine_free(plan.machine);
}

static void cores_of_the_wrong_socket_are_told(void **state)
{
    (void)state;
    struct plan plan;
    place("wrong-socket", 8, &plan);
    assert_int_equal(plan.remark_count, 4);
    for (int i = 0; i < 4; i++) {
        assert_string_equal(plan.remarks[i].kind, "wrong_cores");
        assert_int_equal(plan.remarks[i].rank, i);
    }
    assert_non_null(strstr(plan.remarks[0].text, "0000:07:00.0"));
    rk_machine_free(plan.machine);
}

static void shared_gpus_are_told(void **state)
{
    (void)state;
    struct plan plan;
    place("one-gpu", 3, &plan);
    assert_int_equal(plan.remark_count, 1);
    assert_string_equal(plan.remarks[0].kind, "shared_gpu");
    assert_non_null(strstr(plan.remarks[0].text, "ranks 0, 1, 2 share"));
    check_rank(&plan, 2, "3,7", 0, 0);
    rk_machine_free(plan.machine);
}

/* ---- Files that cannot be read ---- */

static void check_unreadable(const char *text, const char *said)
{
    char path[] = "/tmp/rankcall-test-XXXXXX";
    struct rk_machine *machine;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    int code = rk_machine_open(path, RK_CORES_AND_GPUS, &machine);
    unlink(path);
    assert_fails(code, RANKCALL_EINVAL, said);
}

static void files_that_cannot_be_read_say_why(void **state)
{
    (void)state;
    struct rk_machine *machine;
    check_unreadable("", "is not a topology");
    check_unreadable("hello\n", "is not a topology");
    check_unreadable("<?xml version=\"1.0\"?>\n<topology version=\"99.0\">\n</topology>\n", "--export-xml-flags v2");
    check_unreadable("<?xml version=\"1.0\"?>\n<topology version=\"2.0\">\n<object type=\"Mach", "damaged");
    assert_fails(rk_machine_open("/nonexistent/x.xml", RK_CORES_ALONE, &machine), RANKCALL_ESYSTEM, "x.xml");
    assert_fails(rk_machine_open("/", RK_CORES_ALONE, &machine), RANKCALL_ESYSTEM, "cannot read /");
}

static void files_of_hwloc_3_are_read(void **state)
{
    (void)state;
    char path[] = "/tmp/rankcall-test-XXXXXX", text[8192];
    struct rk_machine *machine;
    FILE *from = fopen(path_of("one-gpu"), "r");
    assert_non_null(from);
    size_t size = fread(text, 1, sizeof text - 1, from);
    fclose(from);
    text[size] = '\0';
    char *version = strstr(text, "<topology version=\"2.0\"");
    assert_non_null(version);
    version[strlen("<topology version=\"")] = '3';
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, size), (ssize_t)size);
    close(fd);
    int code = rk_machine_open(path, RK_CORES_AND_GPUS, &machine);
    unlink(path);
    assert_ok(code);
    assert_int_equal(machine->core_count, 4);
    assert_string_equal(machine->gpus[0].address, "0000:01:00.0");
    rk_machine_free(machine);
    check_unreadable("<?xml version=\"1.0\"?>\n<topology version=\"3.0\">\n<object type=\"Mach", "damaged");
}

/* ---- The choice of GPUs ---- */

struct choice_case {
    const char *visible, *slurm, *wanted;
    const char *chosen; /* the third digit groups of the addresses */
};

static const struct choice_case choices[] = {
    {NULL, NULL, NULL, "07 0f 47 4e 87 90 b7 bd"},
    {NULL, NULL, "all", "07 0f 47 4e 87 90 b7 bd"},
    {NULL, NULL, "none", ""},
    {"", NULL, NULL, ""},
    {"-1", NULL, NULL, ""},
    {"3,1", NULL, NULL, "4e 0f"},
    {"2,9,1", NULL, NULL, "47"}, /* as CUDA does: what follows a wrong one is invisible */
    {"1,1", NULL, NULL, "0f"},
    {"GPU-5eed0004,GPU-5eed0002-0000-4000-8000-000000000002", NULL, NULL, "87 47"},
    {"GPU-5eed", NULL, NULL, ""}, /* begins several */
    {"4,5", "4,5", NULL, "87 90"},
    {"0,1", "4,5", NULL, "87 90"}, /* Slurm hides the others */
    {NULL, "4,5", NULL, "87 90"},
    {"4,5", NULL, "1", "90"},
    {NULL, NULL, "7,0", "bd 07"},
    {NULL, NULL, "0000:B7:00.0,0f:00.0,00000000:4E:00.0", "b7 0f 4e"},
    {NULL, NULL, "GPU-5eed0001", "0f"},
};

static void gpus_are_chosen_as_cuda_and_slurm_do(void **state)
{
    (void)state;
    struct rk_machine *machine;
    open_machine("dual-socket-8gpu", &machine);
    for (size_t i = 0; i < COUNT(choices); i++) {
        struct rk_gpu_choice choice = {choices[i].visible, choices[i].slurm, choices[i].wanted, NULL};
        struct rk_gpu chosen[RK_GPUS_MAX];
        char text[128] = "";
        int count;
        assert_ok(rk_gpus_choose(machine->gpus, machine->gpu_count, &choice, chosen, &count));
        for (int n = 0; n < count; n++)
            sprintf(text + strlen(text), "%s%.2s", n ? " " : "", chosen[n].address + 5);
        assert_string_equal(text, choices[i].chosen);
    }
    rk_machine_free(machine);
}

static void gpus_that_are_not_there_are_refused(void **state)
{
    (void)state;
    struct rk_machine *machine;
    struct rk_gpu chosen[RK_GPUS_MAX];
    struct rk_gpu_choice choice = {.visible = "0,1", .wanted = "2"};
    int count;
    open_machine("dual-socket-8gpu", &machine);
    assert_fails(rk_gpus_choose(machine->gpus, 8, &choice, chosen, &count), RANKCALL_EINVAL, "among the 2");
    choice.wanted = "many";
    assert_fails(rk_gpus_choose(machine->gpus, 8, &choice, chosen, &count), RANKCALL_EINVAL, "neither a number");
    assert_fails(rk_gpu_choice_check(""), RANKCALL_EINVAL, "it takes");
    machine->gpus[0].usable = false; /* a container that got the second alone: numbers count what is left */
    choice = (struct rk_gpu_choice){.visible = "0"};
    assert_ok(rk_gpus_choose(machine->gpus, 2, &choice, chosen, &count));
    assert_int_equal(count, 1);
    assert_string_equal(chosen[0].address, "0000:0f:00.0");
    rk_machine_free(machine);
}

static void slices_count_as_gpus(void **state)
{
    (void)state;
    struct rk_machine *machine;
    struct rk_gpu chosen[RK_GPUS_MAX];
    int count;
    struct rk_gpu_choice choice = {
        .visible = "MIG-GPU-5eed0006-0000-4000-8000-000000000006/1/0,MIG-0a0b0c0d-1111-2222-3333-444455556666"};
    open_machine("dual-socket-8gpu", &machine);
    assert_ok(rk_gpus_choose(machine->gpus, machine->gpu_count, &choice, chosen, &count));
    assert_int_equal(count, 2);
    assert_string_equal(chosen[0].address, "0000:b7:00.0");
    assert_true(rk_cpus_equal(&chosen[0].near, &machine->gpus[6].near));
    assert_string_equal(chosen[1].address, ""); /* only the driver's library could tell */
    assert_true(rk_cpus_empty(&chosen[1].near));
    rk_machine_free(machine);
}

static void pretend_nvml(void)
{
    char path[512];
    const char *root = getenv("abs_top_builddir");
    snprintf(path, sizeof path, "%s/.libs/nvml-double.so", root ? root : ".");
    setenv("RANKCALL_TEST_NVML", path, 1);
}

static void nvml_tells_whose_slice_it_is(void **state)
{
    (void)state;
    struct rk_machine *machine;
    struct rk_gpu chosen[RK_GPUS_MAX];
    int count;
    setenv("CUDA_VISIBLE_DEVICES", "MIG-0a0b0c0d-1111-2222-3333-444455556665,MIG-0a0b0c0d-1111-2222-3333-444455556669",
           1);
    pretend_nvml();
    struct rk_gpu_choice choice = rk_gpu_choice_here(NULL);
    open_machine("dual-socket-8gpu", &machine);
    assert_ok(rk_gpus_choose(machine->gpus, machine->gpu_count, &choice, chosen, &count));
    assert_int_equal(count, 2);
    assert_string_equal(chosen[0].address, "0000:90:00.0");
    assert_true(rk_cpus_equal(&chosen[0].near, &machine->gpus[5].near));
    assert_string_equal(chosen[1].address, ""); /* nor does NVML know it */
    setenv("RANKCALL_TEST_NVML", "/nowhere/libnvidia-ml.so", 1);
    assert_ok(rk_gpus_choose(machine->gpus, machine->gpu_count, &choice, chosen, &count));
    assert_string_equal(chosen[0].address, "");
    unsetenv("CUDA_VISIBLE_DEVICES");
    unsetenv("RANKCALL_TEST_NVML");
    rk_machine_free(machine);
}

static void nvml_lists_gpus_where_the_driver_shows_no_folder(void **state)
{
    (void)state;
    struct rk_gpu gpus[RK_GPUS_MAX];
    setenv("RANKCALL_TEST_GPUS", "/nowhere", 1);
    assert_int_equal(rk_gpus_of_driver(gpus), 0);
    pretend_nvml();
    assert_int_equal(rk_gpus_of_driver(gpus), 8);
    assert_string_equal(gpus[7].address, "0000:bd:00.0");
    assert_string_equal(gpus[7].uuid, "GPU-00000000-0000-0000-0000-000000000007");
    assert_int_equal(gpus[7].minor, 7);
    assert_false(gpus[7].usable); /* there is no such device file */
    unsetenv("RANKCALL_TEST_NVML");
    unsetenv("RANKCALL_TEST_GPUS");
}

/* ---- Sets of CPUs ---- */

static void lists_of_cpus_are_read_and_written(void **state)
{
    (void)state;
    static const char *const good[] = {"0", "0-3", "1,3,5-7", "4095"};
    static const char *const bad[] = {"", "x", "1-", "-1", "3-1", "1,,2", "1,", "4096", "0-3 "};
    struct rk_cpus set;
    char text[RK_CPUS_TEXT], small[12];
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_true(rk_cpus_parse(good[i], &set));
        assert_string_equal(rk_cpus_text(&set, text, sizeof text), good[i]);
    }
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_false(rk_cpus_parse(bad[i], &set));
    assert_true(rk_cpus_parse("1,3,5,7,9,11,13", &set));
    assert_string_equal(rk_cpus_text(&set, small, sizeof small), "1,3,5,7...");
    assert_int_equal(rk_cpus_count(&set), 7);
    assert_int_equal(rk_cpus_last(&set), 13);
}

UNIT_MAIN(cmocka_unit_test(two_sockets_share_out_their_cores), cmocka_unit_test(switches_are_no_gpus),
          cmocka_unit_test(nodes_with_gaps_keep_their_numbers), cmocka_unit_test(without_a_gpu_ranks_are_spread),
          cmocka_unit_test(two_gpus_at_a_node_share_out_its_cores),
          cmocka_unit_test(the_memory_of_a_gpu_is_not_that_of_ranks), cmocka_unit_test(missing_cores_are_never_used),
          cmocka_unit_test(cores_of_the_wrong_socket_are_told), cmocka_unit_test(shared_gpus_are_told),
          cmocka_unit_test(files_that_cannot_be_read_say_why), cmocka_unit_test(files_of_hwloc_3_are_read),
          cmocka_unit_test(gpus_are_chosen_as_cuda_and_slurm_do), cmocka_unit_test(gpus_that_are_not_there_are_refused),
          cmocka_unit_test(slices_count_as_gpus), cmocka_unit_test(nvml_tells_whose_slice_it_is),
          cmocka_unit_test(nvml_lists_gpus_where_the_driver_shows_no_folder),
          cmocka_unit_test(lists_of_cpus_are_read_and_written))
