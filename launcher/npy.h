/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* NumPy's .npy files (numpy.lib.format, versions 1 to 3): a header, then the array's bytes. */

#ifndef RK_LAUNCHER_NPY_H
#define RK_LAUNCHER_NPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <rankcall/payload.h>

/* Whether the bytes begin as a .npy file does. */
bool rk_npy_is(const void *bytes, size_t size);

/* Reads the header: type, dtype, shape, data and size of *array are set; data points into `bytes`.
 * Errors: RANKCALL_EPAYLOAD: what is wrong, or what of it does not travel (big endian, Fortran order, other dtypes). */
int rk_npy_read(const void *bytes, size_t size, struct rankcall_attachment *array);

/* Writes the header of an array; its data follows. Returns: false for a dtype that NumPy does not have (bfloat16). */
bool rk_npy_write_header(FILE *out, const struct rankcall_attachment *array);

#endif
