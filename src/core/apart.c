/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Where the main threads of ranks run while short calls follow closely on one another, one by one.
 *
 * Where there are as many ranks as CPUs, the client's thread is one too many, and the kernel leaves threads that wait
 * for each other by yielding where they happen to be. A call takes the fewest turns, one, when rank 0 has a CPU alone,
 * and twice as many otherwise. So now and then a rank leaves the CPU that rank 0 is on, and rank 0 one that it shares
 * with somebody who is no rank. It binds itself to another one for a moment and takes that back: after that the kernel
 * may move it as before.
 *
 * A rank on whose CPU no other rank is lingers: it keeps looking for the next announcement for as long as rank 0 takes
 * from reading a call to announcing it. A client that waits there has had its turn at the first yield, and would cost
 * two more turns if it got another before the announcement.
 *
 * Where calls wait in the queue none of this is done: then clients have work while ranks have, too. */

#include <sched.h>
#include <sys/resource.h>

#include "core/context.h"
#include "device/cpus.h"
#include "device/device.h"
#include "mesh/baton.h"

#define LOOK_CALLS    16 /* between two looks */
#define CROWDED_LOOKS 3  /* before rank 0 leaves: others may just be about to */

void rk_apart_open(struct rankcall_context *context)
{
    context->apart.wanted = rk_device_ranks_fit(context->device);
}

/* One where no rank was seen, or else, if any will do, the first; -1: there is none. */
static int another_cpu(const struct rk_mesh *mesh, const struct rk_cpus *allowed, int from, bool any)
{
    int found = -1, last = rk_cpus_last(allowed);
    for (int cpu = 0; cpu <= last; cpu++) {
        if (cpu == from || !rk_cpus_has(allowed, (unsigned)cpu))
            continue;
        if (!rk_mesh_others_were_on(mesh, cpu))
            return cpu;
        if (any && found < 0)
            found = cpu;
    }
    return found;
}

static void leave(const struct rk_mesh *mesh, int from, bool any)
{
    struct rk_cpus allowed, one = {0};
    if (!rk_cpus_of_thread(0, &allowed))
        return;
    int cpu = another_cpu(mesh, &allowed, from, any);
    if (cpu < 0)
        return;
    rk_cpus_add(&one, (unsigned)cpu);
    if (rk_cpus_bind_thread(0, &one))
        rk_cpus_bind_thread(0, &allowed);
}

/* Whether most yields since the last look let somebody else run, and that was no rank, again and again. */
static bool is_crowded(struct rk_apart *apart, const struct rk_mesh *mesh, int cpu)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    bool shared = usage.ru_nivcsw - apart->switches >= LOOK_CALLS / 2;
    apart->switches = usage.ru_nivcsw;
    if (!shared || rk_mesh_others_were_on(mesh, cpu))
        apart->crowded = 0;
    else
        apart->crowded++;
    if (apart->crowded < CROWDED_LOOKS)
        return false;
    apart->crowded = 0;
    return true;
}

void rk_apart_look(struct rankcall_context *context)
{
    struct rk_apart *apart = &context->apart;
    if (!apart->wanted || ++apart->calls % LOOK_CALLS)
        return;
    struct rk_mesh *mesh = context->mesh;
    bool single = rk_baton_is_single(mesh), chief = context->frontend != NULL;
    int cpu = sched_getcpu();
    rk_mesh_linger(mesh, single && !chief && !rk_mesh_others_were_on(mesh, cpu));
    if (single && (chief ? is_crowded(apart, mesh, cpu) : rk_mesh_chief_was_on(mesh, cpu)))
        leave(mesh, cpu, chief);
}
