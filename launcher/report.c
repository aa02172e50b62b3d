/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A job's start and end, told. */

#include "launcher/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "launcher/describe.h"
#include "launcher/json_print.h"
#include "launcher/say.h"

/* Text being made; taken by one of the functions that send it. */
struct text {
    FILE *out;
    char *data;
    size_t size;
};

static bool begin(struct text *text)
{
    *text = (struct text){0};
    text->out = open_memstream(&text->data, &text->size);
    return text->out != NULL;
}

static void end(struct text *text, struct rk_sink *sink)
{
    fclose(text->out);
    rk_sink_add(sink, text->data, text->size);
    rk_sink_flush(sink);
    free(text->data);
}

static void end_to_supervisor(const struct rk_report *report, struct text *text)
{
    fclose(text->out);
    /* A blocking write of a line: its reader waits for it, or is gone. */
    for (size_t done = 0; done < text->size;) {
        ssize_t some = send(report->supervisor, text->data + done, text->size - done, MSG_NOSIGNAL);
        if (some <= 0)
            break;
        done += (size_t)some;
    }
    free(text->data);
}

static void tell_supervisor_ready(const struct rk_report *report)
{
    struct text text;
    if (report->supervisor < 0 || !begin(&text))
        return;
    fputs("{\"state\": \"ready\", \"socket\": ", text.out);
    rk_json_print_string(text.out, report->plan->socket);
    fprintf(text.out, ", \"name\": \"%s\"}\n", report->plan->name);
    end_to_supervisor(report, &text);
}

static void print_table(const struct rk_report *report, const struct rankcall_payload *status, double seconds)
{
    struct text text;
    long long ranks = (long long)rk_describe_int(status, "world_size");
    if (!begin(&text))
        return;
    fprintf(text.out, "READY %s: %lld rank%s of %s in %.1f s, at %s\n", rk_describe_text(status, "job"), ranks,
            ranks == 1 ? "" : "s", rk_describe_text(status, "worker"), seconds, report->plan->socket);
    rk_describe_ranks(status, false, text.out, "  ");
    end(&text, &report->relay->err);
}

static void print_status(const struct rk_report *report, const struct rankcall_payload *status)
{
    struct text text;
    size_t size;
    const char *json = rankcall_payload_json(status, &size);
    if (!begin(&text))
        return;
    rk_json_print_line(text.out, json, size);
    putc('\n', text.out);
    end(&text, &report->relay->out);
}

void rk_report_ready(const struct rk_report *report, const struct rankcall_payload *status, double seconds)
{
    tell_supervisor_ready(report);
    if (!report->values->supervisor_fd)
        print_table(report, status, seconds);
    if (report->values->json)
        print_status(report, status);
}

static void print_failure(struct text *text, const struct rankcall_error *error, const char *last, bool was_ready)
{
    struct rankcall_error full = *error;
    if (!full.traceback[0])
        full.traceback = last;
    fprintf(text->out, "{\"state\": \"%s\", ", was_ready ? "ended" : "failed");
    rk_json_print_error(text->out, &full);
    fputs("}\n", text->out);
}

void rk_report_failure(const struct rk_report *report, const struct rankcall_error *error, const char *last,
                       bool was_ready)
{
    struct text text;
    if (report->supervisor >= 0 && begin(&text)) {
        print_failure(&text, error, last, was_ready);
        end_to_supervisor(report, &text);
    } else if (!report->values->supervisor_fd) {
        /* On a terminal the lines stand right above. */
        if (last[0] && !(isatty(STDOUT_FILENO) && isatty(STDERR_FILENO)))
            rk_say("the last lines of its output were:\n%.*s", (int)strlen(last) - 1, last);
        rk_error_copy(error);
        rk_say_error();
    }
    if (report->values->json && begin(&text)) {
        print_failure(&text, error, last, was_ready);
        end(&text, &report->relay->out);
    }
}

void rk_report_end(const struct rk_report *report)
{
    struct text text;
    if (report->supervisor >= 0 && begin(&text)) {
        fputs("{\"state\": \"ended\"}\n", text.out);
        end_to_supervisor(report, &text);
    } else if (!report->values->supervisor_fd) {
        rk_say("%s has stopped", report->plan->name[0] ? report->plan->name : report->plan->socket);
    }
}
