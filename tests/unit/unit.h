/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What all unit tests share: cmocka, a main that runs one case by name (`test_x NAME`, where * stands for anything),
 * and checks of rankcall's errors. */

#ifndef RK_TESTS_UNIT_H
#define RK_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <rankcall/error.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

#define UNIT_MAIN(...)                                          \
    int main(int argc, char **argv)                             \
    {                                                           \
        static const struct CMUnitTest cases[] = {__VA_ARGS__}; \
                                                                \
        if (argc > 1)                                           \
            cmocka_set_test_filter(argv[1]);                    \
        return cmocka_run_group_tests(cases, NULL, NULL);       \
    }

/* The thread's last error is `code` and its message holds `text`. */
static inline void check_last_error(int code, const char *text, const char *file, int line)
{
    const struct rankcall_error *error = rankcall_last_error();

    if (error->code != code || !strstr(error->message, text)) {
        print_error("expected %s: \"...%s...\"\n     got %s: \"%s\"\n", rankcall_code_name(code), text,
                    rankcall_code_name(error->code), error->message);
        _fail(file, line);
    }
}

static inline void check_result(int got, int expected, const char *what, const char *file, int line)
{
    if (got != expected) {
        print_error("%s gave %s (%s), expected %s\n", what, rankcall_code_name(got), rankcall_last_error()->message,
                    rankcall_code_name(expected));
        _fail(file, line);
    }
}

#define assert_ok(call) check_result((call), RANKCALL_OK, #call, __FILE__, __LINE__)

/* The call fails with the code, and the message holds the text. */
#define assert_fails(call, code, text)                           \
    do {                                                         \
        check_result((call), (code), #call, __FILE__, __LINE__); \
        check_last_error((code), (text), __FILE__, __LINE__);    \
    } while (0)

#endif
