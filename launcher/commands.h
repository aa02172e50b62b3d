/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The subcommands, each defined in the file of its name. */

#ifndef RK_LAUNCHER_COMMANDS_H
#define RK_LAUNCHER_COMMANDS_H

#include "launcher/options.h"

extern const struct rk_command rk_command_run;
extern const struct rk_command rk_command_invoke;
extern const struct rk_command rk_command_stream;
extern const struct rk_command rk_command_ps;
extern const struct rk_command rk_command_status;
extern const struct rk_command rk_command_topo;
extern const struct rk_command rk_command_cancel;
extern const struct rk_command rk_command_stop;
extern const struct rk_command rk_command_doctor;
extern const struct rk_command rk_command_forward;

#endif
