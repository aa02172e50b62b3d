/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Assertions of the test clients: a failed one says where and why, and ends the process. */

#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rankcall/runner.h>

#define CHECK(condition)                                              \
    do {                                                              \
        if (!(condition))                                             \
            check_failed(__FILE__, __LINE__, #condition, "is false"); \
    } while (0)

/* The expression must give RANKCALL_OK. */
#define OK(expression) CODE(expression, RANKCALL_OK)

/* The expression must give that code. */
#define CODE(expression, code) check_code(__FILE__, __LINE__, #expression, expression, code)

/* The strings must be equal. */
#define SAME(got, wanted) check_same(__FILE__, __LINE__, #got, got, wanted)

static inline void check_failed(const char *file, int line, const char *what, const char *why)
{
    fprintf(stderr, "%s:%d: %s %s\n", file, line, what, why);
    exit(1);
}

static inline void check_code(const char *file, int line, const char *what, int got, int wanted)
{
    if (got == wanted)
        return;
    const struct rankcall_error *error = rankcall_last_error();
    fprintf(stderr, "%s:%d: %s gave %s, not %s\n  last error: %s, rank %d of \"%s\": %s\n", file, line, what,
            rankcall_code_name(got), rankcall_code_name(wanted), rankcall_code_name(error->code), error->rank,
            error->host, error->message);
    exit(1);
}

static inline void check_same(const char *file, int line, const char *what, const char *got, const char *wanted)
{
    if (got && strcmp(got, wanted) == 0)
        return;
    fprintf(stderr, "%s:%d: %s is \"%s\", not \"%s\"\n", file, line, what, got ? got : "(null)", wanted);
    exit(1);
}

static inline struct rankcall_payload *json_payload(const char *json)
{
    struct rankcall_payload *payload;
    OK(rankcall_payload_from_json(json, SIZE_MAX, &payload));
    return payload;
}

#endif
