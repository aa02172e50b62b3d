/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* rankcall topo: where the ranks of a job would be placed on a machine, and where those of a running job are. */

#include "launcher/topo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rankcall/runner.h>

#include "launcher/commands.h"
#include "launcher/say.h"

struct values {
    int ranks;
    const char *input, *allowed, *gpus, *bind, *job;
    bool json;
};

/* ---- A plan ---- */

/* What ranks that are started from here are given; of a saved machine, all that it says is allowed. */
static int find_allowed(const struct values *values, struct rk_topo *topo)
{
    struct rk_cpus mine;
    topo->allowed = topo->machine->allowed;
    if (!values->input && rk_cpus_of_thread(0, &mine))
        topo->allowed = rk_cpus_and(&topo->allowed, &mine);
    if (values->allowed) {
        if (!rk_cpus_parse(values->allowed, &mine))
            return rk_error(RANKCALL_EINVAL, "--allowed is \"%s\", but takes CPUs like 0-3,8", values->allowed);
        topo->allowed = rk_cpus_and(&topo->allowed, &mine);
    }
    if (rk_cpus_empty(&topo->allowed))
        return rk_error(RANKCALL_EINVAL, "no CPU of %s is left: all that were named are missing there or not allowed",
                        topo->source);
    return RANKCALL_OK;
}

static int find_gpus(const struct values *values, struct rk_topo *topo)
{
    struct rk_gpu_choice choice = rk_gpu_choice_here(values->gpus);
    return rk_gpus_choose(topo->machine->gpus, topo->machine->gpu_count, &choice, topo->gpus, &topo->gpu_count);
}

static int place(const struct values *values, struct rk_topo *topo)
{
    struct rk_wishes wishes = {.bind = RK_BIND_AUTO, .io_rank = 0};
    int all[RK_GPUS_MAX], code = values->bind ? rk_bind_read(values->bind, &wishes.bind) : RANKCALL_OK;
    if (code)
        return code;
    struct rk_request *requests = calloc((size_t)topo->count, sizeof *requests);
    topo->places = calloc((size_t)topo->count, sizeof *topo->places);
    topo->ranks = calloc((size_t)topo->count, sizeof *topo->ranks);
    for (int i = 0; i < topo->gpu_count; i++)
        all[i] = i;
    for (int i = 0; requests && topo->ranks && i < topo->count; i++) {
        requests[i] = (struct rk_request){topo->allowed, all, topo->gpu_count};
        topo->ranks[i].number = i;
    }
    if (requests && topo->places && topo->ranks)
        code =
            rk_placement_make(topo->machine, topo->gpus, topo->gpu_count, requests, topo->count, &wishes, topo->places);
    else
        code = rk_error(RANKCALL_EINTERNAL, "no memory for %d ranks", topo->count);
    for (int i = 0; !code && i < topo->count; i++)
        strcpy(topo->ranks[i].bound, rk_binding_name(topo->places[i].binding));
    free(requests);
    return code;
}

/* As many as there are GPUs, or localities. */
static int ranks_by_default(const struct rk_topo *topo)
{
    return topo->gpu_count ? topo->gpu_count : topo->machine->locality_count;
}

static int plan(const struct values *values, struct rk_topo *topo)
{
    int code;
    topo->source = values->input ? values->input : "this machine";
    if ((code = rk_machine_open(values->input, RK_CORES_AND_GPUS, &topo->machine)) ||
        (code = find_allowed(values, topo)) || (code = find_gpus(values, topo)))
        return code;
    topo->count = values->ranks ? values->ranks : ranks_by_default(topo);
    return place(values, topo);
}

/* ---- A running job ---- */

static int ask_job(const struct values *values, struct rankcall_payload **status)
{
    struct rankcall_runner *runner;
    int code = rankcall_connect(values->job, &runner);
    if (!code)
        code = rankcall_status(runner, status);
    rankcall_runner_free(runner);
    return code;
}

static int look(const struct values *values, struct rk_topo *topo, struct rankcall_payload **status)
{
    int code = ask_job(values, status);
    topo->source = "this machine";
    topo->job = values->job;
    topo->status = *status;
    if (code || (code = rk_machine_open(NULL, RK_CORES_AND_GPUS, &topo->machine)))
        return code;
    topo->allowed = topo->machine->allowed;
    topo->gpu_count = topo->machine->gpu_count;
    memcpy(topo->gpus, topo->machine->gpus, (size_t)topo->gpu_count * sizeof *topo->gpus);
    return rk_topo_of_job(topo, *status);
}

