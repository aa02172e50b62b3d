/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Placement on generated machines, held against its rules by looking at everything. */

#include "unit.h"

#include "device/placement.h"

#define CASES    500
#define RANKS    14
#define GPUS     6
#define ODD_SEED UINT64_C(0x9e3779b97f4a7c15)

/* What a case is made of; a failure prints its number. */
struct scene {
    unsigned seed;
    uint64_t state;
    struct rk_machine *machine;
    struct rk_gpu gpus[GPUS];
    int gpu_count;
    int lists[RANKS][GPUS];
    struct rk_request requests[RANKS];
    int count;
    struct rk_wishes wishes;
    struct rk_place places[RANKS];
    bool same_gpus, same_cpus;
};

static unsigned draw(struct scene *scene, unsigned below)
{
    scene->state ^= scene->state << 13;
    scene->state ^= scene->state >> 7;
    scene->state ^= scene->state << 17;
    return (unsigned)(scene->state >> 33) % below;
}

#define rule(scene, holds)                                                                                     \
    do {                                                                                                       \
        if (!(holds)) {                                                                                        \
            print_error("case %u: %d ranks, %d GPUs: %s\n", (scene)->seed, (scene)->count, (scene)->gpu_count, \
                        #holds);                                                                               \
            for (int rank_ = 0; rank_ < (scene)->count; rank_++)                                               \
                print_place(scene, rank_);                                                                     \
            _fail(__FILE__, __LINE__);                                                                         \
        }                                                                                                      \
    } while (0)

static void print_place(const struct scene *scene, int rank)
{
    char cpus[RK_CPUS_TEXT], io[RK_CPUS_TEXT], given[RK_CPUS_TEXT];
    const struct rk_place *place = &scene->places[rank];
    print_error("  rank %d: %s, CPUs %s of %s, IO %s, GPU %d, memory %d\n", rank, rk_binding_name(place->binding),
                rk_cpus_text(&place->cpus, cpus, sizeof cpus),
                rk_cpus_text(&scene->requests[rank].given, given, sizeof given),
                rk_cpus_text(&place->io, io, sizeof io), place->gpu, place->memory);
}

/* ---- Making ---- */

static void make_machine(struct scene *scene)
{
    char description[96];
    snprintf(description, sizeof description, "package:%u numa:%u core:%u pu:%u", 1 + draw(scene, 3),
             1 + draw(scene, 2), 1 + draw(scene, 5), 1 + draw(scene, 2));
    assert_ok(rk_machine_synthetic(description, &scene->machine));
}

static void make_gpus(struct scene *scene)
{
    scene->gpu_count = draw(scene, 2) ? (int)draw(scene, GPUS + 1) : 0;
    for (int i = 0; i < scene->gpu_count; i++) {
        scene->gpus[i] = (struct rk_gpu){.usable = true};
        if (draw(scene, 8))
            scene->gpus[i].near =
                scene->machine->localities[draw(scene, (unsigned)scene->machine->locality_count)].cpus;
    }
}

/* Some of the CPUs, never none. */
static struct rk_cpus some_cpus(struct scene *scene)
{
    struct rk_cpus some = {0};
    unsigned last = (unsigned)rk_cpus_last(&scene->machine->cpus);
    for (unsigned cpu = 0; cpu <= last; cpu++)
        if (draw(scene, 4))
            rk_cpus_add(&some, cpu);
    return rk_cpus_empty(&some) ? scene->machine->cpus : some;
}

static void make_requests(struct scene *scene)
{
    struct rk_cpus all = draw(scene, 2) ? scene->machine->cpus : some_cpus(scene);
    scene->same_gpus = draw(scene, 4);
    scene->same_cpus = draw(scene, 10);
    for (int rank = 0; rank < scene->count; rank++) {
        int seen = 0;
        for (int gpu = 0; gpu < scene->gpu_count; gpu++)
            if (scene->same_gpus || draw(scene, 2))
                scene->lists[rank][seen++] = gpu;
        scene->requests[rank] = (struct rk_request){all, scene->lists[rank], seen};
    }
    if (!scene->same_cpus && scene->count > 1)
        scene->requests[1].given = some_cpus(scene);
    scene->same_cpus = scene->count < 2 || rk_cpus_equal(&scene->requests[0].given, &scene->requests[1].given);
}

static void make(struct scene *scene, unsigned seed)
{
    *scene = (struct scene){.seed = seed, .state = ODD_SEED * (seed + 1)};
    for (int i = 0; i < 8; i++)
        draw(scene, 2);
    make_machine(scene);
    make_gpus(scene);
    scene->count = 1 + (int)draw(scene, RANKS);
    scene->wishes = (struct rk_wishes){(enum rk_bind)draw(scene, 3), draw(scene, 4) ? 0 : -1};
    make_requests(scene);
    assert_ok(rk_placement_make(scene->machine, scene->gpus, scene->gpu_count, scene->requests, scene->count,
                                &scene->wishes, scene->places));
}

/* ---- Looking ---- */

static struct rk_cpus core_of(const struct scene *scene, int core)
{
    return rk_cpus_and(&scene->machine->cores[core].cpus, &scene->requests[0].given);
}

static int usable_cores(const struct scene *scene)
{
    int count = 0;
    for (int core = 0; core < scene->machine->core_count; core++) {
        struct rk_cpus cpus = core_of(scene, core);
        count += !rk_cpus_empty(&cpus);
    }
    return count;
}

/* How many ranks have something of the core. */
static int users(const struct scene *scene, int core)
{
    struct rk_cpus cpus = core_of(scene, core);
    int count = 0;
    for (int rank = 0; rank < scene->count; rank++)
        count += rk_cpus_meet(&cpus, &scene->places[rank].cpus);
    return count;
}

static int cores_in(const struct scene *scene, const struct rk_cpus *set)
{
    int count = 0;
    for (int core = 0; core < scene->machine->core_count; core++) {
        struct rk_cpus cpus = core_of(scene, core);
        count += rk_cpus_meet(&cpus, set);
    }
    return count;
}

/* The most ranks that can have a GPU of their own, by trying everything. */
static int most_matched(const struct scene *scene, int rank, unsigned taken)
{
    if (rank == scene->count)
        return 0;
    int best = most_matched(scene, rank + 1, taken);
    for (int i = 0; i < scene->requests[rank].gpu_count; i++) {
        unsigned bit = 1u << scene->requests[rank].gpus[i];
        int matched = taken & bit ? 0 : 1 + most_matched(scene, rank + 1, taken | bit);
        if (matched > best)
            best = matched;
    }
    return best;
}

static bool sees(const struct scene *scene, int rank, int gpu)
{
    for (int i = 0; i < scene->requests[rank].gpu_count; i++)
        if (scene->requests[rank].gpus[i] == gpu)
            return true;
    return false;
}

/* ---- Rules ---- */

static void check_gpus(const struct scene *scene)
{
    int ranks[GPUS] = {0}, used = 0;
    for (int rank = 0; rank < scene->count; rank++) {
        int gpu = scene->places[rank].gpu;
        rule(scene, (gpu >= 0) == (scene->requests[rank].gpu_count > 0));
        rule(scene, gpu < 0 || sees(scene, rank, gpu));
        if (gpu >= 0)
            used += ranks[gpu]++ == 0;
    }
    if (scene->same_gpus || scene->count <= 7)
        rule(scene, used == (scene->same_gpus ? (scene->count < scene->gpu_count ? scene->count : scene->gpu_count)
                                              : most_matched(scene, 0, 0)));
    for (int rank = 0; rank < scene->count; rank++) {
        int gpu = scene->places[rank].gpu;
        rule(scene, gpu < 0 || scene->places[rank].sharers == ranks[gpu]);
        rule(scene, gpu < 0 || !scene->same_gpus || gpu == rank % scene->gpu_count);
    }
}

static void check_given(const struct scene *scene)
{
    for (int rank = 0; rank < scene->count; rank++) {
        const struct rk_place *place = &scene->places[rank];
        rule(scene, rk_cpus_within(&place->cpus, &scene->requests[rank].given));
        rule(scene, !rk_cpus_empty(&place->workers) && rk_cpus_within(&place->workers, &place->cpus));
        rule(scene, rk_cpus_within(&place->io, &place->cpus) && !rk_cpus_meet(&place->io, &place->workers));
        rule(scene, rank == scene->wishes.io_rank || rk_cpus_empty(&place->io));
    }
}

static void check_binding(const struct scene *scene)
{
    enum rk_binding wanted = !scene->same_cpus                    ? RK_FOUND
                             : scene->wishes.bind == RK_BIND_NONE ? RK_UNBOUND
                             : scene->wishes.bind == RK_BIND_NUMA ? RK_BOUND
                             : scene->count > usable_cores(scene) ? RK_CROWDED
                                                                  : RK_BOUND;
    for (int rank = 0; rank < scene->count; rank++) {
        const struct rk_place *place = &scene->places[rank];
        rule(scene, place->binding == wanted);
        if (wanted != RK_BOUND)
            rule(scene, rk_cpus_equal(&place->workers, &scene->requests[rank].given) && place->memory < 0);
    }
}

/* No core has two ranks while one is free, and rank 0's IO thread has one of its own where there is one. */
static void check_cores(const struct scene *scene)
{
    int cores = usable_cores(scene), io = scene->wishes.io_rank, idle = 0;
    bool shared = false;
    for (int core = 0; core < scene->machine->core_count; core++) {
        struct rk_cpus cpus = core_of(scene, core);
        idle += !rk_cpus_empty(&cpus) && !users(scene, core);
        shared = shared || users(scene, core) > 1;
    }
    rule(scene, !shared || !idle);
    rule(scene, cores < scene->count + (io >= 0) || !shared);
    if (io < 0)
        return;
    const struct rk_place *place = &scene->places[io];
    rule(scene, rk_cpus_empty(&place->io) == (cores == scene->count && (scene->count > 1 || cores == 1)));
    rule(scene, rk_cpus_empty(&place->io) || cores_in(scene, &place->io) == 1);
}

static bool is_near(const struct scene *scene, int rank)
{
    int gpu = scene->places[rank].gpu;
    return gpu >= 0 && !rk_cpus_empty(&scene->gpus[gpu].near);
}

/* Who is far from his GPU finds nothing free next to it. */
static void check_distance(const struct scene *scene)
{
    for (int rank = 0; rank < scene->count; rank++) {
        const struct rk_place *place = &scene->places[rank];
        const struct rk_cpus *near = is_near(scene, rank) ? &scene->gpus[place->gpu].near : NULL;
        rule(scene, place->far == (near && !rk_cpus_meet(near, &place->workers)));
        rule(scene, place->misgiven == (near && !rk_cpus_meet(near, &scene->requests[rank].given)));
        for (int core = 0; place->far && place->binding == RK_BOUND && core < scene->machine->core_count; core++) {
            struct rk_cpus cpus = core_of(scene, core);
            rule(scene, !rk_cpus_meet(&cpus, near) || users(scene, core));
        }
    }
}

static int locality_of(const struct scene *scene, int rank)
{
    int found = -1;
    for (int core = 0; core < scene->machine->core_count; core++) {
        struct rk_cpus cpus = core_of(scene, core);
        if (!rk_cpus_meet(&cpus, &scene->places[rank].workers))
            continue;
        if (found >= 0 && found != scene->machine->cores[core].locality)
            return -1; /* several */
        found = scene->machine->cores[core].locality;
    }
    return found;
}

/* Memory comes from where the cores are; equals in a locality have equally many cores, the IO thread's counted. */
static void check_shares(const struct scene *scene)
{
    for (int rank = 0; rank < scene->count; rank++) {
        int home = locality_of(scene, rank);
        const struct rk_place *place = &scene->places[rank];
        /* Rank 0's IO thread may have the one other locality of rank 0. */
        if (home < 0 || place->memory >= 0)
            rule(scene, place->memory == (home < 0 ? -1 : scene->machine->localities[home].number));
        for (int other = 0; home >= 0 && other < rank; other++)
            if (locality_of(scene, other) == home && rank != scene->wishes.io_rank && other != scene->wishes.io_rank)
                rule(scene, abs(cores_in(scene, &place->cpus) - cores_in(scene, &scene->places[other].cpus)) <= 1);
    }
}

/* Without GPUs no core is left over where ranks are, and no locality is fuller than another would be with one rank
 * more. */
static void check_spread(const struct scene *scene)
{
    int cores[16] = {0}, ranks[16] = {0}, homes = 0;
    bool idle[16] = {false};
    for (int rank = 0; rank < scene->count; rank++)
        if (is_near(scene, rank))
            return;
    for (int core = 0; core < scene->machine->core_count; core++) {
        struct rk_cpus cpus = core_of(scene, core);
        idle[scene->machine->cores[core].locality] |= !rk_cpus_empty(&cpus) && !users(scene, core);
        cores[scene->machine->cores[core].locality] += !rk_cpus_empty(&cpus);
    }
    for (int i = 0; i < scene->machine->locality_count; i++)
        homes += cores[i] > 0;
    for (int rank = 0; rank < scene->count; rank++)
        if (scene->count >= homes)
            ranks[locality_of(scene, rank)]++;
    for (int i = 0; i < scene->machine->locality_count; i++)
        rule(scene, !idle[i] || (scene->count >= homes && !ranks[i]));
    for (int i = 0; scene->count >= homes && i < scene->machine->locality_count; i++)
        for (int j = 0; j < scene->machine->locality_count; j++)
            rule(scene, ranks[i] < 2 || ranks[j] >= cores[j] || ranks[i] * cores[j] <= (ranks[j] + 2) * cores[i]);
}

static void check_scene(const struct scene *scene)
{
    check_gpus(scene);
    check_given(scene);
    check_binding(scene);
    check_distance(scene);
    if (scene->places[0].binding != RK_BOUND || scene->wishes.bind != RK_BIND_AUTO)
        return;
    check_cores(scene);
    check_shares(scene);
    check_spread(scene);
}

static void generated_machines_keep_the_rules(void **state)
{
    (void)state;
    int bound = 0, far = 0, shared = 0;
    for (unsigned seed = 0; seed < CASES; seed++) {
        struct scene scene;
        make(&scene, seed);
        check_scene(&scene);
        bound += scene.places[0].binding == RK_BOUND;
        for (int rank = 0; rank < scene.count; rank++) {
            far += scene.places[rank].far;
            shared += scene.places[rank].sharers > 1;
        }
        rk_machine_free(scene.machine);
    }
    assert_true(bound > CASES / 4 && far > CASES / 50 && shared > CASES / 4); /* else it has looked at nothing */
}

/* The rules must be able to fail. */
static void a_wrong_placement_breaks_a_rule(void **state)
{
    (void)state;
    struct scene scene = {.count = 2, .same_cpus = true, .wishes = {RK_BIND_AUTO, -1}};
    assert_ok(rk_machine_synthetic("package:2 numa:1 core:2 pu:1", &scene.machine));
    scene.requests[0].given = scene.requests[1].given = scene.machine->cpus;
    assert_ok(rk_placement_make(scene.machine, NULL, 0, scene.requests, 2, &scene.wishes, scene.places));
    check_scene(&scene);
    assert_int_equal(users(&scene, 0), 1);
    scene.places[1] = scene.places[0];
    assert_int_equal(users(&scene, 0), 2);
    assert_int_equal(users(&scene, 2), 0);
    rk_machine_free(scene.machine);
}

/* ---- Single cases ---- */

static void a_rank_without_a_cpu_is_an_error(void **state)
{
    (void)state;
    struct rk_machine *machine;
    struct rk_request request = {0};
    struct rk_wishes wishes = {RK_BIND_AUTO, 0};
    struct rk_place place;
    assert_ok(rk_machine_synthetic("core:2 pu:1", &machine));
    rk_cpus_add(&request.given, 77);
    assert_fails(rk_placement_make(machine, NULL, 0, &request, 1, &wishes, &place), RANKCALL_EINVAL, "rank 0");
    rk_machine_free(machine);
}

static void policies_have_names(void **state)
{
    (void)state;
    enum rk_bind bind;
    assert_ok(rk_bind_read("numa", &bind));
    assert_int_equal(bind, RK_BIND_NUMA);
    assert_fails(rk_bind_read("core", &bind), RANKCALL_EINVAL, "auto, numa or none");
}

/* Each rank of Slurm sees one GPU, or they overlap: nobody shares whom another order would help. */
static void ranks_that_see_different_gpus_share_none_needlessly(void **state)
{
    (void)state;
    static const int first[] = {0, 1}, second[] = {0}, third[] = {1, 2};
    struct rk_machine *machine;
    struct rk_gpu gpus[3] = {{.usable = true}};
    struct rk_request requests[3] = {
        {.gpus = first, .gpu_count = 2}, {.gpus = second, .gpu_count = 1}, {.gpus = third, .gpu_count = 2}};
    struct rk_wishes wishes = {RK_BIND_AUTO, 0};
    struct rk_place places[3];
    assert_ok(rk_machine_synthetic("core:4 pu:1", &machine));
    for (int i = 0; i < 3; i++)
        requests[i].given = machine->cpus;
    assert_ok(rk_placement_make(machine, gpus, 3, requests, 3, &wishes, places));
    assert_int_equal(places[0].gpu, 1);
    assert_int_equal(places[1].gpu, 0);
    assert_int_equal(places[2].gpu, 2);
    rk_machine_free(machine);
}

UNIT_MAIN(cmocka_unit_test(generated_machines_keep_the_rules), cmocka_unit_test(a_wrong_placement_breaks_a_rule),
          cmocka_unit_test(a_rank_without_a_cpu_is_an_error), cmocka_unit_test(policies_have_names),
          cmocka_unit_test(ranks_that_see_different_gpus_share_none_needlessly))
