/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Whole files as memory. */

#ifndef RK_LAUNCHER_FILE_H
#define RK_LAUNCHER_FILE_H

#include <stdbool.h>
#include <stddef.h>

struct rk_file {
    void *data; /* NULL when size is 0 */
    size_t size;
    bool mapped;
};

/* Maps a regular file, reads anything else to its end; "-" is standard input, which can be read once.
 * Errors: RANKCALL_ESYSTEM naming the file; RANKCALL_EINVAL: standard input was read before. */
int rk_file_open(const char *path, struct rk_file *file);
void rk_file_close(struct rk_file *file);

#endif
