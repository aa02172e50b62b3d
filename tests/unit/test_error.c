/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The last error, and the table of codes. */

#include "unit.h"

#include <errno.h>
#include <pthread.h>

#include "base/error.h"

static void an_error_has_its_code_and_message(void **state)
{
    (void)state;
    assert_int_equal(rk_error(RANKCALL_EBUSY, "%d calls wait", 7), RANKCALL_EBUSY);
    check_last_error(RANKCALL_EBUSY, "7 calls wait", __FILE__, __LINE__);
    assert_int_equal(rankcall_last_error()->rank, -1);
    assert_string_equal(rankcall_last_error()->host, "");
    assert_string_equal(rankcall_last_error()->traceback, "");
}

static void a_message_may_quote_the_last_one(void **state)
{
    (void)state;
    rk_error(RANKCALL_EPAYLOAD, "byte 3 is wrong");
    rk_error(RANKCALL_EPAYLOAD, "setup: %s", rankcall_last_error()->message);
    assert_string_equal(rankcall_last_error()->message, "setup: byte 3 is wrong");
}

static void a_long_message_is_cut_between_characters(void **state)
{
    char *text = malloc(20001);
    const char *message;
    size_t length;

    (void)state;
    for (size_t shift = 0; shift < 2; shift++) {
        for (size_t i = 0; i < 20000; i++)
            text[i] = i < shift ? 'x' : (i - shift) % 2 ? '\xa9' : '\xc3';
        text[20000] = '\0';
        rk_error(RANKCALL_EINTERNAL, "%s", text);
        message = rankcall_last_error()->message;
        length = strlen(message);
        assert_true(length > 1000);
        assert_true((unsigned char)message[length - 1] == 0xa9);
    }
    free(text);
}

static void a_system_error_tells_errno_and_keeps_it(void **state)
{
    (void)state;
    errno = ENOENT;
    assert_fails(rk_error_system("cannot open %s", "x"), RANKCALL_ESYSTEM, "cannot open x: No such file or directory");
    assert_int_equal(errno, ENOENT);
}

static void a_copied_error_has_all_its_parts(void **state)
{
    struct rankcall_error error = {RANKCALL_EWORKER, 3, "node7", "it failed", "Traceback: here"};
    struct rankcall_error *clone;

    (void)state;
    assert_int_equal(rk_error_copy(&error), RANKCALL_EWORKER);
    assert_int_equal(rankcall_last_error()->rank, 3);
    assert_string_equal(rankcall_last_error()->host, "node7");
    assert_string_equal(rankcall_last_error()->traceback, "Traceback: here");

    clone = rk_error_clone(rankcall_last_error());
    rk_error_clear();
    assert_int_equal(rankcall_last_error()->code, RANKCALL_OK);
    assert_string_equal(rankcall_last_error()->message, "");
    assert_int_equal(rk_error_copy(clone), RANKCALL_EWORKER);
    assert_string_equal(rankcall_last_error()->message, "it failed");
    assert_string_equal(rankcall_last_error()->traceback, "Traceback: here");
    assert_int_equal(rk_error_copy(rankcall_last_error()), RANKCALL_EWORKER); /* itself */
    assert_string_equal(rankcall_last_error()->traceback, "Traceback: here");
    rk_error_free(clone);
    rk_error_free(NULL);
}

static void missing_strings_are_empty_ones(void **state)
{
    struct rankcall_error error = {RANKCALL_EWORKER, -1, NULL, NULL, NULL};
    struct rankcall_error *clone = rk_error_clone(&error);

    (void)state;
    rk_error_copy(clone);
    rk_error_copy(&error);
    assert_string_equal(rankcall_last_error()->host, "");
    assert_string_equal(rankcall_last_error()->message, "");
    assert_string_equal(rankcall_last_error()->traceback, "");
    rk_error_free(clone);
}

static void *fail_elsewhere(void *out)
{
    struct rankcall_error error = {RANKCALL_EWORKER, 1, "", "of the thread", "with a traceback that must be freed"};

    rk_error_copy(&error);
    *(bool *)out = strcmp(rankcall_last_error()->message, "of the thread") == 0;
    return NULL;
}

static void each_thread_has_its_own_error(void **state)
{
    pthread_t thread;
    bool right = false;

    (void)state;
    rk_error(RANKCALL_EBUSY, "of the test");
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, &right), 0);
    pthread_join(thread, NULL);
    assert_true(right);
    assert_string_equal(rankcall_last_error()->message, "of the test");
}

static void the_table_answers_for_every_code_and_for_unknown_ones(void **state)
{
    (void)state;
    assert_string_equal(rankcall_code_name(RANKCALL_OK), "ok");
    assert_string_equal(rankcall_code_name(RANKCALL_ELAUNCH), "launch_failed");
    assert_int_equal(rankcall_code_exit_status(RANKCALL_EEXIST), 19);
    for (int code = RANKCALL_OK; code <= RANKCALL_EWALLTIME; code++)
        assert_string_not_equal(rankcall_code_name(code), "unknown");
    for (int code = -1; code < 1000; code = code < 0 ? RANKCALL_EWALLTIME + 1 : code + 100) {
        assert_string_equal(rankcall_code_name(code), "unknown");
        assert_int_equal(rankcall_code_exit_status(code), 1);
        assert_true(*rankcall_code_text(code) != '\0');
    }
    assert_true(*rankcall_version() >= '0' && *rankcall_version() <= '9');
}

UNIT_MAIN(cmocka_unit_test(an_error_has_its_code_and_message), cmocka_unit_test(a_message_may_quote_the_last_one),
          cmocka_unit_test(a_long_message_is_cut_between_characters),
          cmocka_unit_test(a_system_error_tells_errno_and_keeps_it), cmocka_unit_test(a_copied_error_has_all_its_parts),
          cmocka_unit_test(missing_strings_are_empty_ones), cmocka_unit_test(each_thread_has_its_own_error),
          cmocka_unit_test(the_table_answers_for_every_code_and_for_unknown_ones))
