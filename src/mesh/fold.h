/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Reductions of two arrays, element by element. */

#ifndef RK_MESH_FOLD_H
#define RK_MESH_FOLD_H

#include <stddef.h>

/* The numbers are those of enum rankcall_op. */
enum rk_op { RK_OP_SUM, RK_OP_PRODUCT, RK_OP_MIN, RK_OP_MAX, RK_OPS };

/* to[i] = left[i] op right[i] for `count` elements. `to` may be `left` or `right`. */
typedef void (*rk_fold_fn)(void *to, const void *left, const void *right, size_t count);

/* The function for elements of `dtype` (enum rankcall_dtype), NULL: there is none. */
rk_fold_fn rk_fold_find(int dtype, int op);

#endif
