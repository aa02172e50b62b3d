/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Planning where the ranks of one machine belong. */

#include "device/placement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "device/matching.h"

/* A locality as far as ranks were given its cores. */
struct home {
    int index;      /* in the machine */
    int first;      /* of its cores in the planner's list */
    int cores;      /* how many */
    int ranks;      /* who live here */
    int load;       /* the same, the IO thread counted as one more */
    int handed_out; /* cores */
    bool shared;    /* everybody gets all of them */
};

struct planner {
    const struct rk_machine *machine;
    const struct rk_gpu *gpus;
    const struct rk_request *requests;
    const struct rk_wishes *wishes;
    struct rk_place *places;
    int count;
    struct rk_cpus *cores; /* usable hardware threads of each usable core, home by home */
    struct home *homes;
    int *home; /* of each rank */
    int core_count, home_count;
    int io_core; /* set apart for the IO thread; -1: none */
};

int rk_bind_read(const char *text, enum rk_bind *bind)
{
    static const char *const names[] = {"auto", "numa", "none"};
    for (int i = 0; i < 3; i++)
        if (!strcmp(text, names[i])) {
            *bind = (enum rk_bind)i;
            return RANKCALL_OK;
        }
    return rk_error(RANKCALL_EINVAL, "--bind: it takes auto, numa or none, not \"%s\"", text);
}

const char *rk_binding_name(enum rk_binding binding)
{
    static const char *const names[] = {"none", "auto", "found", "crowded"};
    return names[binding];
}

/* ---- What there is ---- */

static int list_cores(struct planner *planner)
{
    const struct rk_machine *machine = planner->machine;
    const struct rk_cpus *given = &planner->requests[0].given;
    planner->cores = calloc((size_t)machine->core_count + 1, sizeof *planner->cores);
    planner->homes = calloc((size_t)machine->locality_count + 1, sizeof *planner->homes);
    planner->home = calloc((size_t)planner->count + 1, sizeof *planner->home);
    if (!planner->cores || !planner->homes || !planner->home)
        return rk_error(RANKCALL_EINTERNAL, "no memory for the ranks' placement");
    for (int i = 0; i < machine->locality_count; i++) {
        struct home *home = &planner->homes[planner->home_count];
        *home = (struct home){.index = i, .first = planner->core_count};
        for (int core = 0; core < machine->core_count; core++) {
            struct rk_cpus usable = rk_cpus_and(&machine->cores[core].cpus, given);
            if (machine->cores[core].locality == i && !rk_cpus_empty(&usable))
                planner->cores[planner->core_count++] = usable;
        }
        home->cores = planner->core_count - home->first;
        planner->home_count += home->cores > 0;
    }
    return RANKCALL_OK;
}

static const struct rk_cpus *near_cpus(const struct planner *planner, int rank)
{
    int gpu = planner->places[rank].gpu;
    const struct rk_cpus *near = gpu < 0 ? NULL : &planner->gpus[gpu].near;
    return near && !rk_cpus_empty(near) ? near : NULL; /* NULL: everything is as near */
}

static bool is_near(const struct planner *planner, int rank, const struct home *home)
{
    const struct rk_cpus *near = near_cpus(planner, rank);
    for (int core = home->first; near && core < home->first + home->cores; core++)
        if (rk_cpus_meet(near, &planner->cores[core]))
            return true;
    return !near;
}

/* ---- Homes ---- */

/* Whether it matters for anybody where he lives. */
static bool some_are_near(const struct planner *planner)
{
    for (int rank = 0; rank < planner->count; rank++)
        if (near_cpus(planner, rank))
            return true;
    return false;
}

/* The least loaded home that has room, among those near to the rank's GPU first; -1: none has room. */
static int choose_home(const struct planner *planner, int rank, bool near_alone)
{
    int best = -1;
    bool full_too = planner->wishes->bind == RK_BIND_NUMA;
    for (int i = 0; i < planner->home_count; i++) {
        const struct home *home = &planner->homes[i], *other = best < 0 ? NULL : &planner->homes[best];
        if ((!full_too && home->ranks == home->cores) || (near_alone && !is_near(planner, rank, home)))
            continue;
        if (!other || (long)home->cores * (other->load + 1) > (long)other->cores * (home->load + 1))
            best = i;
    }
    return best < 0 && near_alone ? choose_home(planner, rank, false) : best;
}

static int near_homes(const struct planner *planner, int rank)
{
    int count = 0;
    for (int i = 0; i < planner->home_count; i++)
        count += is_near(planner, rank, &planner->homes[i]);
    return count;
}

static void move_in(struct planner *planner, int rank)
{
    int chosen = choose_home(planner, rank, true);
    planner->home[rank] = chosen;
    planner->homes[chosen].ranks++;
    planner->homes[chosen].load += 1 + (rank == planner->wishes->io_rank);
}

