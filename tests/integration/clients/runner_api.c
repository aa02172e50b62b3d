/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Every function of rankcall/runner.h, a case at a time: runner_api CASE JOB, or runner_api CASE WORKER-PROGRAM. */

#include "check.h"
#include "runner_cases.h"

static const struct runner_case *find(const char *name)
{
    const struct runner_case *tables[] = {runner_call_cases, runner_loop_cases, runner_job_cases};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        for (const struct runner_case *one = tables[i]; one->name; one++)
            if (strcmp(one->name, name) == 0)
                return one;
    return NULL;
}

int main(int argc, char **argv)
{
    const struct runner_case *found = argc == 3 ? find(argv[1]) : NULL;
    if (!found)
        return fprintf(stderr, "usage: runner_api CASE JOB|WORKER\n"), 2;
    found->run(argv[2]);
    return 0;
}
