/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* rankcall doctor: one line for each thing that jobs need, with what to do. */

#include "launcher/doctor.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include "launcher/commands.h"
#include "launcher/json_print.h"
#include "launcher/say.h"

struct values {
    const char *meet;
    bool json;
};

static const char *const words[] = {"ok", "-", "warning", "FAILS"};
static const char *const names[] = {"ok", "absent", "warning", "fails"};

void rk_find(struct rk_finding *finding, enum rk_health health, const char *fix, const char *format, ...)
{
    va_list arguments;
    finding->health = health;
    va_start(arguments, format);
    vsnprintf(finding->text, sizeof(finding->text), format, arguments);
    va_end(arguments);
    snprintf(finding->fix, sizeof(finding->fix), "%s", fix ? fix : "");
}

static void print_json(bool first, const char *name, const struct rk_finding *finding)
{
    printf("%s{\"check\": \"%s\", \"state\": \"%s\", \"found\": ", first ? "[" : ", ", name, names[finding->health]);
    rk_json_print_string(stdout, finding->text);
    fputs(", \"fix\": ", stdout);
    rk_json_print_string(stdout, finding->fix);
    putchar('}');
}

static int examine(const struct values *values)
{
    bool ill = false;
    for (const struct rk_check *check = rk_checks; check->name; check++) {
        struct rk_finding finding = {0};
        check->look(&finding);
        ill = ill || finding.health == RK_ILL;
        if (values->json)
            print_json(check == rk_checks, check->name, &finding);
        else
            printf("%-8s %-14s %s%s%s\n", words[finding.health], check->name, finding.text, finding.fix[0] ? ": " : "",
                   finding.fix);
    }
    if (values->json)
        puts("]");
    return ill;
}

static int run(int argc, char **argv)
{
    struct values values = {0};
    int status, at = rk_options_parse(&rk_command_doctor, argc, argv, &values, &status);
    if (at < 0)
        return status;
    return rk_finish_stdout(values.meet ? rk_doctor_meet(values.meet) : examine(&values));
}

static const struct rk_option options[] = {
    {"json", 0, NULL, RK_OPTION_FLAG, offsetof(struct values, json),
     "one JSON line: an array of check, state (ok, absent, warning,\nfails), found, fix"},
    {"meet", 0, "HOST:PORT", RK_OPTION_TEXT, offsetof(struct values, meet), NULL},
    {0},
};

const struct rk_command rk_command_doctor = {
    .name = "doctor",
    .usage = "[OPTION…]",
    .help = "Checks what jobs need of this host, and in a Slurm job of the ways between its nodes.\n\n"
            "One line each, with what to do about it. Ends with 1 when something will make jobs fail.",
    .options = options,
    .run = run,
};