/* Rank 0 first, since it wants one more core; then those who have the least choice. */
static void find_homes(struct planner *planner)
{
    int io = planner->wishes->io_rank;
    if (io >= 0)
        move_in(planner, io);
    for (int choices = 1; choices <= planner->home_count; choices++)
        for (int rank = 0; rank < planner->count; rank++)
            if (rank != io && near_homes(planner, rank) == choices)
                move_in(planner, rank);
    for (int rank = 0; rank < planner->count; rank++)
        if (rank != io && !near_homes(planner, rank))
            move_in(planner, rank);
}

/* Where it does not matter who lives where, neighbours are those with neighbouring numbers, rank 0 where it is. */
static void put_in_order(struct planner *planner)
{
    int start = planner->wishes->io_rank >= 0 ? planner->home[planner->wishes->io_rank] : 0, rank = 0;
    for (int n = 0; n < planner->home_count; n++) {
        int i = n == 0 ? start : n <= start ? n - 1 : n;
        for (int k = 0; k < planner->homes[i].ranks; k++)
            planner->home[rank++] = i;
    }
}

/* ---- Cores ---- */

static void take_core(struct planner *planner, int rank, int core)
{
    rk_cpus_join(&planner->places[rank].cpus, &planner->cores[core]);
}

/* Every rank gets as many as the others of its home, and the first some of what remains, rank 0 before them. */
static void share_out(struct planner *planner)
{
    int io = planner->wishes->io_rank;
    for (int i = 0; i < planner->home_count; i++) {
        struct home *home = &planner->homes[i];
        int each = home->ranks ? home->cores / home->ranks : 0, rest = home->ranks ? home->cores % home->ranks : 0;
        bool has_io = io >= 0 && planner->home[io] == i;
        for (int rank = 0; rank < planner->count; rank++) {
            if (planner->home[rank] != i)
                continue;
            bool more = rest > 0 && (rank == io || !has_io || rest > 1);
            int cores = home->shared ? home->cores : each + more;
            rest -= more;
            has_io = has_io && rank != io;
            for (int n = 0; n < cores; n++)
                take_core(planner, rank, home->first + (home->shared ? n : home->handed_out + n));
            home->handed_out += home->shared ? 0 : cores;
        }
    }
}

static bool has_one_core(const struct planner *planner, int rank)
{
    return planner->home[rank] >= 0 && planner->homes[planner->home[rank]].cores == 1;
}

static void swap_homes(struct planner *planner, int one, int other)
{
    struct rk_cpus cpus = planner->places[one].cpus;
    int home = planner->home[one];
    planner->places[one].cpus = planner->places[other].cpus;
    planner->home[one] = planner->home[other];
    planner->places[other].cpus = cpus;
    planner->home[other] = home;
}

/* Fewer ranks than homes: each gets one or several, rank 0 no single core while another has more. */
static void give_homes(struct planner *planner)
{
    int io = planner->wishes->io_rank;
    for (int rank = 0; rank < planner->count; rank++) {
        int first = rank * planner->home_count / planner->count,
            end = (rank + 1) * planner->home_count / planner->count;
        const struct home *last = &planner->homes[end - 1];
        planner->home[rank] = end - first == 1 ? first : -1;
        for (int core = planner->homes[first].first; core < last->first + last->cores; core++)
            take_core(planner, rank, core);
    }
    for (int rank = 0; io >= 0 && rank < planner->count; rank++)
        if (has_one_core(planner, io) && !has_one_core(planner, rank))
            swap_homes(planner, io, rank);
}

/* Where rank 0's home has a rank on every core, the IO thread gets a core of the home that has the most to spare. */
static void set_io_core_apart(struct planner *planner)
{
    const struct home *home = &planner->homes[planner->home[planner->wishes->io_rank]];
    struct home *best = NULL;
    for (int i = 0; i < planner->home_count; i++) {
        struct home *other = &planner->homes[i];
        if (other->cores > other->ranks && (!best || other->cores - other->ranks > best->cores - best->ranks))
            best = other;
    }
    if (home->cores > home->ranks || !best)
        return;
    best->cores--;
    planner->io_core = best->first + best->cores;
}

/* A core that rank 0's IO thread may have for itself: what was set apart, or the last of rank 0's own when it has
 * several; -1: none. */
static int core_for_io(const struct planner *planner)
{
    const struct rk_place *place = &planner->places[planner->wishes->io_rank];
    int own = 0, last = -1;
    for (int core = 0; core < planner->core_count; core++)
        if (rk_cpus_within(&planner->cores[core], &place->cpus)) {
            own++;
            last = core;
        }
    return own > 1 ? last : planner->io_core;
}

