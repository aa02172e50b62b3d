/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Lines for people on standard error. */

#include "launcher/say.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void to_stderr(void *context, const char *line, unsigned long size)
{
    (void)context;
    fwrite(line, 1, size, stderr); /* unbuffered: one write */
}

static void (*through)(void *context, const char *line, unsigned long size) = to_stderr;
static void *through_context;

void rk_say_through(void (*write)(void *context, const char *line, unsigned long size), void *context)
{
    through = write ? write : to_stderr;
    through_context = context;
}

/* Texts come from workers and files too: none may reach a terminal's controls. */
static void cleanse(char *text)
{
    for (unsigned char *at = (unsigned char *)text; *at; at++)
        if ((*at < ' ' && *at != '\n' && *at != '\t') || *at == 0x7f)
            *at = '?';
}

void rk_say(const char *format, ...)
{
    va_list arguments;
    char *text = NULL, *line = NULL;
    va_start(arguments, format);
    int size = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (size >= 0)
        cleanse(text);
    if (size >= 0 && (size = asprintf(&line, "rankcall: %s\n", text)) >= 0)
        through(through_context, line, (unsigned long)size);
    free(line);
    free(text);
}

int rk_say_error(void)
{
    const struct rankcall_error *error = rankcall_last_error();
    int status = rankcall_code_exit_status(error->code);
    const char *name = rankcall_code_name(error->code);
    if (error->rank >= 0)
        rk_say("%s on rank %d%s%s%s: %s", name, error->rank, error->host[0] ? " (" : "", error->host,
               error->host[0] ? ")" : "", error->message);
    else
        rk_say("%s: %s", name, error->message[0] ? error->message : rankcall_code_text(error->code));
    if (error->traceback[0])
        rk_say("%s", error->traceback);
    return status;
}

int rk_finish_stdout(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    rk_say("cannot write to standard output: %s", strerror(errno));
    return status ? status : rankcall_code_exit_status(RANKCALL_ESYSTEM);
}
