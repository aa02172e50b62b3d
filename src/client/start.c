/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Jobs that a runner starts and ends itself, through the `rankcall` command. */

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fd.h"
#include "client/internal.h"

#define DEFAULT_START 1800.0   /* seconds */
#define EXTRA_US      15000000 /* what the launcher may take beyond its own timeout to clean up and say so */

static int code_of_name(const char *name)
{
    static const struct {
        const char *name;
        int code;
    } table[] = {
#define ENTRY(constant, number, name, status, text) {name, number},
        RANKCALL_ERROR_TABLE(ENTRY)
#undef ENTRY
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (strcmp(table[i].name, name) == 0)
            return table[i].code;
    return RANKCALL_ELAUNCH;
}

int rk_child_failure(const struct rankcall_payload *line)
{
    const char *name = "", *message = "", *host = "", *traceback = "";
    int64_t rank = -1;
    if (rankcall_opt_string(line, "error", &name) || rankcall_opt_string(line, "message", &message) ||
        rankcall_opt_string(line, "host", &host) || rankcall_opt_string(line, "traceback", &traceback) ||
        rankcall_opt_int(line, "rank", &rank))
        return rk_error(RANKCALL_ELAUNCH, "the launcher's account of a failure makes no sense: %s",
                        rankcall_payload_json(line, NULL));
    if (!name[0])
        return RANKCALL_OK;
    const struct rankcall_error error = {
        .code = code_of_name(name), .rank = (int)rank, .host = host, .message = message, .traceback = traceback};
    return rk_error_copy(&error);
}

/* The launcher's first line: the socket's path, or why there is none. */
static int read_verdict(struct rk_child *child, int64_t deadline_us, char path[RK_PATH_MAX])
{
    struct rankcall_payload *line;
    const char *socket;
    int code = rk_child_read(child, deadline_us, &line);
    if (code)
        return code;
    code = rk_child_failure(line);
    if (!code)
        code = rankcall_get_string(line, "socket", &socket);
    if (!code)
        code = rk_path_socket(socket, path);
    rankcall_payload_free(line);
    return code;
}

/* Keeps the thread's last error across the clean-up, which has failures of its own. */
static int give_up(struct rk_child *child, int64_t grace_us)
{
    struct rankcall_error *error = rk_error_clone(rankcall_last_error());
    rk_child_end(child, grace_us);
    rk_child_free(child);
    int code = error ? rk_error_copy(error) : rk_error(RANKCALL_EINTERNAL, "out of memory");
    rk_error_free(error);
    return code;
}

int rankcall_start(const struct rankcall_start_options *options, struct rankcall_runner **out)
{
    struct rk_child *child;
    struct rankcall_runner *runner;
    char path[RK_PATH_MAX];
    *out = NULL;
    int64_t deadline = rk_deadline(options->timeout > 0 ? options->timeout : DEFAULT_START) + EXTRA_US;
    int code = rk_child_start(options, &child);
    if (code)
        return code;
    code = read_verdict(child, deadline, path);
    if (code)
        return give_up(child, code == RANKCALL_ETIMEOUT ? 0 : EXTRA_US);
    code = rankcall_connect(path, &runner);
    if (code)
        return give_up(child, 0);
    runner->child = child;
    *out = runner;
    return RANKCALL_OK;
}

int rankcall_terminate(struct rankcall_runner *runner, double grace)
{
    if (!runner->child)
        return rankcall_stop(runner, 0);
    if (rk_child_wait(runner->child, 0))
        return RANKCALL_OK;
    if (runner->code || rk_runner_stop_begin(runner, 0) || rk_conn_queued(runner->conn))
        rk_child_say(runner->child, "stop");
    int64_t grace_us = grace > 0 && grace < 1e9 ? (int64_t)(grace * 1e6) : 0;
    rk_child_end(runner->child, grace_us);
    return RANKCALL_OK;
}
