/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Calls the handler "empty", one call after the other:  calls SOCKET BYTES CALLS */

#include <rankcall/runner.h>

#include <stdio.h>
#include <stdlib.h>

static int call_once(struct rankcall_runner *runner, const char *text)
{
    struct rankcall_payload *args = NULL, *result;
    if (*text && rankcall_payload_from_json(text, SIZE_MAX, &args))
        return -1;
    if (rankcall_invoke(runner, "empty", args, &result))
        return -1;
    rankcall_payload_free(result);
    return 0;
}

int main(int argc, char **argv)
{
    struct rankcall_runner *runner;
    char text[512] = "";
    if (argc != 4)
        return 2;
    if (atoi(argv[2])) /* with what is around it the payload has so many bytes */
        snprintf(text, sizeof text, "{\"pad\": \"%0*d\"}", atoi(argv[2]) - 20, 0);
    if (rankcall_connect(argv[1], &runner))
        return fprintf(stderr, "%s\n", rankcall_last_error()->message), 1;
    for (int i = atoi(argv[3]); i > 0; i--)
        if (call_once(runner, text))
            return fprintf(stderr, "%s\n", rankcall_last_error()->message), 1;
    rankcall_runner_free(runner);
    return 0;
}
