/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Lines for people on standard error: "rankcall: text". One write(2) a line: those of several processes don't mix. */

#ifndef RK_BASE_LOG_H
#define RK_BASE_LOG_H

#include "base/error.h"

enum rk_log_level { RK_LOG_ERROR, RK_LOG_WARNING, RK_LOG_INFO, RK_LOG_DEBUG };

/* Lines above this level are dropped; RK_LOG_INFO at first, RK_LOG_DEBUG when RANKCALL_DEBUG is set and not "0". */
void rk_log_set_level(enum rk_log_level level);
enum rk_log_level rk_log_get_level(void);

/* Text put before every line, "rankcall" at first; copied, cut at 63 bytes. */
void rk_log_set_prefix(const char *prefix);

void rk_log(enum rk_log_level level, const char *format, ...) RK_PRINTF(2, 3);

#endif
