/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Reductions of two arrays, one function for each type and operation.
 *
 * Integers are summed and multiplied without a sign, so that what does not fit wraps around. */

#include "mesh/fold.h"

#include <stdint.h>

#include <rankcall/payload.h>

#ifndef __clang__
#pragma GCC optimize("O3") /* these loops are to be vectorised */
#endif

#define FOLD(name, type, expression)                                              \
    static void name(void *to, const void *left, const void *right, size_t count) \
    {                                                                             \
        type *out = to;                                                           \
        const type *as = left, *bs = right;                                       \
        for (size_t i = 0; i < count; i++) {                                      \
            const type a = as[i], b = bs[i];                                      \
            out[i] = (type)(expression);                                          \
        }                                                                         \
    }

/* `wide`: the type to compute in. */
#define FOLDS(name, type, wide)                  \
    FOLD(name##_sum, type, (wide)a + (wide)b)    \
    FOLD(name##_product, type, (wide)a *(wide)b) \
    FOLD(name##_min, type, b < a ? b : a)        \
    FOLD(name##_max, type, b > a ? b : a)

FOLDS(int8, int8_t, uint32_t)
FOLDS(int16, int16_t, uint32_t)
FOLDS(int32, int32_t, uint32_t)
FOLDS(int64, int64_t, uint64_t)
FOLDS(uint8, uint8_t, uint32_t)
FOLDS(uint16, uint16_t, uint32_t)
FOLDS(uint32, uint32_t, uint32_t)
FOLDS(uint64, uint64_t, uint64_t)
FOLDS(float32, float, float)
FOLDS(float64, double, double)

#define ROW(name)                                                                                                      \
    {                                                                                                                  \
        [RK_OP_SUM] = name##_sum, [RK_OP_PRODUCT] = name##_product, [RK_OP_MIN] = name##_min, [RK_OP_MAX] = name##_max \
    }

static const rk_fold_fn folds[][RK_OPS] = {
    [RANKCALL_INT8] = ROW(int8),       [RANKCALL_INT16] = ROW(int16),   [RANKCALL_INT32] = ROW(int32),
    [RANKCALL_INT64] = ROW(int64),     [RANKCALL_UINT8] = ROW(uint8),   [RANKCALL_UINT16] = ROW(uint16),
    [RANKCALL_UINT32] = ROW(uint32),   [RANKCALL_UINT64] = ROW(uint64), [RANKCALL_FLOAT32] = ROW(float32),
    [RANKCALL_FLOAT64] = ROW(float64),
};

rk_fold_fn rk_fold_find(int dtype, int op)
{
    if (dtype < 0 || (size_t)dtype >= sizeof folds / sizeof *folds || op < 0 || op >= RK_OPS)
        return NULL;
    return folds[dtype][op];
}
