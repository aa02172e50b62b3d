/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The CUDA module, on a double of CUDA's run time: what is asked is what the module makes of it, not CUDA. */

#include "unit.h"

#include <dlfcn.h>
#include <unistd.h>

#include "../doubles/cudart_double.h"
#include "device/cuda.h"

#define UUID "GPU-00000000-0000-0000-0000-000000000001"
#define SIZE 100000

/* CUDA's numbers. */
enum { OUT_OF_MEMORY = 2, ILLEGAL_ADDRESS = 700 };

static struct {
    const struct rk_cuda_module *module;
    void (*reset)(int);
    void (*break_call)(const char *, int, int);
    int (*held)(void);
    int (*pending)(void);
    char text[RK_CUDA_TEXT];
} cuda;

static const char *double_path(void)
{
    static char path[512];
    const char *root = getenv("abs_top_builddir");
    snprintf(path, sizeof path, "%s/.libs/cuda-double.so", root ? root : ".");
    return path;
}

static int load(void **state)
{
    (void)state;
    setenv("RANKCALL_TEST_CUDA_MODULE", double_path(), 1);
    assert_ok(rk_cuda_load(&cuda.module));
    void *object = dlopen(double_path(), RTLD_NOW);
    assert_non_null(object);
    *(void **)&cuda.reset = dlsym(object, "double_reset");
    *(void **)&cuda.break_call = dlsym(object, "double_fail");
    *(void **)&cuda.held = dlsym(object, "double_held");
    *(void **)&cuda.pending = dlsym(object, "double_pending");
    assert_true(cuda.reset && cuda.break_call && cuda.held && cuda.pending);
    cuda.reset(DOUBLE_DEVICES);
    return 0;
}

static struct rk_cuda *open_second(void)
{
    struct rk_cuda *device = NULL;
    assert_int_equal(cuda.module->open("0000:11:00.0", "", &device, cuda.text), RK_CUDA_OK);
    return device;
}

static void check_text(const char *one, const char *other)
{
    if (!strstr(cuda.text, one) || !strstr(cuda.text, other)) {
        print_error("neither \"%s\" nor \"%s\" may be missing in \"%s\"\n", one, other, cuda.text);
        fail();
    }
}

static void a_device_is_found_by_address_and_by_uuid(void **state)
{
    (void)state;
    struct rk_cuda *device = open_second(), *same = NULL;
    const struct rk_cuda_facts *facts = cuda.module->facts(device);
    assert_string_equal(facts->address, "0000:11:00.0");
    assert_string_equal(facts->uuid, UUID);
    assert_string_equal(facts->name, "A Double");
    assert_int_equal(facts->ordinal, 1);
    assert_non_null(cuda.module->stream(device));
    assert_int_equal(cuda.module->open("",
                                       "MIG" /* a slice has the same digits */ "-00000000-0000-0000-0000-000000000001",
                                       &same, cuda.text),
                     RK_CUDA_OK);
    assert_int_equal(cuda.module->facts(same)->ordinal, 1);
    cuda.module->close(device);
    cuda.module->close(same);
    cuda.module->close(NULL);
    assert_int_equal(cuda.held(), 0);
}

static void a_device_that_is_not_there_is_told(void **state)
{
    (void)state;
    struct rk_cuda *device = NULL;
    assert_int_equal(cuda.module->open("0000:99:00.0", "", &device, cuda.text), RK_CUDA_ABSENT);
    check_text("0000:99:00.0", "cudaError");
    assert_int_equal(cuda.module->open("", "GPU-77", &device, cuda.text), RK_CUDA_ABSENT);
    check_text("GPU-77", "cudaError");
    cuda.break_call("cudaSetDevice", 46 /* cudaErrorDevicesUnavailable */, 0);
    assert_int_equal(cuda.module->open("0000:11:00.0", UUID, &device, cuda.text), RK_CUDA_ABSENT);
    check_text("cudaSetDevice of 0000:11:00.0 on GPU " UUID, "cudaError");
    cuda.reset(-1); /* without a driver */
    assert_int_equal(cuda.module->open("0000:11:00.0", "", &device, cuda.text), RK_CUDA_ABSENT);
    cuda.reset(0);
    assert_int_equal(cuda.module->open("", UUID, &device, cuda.text), RK_CUDA_ABSENT);
    assert_null(device);
}

/* CUDA shows one of a list of slices, and does not always tell its own UUID. */
static void a_slice_is_the_only_device(void **state)
{
    (void)state;
    static const char slice[] = "MIG-0a0b0c0d-1111-2222-3333-444455556666";
    struct rk_cuda *device = NULL;
    cuda.reset(1);
    assert_int_equal(cuda.module->open("", slice, &device, cuda.text), RK_CUDA_ABSENT);
    setenv("CUDA_VISIBLE_DEVICES", slice, 1);
    assert_int_equal(cuda.module->open("", slice, &device, cuda.text), RK_CUDA_OK);
    assert_string_equal(cuda.module->facts(device)->uuid, slice);
    cuda.module->close(device);
    unsetenv("CUDA_VISIBLE_DEVICES");
}

