/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A machine and its ranks as one line of JSON. */

#include <stdio.h>

#include "launcher/json_print.h"
#include "launcher/topo.h"

#define LIST_SIZE 16384 /* the longest list of CPUs there can be */

static void member(const char *key, const char *text)
{
    printf(", \"%s\": ", key);
    rk_json_print_string(stdout, text);
}

static void cpus_member(const char *key, const struct rk_cpus *cpus)
{
    char list[LIST_SIZE];
    member(key, rk_cpus_text(cpus, list, sizeof list));
}

static void print_nodes(const struct rk_topo *topo)
{
    const struct rk_machine *machine = topo->machine;
    fputs(", \"nodes\": [", stdout);
    for (int i = 0; i < machine->locality_count; i++) {
        int cores = 0;
        for (int core = 0; core < machine->core_count; core++)
            cores += machine->cores[core].locality == i;
        printf("%s{\"node\": %d, \"cores\": %d", i ? ", " : "", machine->localities[i].number, cores);
        cpus_member("cpus", &machine->localities[i].cpus);
        putchar('}');
    }
    putchar(']');
}

static void print_gpus(const struct rk_topo *topo)
{
    fputs(", \"gpus\": [", stdout);
    for (int i = 0; i < topo->gpu_count; i++) {
        const struct rk_gpu *gpu = &topo->gpus[i];
        int ranks = 0;
        printf("%s{\"gpu\": %d", i ? ", " : "", i);
        member("address", gpu->address);
        member("uuid", gpu->uuid);
        member("model", gpu->model);
        cpus_member("near", &gpu->near);
        fputs(", \"ranks\": [", stdout);
        for (int rank = 0; rank < topo->count; rank++)
            if (topo->places[rank].gpu == i)
                printf("%s%d", ranks++ ? ", " : "", topo->ranks[rank].number);
        fputs("]}", stdout);
    }
    putchar(']');
}

static void print_memory(const struct rk_topo *topo, int i)
{
    char text[32];
    if (topo->job) {
        member("memory", topo->ranks[i].memory);
        return;
    }
    snprintf(text, sizeof text, "prefer:%d", topo->places[i].memory);
    member("memory", topo->places[i].memory < 0 || topo->machine->locality_count == 1 ? "default" : text);
}

static void print_ranks(const struct rk_topo *topo)
{
    fputs(", \"ranks\": [", stdout);
    for (int i = 0; i < topo->count; i++) {
        const struct rk_place *place = &topo->places[i];
        printf("%s{\"rank\": %d", i ? ", " : "", topo->ranks[i].number);
        if (topo->job)
            printf(", \"pid\": %d", topo->ranks[i].pid);
        cpus_member("cpus", &place->workers);
        if (!rk_cpus_empty(&place->io))
            cpus_member("io_cpus", &place->io);
        member("bound", topo->ranks[i].bound);
        print_memory(topo, i);
        if (place->gpu < 0)
            fputs(", \"gpu\": null", stdout);
        else
            printf(", \"gpu\": %d, \"sharers\": %d, \"far\": %s", place->gpu, place->sharers,
                   place->far ? "true" : "false");
        if (topo->job && place->gpu >= 0)
            member("gpu_told_by", topo->ranks[i].asked ? "driver" : "rank");
        putchar('}');
    }
    putchar(']');
}

void rk_topo_print_json(const struct rk_topo *topo)
{
    fputs("{\"source\": ", stdout);
    rk_json_print_string(stdout, topo->source);
    member("host", topo->machine->name);
    if (topo->job)
        member("job", topo->job);
    cpus_member("allowed", &topo->allowed);
    print_nodes(topo);
    print_gpus(topo);
    print_ranks(topo);
    fputs(", \"warnings\": [", stdout);
    for (int i = 0; i < topo->remark_count; i++) {
        printf("%s{\"kind\": \"%s\", \"rank\": ", i ? ", " : "", topo->remarks[i].kind);
        if (topo->remarks[i].rank < 0)
            fputs("null", stdout);
        else
            printf("%d", topo->remarks[i].rank);
        member("text", topo->remarks[i].text);
        putchar('}');
    }
    puts("]}");
}
