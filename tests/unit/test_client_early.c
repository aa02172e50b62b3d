/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The early ring: a client finds the bell that a WELCOME tells of, and wakes who sleeps there. */

#include "unit.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <rankcall/payload.h>

#include "base/fd.h"
#include "client/internal.h"

#define MARK UINT64_C(0xabcdef0123456789)
#define SIZE 4096

struct fixture {
    int fd;
    _Atomic uint32_t *word;
    _Atomic int asleep, woken;
    struct rankcall_runner runner;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    const uint64_t mark = MARK;
    fixture = (struct fixture){.fd = memfd_create("bell", MFD_CLOEXEC)};
    assert_int_equal(ftruncate(fixture.fd, SIZE), 0);
    assert_int_equal(pwrite(fixture.fd, &mark, sizeof mark, 64), sizeof mark);
    fixture.word = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fixture.fd, 0);
    assert_true((void *)fixture.word != MAP_FAILED);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    rk_early_close(&fixture->runner);
    munmap((void *)fixture->word, SIZE);
    rk_fd_close(&fixture->fd);
    return 0;
}

static void hear(struct fixture *fixture, const char *format, ...)
{
    char text[256];
    struct rankcall_payload *welcome;
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    assert_ok(rankcall_payload_from_json(text, SIZE_MAX, &welcome));
    rk_early_open(&fixture->runner, welcome);
    rankcall_payload_free(welcome);
}

static void hear_right(struct fixture *fixture)
{
    hear(fixture, "{\"pid\": %d, \"bell\": {\"fd\": %d, \"mark\": %llu}}", (int)getpid(), fixture->fd,
         (unsigned long long)(MARK & ((UINT64_C(1) << 52) - 1)));
}

static void *sleeper(void *context)
{
    struct fixture *fixture = context;
    const struct timespec limit = {.tv_sec = 20};
    atomic_store(&fixture->asleep, (int)syscall(SYS_gettid));
    atomic_store(&fixture->woken, !syscall(SYS_futex, fixture->word, FUTEX_WAIT, 0, &limit, NULL, 0));
    return NULL;
}

/* Until the thread is in its system call. */
static void await_sleep(struct fixture *fixture)
{
    char path[64], state = 0;
    while (!atomic_load(&fixture->asleep))
        sched_yield();
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", atomic_load(&fixture->asleep));
    while (state != 'S') {
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        assert_int_equal(fscanf(file, "%*d %*s %c", &state), 1);
        fclose(file);
    }
}

static void a_call_after_a_while_wakes_who_sleeps_at_the_bell(void **state)
{
    struct fixture *fixture = *state;
    pthread_t thread;
    hear_right(fixture);
    assert_non_null(fixture->runner.bell);
    assert_int_equal(pthread_create(&thread, NULL, sleeper, fixture), 0);
    await_sleep(fixture);
    rk_early_ring(&fixture->runner, rk_now_us());
    pthread_join(thread, NULL);
    assert_true(atomic_load(&fixture->woken));
}

static void calls_that_follow_each_other_do_not_ring(void **state)
{
    struct fixture *fixture = *state;
    pthread_t thread;
    int64_t now = rk_now_us();
    hear_right(fixture);
    rk_early_ring(&fixture->runner, now);
    assert_int_equal(pthread_create(&thread, NULL, sleeper, fixture), 0);
    await_sleep(fixture);
    rk_early_ring(&fixture->runner, now + 50);
    await_sleep(fixture);
    assert_false(atomic_load(&fixture->woken));
    rk_early_ring(&fixture->runner, now + 1000);
    pthread_join(thread, NULL);
    assert_true(atomic_load(&fixture->woken));
}

static void a_bell_that_is_none_is_not_used(void **state)
{
    struct fixture *fixture = *state;
    int pipes[2];
    hear(fixture, "{\"pid\": %d, \"bell\": {\"fd\": %d, \"mark\": 1}}", (int)getpid(), fixture->fd);
    assert_null(fixture->runner.bell);
    hear(fixture, "{\"pid\": %d}", (int)getpid());
    assert_null(fixture->runner.bell);
    hear(fixture, "{\"pid\": %d, \"bell\": {\"fd\": 999999, \"mark\": 0}}", (int)getpid());
    assert_null(fixture->runner.bell);
    hear(fixture, "{\"pid\": -1, \"bell\": {\"fd\": \"x\", \"mark\": 0}}");
    assert_null(fixture->runner.bell);
    assert_int_equal(pipe(pipes), 0); /* reading it would wait */
    hear(fixture, "{\"pid\": %d, \"bell\": {\"fd\": %d, \"mark\": 0}}", (int)getpid(), pipes[0]);
    assert_null(fixture->runner.bell);
    rk_fd_close(&pipes[0]);
    rk_fd_close(&pipes[1]);
    hear_right(fixture);
    assert_non_null(fixture->runner.bell);
    rk_early_open(&fixture->runner, NULL);
    assert_null(fixture->runner.bell);
    rk_early_ring(&fixture->runner, rk_now_us());
}

#define WITH_BELL(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

UNIT_MAIN(WITH_BELL(a_call_after_a_while_wakes_who_sleeps_at_the_bell),
          WITH_BELL(calls_that_follow_each_other_do_not_ring), WITH_BELL(a_bell_that_is_none_is_not_used))
