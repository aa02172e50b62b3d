/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Handlers that use rankcall's collectives: with known results, and to be interrupted in. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collect.h"
#include "handlers.h"
#include "turns.h"

enum { LARGEST = 3 << 20 };

struct turn {
    struct rankcall_call *call;
    int rank, ranks, root, turn;
    size_t size;
    bool in_place;
    unsigned char *send, *receive; /* ranks * LARGEST bytes each */
};

static int try_broadcast(struct turn *t)
{
    fill(t->send, t->size, t->rank, t->turn);
    if (rankcall_broadcast(t->call, t->send, t->size, t->root))
        return -1;
    return is_filled(t->send, t->size, t->root, t->turn) ? 0 : 1;
}

static int check_parts(const struct turn *t)
{
    for (int rank = 0; rank < t->ranks; rank++)
        if (!is_filled(t->receive + (size_t)rank * t->size, t->size, rank, t->turn))
            return 1;
    return 0;
}

static int try_gather(struct turn *t)
{
    unsigned char *send = t->in_place && t->rank == t->root ? t->receive + (size_t)t->rank * t->size : t->send;
    fill(send, t->size, t->rank, t->turn);
    if (rankcall_gather(t->call, send, t->size, t->rank == t->root ? t->receive : NULL, t->root))
        return -1;
    return t->rank == t->root ? check_parts(t) : 0;
}

static int try_all_gather(struct turn *t)
{
    unsigned char *send = t->in_place ? t->receive + (size_t)t->rank * t->size : t->send;
    fill(send, t->size, t->rank, t->turn);
    if (rankcall_all_gather(t->call, send, t->size, t->receive))
        return -1;
    return check_parts(t);
}

/* Rank r gives size * (r + 1) / ranks bytes, rank 1 none; they lie in backward order. */
static int try_gatherv(struct turn *t)
{
    size_t sizes[64], offsets[64], end = 0;
    for (int rank = t->ranks - 1; rank >= 0; rank--) {
        sizes[rank] = rank == 1 ? 0 : t->size * (size_t)(rank + 1) / (size_t)t->ranks;
        offsets[rank] = end;
        end += sizes[rank];
    }
    bool root = t->rank == t->root;
    unsigned char *send = t->in_place && root ? t->receive + offsets[t->rank] : t->send;
    fill(send, sizes[t->rank], t->rank, t->turn);
    if (rankcall_gatherv(t->call, send, sizes[t->rank], root ? t->receive : NULL, root ? sizes : NULL,
                         root ? offsets : NULL, t->root))
        return -1;
    for (int rank = 0; rank < t->ranks && root; rank++)
        if (!is_filled(t->receive + offsets[rank], sizes[rank], rank, t->turn))
            return 1;
    return 0;
}

static int try_scatter(struct turn *t)
{
    bool root = t->rank == t->root;
    for (int rank = 0; rank < t->ranks && root; rank++)
        fill(t->send + (size_t)rank * t->size, t->size, rank, t->turn);
    unsigned char *receive = t->in_place && root ? t->send + (size_t)t->rank * t->size : t->receive;
    if (rankcall_scatter(t->call, root ? t->send : NULL, receive, t->size, t->root))
        return -1;
    return is_filled(receive, t->size, t->rank, t->turn) ? 0 : 1;
}

/* One macro for each type: element i of rank r is small, so that all operations fit. */
#define VALUE(type, rank, i) ((type)((size_t)(rank) % 3 + 1 + (i) % 2))
#define TRY_REDUCE(name, type, dtype)                                                                      \
    static int name(struct turn *t, bool all, int op)                                                      \
    {                                                                                                      \
        size_t count = t->size / sizeof(type);                                                             \
        type *send = (type *)(t->in_place ? t->receive : t->send), *receive = (type *)t->receive;          \
        for (size_t i = 0; i < count; i++)                                                                 \
            send[i] = VALUE(type, t->rank, i);                                                             \
        bool has = all || t->rank == t->root;                                                              \
        int code = all ? rankcall_all_reduce(t->call, send, receive, count, dtype, (enum rankcall_op)op)   \
                       : rankcall_reduce(t->call, send, has || t->in_place ? receive : NULL, count, dtype, \
                                         (enum rankcall_op)op, t->root);                                   \
        if (code)                                                                                          \
            return -1;                                                                                     \
        for (size_t i = 0; i < count && has; i++) {                                                        \
            type wanted = VALUE(type, 0, i);                                                               \
            for (int rank = 1; rank < t->ranks; rank++) {                                                  \
                type next = VALUE(type, rank, i);                                                          \
                wanted = op == RANKCALL_SUM       ? (type)(wanted + next)                                  \
                         : op == RANKCALL_PRODUCT ? (type)(wanted * next)                                  \
                         : op == RANKCALL_MIN     ? (next < wanted ? next : wanted)                        \
                                                  : (next > wanted ? next : wanted);                           \
            }                                                                                              \
            if (receive[i] != wanted)                                                                      \
                return 1;                                                                                  \
        }                                                                                                  \
        return 0;                                                                                          \
    }

