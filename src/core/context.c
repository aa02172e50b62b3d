/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A rank's context: who it is, what it prints, how it fails setup. */

#include "core/context.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "core/frontend.h"
#include "mesh/collect.h"
#include "wire/frame.h"

int rankcall_rank(const struct rankcall_context *context)
{
    return rk_mesh_rank(context->mesh);
}

int rankcall_world_size(const struct rankcall_context *context)
{
    return rk_mesh_size(context->mesh);
}

static const struct rk_rank_info *own_info(const struct rankcall_context *context)
{
    return rk_mesh_info(context->mesh, rk_mesh_rank(context->mesh));
}

int rankcall_local_rank(const struct rankcall_context *context)
{
    return own_info(context)->local_rank;
}

const char *rankcall_host(const struct rankcall_context *context)
{
    return own_info(context)->host;
}

const char *rankcall_gpu(const struct rankcall_context *context)
{
    const char *device = own_info(context)->device;
    return strchr(device, ':') ? device + strlen("gpu ") : "";
}

const char *rankcall_gpu_uuid(const struct rankcall_context *context)
{
    return own_info(context)->uuid;
}

char **rankcall_argv(const struct rankcall_context *context, int *argc)
{
    if (argc)
        *argc = context->options->argc;
    return context->options->argv;
}

void rankcall_set_state(struct rankcall_context *context, void *state)
{
    context->state = state;
}

void *rankcall_state(const struct rankcall_context *context)
{
    return context->state;
}

/* One write for the whole line, so that lines of several ranks and threads don't mix. */
static void print_line(int fd, const char *prefix, int rank, const char *format, va_list arguments)
{
    char *text = NULL, *line = NULL;
    if (vasprintf(&text, format, arguments) < 0)
        return;
    int size = asprintf(&line, "%s[rank %d] %s\n", prefix, rank, text);
    for (int at = 0; at < size;) {
        ssize_t written = write(fd, line + at, (size_t)(size - at));
        if (written <= 0)
            break;
        at += (int)written;
    }
    if (size >= 0)
        free(line);
    free(text);
}

void rankcall_print(const struct rankcall_context *context, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fflush(stdout); /* what the worker printed before stays before */
    print_line(STDOUT_FILENO, "", rankcall_rank(context), format, arguments);
    va_end(arguments);
}

void rankcall_debug(const struct rankcall_context *context, const char *format, ...)
{
    if (rk_log_get_level() < RK_LOG_DEBUG)
        return;
    va_list arguments;
    va_start(arguments, format);
    print_line(STDERR_FILENO, "[debug] ", rankcall_rank(context), format, arguments);
    va_end(arguments);
}

int rankcall_fail_setup(struct rankcall_context *context, const char *format, ...)
{
    if (context->setup_failure)
        return -1;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&context->setup_failure, format, arguments) < 0)
        context->setup_failure = NULL;
    va_end(arguments);
    return -1;
}

int rankcall_fail_setup_with(struct rankcall_context *context, const char *message, const char *traceback)
{
    if (context->setup_failure)
        return -1;
    context->setup_failure = message ? strdup(message) : NULL;
    context->setup_traceback = traceback ? strdup(traceback) : NULL;
    return -1;
}

bool rankcall_is_replacement(const struct rankcall_context *context)
{
    return rk_mesh_is_replacement(context->mesh);
}

uint64_t rankcall_last_interrupted(const struct rankcall_context *context)
{
    return rk_mesh_last_interrupted(context->mesh);
}

struct rankcall_payload *rk_context_error(const struct rankcall_context *context, const char *message,
                                          const char *traceback)
{
    struct rankcall_error error = {.code = RANKCALL_EWORKER, .rank = rankcall_rank(context)};
    error.host = rankcall_host(context);
    error.message = message;
    error.traceback = traceback ? traceback : "";
    return rk_error_to_payload(&error);
}

bool rk_context_send(struct rankcall_context *context, enum rk_message_kind kind, uint64_t number, uint64_t sequence,
                     struct rankcall_payload *payload)
{
    if (!context->frontend)
        return rk_events_send(context->mesh, kind, number, sequence, payload);
    rk_frontend_message(context->frontend, kind, number, sequence, payload);
    return true;
}
