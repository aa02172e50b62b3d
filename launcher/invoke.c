/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* rankcall invoke: one call, its result on standard output. */

#include <stdio.h>
#include <stdlib.h>

#include "launcher/call.h"
#include "launcher/commands.h"
#include "launcher/describe.h"
#include "launcher/json_print.h"
#include "launcher/say.h"

struct invoke {
    struct rk_call_values values;
    struct rk_saver saver;
};

static void tell_timing(const struct invoke *invoke, const struct rankcall_timing *timing)
{
    if (!invoke->values.json) {
        rk_describe_timing(timing);
        return;
    }
    fputs("{\"timing\": ", stderr);
    rk_json_print_timing(stderr, timing);
    fputs("}\n", stderr);
}

static int on_result(void *context, const struct rankcall_payload *result, const struct rankcall_timing *timing)
{
    struct invoke *invoke = context;
    size_t size;
    const char *json = rankcall_payload_json(result, &size);
    rk_json_print_line(stdout, json, size);
    putchar('\n');
    if (timing)
        tell_timing(invoke, timing);
    return rk_save(&invoke->saver, result, "");
}

static void on_failure(void *context)
{
    struct invoke *invoke = context;
    if (!invoke->values.json)
        return;
    fputs("{\"error\": {", stdout);
    rk_json_print_error(stdout, rankcall_last_error());
    puts("}}");
}

static int run(int argc, char **argv)
{
    struct invoke invoke = {.saver.fd = -1};
    const struct rk_call_view view = {.context = &invoke, .result = on_result, .failed = on_failure};
    int status, at = rk_options_parse(&rk_command_invoke, argc, argv, &invoke.values, &status);
    if (at >= 0 && rk_saver_open(&invoke.saver, invoke.values.folder))
        status = rk_say_error();
    else if (at >= 0)
        status = rk_finish_stdout(rk_call(&invoke.values, argv[at], &view));
    rk_saver_close(&invoke.saver);
    free(invoke.values.attachments.items);
    return status;
}

static const struct rk_option options[] = {
    RK_CALL_OPTIONS,
    {"json", 0, NULL, RK_OPTION_FLAG, offsetof(struct rk_call_values, json),
     "a failure too is one JSON line on standard output:\n{\"error\": {\"error\": NAME, \"message\": …, \"rank\": …, "
     "…}};\nthe timing is one on standard error: {\"timing\": {…}}"},
    {0},
};

const struct rk_command rk_command_invoke = {
    .name = "invoke",
    .usage = "[OPTION…] [JSON | @FILE | -]",
    .help = "Calls a job once and prints the result, a JSON object, as one line.\n\n"
            "The arguments are a JSON object: the text itself, @FILE, or - for standard input;\n"
            "without one they are {}.",
    .options = options,
    .epilogue = "Example: rankcall invoke -j demo -a image=photo.png '{\"steps\": 60}' -o out/",
    .max_arguments = 1,
    .run = run,
};