TRY_REDUCE(reduce_int32, int32_t, RANKCALL_INT32)
TRY_REDUCE(reduce_int64, int64_t, RANKCALL_INT64)
TRY_REDUCE(reduce_uint8, uint8_t, RANKCALL_UINT8)
TRY_REDUCE(reduce_uint64, uint64_t, RANKCALL_UINT64)
TRY_REDUCE(reduce_float, float, RANKCALL_FLOAT32)
TRY_REDUCE(reduce_double, double, RANKCALL_FLOAT64)

static int try_reduce(struct turn *t, bool all, uint64_t choice)
{
    static int (*const by_type[])(struct turn *, bool, int) = {reduce_int32,  reduce_int64, reduce_uint8,
                                                               reduce_uint64, reduce_float, reduce_double};
    return by_type[choice % 6](t, all, (int)(choice / 6 % 4));
}

static int try_one(struct turn *t, uint64_t kind, uint64_t choice)
{
    switch (kind) {
    case 0: return rankcall_barrier(t->call) ? -1 : 0;
    case 1: return try_broadcast(t);
    case 2: return try_gather(t);
    case 3: return try_gatherv(t);
    case 4: return try_all_gather(t);
    case 5: return try_scatter(t);
    case 6: return try_reduce(t, false, choice);
    default: return try_reduce(t, true, choice);
    }
}

/* Sizes around every border: 0, small, a box, the direct way, and large. */
static size_t draw_size(uint64_t *state, size_t largest)
{
    static const size_t borders[] = {0, 8, 4096, 16384, 32768, 65536, 262144, LARGEST};
    size_t size = borders[draw(state) % 8];
    uint64_t what = draw(state) % 4;
    size = what == 0   ? size
           : what == 1 ? size + draw(state) % 9
           : what == 2 ? size - draw(state) % (size / 2 + 1)
                       : draw(state) % 100;
    return size > largest ? largest : size;
}

/* {"seed", "turns", "largest"}: random collectives whose results are known. */
int handle_collectives(struct rankcall_call *call)
{
    int64_t seed = 1, turns = 50, largest = LARGEST;
    if (rankcall_opt_int(rankcall_args(call), "seed", &seed) ||
        rankcall_opt_int(rankcall_args(call), "turns", &turns) ||
        rankcall_opt_int_in(rankcall_args(call), "largest", 0, LARGEST, &largest))
        return -1;
    struct turn t = {.call = call, .rank = rankcall_call_rank(call), .ranks = rankcall_call_world_size(call)};
    t.send = aligned_alloc(64, (size_t)t.ranks * LARGEST);
    t.receive = aligned_alloc(64, (size_t)t.ranks * LARGEST);
    uint64_t state = (uint64_t)seed * 2654435761u + 1;
    int verdict = 0;
    for (t.turn = 0; t.turn < turns && !verdict; t.turn++) {
        uint64_t kind = draw(&state) % 8, choice = draw(&state);
        t.root = (int)(draw(&state) % (uint64_t)t.ranks);
        t.size = draw_size(&state, (size_t)largest);
        t.in_place = draw(&state) % 2;
        rankcall_mark(call, "turn %d", t.turn);
        verdict = try_one(&t, kind, choice);
        if (verdict == 1)
            rankcall_fail(call, "rank %d: wrong result: seed %lld, turn %d, kind %d, size %zu, root %d, in place %d",
                          t.rank, (long long)seed, t.turn, (int)kind, t.size, t.root, t.in_place);
    }
    free(t.send);
    free(t.receive);
    return verdict;
}

