/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What a placement lacks, in words. */

#include <stdio.h>
#include <string.h>

#include "device/placement.h"

struct remarks {
    const struct rk_gpu *gpus;
    const int *ranks;
    struct rk_remark *list;
    int count, room;
};

static int number(const struct remarks *remarks, int rank)
{
    return remarks->ranks ? remarks->ranks[rank] : rank;
}

/* A place for one more; where there is none, one that is thrown away. */
static struct rk_remark *add(struct remarks *remarks, const char *kind, int rank)
{
    static _Thread_local struct rk_remark spare;
    struct rk_remark *remark = remarks->count < remarks->room ? &remarks->list[remarks->count] : &spare;
    remarks->count++;
    remark->kind = kind;
    remark->rank = rank < 0 ? -1 : number(remarks, rank);
    return remark;
}

static const char *gpu_name(const struct rk_gpu *gpu)
{
    return *gpu->address ? gpu->address : gpu->uuid;
}

static void tell_shared(struct remarks *remarks, const struct rk_place *places, int count, int first)
{
    char list[128] = "";
    size_t used = 0;
    for (int rank = 0; rank < count; rank++)
        if (places[rank].gpu == places[first].gpu && used < sizeof list - 16)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%d", used ? ", " : "", number(remarks, rank));
        else if (places[rank].gpu == places[first].gpu)
            snprintf(list + used, sizeof list - used, ", ...");
    snprintf(add(remarks, "shared_gpu", first)->text, sizeof remarks->list->text, "ranks %s share the GPU %s", list,
             gpu_name(&remarks->gpus[places[first].gpu]));
}

static void tell_distance(struct remarks *remarks, const struct rk_place *place, int rank)
{
    char near[64], cpus[64];
    const struct rk_gpu *gpu = &remarks->gpus[place->gpu];
    rk_cpus_text(&gpu->near, near, sizeof near);
    rk_cpus_text(&place->workers, cpus, sizeof cpus);
    if (place->misgiven)
        snprintf(add(remarks, "wrong_cores", rank)->text, sizeof remarks->list->text,
                 "rank %d was given CPUs %s, none of which is next to its GPU %s: those are %s", number(remarks, rank),
                 cpus, gpu_name(gpu), near);
    else
        snprintf(add(remarks, "far_from_gpu", rank)->text, sizeof remarks->list->text,
                 "rank %d has CPUs %s, far from its GPU %s: those next to it are %s", number(remarks, rank), cpus,
                 gpu_name(gpu), near);
}

static bool is_first_on_gpu(const struct rk_place *places, int rank)
{
    for (int other = 0; other < rank; other++)
        if (places[other].gpu == places[rank].gpu)
            return false;
    return true;
}

int rk_placement_remarks(const struct rk_gpu *gpus, const struct rk_place *places, int count, const int *ranks,
                         struct rk_remark *list, int room)
{
    struct remarks remarks = {gpus, ranks, list, 0, room};
    for (int rank = 0; rank < count; rank++) {
        if (places[rank].sharers > 1 && is_first_on_gpu(places, rank))
            tell_shared(&remarks, places, count, rank);
        if (places[rank].far)
            tell_distance(&remarks, &places[rank], rank);
    }
    if (count && places[0].binding == RK_CROWDED)
        snprintf(add(&remarks, "crowded", -1)->text, sizeof list->text,
                 "%d ranks have fewer cores than that: they are not bound", count);
    return remarks.count;
}
