/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Names for addresses. */

#include "unit.h"

#include <unistd.h>

#include "base/symbols.h"

__attribute__((noinline)) static int not_exported(int value)
{
    return value * 3 + (int)getpid();
}

static void a_function_that_is_not_exported_has_a_name(void **state)
{
    char text[128];
    (void)state;
    rk_symbol((int)getpid(), (uint64_t)(uintptr_t)not_exported + 1, false, text, sizeof text);
    assert_non_null(strstr(text, "not_exported+0x1 ("));
    assert_true(not_exported(1) > 3);
}

static void what_a_call_returns_to_belongs_to_the_caller(void **state)
{
    char text[128];
    (void)state;
    rk_symbol((int)getpid(), (uint64_t)(uintptr_t)not_exported, true, text, sizeof text);
    assert_null(strstr(text, "not_exported+"));
}

static void a_function_of_a_library_is_found(void **state)
{
    char text[128];
    (void)state;
    /* One that no sanitizer takes the place of. */
    rk_symbol((int)getpid(), (uint64_t)(uintptr_t)getppid, false, text, sizeof text);
    assert_non_null(strstr(text, "+0x0 (libc"));
}

static void an_address_of_nothing_is_a_number(void **state)
{
    char text[128];
    int here = 0;
    (void)state;
    rk_symbol((int)getpid(), 16, false, text, sizeof text);
    assert_string_equal(text, "0x10");
    rk_symbol((int)getpid(), (uint64_t)(uintptr_t)&here, false, text, sizeof text);
    assert_memory_equal(text, "0x", 2);
    rk_symbol(0, (uint64_t)(uintptr_t)not_exported, false, text, sizeof text);
    assert_memory_equal(text, "0x", 2);
}

#define CASE cmocka_unit_test

UNIT_MAIN(CASE(a_function_that_is_not_exported_has_a_name), CASE(what_a_call_returns_to_belongs_to_the_caller),
          CASE(a_function_of_a_library_is_found), CASE(an_address_of_nothing_is_a_number))
