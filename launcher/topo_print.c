/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A machine and its ranks, drawn for people. */

#include <string.h>

#include "launcher/describe.h"
#include "launcher/table.h"
#include "launcher/topo.h"

#define CELLS_WIDTH 64 /* columns of a drawing's line */

static const char *plural(int count)
{
    return count == 1 ? "" : "s";
}

static void print_head(const struct rk_topo *topo)
{
    const struct rk_machine *machine = topo->machine;
    printf("%s%s%s%s: %d NUMA node%s, %d core%s, %u CPU%s", topo->source, *machine->name ? " (" : "", machine->name,
           *machine->name ? ")" : "", machine->locality_count, plural(machine->locality_count), machine->core_count,
           plural(machine->core_count), rk_cpus_count(&machine->cpus), plural((int)rk_cpus_count(&machine->cpus)));
    printf(", %d GPU%s; ", topo->gpu_count, plural(topo->gpu_count));
    if (topo->job)
        printf("%d rank%s of %s\n", topo->count, plural(topo->count), topo->job);
    else
        printf("%d rank%s would run here\n", topo->count, plural(topo->count));
}

/* ---- The drawing: a sign a core ---- */

/* "3": rank 3 has the core, "i": rank 0's IO thread, "+": several, ".": nobody, "x": not allowed. */
static void core_sign(const struct rk_topo *topo, const struct rk_core *core, char *sign, size_t size)
{
    int owner = -1, owners = 0;
    for (int i = 0; i < topo->count; i++) {
        if (!rk_cpus_meet(&topo->places[i].cpus, &core->cpus))
            continue;
        owner = i;
        owners++;
    }
    if (!rk_cpus_meet(&core->cpus, &topo->allowed))
        snprintf(sign, size, "x");
    else if (!owners)
        snprintf(sign, size, ".");
    else if (owners > 1)
        snprintf(sign, size, "+");
    else if (!rk_cpus_meet(&topo->places[owner].workers, &core->cpus))
        snprintf(sign, size, "i");
    else
        snprintf(sign, size, "%d", topo->ranks[owner].number);
}

static void draw_cores(const struct rk_topo *topo, int locality, int indent)
{
    char sign[16];
    int column = 0, width = topo->count ? snprintf(NULL, 0, "%d", topo->ranks[topo->count - 1].number) : 1;
    for (int i = 0; i < topo->machine->core_count; i++) {
        if (topo->machine->cores[i].locality != locality)
            continue;
        if (column + width + 1 > CELLS_WIDTH) {
            printf("\n%*s", indent, "");
            column = 0;
        }
        core_sign(topo, &topo->machine->cores[i], sign, sizeof sign);
        column += printf(" %*s", width, sign);
    }
    putchar('\n');
}

static void draw_gpu(const struct rk_topo *topo, int gpu, int indent)
{
    int ranks = 0;
    printf("%*s GPU %d %s %s", indent, "", gpu, *topo->gpus[gpu].address ? topo->gpus[gpu].address : "",
           *topo->gpus[gpu].model ? topo->gpus[gpu].model : topo->gpus[gpu].uuid);
    for (int i = 0; i < topo->count; i++)
        if (topo->places[i].gpu == gpu)
            printf("%s%d",
                   ranks++                       ? ", "
                   : topo->places[i].sharers > 1 ? ": ranks "
                                                 : ": rank ",
                   topo->ranks[i].number);
    putchar('\n');
}

static bool is_next_to(const struct rk_topo *topo, int gpu, int locality)
{
    return rk_cpus_meet(&topo->gpus[gpu].near, &topo->machine->localities[locality].cpus);
}

static int first_locality(const struct rk_topo *topo, int gpu)
{
    for (int i = 0; i < topo->machine->locality_count; i++)
        if (is_next_to(topo, gpu, i))
            return i;
    return -1;
}

