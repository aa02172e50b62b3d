/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Reductions of two arrays. */

#include "unit.h"

#include <rankcall/collectives.h>

#include "mesh/fold.h"

#define CHECK(dtype, type, op, a, b, wanted)                             \
    do {                                                                 \
        const type left[3] = {(a), 1, (a)}, right[3] = {(b), 1, (b)};    \
        type to[3];                                                      \
        rk_fold_fn fold = rk_fold_find(dtype, op);                       \
        assert_non_null(fold);                                           \
        fold(to, left, right, 3);                                        \
        assert_true(to[0] == (type)(wanted) && to[2] == (type)(wanted)); \
    } while (0)

#define CHECK_ALL(dtype, type)                      \
    CHECK(dtype, type, RANKCALL_SUM, 3, 5, 8);      \
    CHECK(dtype, type, RANKCALL_PRODUCT, 3, 5, 15); \
    CHECK(dtype, type, RANKCALL_MIN, 3, 5, 3);      \
    CHECK(dtype, type, RANKCALL_MAX, 3, 5, 5);      \
    CHECK(dtype, type, RANKCALL_MIN, 5, 3, 3)

static void every_type_has_every_operation(void **state)
{
    (void)state;
    CHECK_ALL(RANKCALL_INT8, int8_t);
    CHECK_ALL(RANKCALL_INT16, int16_t);
    CHECK_ALL(RANKCALL_INT32, int32_t);
    CHECK_ALL(RANKCALL_INT64, int64_t);
    CHECK_ALL(RANKCALL_UINT8, uint8_t);
    CHECK_ALL(RANKCALL_UINT16, uint16_t);
    CHECK_ALL(RANKCALL_UINT32, uint32_t);
    CHECK_ALL(RANKCALL_UINT64, uint64_t);
    CHECK_ALL(RANKCALL_FLOAT32, float);
    CHECK_ALL(RANKCALL_FLOAT64, double);
}

static void signs_count_in_comparisons(void **state)
{
    (void)state;
    CHECK(RANKCALL_INT8, int8_t, RANKCALL_MIN, -1, 1, -1);
    CHECK(RANKCALL_INT32, int32_t, RANKCALL_MAX, -1, 1, 1);
    CHECK(RANKCALL_INT64, int64_t, RANKCALL_MIN, INT64_MIN, 0, INT64_MIN);
    CHECK(RANKCALL_UINT64, uint64_t, RANKCALL_MAX, UINT64_MAX, 1, UINT64_MAX);
}

static void integers_wrap_around(void **state)
{
    (void)state;
    CHECK(RANKCALL_INT32, int32_t, RANKCALL_SUM, INT32_MAX, 1, INT32_MIN);
    CHECK(RANKCALL_INT64, int64_t, RANKCALL_SUM, INT64_MAX, 1, INT64_MIN);
    CHECK(RANKCALL_UINT8, uint8_t, RANKCALL_SUM, 255, 2, 1);
    CHECK(RANKCALL_UINT16, uint16_t, RANKCALL_PRODUCT, 65535, 65535, 1);
}

static void the_result_may_lie_over_either_side(void **state)
{
    int32_t left[3] = {1, 2, 3}, right[3] = {10, 20, 30};
    rk_fold_fn fold = rk_fold_find(RANKCALL_INT32, RANKCALL_SUM);
    (void)state;
    fold(left, left, right, 3);
    assert_int_equal(left[2], 33);
    fold(right, left, right, 3);
    assert_int_equal(right[0], 21);
}

static void unknown_types_and_operations_have_none(void **state)
{
    (void)state;
    assert_null(rk_fold_find(RANKCALL_DTYPE_NONE, RANKCALL_SUM));
    assert_null(rk_fold_find(RANKCALL_FLOAT16, RANKCALL_SUM));
    assert_null(rk_fold_find(RANKCALL_BOOL, RANKCALL_SUM));
    assert_null(rk_fold_find(1000, RANKCALL_SUM));
    assert_null(rk_fold_find(-1, RANKCALL_SUM));
    assert_null(rk_fold_find(RANKCALL_INT32, 4));
    assert_null(rk_fold_find(RANKCALL_INT32, -1));
}

UNIT_MAIN(cmocka_unit_test(every_type_has_every_operation), cmocka_unit_test(signs_count_in_comparisons),
          cmocka_unit_test(integers_wrap_around), cmocka_unit_test(the_result_may_lie_over_either_side),
          cmocka_unit_test(unknown_types_and_operations_have_none))