static void an_opening_that_fails_half_way_holds_nothing(void **state)
{
    (void)state;
    static const char *const calls[] = {"cudaGetDeviceProperties", "cudaDeviceGetPCIBusId",
                                        "cudaDriverGetVersion",    "cudaRuntimeGetVersion",
                                        "cudaSetDevice",           "cudaStreamCreateWithFlags"};
    for (size_t i = 0; i < COUNT(calls); i++) {
        struct rk_cuda *device = NULL;
        cuda.reset(DOUBLE_DEVICES);
        cuda.break_call(calls[i], OUT_OF_MEMORY, i == 1 ? 2 : 0); /* the search asks for addresses, too */
        assert_int_equal(cuda.module->open("0000:11:00.0", "", &device, cuda.text), RK_CUDA_MEMORY);
        check_text("out of memory", "cudaErrorMemoryAllocation");
        assert_null(device);
        assert_int_equal(cuda.held(), 0);
    }
}

static void copies_go_to_the_device_and_back(void **state)
{
    (void)state;
    struct rk_cuda *device = open_second();
    void *there, *pinned;
    char sent[SIZE], *back;
    for (size_t i = 0; i < SIZE; i++)
        sent[i] = (char)(i * 31);
    assert_int_equal(cuda.module->take(device, RK_CUDA_DEVICE, SIZE, &there, cuda.text), RK_CUDA_OK);
    assert_int_equal(cuda.module->take(device, RK_CUDA_PINNED, SIZE, &pinned, cuda.text), RK_CUDA_OK);
    back = pinned;
    memset(back, 0, SIZE);
    assert_int_equal(cuda.module->copy(device, there, sent, SIZE, cuda.text), RK_CUDA_OK);
    assert_int_equal(cuda.module->copy(device, pinned, there, SIZE, cuda.text), RK_CUDA_OK);
    assert_int_equal(cuda.pending(), 2); /* nobody has waited for them */
    assert_int_equal(cuda.module->wait(device, cuda.text), RK_CUDA_OK);
    assert_memory_equal(back, sent, SIZE);
    assert_int_equal(cuda.module->give(device, RK_CUDA_PINNED, pinned, cuda.text), RK_CUDA_OK);
    assert_int_equal(cuda.module->give(device, RK_CUDA_DEVICE, there, cuda.text), RK_CUDA_OK);
    assert_int_equal(cuda.module->give(device, RK_CUDA_DEVICE, NULL, cuda.text), RK_CUDA_OK);
    cuda.module->close(device);
    assert_int_equal(cuda.held(), 0);
}

/* Else a copy that is under way would write into memory of somebody else's. */
static void memory_is_given_back_only_when_copies_are_done(void **state)
{
    (void)state;
    struct rk_cuda *device = open_second();
    void *there;
    char sent[16] = "0123456789";
    assert_int_equal(cuda.module->take(device, RK_CUDA_DEVICE, sizeof sent, &there, cuda.text), RK_CUDA_OK);
    assert_int_equal(cuda.module->copy(device, there, sent, sizeof sent, cuda.text), RK_CUDA_OK);
    assert_int_equal(cuda.module->give(device, RK_CUDA_DEVICE, there, cuda.text), RK_CUDA_OK);
    assert_int_equal(cuda.pending(), 0);
    cuda.module->close(device);
}

static void kinds_of_memory_are_told_apart(void **state)
{
    (void)state;
    static const enum rk_cuda_kind kinds[] = {RK_CUDA_DEVICE, RK_CUDA_PINNED};
    struct rk_cuda *device = open_second();
    enum rk_cuda_kind kind = RK_CUDA_DEVICE;
    assert_int_equal(cuda.module->kind(device, &kind, &kind, cuda.text), RK_CUDA_OK);
    assert_int_equal(kind, RK_CUDA_PLAIN);
    for (size_t i = 0; i < COUNT(kinds); i++) {
        void *memory;
        assert_int_equal(cuda.module->take(device, kinds[i], 64, &memory, cuda.text), RK_CUDA_OK);
        assert_int_equal(cuda.module->kind(device, (char *)memory + 63, &kind, cuda.text), RK_CUDA_OK);
        assert_int_equal(kind, kinds[i]);
        assert_int_equal(cuda.module->give(device, kinds[1 - i], memory, cuda.text), RK_CUDA_POINTER);
        check_text(UUID, "cudaFree");
        assert_int_equal(cuda.module->give(device, kinds[i], memory, cuda.text), RK_CUDA_OK);
    }
    cuda.module->close(device);
}