static void draw(const struct rk_topo *topo)
{
    bool lost = false;
    for (int i = 0; i < topo->machine->locality_count; i++) {
        int indent = printf("  node %-3d", topo->machine->localities[i].number);
        draw_cores(topo, i, indent);
        for (int gpu = 0; gpu < topo->gpu_count; gpu++)
            if (first_locality(topo, gpu) == i)
                draw_gpu(topo, gpu, indent);
    }
    for (int gpu = 0; gpu < topo->gpu_count; gpu++)
        if (first_locality(topo, gpu) < 0) {
            if (!lost)
                puts("  next to all nodes, or nobody tells:");
            lost = true;
            draw_gpu(topo, gpu, 9);
        }
    puts("  (a sign a core: its rank; i: rank 0's IO thread; +: several ranks; .: no rank; x: not allowed)");
}

/* ---- The table ---- */

static void print_ranks(const struct rk_topo *topo)
{
    static const char *const titles[] = {"RANK", "GPU", "CPUS", "IO", "BOUND", "MEMORY", "PID"};
    struct rk_table table = {.columns = topo->job ? 7 : 6};
    char cpus[RK_CPUS_TEXT], io[RK_CPUS_TEXT];
    for (size_t i = 0; i < table.columns; i++)
        rk_table_add(&table, "%s", titles[i]);
    for (int i = 0; i < topo->count; i++) {
        const struct rk_place *place = &topo->places[i];
        rk_table_add(&table, "%d", topo->ranks[i].number);
        if (place->gpu < 0)
            rk_table_add(&table, "-");
        else
            rk_table_add(&table, "%d", place->gpu);
        rk_table_add(&table, "%s", rk_cpus_text(&place->workers, cpus, sizeof cpus));
        rk_cpus_text(&place->io, io, sizeof io);
        rk_table_add(&table, "%s", *io ? io : "-");
        rk_table_add(&table, "%s", topo->ranks[i].bound);
        if (topo->job)
            rk_table_add(&table, "%s", topo->ranks[i].memory);
        else if (place->memory < 0 || topo->machine->locality_count == 1)
            rk_table_add(&table, "default");
        else
            rk_table_add(&table, "prefer:%d", place->memory);
        if (topo->job)
            rk_table_add(&table, "%d", topo->ranks[i].pid);
    }
    rk_table_print(&table, stdout, "  ");
}

static const char *key_of(int rank, const char *member)
{
    static char key[64];
    snprintf(key, sizeof key, "/ranks/%d/%s", rank, member);
    return key;
}

/* What a job tells of ranks that cannot be asked from here. */
static void print_others(const struct rk_topo *topo)
{
    int size = topo->job ? (int)rk_describe_int(topo->status, "world_size") : 0;
    for (int rank = 0; rank < size; rank++) {
        if (rk_topo_is_here(topo->status, rank))
            continue;
        printf("  rank %d on %s", rank, rk_describe_text(topo->status, key_of(rank, "host")));
        printf(": CPUs %s", rk_describe_text(topo->status, key_of(rank, "cpus")));
        printf(", %s, as it told when it started\n", rk_describe_text(topo->status, key_of(rank, "device")));
    }
}

/* Who said on which GPU ranks compute. */
static void print_source(const struct rk_topo *topo)
{
    int told = 0, with = 0;
    for (int i = 0; topo->job && i < topo->count; i++) {
        with += topo->places[i].gpu >= 0;
        told += topo->places[i].gpu >= 0 && topo->ranks[i].asked;
    }
    if (told)
        puts("  (GPUs: as the driver tells where the ranks' processes compute)");
    for (int i = 0; told < with && i < topo->count; i++)
        if (topo->places[i].gpu >= 0 && !topo->ranks[i].asked)
            printf("  (the driver knows of no work of rank %d on a GPU: where that is has been told by the rank)\n",
                   topo->ranks[i].number);
}

void rk_topo_print(const struct rk_topo *topo)
{
    print_head(topo);
    draw(topo);
    print_ranks(topo);
    print_source(topo);
    print_others(topo);
    for (int i = 0; i < topo->remark_count; i++)
        printf("warning: %s\n", topo->remarks[i].text);
}
