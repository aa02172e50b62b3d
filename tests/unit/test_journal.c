/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What outlives rank 0: the journal, and the handing over of descriptors. */

#include "unit.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/handover.h"

static void what_has_begun_is_seen_by_the_next_process(void **state)
{
    struct rk_journal *first, *second;
    int fd;

    (void)state;
    assert_ok(rk_journal_make(2, &fd, &first));
    uint64_t one = rk_journal_enter(first), other = rk_journal_enter(first);
    assert_true(one && other && one != other);
    rk_journal_begin(first, one, 5, 1);
    rk_journal_begin(first, one, 6, 1);
    assert_ok(rk_journal_open(fd, &second));
    rk_journal_close(first);
    assert_true(rk_journal_begun(second, one) == 6 && rk_journal_times(second, one) == 1);
    assert_true(rk_journal_begun(second, other) == 0);
    assert_true(rk_journal_begun(second, 0) == RK_BEGUN_UNKNOWN);
    assert_true(rk_journal_begun(second, other + 1) == RK_BEGUN_UNKNOWN);
    rk_journal_close(second);
    close(fd);
}

static void tokens_of_two_jobs_differ(void **state)
{
    struct rk_journal *one, *other;

    (void)state;
    assert_ok(rk_journal_make(0, NULL, &one));
    assert_ok(rk_journal_make(0, NULL, &other));
    assert_true(rk_journal_begun(other, rk_journal_enter(one)) == RK_BEGUN_UNKNOWN);
    rk_journal_close(one);
    rk_journal_close(other);
}

static void the_oldest_connections_are_forgotten(void **state)
{
    struct rk_journal *journal;

    (void)state;
    assert_ok(rk_journal_make(0, NULL, &journal));
    uint64_t first = rk_journal_enter(journal), last = first;
    rk_journal_begin(journal, first, 1, 1);
    for (int i = 1; i < RK_JOURNAL_CLIENTS; i++)
        last = rk_journal_enter(journal);
    assert_true(rk_journal_begun(journal, first) == 1);
    last = rk_journal_enter(journal);
    rk_journal_begin(journal, first, 2, 1); /* must not be taken for the newest's */
    assert_true(rk_journal_begun(journal, first) == RK_BEGUN_UNKNOWN);
    assert_true(rk_journal_begun(journal, last) == 0);
    rk_journal_close(journal);
}

static void deaths_are_counted_and_cost_more_and_more(void **state)
{
    struct rk_journal *journal;
    int64_t before = -1;

    (void)state;
    assert_ok(rk_journal_make(0, NULL, &journal));
    assert_false(rk_journal_mend(journal, 0));
    for (int i = 0; i < 20; i++) {
        assert_true(rk_journal_mend(journal, 20));
        int64_t pause = rk_journal_pause_us(journal);
        assert_true(i < 2 ? pause == 0 : pause >= before);
        assert_true(pause <= 10000000);
        before = pause;
    }
    assert_true(before == 10000000);
    assert_false(rk_journal_mend(journal, 20));
    assert_int_equal(rk_journal_mended(journal), 20);
    rk_journal_succeeded(journal);
    assert_true(rk_journal_pause_us(journal) == 0);
    assert_false(rk_journal_mend(journal, 20)); /* the hour still counts */
    rk_journal_close(journal);
}

static void something_else_is_no_journal(void **state)
{
    struct rk_journal *journal;
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_fails(rk_journal_open(ends[0], &journal), RANKCALL_EPROTOCOL, "no journal");
    close(ends[0]);
    close(ends[1]);
}

static void descriptors_arrive_in_their_order(void **state)
{
    enum { CLIENTS = 300 };
    int ends[2], clients[CLIENTS], marker[2];
    struct rk_handover given = {.clients = clients, .client_count = CLIENTS}, taken;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    assert_int_equal(pipe(marker), 0);
    given.listener = given.journal = given.keeper = marker[0];
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = i == CLIENTS - 1 ? marker[1] : marker[0];
    assert_ok(rk_handover_send(ends[0], &given));
    assert_ok(rk_handover_receive(ends[1], &taken));
    assert_true(taken.client_count == CLIENTS);
    assert_int_equal(write(taken.clients[CLIENTS - 1], "x", 1), 1); /* the last one is the writing end */
    assert_int_equal(write(taken.clients[0], "x", 1), -1);
    for (int i = 0; i < CLIENTS; i++)
        close(taken.clients[i]);
    free(taken.clients);
    close(taken.listener);
    close(taken.journal);
    close(taken.keeper);
    for (int i = 0; i < 2; i++) {
        close(ends[i]);
        close(marker[i]);
    }
}

