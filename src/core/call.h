/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A call on this rank: what a handler gets, and how it is run. */

#ifndef RK_CORE_CALL_H
#define RK_CORE_CALL_H

#include "core/context.h"

/* Runs one announced call: the handler, its events and its error. Ranks but 0 then report; rank 0 gets its tally and
 * *result (NULL: none was set). *args may be freed, and is NULL then. Collective, main threads. */
void rk_call_run(struct rankcall_context *context, const struct rk_announcement *announcement,
                 struct rankcall_payload **args, struct rk_tally *tally, struct rankcall_payload **result);

#endif