/* ---- Both ---- */

static void remark_other(struct rk_topo *topo, const struct rk_topo_rank *row)
{
    struct rk_remark *remark = &topo->remarks[topo->remark_count++];
    remark->kind = "other_gpu";
    remark->rank = row->number;
    snprintf(remark->text, sizeof remark->text, "rank %d computes on GPU %s, as the driver tells, and was placed on %s",
             row->number, row->other, strncmp(row->device, "gpu ", 4) ? "none" : row->device + 4);
}

static void remark(struct rk_topo *topo)
{
    int *numbers = calloc((size_t)topo->count + 1, sizeof *numbers);
    for (int i = 0; numbers && i < topo->count; i++)
        numbers[i] = topo->ranks[i].number;
    topo->remark_count =
        rk_placement_remarks(topo->gpus, topo->places, topo->count, numbers, topo->remarks, RK_REMARKS_MAX);
    if (topo->remark_count > RK_REMARKS_MAX)
        topo->remark_count = RK_REMARKS_MAX;
    for (int i = 0; i < topo->count && topo->remark_count < RK_REMARKS_MAX; i++)
        if (*topo->ranks[i].other)
            remark_other(topo, &topo->ranks[i]);
    free(numbers);
}

static int show(const struct values *values)
{
    struct rk_topo topo = {0};
    struct rankcall_payload *status = NULL;
    bool planned = values->ranks || values->input || values->allowed || values->gpus || values->bind;
    int code = RANKCALL_OK;
    if (values->job && planned)
        code = rk_error(RANKCALL_EINVAL, "topo: a running job is where it is: --ranks, --input, --allowed, --gpus and "
                                         "--bind are for what would be");
    else
        code = values->job ? look(values, &topo, &status) : plan(values, &topo);
    if (!code) {
        remark(&topo);
        if (values->json)
            rk_topo_print_json(&topo);
        else
            rk_topo_print(&topo);
    }
    int result = code ? rk_say_error() : 0;
    rk_machine_free(topo.machine);
    rankcall_payload_free(status);
    free(topo.places);
    free(topo.ranks);
    return rk_finish_stdout(result);
}

static int run(int argc, char **argv)
{
    struct values values = {0};
    int status, at = rk_options_parse(&rk_command_topo, argc, argv, &values, &status);
    if (at >= 0 && argv[at] && !values.job)
        values.job = argv[at];
    return at < 0 ? status : show(&values);
}

static const struct rk_option options[] = {
    {"ranks", 'n', "N", RK_OPTION_COUNT, offsetof(struct values, ranks),
     "how many ranks on the machine (default: one a GPU, or one a\nNUMA node where there is none)"},
    {"input", 'i', "FILE", RK_OPTION_TEXT, offsetof(struct values, input),
     "another machine, as `lstopo FILE.xml` has saved it there"},
    {"allowed", 0, "LIST", RK_OPTION_TEXT, offsetof(struct values, allowed),
     "the CPUs that ranks may use, like 0-15,32-47 (default: those that\nthis process may use; of a file: those that "
     "it allows)"},
    {"gpus", 0, "LIST", RK_OPTION_TEXT, offsetof(struct values, gpus),
     "the GPUs that ranks may use: numbers, UUIDs or PCI addresses; none;\nall (default: what CUDA_VISIBLE_DEVICES "
     "shows)"},
    {"bind", 0, "POLICY", RK_OPTION_TEXT, offsetof(struct values, bind), "auto (default), numa or none, as for `run`"},
    {"job", 'j', "JOB", RK_OPTION_TEXT, offsetof(struct values, job), "a running job: its name, or its socket's path"},
    {"json", 0, NULL, RK_OPTION_FLAG, offsetof(struct values, json), "one JSON line"},
    {0},
};

const struct rk_command rk_command_topo = {
    .name = "topo",
    .usage = "[OPTION…] [JOB]",
    .help = "Shows where ranks would be placed on a machine, or where those of a running job are.\n\n"
            "Of a job the kernel is asked. Warnings tell of a rank that is far from its GPU, of ranks\n"
            "that share one, and of cores that were given next to the wrong GPU.",
    .options = options,
    .epilogue = "Example: rankcall topo --ranks 8 --input node17.xml",
    .max_arguments = 1,
    .run = run,
};