/* {"kind", "size", "turns", "absent", "absent_us", "fails", "looks"}: says that it runs, then repeats a collective
 * until it is interrupted. Rank `absent` comes `absent_us` late; with `fails` it fails instead. With `looks` there is a
 * checkpoint before each, and the handler ends well. What each rank got is kept. */
int handle_interrupted(struct rankcall_call *call)
{
    struct test_state *state = rankcall_call_state(call);
    const struct rankcall_payload *args = rankcall_args(call);
    const char *kind = "barrier";
    int64_t size = 8, absent = -1, absent_us = 0, turns = INT64_MAX;
    bool fails = false, looks = false;
    if (rankcall_opt_string(args, "kind", &kind) || rankcall_opt_int(args, "size", &size) ||
        rankcall_opt_int(args, "absent", &absent) || rankcall_opt_int(args, "absent_us", &absent_us) ||
        rankcall_opt_int(args, "turns", &turns) || rankcall_opt_bool(args, "fails", &fails) ||
        rankcall_opt_bool(args, "looks", &looks))
        return -1;
    char *send = calloc((size_t)size + 1, 1),
         *receive = calloc((size_t)size + 1, (size_t)rankcall_call_world_size(call));
    int code = RANKCALL_OK;
    state->last_code = -1;
    if (rankcall_call_rank(call) == 0)
        rankcall_emit_json(call, "{\"running\": true}");
    for (int64_t turn = 0; !code && turn < turns; turn++) {
        rankcall_mark(call, "turn %lld", (long long)turn);
        if (absent == rankcall_call_rank(call))
            nap(absent_us);
        if (looks && rankcall_cancelled(call)) {
            code = RANKCALL_ECANCELLED;
            break;
        }
        if (absent == rankcall_call_rank(call) && fails)
            code = rankcall_fail(call, "told to fail");
        else
            code = strcmp(kind, "barrier") ? collect_once(call, kind, send, receive, (size_t)size)
                                           : rankcall_barrier(call);
    }
    state->last_code = code;
    free(send);
    free(receive);
    return code && !looks ? -1 : 0;
}

/* The code with which each rank left the last `interrupted`. */
int handle_last_codes(struct rankcall_call *call)
{
    struct test_state *state = rankcall_call_state(call);
    double mine = (double)state->last_code, all[256];
    if (rankcall_gather(call, &mine, sizeof mine, all, 0))
        return -1;
    if (rankcall_call_rank(call) != 0)
        return 0;
    struct rankcall_payload *result = rankcall_payload_new();
    rankcall_set_doubles(result, "codes", all, (size_t)rankcall_call_world_size(call));
    return rankcall_result(call, result);
}

/* {"which"}: arguments that must be refused on the rank itself, and ranks that are not in the same collective. */
int handle_collectives_refused(struct rankcall_call *call)
{
    int64_t which = 0;
    int value = 0, ranks = rankcall_call_world_size(call);
    if (rankcall_opt_int(rankcall_args(call), "which", &which))
        return -1;
    switch (which) {
    case 0: return rankcall_broadcast(call, &value, sizeof value, ranks);
    case 1: return rankcall_broadcast(call, &value, sizeof value, -1);
    case 2: return rankcall_broadcast(call, NULL, sizeof value, 0);
    case 3: return rankcall_all_reduce(call, &value, &value, 1, RANKCALL_FLOAT16, RANKCALL_SUM);
    case 4: return rankcall_all_reduce(call, &value, &value, 1, RANKCALL_INT32, (enum rankcall_op)9);
    case 5: return rankcall_gatherv(call, &value, sizeof value, &value, NULL, NULL, rankcall_call_rank(call));
    case 6: return rankcall_all_reduce(call, &value, &value, SIZE_MAX, RANKCALL_INT32, RANKCALL_SUM);
    default:
        if (rankcall_call_rank(call) == 0)
            return rankcall_barrier(call);
        return rankcall_all_reduce(call, &value, &value, 1, RANKCALL_INT32, RANKCALL_SUM);
    }
}