static void a_full_device_is_told_and_can_be_used_on(void **state)
{
    (void)state;
    struct rk_cuda *device = open_second();
    void *memory = NULL;
    assert_int_equal(cuda.module->take(device, RK_CUDA_DEVICE, (size_t)1 << 31, &memory, cuda.text), RK_CUDA_MEMORY);
    check_text("cudaMalloc of 2147483648 bytes on GPU " UUID, "out of memory (cudaErrorMemoryAllocation)");
    assert_int_equal(cuda.module->take(device, RK_CUDA_DEVICE, 1 << 20, &memory, cuda.text), RK_CUDA_OK);
    assert_int_equal(cuda.module->give(device, RK_CUDA_DEVICE, memory, cuda.text), RK_CUDA_OK);
    cuda.module->close(device);
}

/* A kernel of the worker's own has written where it must not: whatever is called next hears of it. */
static void an_error_that_sticks_is_told_from_others(void **state)
{
    (void)state;
    struct rk_cuda *device = open_second();
    void *memory = NULL;
    cuda.break_call("cudaStreamSynchronize", ILLEGAL_ADDRESS, 0);
    assert_int_equal(cuda.module->wait(device, cuda.text), RK_CUDA_LOST);
    check_text("cudaStreamSynchronize on GPU " UUID, "cudaErrorIllegalAddress");
    assert_int_equal(cuda.module->take(device, RK_CUDA_PINNED, 64, &memory, cuda.text), RK_CUDA_LOST);
    assert_int_equal(cuda.module->copy(device, &memory, &device, 8, cuda.text), RK_CUDA_LOST);
    cuda.module->close(device);
}

static void a_module_that_is_missing_or_foreign_is_refused(void **state)
{
    (void)state;
    const struct rk_cuda_module *module = NULL;
    setenv("RANKCALL_TEST_CUDA_MODULE", "/no/such/module.so", 1);
    assert_fails(rk_cuda_load(&module), RANKCALL_ESYSTEM, "/no/such/module.so");
    setenv("RANKCALL_TEST_CUDA_MODULE", "libm.so.6", 1); /* which lacks our table */
    assert_fails(rk_cuda_load(&module), RANKCALL_ESYSTEM, "another version");
    assert_null(module);
}

/* What was built with CUDA goes on without a driver, without a GPU. */
static void the_real_module_tells_what_is_missing_here(void **state)
{
    (void)state;
    char path[512];
    const char *root = getenv("abs_top_builddir");
    const struct rk_cuda_module *module = NULL;
    struct rk_cuda *device = NULL;
    snprintf(path, sizeof path, "%s/.libs/" RK_CUDA_MODULE_NAME, root ? root : ".");
    setenv("RANKCALL_TEST_CUDA_MODULE", path, 1);
    if (access(path, R_OK))
        skip(); /* configured without CUDA */
    if (rk_cuda_load(&module)) {
        assert_fails(rankcall_last_error()->code, RANKCALL_ESYSTEM, "cudart"); /* built here, and gone since */
        skip();
    }
    assert_int_equal(module->open("ffff:ff:1f.0", "", &device, cuda.text), RK_CUDA_ABSENT);
    check_text("ffff:ff:1f.0", "(cudaError");
    assert_null(device);
}

static void a_mark_is_passed_when_what_was_begun_before_is_done(void **state)
{
    (void)state;
    struct rk_cuda *device = open_second();
    void *there, *mark = NULL;
    char sent[16] = "0123456789";
    assert_int_equal(cuda.module->take(device, RK_CUDA_DEVICE, sizeof sent, &there, cuda.text), RK_CUDA_OK);
    assert_int_equal(cuda.module->look(device, cuda.text), RK_CUDA_OK);
    assert_int_equal(cuda.module->copy(device, there, sent, sizeof sent, cuda.text), RK_CUDA_OK);
    assert_int_equal(cuda.module->mark(device, &mark, cuda.text), RK_CUDA_OK);
    assert_int_equal(cuda.module->passed(device, mark, cuda.text), RK_CUDA_BUSY);
    assert_int_equal(cuda.module->wait(device, cuda.text), RK_CUDA_OK);
    assert_int_equal(cuda.module->passed(device, mark, cuda.text), RK_CUDA_OK);
    assert_int_equal(cuda.module->look(device, cuda.text), RK_CUDA_OK);
    assert_int_equal(cuda.module->mark(device, &mark, cuda.text), RK_CUDA_OK); /* the same one again */
    cuda.module->wait(device, cuda.text);
    cuda.module->unmark(device, mark);
    cuda.module->unmark(device, NULL);
    cuda.module->give(device, RK_CUDA_DEVICE, there, cuda.text);
    cuda.module->close(device);
    assert_int_equal(cuda.held(), 0);
}

