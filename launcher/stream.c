/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* rankcall stream: one call, its events as they come, then its result. */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "launcher/call.h"
#include "launcher/commands.h"
#include "launcher/describe.h"
#include "launcher/json_print.h"
#include "launcher/progress.h"
#include "launcher/say.h"

struct stream {
    struct rk_call_values values;
    struct rk_saver saver;
    struct rk_progress progress;
    bool lines; /* one JSON line an event */
};

static int on_event(void *context, const struct rankcall_item *item)
{
    struct stream *stream = context;
    char suffix[48];
    size_t size;
    const char *json = rankcall_payload_json(item->payload, &size);
    if (stream->lines) {
        printf("{\"event\": {\"rank\": %d, \"sequence\": %llu, \"payload\": ", item->rank,
               (unsigned long long)item->sequence);
        rk_json_print_line(stdout, json, size);
        puts("}}");
    }
    if (stream->progress.active)
        rk_progress_event(&stream->progress, item->rank, item->payload);
    snprintf(suffix, sizeof(suffix), "-r%d-%llu", item->rank, (unsigned long long)item->sequence);
    return rk_save(&stream->saver, item->payload, suffix);
}

static int on_result(void *context, const struct rankcall_payload *result, const struct rankcall_timing *timing)
{
    struct stream *stream = context;
    size_t size;
    const char *json = rankcall_payload_json(result, &size);
    rk_progress_end(&stream->progress);
    fputs(stream->lines ? "{\"result\": " : "", stdout);
    rk_json_print_line(stdout, json, size);
    if (stream->lines && timing) {
        fputs(", \"timing\": ", stdout);
        rk_json_print_timing(stdout, timing);
    }
    puts(stream->lines ? "}" : "");
    if (!stream->lines && timing)
        rk_describe_timing(timing);
    return rk_save(&stream->saver, result, "");
}

static void on_failure(void *context)
{
    struct stream *stream = context;
    rk_progress_end(&stream->progress);
    if (!stream->lines)
        return;
    fputs("{\"error\": {", stdout);
    rk_json_print_error(stdout, rankcall_last_error());
    puts("}}");
}

static void on_idle(void *context)
{
    struct stream *stream = context;
    rk_progress_draw(&stream->progress);
    fflush(stdout);
}

static int call(struct stream *stream, const char *json)
{
    const struct rk_call_view view = {.context = stream,
                                      .streaming = true,
                                      .event = on_event,
                                      .result = on_result,
                                      .failed = on_failure,
                                      .idle = on_idle};
    bool terminal = isatty(STDOUT_FILENO);
    stream->lines = stream->values.json || !terminal;
    if (rk_saver_open(&stream->saver, stream->values.folder))
        return rk_say_error();
    /* Lines that reach the same terminal would run into the bar. */
    if (isatty(STDERR_FILENO) && !(stream->lines && terminal))
        rk_progress_begin(&stream->progress);
    int status = rk_call(&stream->values, json, &view);
    rk_progress_end(&stream->progress);
    return rk_finish_stdout(status);
}

static int run(int argc, char **argv)
{
    struct stream stream = {.saver.fd = -1};
    int status, at = rk_options_parse(&rk_command_stream, argc, argv, &stream.values, &status);
    if (at >= 0)
        status = call(&stream, argv[at]);
    rk_saver_close(&stream.saver);
    free(stream.values.attachments.items);
    return status;
}

static const struct rk_option options[] = {
    RK_CALL_OPTIONS,
    {"json", 0, NULL, RK_OPTION_FLAG, offsetof(struct rk_call_values, json),
     "one JSON line an event also on a terminal"},
    {0},
};

const struct rk_command rk_command_stream = {
    .name = "stream",
    .usage = "[OPTION…] [JSON | @FILE | -]",
    .help = "Calls a job and shows its events as they come.\n\n"
            "On a terminal: a progress bar from the events' \"progress\" (0 to 1) with the latest\n"
            "event's other fields, and the result as one line. When standard output is not a\n"
            "terminal: one JSON line an event, {\"event\": {\"rank\", \"sequence\", \"payload\"}}, and at\n"
            "last {\"result\": …} (with --timing also \"timing\") or {\"error\": …}. Arguments as for\n"
            "`rankcall invoke`.",
    .options = options,
    .epilogue = "Attachments of events are written as NAME-rRANK-SEQUENCE.png (.jpg, .npy, .bin).",
    .max_arguments = 1,
    .run = run,
};
