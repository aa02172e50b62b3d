/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What is said of ranks that do not come back: a line of who and where, and their stacks. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ended.h"
#include "core/inside.h"
#include "mesh/collect.h"

#define STACKS_MAX (16u << 10) /* bytes of all ranks' stacks */
#define NAMED_MAX  16          /* ranks in the line */

static const char *state_text(char state)
{
    switch (state) {
    case 'R': return "running";
    case 'S': return "sleeping";
    case 'D': return "in a sleep that nothing interrupts";
    case 'T': return "stopped";
    case 't': return "stopped by a debugger";
    case 'Z': return "dead";
    default: return "in an unknown state";
    }
}

static void print_place(FILE *stream, const struct rk_whereabouts *where, uint64_t number)
{
    if (where->number != number) {
        fputs("has not begun the call", stream);
        return;
    }
    fputs("last seen ", stream);
    if (where->activity == RK_TAKING_PAYLOAD)
        fputs("taking in the payload", stream);
    else if (where->kind == RK_NO_COLLECTIVE)
        fputs(where->activity == RK_AT_CHECKPOINT ? "at a checkpoint" : "in the handler, before any collective",
              stream);
    else
        fprintf(stream, "%s collective %llu (%s)",
                where->activity == RK_IN_COLLECTIVE   ? "in"
                : where->activity == RK_AT_CHECKPOINT ? "at a checkpoint behind"
                                                      : "behind",
                (unsigned long long)where->sequence, rk_collective_name(where->kind));
    if (*where->mark)
        fprintf(stream, ", marker \"%s\"", where->mark);
}

static void print_rank(FILE *stream, const struct rk_frontend *frontend, int rank)
{
    const struct rk_mesh *mesh = frontend->context->mesh;
    const struct rk_rank_info *info = rk_mesh_info(mesh, rank);
    struct rk_whereabouts where;
    fprintf(stream, "rank %d (pid %d on %s) ", rank, info->pid, info->host);
    if (frontend->wedge.suspects[rank].silent) {
        fputs("is unknown: its node does not tell", stream);
        return;
    }
    rk_mesh_whereabouts(mesh, rank, &where);
    print_place(stream, &where, frontend->wedge.number);
    fprintf(stream, ", %s", state_text(rk_mesh_process(mesh, rank)));
}

char *rk_wedge_message(struct rk_frontend *frontend)
{
    const struct rk_job_call *call = frontend->running;
    char *text = NULL;
    size_t size = 0;
    int named = 0, more = 0;
    FILE *stream = open_memstream(&text, &size);
    if (!stream)
        return NULL;
    fprintf(stream, "call %llu (\"%s\"): not back after %.3g s: ", (unsigned long long)call->number,
            frontend->context->worker->handlers[call->handler].name,
            (double)frontend->context->options->grace_us / 1e6);
    for (int rank = 0; rank < rk_mesh_size(frontend->context->mesh); rank++) {
        if (!frontend->wedge.suspects[rank].wedged)
            continue;
        if (named == NAMED_MAX) {
            more++;
            continue;
        }
        fputs(named++ ? "; " : "", stream);
        print_rank(stream, frontend, rank);
    }
    if (more)
        fprintf(stream, "; and %d more", more);
    if (!named)
        fputs("ranks on other nodes", stream);
    fclose(stream);
    return text;
}

static void print_stack(FILE *stream, const struct rk_frontend *frontend, int rank)
{
    const struct rk_mesh *mesh = frontend->context->mesh;
    const struct rk_rank_info *info = rk_mesh_info(mesh, rank);
    uint64_t frames[RK_STACK_DEPTH];
    bool far = rk_mesh_is_far(mesh, rank), silent = frontend->wedge.suspects[rank].silent;
    char *lines = far && !silent ? rk_mesh_far_stack(mesh, rank) : NULL;
    fprintf(stream, "rank %d (pid %d on %s), %s:\n", rank, info->pid, info->host,
            silent ? "unknown" : state_text(rk_mesh_process(mesh, rank)));
    if (lines)
        fputs(lines, stream);
    else
        rk_mesh_print_frames(stream, info->pid, frames, far ? 0 : rk_mesh_stack(mesh, rank, frames));
    free(lines);
}

char *rk_wedge_stacks(struct rk_frontend *frontend)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (!stream)
        return NULL;
    for (int rank = 0; rank < rk_mesh_size(frontend->context->mesh) && ftell(stream) < STACKS_MAX; rank++)
        if (frontend->wedge.suspects[rank].wedged)
            print_stack(stream, frontend, rank);
    fclose(stream);
    if (size > STACKS_MAX)
        text[STACKS_MAX] = '\0';
    return text;
}
