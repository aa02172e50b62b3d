/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Stacks. A signal has a rank's main thread write the addresses of its frames into the memory of the node; who asked
 * finds names for them. A rank that is stopped, or does not take signals, gives none. */

#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/symbols.h"
#include "mesh/internal.h"

#define OWN_FRAMES 2 /* the signal's handler, and what called it */

static struct rk_stack *_Atomic own;
static int own_signal;

static void answer(int number)
{
    void *frames[OWN_FRAMES + RK_STACK_DEPTH];
    int saved = errno;
    struct rk_stack *stack = atomic_load(&own);
    int depth = stack ? backtrace(frames, OWN_FRAMES + RK_STACK_DEPTH) : 0;
    (void)number;
    for (int i = OWN_FRAMES; i < depth; i++)
        stack->frames[i - OWN_FRAMES] = (uint64_t)(uintptr_t)frames[i];
    if (depth > OWN_FRAMES)
        atomic_store(&stack->depth, (unsigned)(depth - OWN_FRAMES));
    errno = saved;
}

/* A signal that the worker and its libraries leave alone; 0: there is none. */
static int take_signal(void)
{
    struct sigaction before, action = {.sa_handler = answer, .sa_flags = SA_RESTART | SA_ONSTACK};
    void *frame;
    if (backtrace(&frame, 1) < 0) /* the first time it loads a library, which a signal's handler must not */
        return 0;
    for (int number = SIGRTMAX - 1; number > SIGRTMIN; number--) {
        if (sigaction(number, NULL, &before) || before.sa_handler != SIG_DFL)
            continue;
        return sigaction(number, &action, NULL) ? 0 : number;
    }
    return 0;
}

void rk_mesh_show_stack(struct rk_mesh *mesh)
{
    struct rk_stack *stack = &mesh->segment->rank[mesh->local_rank].stack;
    if (!own_signal)
        own_signal = take_signal();
    atomic_store(&own, stack);
    atomic_store(&stack->thread, (int)syscall(SYS_gettid));
    atomic_store(&stack->signal, own_signal);
}

void rk_stacks_close(void)
{
    atomic_store(&own, NULL);
}

static struct rk_place *place_of(const struct rk_mesh *mesh, int rank)
{
    return &mesh->segment->rank[mesh->ranks[rank].local_rank];
}

void rk_place_ask_stack(struct rk_place *place)
{
    int number = atomic_load(&place->stack.signal);
    atomic_store(&place->stack.depth, 0);
    if (number)
        syscall(SYS_tgkill, atomic_load(&place->pid), atomic_load(&place->stack.thread), number);
}

void rk_mesh_ask_stack(const struct rk_mesh *mesh, int rank)
{
    rk_place_ask_stack(place_of(mesh, rank));
}

unsigned rk_place_stack(const struct rk_place *place, uint64_t frames[RK_STACK_DEPTH])
{
    const struct rk_stack *stack = &place->stack;
    unsigned depth = atomic_load(&stack->depth);
    if (depth > RK_STACK_DEPTH)
        depth = RK_STACK_DEPTH;
    for (unsigned i = 0; i < depth; i++)
        frames[i] = stack->frames[i];
    return depth;
}

unsigned rk_mesh_stack(const struct rk_mesh *mesh, int rank, uint64_t frames[RK_STACK_DEPTH])
{
    return rk_place_stack(place_of(mesh, rank), frames);
}

void rk_mesh_print_frames(FILE *stream, int pid, const uint64_t *frames, unsigned depth)
{
    if (!depth)
        fputs("  it gives no stack\n", stream);
    for (unsigned i = 0; i < depth; i++) {
        char text[512];
        rk_symbol(pid, frames[i], i > 0, text, sizeof text);
        fprintf(stream, "  #%u %s\n", i, text);
    }
}

void rk_mesh_kill(const struct rk_mesh *mesh, int rank)
{
    kill(atomic_load(&place_of(mesh, rank)->pid), SIGKILL);
}
