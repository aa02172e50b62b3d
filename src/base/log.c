/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Lines on standard error, each with one write(2). */

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#define UNSET (-1)

static atomic_int level_now = UNSET;
static char prefix_now[64] = "rankcall";

void rk_log_set_level(enum rk_log_level level)
{
    atomic_store(&level_now, (int)level);
}

enum rk_log_level rk_log_get_level(void)
{
    int level = atomic_load(&level_now);

    if (level == UNSET) {
        const char *debug = getenv("RANKCALL_DEBUG");

        level = debug && *debug && strcmp(debug, "0") != 0 ? RK_LOG_DEBUG : RK_LOG_INFO;
        atomic_store(&level_now, level);
    }
    return (enum rk_log_level)level;
}

void rk_log_set_prefix(const char *prefix)
{
    snprintf(prefix_now, sizeof prefix_now, "%s", prefix);
}

static void write_all(const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t done = write(STDERR_FILENO, bytes, size);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return; /* nobody can be told */
        bytes += done;
        size -= (size_t)done;
    }
}

void rk_log(enum rk_log_level level, const char *format, ...)
{
    char line[8192];
    int kept = errno;
    size_t used;
    va_list list;

    if (level > rk_log_get_level())
        return;
    used = (size_t)snprintf(line, sizeof line, "%s: ", prefix_now);
    va_start(list, format);
    int more = vsnprintf(line + used, sizeof line - used - 1, format, list);
    va_end(list);
    if (more > 0)
        used = strlen(line);
    line[used++] = '\n';
    write_all(line, used);
    errno = kept;
}