/* Two threads that spin on one core wait for each other's turn: a home without a core for the IO thread is shared. */
static void seat_io(struct planner *planner)
{
    int io = planner->wishes->io_rank;
    if (io < 0 || planner->wishes->bind == RK_BIND_NUMA)
        return;
    int core = core_for_io(planner);
    struct rk_place *place = &planner->places[io];
    if (core >= 0) {
        take_core(planner, io, core);
        place->io = planner->cores[core];
        return;
    }
    struct home *home = &planner->homes[planner->home[io]];
    for (int rank = 0; rank < planner->count; rank++)
        for (int n = 0; planner->home[rank] == planner->home[io] && n < home->cores; n++)
            take_core(planner, rank, home->first + n);
    home->shared = true;
}

static void finish_places(struct planner *planner)
{
    for (int rank = 0; rank < planner->count; rank++) {
        struct rk_place *place = &planner->places[rank];
        const struct home *home = planner->home[rank] < 0 ? NULL : &planner->homes[planner->home[rank]];
        place->binding = RK_BOUND;
        place->workers = rk_cpus_without(&place->cpus, &place->io);
        place->memory = home ? planner->machine->localities[home->index].number : -1;
        place->shared = home && home->shared && home->ranks > 1;
    }
}

static void bind_places(struct planner *planner)
{
    if (!some_are_near(planner) && planner->count < planner->home_count) {
        give_homes(planner);
    } else {
        find_homes(planner);
        if (!some_are_near(planner))
            put_in_order(planner);
        for (int i = 0; i < planner->home_count; i++)
            planner->homes[i].shared = planner->wishes->bind == RK_BIND_NUMA;
        if (planner->wishes->io_rank >= 0 && planner->wishes->bind == RK_BIND_AUTO)
            set_io_core_apart(planner);
        share_out(planner);
    }
    seat_io(planner);
    finish_places(planner);
}

/* ---- All of it ---- */

static bool given_alike(const struct planner *planner)
{
    for (int rank = 1; rank < planner->count; rank++)
        if (!rk_cpus_equal(&planner->requests[rank].given, &planner->requests[0].given))
            return false;
    return true;
}

static void leave_places(struct planner *planner, enum rk_binding binding)
{
    for (int rank = 0; rank < planner->count; rank++) {
        struct rk_place *place = &planner->places[rank];
        place->binding = binding;
        place->cpus = place->workers = rk_cpus_and(&planner->requests[rank].given, &planner->machine->cpus);
        for (int other = 0; other < planner->count && !place->shared; other++)
            place->shared = other != rank && rk_cpus_meet(&place->cpus, &planner->requests[other].given);
    }
}

void rk_placement_judge(const struct rk_gpu *gpus, const struct rk_request *requests, int count,
                        struct rk_place *places)
{
    for (int rank = 0; rank < count; rank++) {
        struct rk_place *place = &places[rank];
        const struct rk_cpus *near = place->gpu < 0 ? NULL : &gpus[place->gpu].near;
        bool known = near && !rk_cpus_empty(near);
        place->far = known && !rk_cpus_meet(near, &place->workers);
        place->misgiven = known && requests && !rk_cpus_meet(near, &requests[rank].given);
        place->sharers = 0;
        for (int other = 0; place->gpu >= 0 && other < count; other++)
            place->sharers += places[other].gpu == place->gpu;
    }
}

static int plan(struct planner *planner)
{
    const struct rk_wishes *wishes = planner->wishes;
    int code = list_cores(planner);
    if (code)
        return code;
    if (!given_alike(planner))
        leave_places(planner, RK_FOUND);
    else if (wishes->bind == RK_BIND_NONE)
        leave_places(planner, RK_UNBOUND);
    else if (planner->count > planner->core_count && wishes->bind != RK_BIND_NUMA)
        leave_places(planner, RK_CROWDED);
    else
        bind_places(planner);
    rk_placement_judge(planner->gpus, planner->requests, planner->count, planner->places);
    return RANKCALL_OK;
}

int rk_placement_make(const struct rk_machine *machine, const struct rk_gpu *gpus, int gpu_count,
                      const struct rk_request *requests, int count, const struct rk_wishes *wishes,
                      struct rk_place *places)
{
    struct planner planner = {.machine = machine,
                              .gpus = gpus,
                              .requests = requests,
                              .wishes = wishes,
                              .places = places,
                              .count = count,
                              .io_core = -1};
    for (int rank = 0; rank < count; rank++) {
        places[rank] = (struct rk_place){.gpu = -1, .memory = -1};
        if (!rk_cpus_meet(&requests[rank].given, &machine->cpus))
            return rk_error(RANKCALL_EINVAL, "rank %d was given no CPU of this machine", rank);
    }
    rk_matching_make(gpu_count, requests, count, places);
    int code = plan(&planner);
    free(planner.cores);
    free(planner.homes);
    free(planner.home);
    return code;
}