/* A module keeps NCCL once it has opened it: so this is the first case that asks for it. */
static void nccl_that_is_not_there_is_told(void **state)
{
    (void)state;
    int version = 0;
    setenv("RANKCALL_TEST_NCCL", "/nowhere/libnccl.so", 1);
    assert_int_equal(cuda.module->nccl_version(&version, cuda.text), RK_CUDA_ABSENT);
    check_text("NCCL cannot be used", "/nowhere/libnccl.so");
}

static void join_alone(struct rk_cuda *device, struct rk_nccl **nccl)
{
    uint8_t id[RK_NCCL_ID_SIZE];
    enum rk_cuda_end end;
    int looks = 0;
    char path[512];
    const char *root = getenv("abs_top_builddir");
    snprintf(path, sizeof path, "%s/.libs/nccl-double.so", root ? root : ".");
    setenv("RANKCALL_TEST_NCCL", path, 1);
    assert_int_equal(cuda.module->nccl_id(id, cuda.text), RK_CUDA_OK);
    end = cuda.module->nccl_join(device, id, 1, 0, nccl, cuda.text);
    while (end == RK_CUDA_BUSY && looks++ < 100)
        end = cuda.module->nccl_look(*nccl, cuda.text);
    assert_int_equal(end, RK_CUDA_OK);
    assert_true(looks > 0); /* it does not wait */
}

static void a_communicator_of_one_reduces(void **state)
{
    (void)state;
    struct rk_cuda *device = open_second();
    struct rk_nccl *nccl = NULL;
    int version = 0;
    float values[4] = {1, 2, 3, 4}, got[4] = {0};
    void *there;
    join_alone(device, &nccl);
    assert_int_equal(cuda.module->nccl_version(&version, cuda.text), RK_CUDA_OK);
    assert_true(version > 20000);
    assert_true(cuda.module->nccl_reduces(RANKCALL_FLOAT32));
    assert_false(cuda.module->nccl_reduces(RANKCALL_INT16)); /* NCCL has none */
    assert_false(cuda.module->nccl_reduces((enum rankcall_dtype)99));
    assert_int_equal(cuda.module->take(device, RK_CUDA_DEVICE, sizeof values, &there, cuda.text), RK_CUDA_OK);
    cuda.module->copy(device, there, values, sizeof values, cuda.text);
    struct rk_nccl_work work = {.kind = RK_NCCL_ALL_REDUCE, .size = sizeof values, .element = sizeof *values};
    work.type = RANKCALL_FLOAT32;
    work.send = work.receive = there;
    enum rk_cuda_end end = cuda.module->nccl_begin(nccl, &work, cuda.text);
    while (end == RK_CUDA_BUSY)
        end = cuda.module->nccl_look(nccl, cuda.text);
    assert_int_equal(end, RK_CUDA_OK);
    cuda.module->copy(device, got, there, sizeof got, cuda.text);
    cuda.module->wait(device, cuda.text);
    assert_memory_equal(got, values, sizeof values);
    cuda.module->nccl_leave(nccl);
    cuda.module->nccl_leave(NULL);
    cuda.module->give(device, RK_CUDA_DEVICE, there, cuda.text);
    cuda.module->close(device);
    assert_int_equal(cuda.held(), 0);
}

static void an_error_of_the_callers_is_told_the_same_way(void **state)
{
    (void)state;
    struct rk_cuda *device = open_second();
    assert_int_equal(cuda.module->tell(device, 0, "a kernel", cuda.text), RK_CUDA_OK);
    assert_int_equal(cuda.module->tell(device, OUT_OF_MEMORY, "a kernel", cuda.text), RK_CUDA_MEMORY);
    check_text("a kernel on GPU " UUID, "out of memory");
    cuda.module->close(device);
}

#define CASE(name) cmocka_unit_test_setup(name, load)
UNIT_MAIN(CASE(a_device_is_found_by_address_and_by_uuid), CASE(a_device_that_is_not_there_is_told),
          CASE(a_slice_is_the_only_device), CASE(an_opening_that_fails_half_way_holds_nothing),
          CASE(copies_go_to_the_device_and_back), CASE(memory_is_given_back_only_when_copies_are_done),
          CASE(kinds_of_memory_are_told_apart), CASE(a_full_device_is_told_and_can_be_used_on),
          CASE(an_error_that_sticks_is_told_from_others), CASE(a_module_that_is_missing_or_foreign_is_refused),
          CASE(the_real_module_tells_what_is_missing_here), CASE(a_mark_is_passed_when_what_was_begun_before_is_done),
          CASE(nccl_that_is_not_there_is_told), CASE(a_communicator_of_one_reduces),
          CASE(an_error_of_the_callers_is_told_the_same_way))
