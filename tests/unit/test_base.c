/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Byte cursors, descriptors and the log. */

#include "unit.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/turns.h"

static void numbers_are_written_little_endian_and_read_back(void **state)
{
    static const uint8_t expected[] = {0x12, 0x34, 0x12, 0x78, 0x56, 0x34, 0x12, 0xf0, 0xde, 0xbc,
                                       0x9a, 0x78, 0x56, 0x34, 0x12, 'a',  'b',  0,    0};
    uint8_t bytes[sizeof expected];
    struct rk_writer writer = rk_writer(bytes, sizeof bytes);
    struct rk_reader reader = rk_reader(bytes, sizeof bytes);

    (void)state;
    rk_write_u8(&writer, 0x12);
    rk_write_u16(&writer, 0x1234);
    rk_write_u32(&writer, 0x12345678);
    rk_write_u64(&writer, 0x123456789abcdef0);
    rk_write_bytes(&writer, "ab", 2);
    rk_write_zeros(&writer, 2);
    assert_false(writer.failed);
    assert_ptr_equal(writer.at, writer.end);
    assert_memory_equal(bytes, expected, sizeof expected);

    assert_int_equal(rk_read_u8(&reader), 0x12);
    assert_int_equal(rk_read_u16(&reader), 0x1234);
    assert_int_equal(rk_read_u32(&reader), 0x12345678);
    assert_true(rk_read_u64(&reader) == 0x123456789abcdef0);
    assert_memory_equal(rk_read_bytes(&reader, 4), "ab\0", 4);
    assert_false(reader.failed);
}

static void a_cursor_past_its_end_fails_for_good_and_touches_nothing(void **state)
{
    uint8_t bytes[5] = {1, 2, 3, 4, 0xee};
    struct rk_writer writer = rk_writer(bytes, 4);
    struct rk_reader reader = rk_reader(bytes, 4);

    (void)state;
    assert_int_equal(rk_read_u64(&reader), 0);
    assert_true(reader.failed);
    assert_int_equal(rk_read_u8(&reader), 0); /* though one byte would be there */
    assert_null(rk_read_bytes(&reader, 0));

    rk_write_u8(&writer, 9);
    rk_write_u32(&writer, 0xffffffff);
    assert_true(writer.failed);
    rk_write_u8(&writer, 9);
    rk_write_bytes(&writer, "x", 1);
    rk_write_zeros(&writer, 1);
    assert_memory_equal(bytes, "\x09\x02\x03\x04\xee", 5);

    reader = rk_reader(bytes, 4);
    assert_null(rk_read_bytes(&reader, SIZE_MAX));
    assert_true(reader.failed);
    reader = rk_reader(NULL, 0);
    assert_int_equal(rk_read_u8(&reader), 0);
    assert_true(reader.failed);
}

static void waiting_ends_at_the_deadline_or_with_the_event(void **state)
{
    int pair[2];
    int64_t start = rk_now_us();

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(rk_fd_wait(pair[0], POLLIN, start), 0);
    assert_int_equal(rk_fd_wait(pair[0], POLLIN, start + 3000), 0);
    assert_true(rk_now_us() >= start + 3000);
    assert_int_equal(rk_fd_wait(pair[0], POLLOUT, -1), POLLOUT);
    assert_int_equal(write(pair[1], "x", 1), 1);
    assert_int_equal(rk_fd_wait(pair[0], POLLIN, -1), POLLIN);

    assert_ok(rk_fd_prepare(pair[0]));
    assert_true(fcntl(pair[0], F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(pair[0], F_GETFD) & FD_CLOEXEC);
    rk_fd_close(&pair[0]);
    rk_fd_close(&pair[0]);
    rk_fd_close(&pair[1]);
    assert_int_equal(pair[0], -1);
    assert_fails(rk_fd_prepare(-1), RANKCALL_ESYSTEM, "fcntl");
    rk_fd_raise_limit();
}

/* Runs `say` with standard error in a pipe; returns what it wrote. */
static const char *captured(void (*say)(void))
{
    static char text[8192];
    int ends[2], kept = dup(STDERR_FILENO);
    ssize_t size;

    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    say();
    dup2(kept, STDERR_FILENO);
    close(kept);
    size = read(ends[0], text, sizeof text - 1);
    close(ends[0]);
    text[size < 0 ? 0 : size] = '\0';
    return text;
}

static void say_all_levels(void)
{
    rk_log_set_level(RK_LOG_WARNING);
    rk_log(RK_LOG_ERROR, "one %d", 1);
    rk_log(RK_LOG_WARNING, "two");
    rk_log(RK_LOG_INFO, "not this");
    rk_log_set_level(RK_LOG_DEBUG);
    rk_log_set_prefix("demo");
    rk_log(RK_LOG_DEBUG, "three");
}

static void say_much(void)
{
    static char much[20000];

    memset(much, 'x', sizeof much - 1);
    rk_log(RK_LOG_ERROR, "%s", much);
}

static void the_log_drops_what_is_above_its_level(void **state)
{
    const char *text;

    (void)state;
    assert_string_equal(captured(say_all_levels), "rankcall: one 1\nrankcall: two\ndemo: three\n");
    text = captured(say_much);
    assert_int_equal(text[strlen(text) - 1], '\n');
    rk_log_set_prefix("rankcall");
}

/* Somebody who computes on the only CPU that is left to both. */
static void who_gives_way_learns_that_others_compute(void **state)
{
    cpu_set_t usual, one;
    int first = 0, tries = 0;
    bool told = false;

    (void)state;
    if (sched_getaffinity(0, sizeof usual, &usual))
        skip(); /* more CPUs than such a set has */
    while (!CPU_ISSET(first, &usual))
        first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    while (pid == 0)
        ;
    while (!told && ++tries < 100000)
        told = rk_give_way();
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    sched_setaffinity(0, sizeof usual, &usual);
    assert_true(told);
}

static void short_turns_are_asked_for_and_given_back(void **state)
{
    struct rk_turns usual, brief, seen;

    (void)state;
    if (!rk_turns_get(&usual))
        skip();
    brief = usual;
    rk_turns_shorten(&brief);
    assert_true(rk_turns_set(&brief));
    assert_true(rk_turns_get(&seen));
    assert_int_equal(seen.nice, usual.nice);
    if (usual.slice_ns) /* else the kernel has none to tell of */
        assert_true(seen.slice_ns < usual.slice_ns);
    assert_true(rk_turns_set(&usual));
    assert_true(rk_turns_get(&seen));
    assert_true(seen.slice_ns == usual.slice_ns);
}

UNIT_MAIN(cmocka_unit_test(numbers_are_written_little_endian_and_read_back),
          cmocka_unit_test(a_cursor_past_its_end_fails_for_good_and_touches_nothing),
          cmocka_unit_test(waiting_ends_at_the_deadline_or_with_the_event),
          cmocka_unit_test(the_log_drops_what_is_above_its_level),
          cmocka_unit_test(who_gives_way_learns_that_others_compute),
          cmocka_unit_test(short_turns_are_asked_for_and_given_back))