static void what_is_lent_arrives_one_by_one(void **state)
{
    int ends[2], pipes[2][2], fd;
    bool over;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pipe(pipes[i]), 0);
        assert_true(rk_handover_lend(ends[0], pipes[i][1]));
        close(pipes[i][1]);
    }
    for (int i = 0; i < 2; i++) {
        fd = rk_handover_borrow(ends[1], &over);
        assert_true(fd >= 0 && !over);
        assert_int_equal(write(fd, "x", 1), 1);
        assert_int_equal(read(pipes[i][0], (char[2]){0}, 2), 1);
        close(fd);
        close(pipes[i][0]);
    }
    assert_int_equal(rk_handover_borrow(ends[1], &over), -1);
    assert_false(over);
    close(ends[0]);
    assert_int_equal(rk_handover_borrow(ends[1], &over), -1);
    assert_true(over);
    assert_false(rk_handover_lend(ends[1], ends[1]));
    close(ends[1]);
}

/* A process that is rank 0, and ends in that way. */
static bool lives_and_dies(struct rk_journal *journal, bool in_order)
{
    int ready[2], go[2];

    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(go), 0);
    pid_t pid = fork();
    if (pid == 0) {
        rk_journal_live(journal);
        if (write(ready[1], "x", 1) != 1 || read(go[0], (char[1]){0}, 1) != 1)
            _exit(1);
        if (in_order)
            rk_journal_leave(journal);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(read(ready[0], (char[1]){0}, 1), 1);
    assert_true(rk_journal_lives(journal));
    assert_int_equal(write(go[1], "x", 1), 1);
    bool died = rk_journal_await_death(journal);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_false(rk_journal_lives(journal));
    for (int i = 0; i < 2; i++) {
        close(ready[i]);
        close(go[i]);
    }
    return died;
}

static void the_death_of_each_rank_0_is_seen_and_no_orderly_end(void **state)
{
    struct rk_journal *journal, *here;
    int fd;

    (void)state;
    assert_ok(rk_journal_make(1, &fd, &journal));
    assert_ok(rk_journal_open(fd, &here));
    assert_false(rk_journal_lives(journal));
    assert_true(lives_and_dies(journal, false));
    assert_true(lives_and_dies(here, false));
    assert_false(lives_and_dies(journal, true));
    assert_true(lives_and_dies(journal, false));
    rk_journal_close(here);
    rk_journal_close(journal);
    close(fd);
}

static void other_bytes_are_no_handover(void **state)
{
    struct rk_handover taken;
    int ends[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    assert_int_equal(write(ends[0], "twelve bytes and more", 21), 21);
    assert_fails(rk_handover_receive(ends[1], &taken), RANKCALL_EPROTOCOL, "another version");
    close(ends[0]);
    assert_int_equal(read(ends[1], (char[64]){0}, 64), 9);
    assert_fails(rk_handover_receive(ends[1], &taken), RANKCALL_ECLOSED, "gone");
    close(ends[1]);
}

UNIT_MAIN(cmocka_unit_test(what_has_begun_is_seen_by_the_next_process), cmocka_unit_test(tokens_of_two_jobs_differ),
          cmocka_unit_test(the_oldest_connections_are_forgotten),
          cmocka_unit_test(deaths_are_counted_and_cost_more_and_more), cmocka_unit_test(something_else_is_no_journal),
          cmocka_unit_test(descriptors_arrive_in_their_order), cmocka_unit_test(other_bytes_are_no_handover),
          cmocka_unit_test(what_is_lent_arrives_one_by_one),
          cmocka_unit_test(the_death_of_each_rank_0_is_seen_and_no_orderly_end))
