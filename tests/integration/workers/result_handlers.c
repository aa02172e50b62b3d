/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Handlers about results, and about what the API tells a rank. */

#include <string.h>
#include <unistd.h>

#include <rankcall/mpi.h>

#include "handlers.h"

int handle_empty(struct rankcall_call *call)
{
    (void)call;
    return 0;
}

int handle_result_elsewhere(struct rankcall_call *call)
{
    if (rankcall_call_rank(call) == 0)
        return 0;
    return rankcall_result_json(call, "{\"from\": %d}", rankcall_call_rank(call));
}

int handle_result_twice(struct rankcall_call *call)
{
    if (rankcall_result_json(call, "{\"which\": \"first\"}"))
        return -1;
    return rankcall_result_json(call, "{\"which\": \"second\"}");
}

/* Tries NULL, bad JSON and a result above the payload cap; tells the codes. */
int handle_result_refused(struct rankcall_call *call)
{
    static char big[1 << 20];
    int64_t copies = 0;
    if (rankcall_opt_int(rankcall_args(call), "mebibytes", &copies))
        return -1;
    int null = rankcall_result(call, NULL);
    int bad = rankcall_result_json(call, "{\"a\": nan}");
    struct rankcall_payload *result = rankcall_payload_new();
    for (int64_t i = 0; i < copies; i++) {
        char name[2] = {(char)('a' + i), 0};
        struct rankcall_attachment attachment = {.name = name, .data = big, .size = sizeof big};
        if (rankcall_attach(result, &attachment, NULL, NULL)) {
            rankcall_payload_free(result);
            return -1;
        }
    }
    int large = rankcall_result(call, result);
    return rankcall_result_json(call, "{\"null\": \"%s\", \"bad\": \"%s\", \"large\": \"%s\"}",
                                rankcall_code_name(null), rankcall_code_name(bad), rankcall_code_name(large));
}

enum { INFO_RANK, INFO_WORLD, INFO_LOCAL, INFO_PID, INFO_STREAMS, INFO_NUMBER, INFO_ARGC, INFO_SAME_COMM, INFO_COUNT };

static void describe(const struct rankcall_call *call, double info[INFO_COUNT])
{
    const struct rankcall_context *context = rankcall_call_context(call);
    int argc, compared = MPI_UNEQUAL;
    rankcall_argv(context, &argc);
    MPI_Comm_compare(rankcall_comm(context), MPI_COMM_WORLD, &compared);
    info[INFO_RANK] = rankcall_rank(context);
    info[INFO_WORLD] = rankcall_world_size(context);
    info[INFO_LOCAL] = rankcall_local_rank(context);
    info[INFO_PID] = getpid();
    info[INFO_STREAMS] = rankcall_streaming(call);
    info[INFO_NUMBER] = (double)rankcall_call_number(call);
    info[INFO_ARGC] = argc;
    info[INFO_SAME_COMM] = compared == MPI_CONGRUENT && rankcall_comm(context) == rankcall_call_comm(call);
}

int handle_info(struct rankcall_call *call)
{
    double info[INFO_COUNT], all[64 * INFO_COUNT];
    describe(call, info);
    MPI_Gather(info, INFO_COUNT, MPI_DOUBLE, all, INFO_COUNT, MPI_DOUBLE, 0, rankcall_call_comm(call));
    if (rankcall_call_rank(call) != 0)
        return 0;
    struct test_state *state = rankcall_call_state(call);
    const struct rankcall_context *context = rankcall_call_context(call);
    int argc;
    char **argv = rankcall_argv(context, &argc);
    struct rankcall_payload *result = rankcall_payload_new();
    rankcall_set_doubles(result, "ranks", all, (size_t)rankcall_call_world_size(call) * INFO_COUNT);
    rankcall_set_string(result, "host", rankcall_host(context));
    rankcall_set_string(result, "gpu", rankcall_gpu(context));
    rankcall_set_string(result, "gpu_uuid", rankcall_gpu_uuid(context));
    rankcall_set_string(result, "handler", rankcall_call_handler(call));
    rankcall_set_json(result, "setup", state->setup_json);
    rankcall_set_string(result, "last_argument", argc > 0 ? argv[argc - 1] : "");
    rankcall_set_bool(result, "argv_ends_with_null", argv[argc] == NULL);
    return rankcall_result(call, result);
}

/* {"value"}: each rank adds value * (rank + 1). */
int handle_sum(struct rankcall_call *call)
{
    double value, sum;
    if (rankcall_get_double(rankcall_args(call), "value", &value))
        return -1;
    value *= rankcall_call_rank(call) + 1;
    MPI_Allreduce(&value, &sum, 1, MPI_DOUBLE, MPI_SUM, rankcall_call_comm(call));
    return rankcall_result_json(call, "{\"sum\": %.17g}", sum);
}

/* {"text", "lines"}: on standard output and, as a debug line, on standard error, from every rank; more lines than one
 * with their numbers. */
int handle_print(struct rankcall_call *call)
{
    const char *text;
    int64_t lines = 1;
    if (rankcall_get_string(rankcall_args(call), "text", &text) ||
        rankcall_opt_int(rankcall_args(call), "lines", &lines))
        return -1;
    const struct rankcall_context *context = rankcall_call_context(call);
    rankcall_debug(context, "%s", text);
    if (lines == 1)
        rankcall_print(context, "%s", text);
    for (int64_t line = 0; lines > 1 && line < lines; line++)
        rankcall_print(context, "%s %lld", text, (long long)line);
    return 0;
}
