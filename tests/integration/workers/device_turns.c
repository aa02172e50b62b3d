/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Collectives on device memory whose results are known: what a rank sends is made on the host and copied there, and
 * what it receives is copied back and looked at. */

#include "device_turns.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <rankcall/device.h>
#include <rankcall/worker.h>

#include "turns.h"

enum { BROADCAST, GATHER, GATHERV, ALL_GATHER, SCATTER, REDUCE, ALL_REDUCE, BARRIER, KINDS };

struct turn {
    struct rankcall_call *call;
    struct rankcall_device *device;
    int rank, ranks, root, turn, kind;
    size_t size, room; /* room: of each buffer, for all ranks' parts */
    bool in_place;
    int type, op;
    char *send, *receive; /* on the device */
    unsigned char *host;  /* as large */
};

/* The host's buffer to the device: it may be changed after that. */
static int put(struct turn *t, char *to, size_t size)
{
    return rankcall_device_copy(t->device, to, t->host, size) || rankcall_wait(t->call) ? -1 : 0;
}

static int fetch(struct turn *t, const char *from, size_t size)
{
    memset(t->host, 0, size);
    return rankcall_device_copy(t->device, t->host, from, size) || rankcall_wait(t->call) ? -1 : 0;
}

static int try_broadcast(struct turn *t)
{
    fill(t->host, t->size, t->rank, t->turn);
    if (put(t, t->send, t->size) || rankcall_broadcast(t->call, t->send, t->size, t->root) ||
        fetch(t, t->send, t->size))
        return -1;
    return is_filled(t->host, t->size, t->root, t->turn) ? 0 : 1;
}

static int check_parts(struct turn *t)
{
    if (fetch(t, t->receive, (size_t)t->ranks * t->size))
        return -1;
    for (int rank = 0; rank < t->ranks; rank++)
        if (!is_filled(t->host + (size_t)rank * t->size, t->size, rank, t->turn))
            return 1;
    return 0;
}

static int try_gather(struct turn *t, bool all)
{
    bool gets = all || t->rank == t->root;
    char *send = t->in_place && gets ? t->receive + (size_t)t->rank * t->size : t->send;
    fill(t->host, t->size, t->rank, t->turn);
    if (put(t, send, t->size))
        return -1;
    int code = all ? rankcall_all_gather(t->call, send, t->size, t->receive)
                   : rankcall_gather(t->call, send, t->size, gets ? t->receive : NULL, t->root);
    return code ? -1 : gets ? check_parts(t) : 0;
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
    char *send = t->in_place && root ? t->receive + offsets[t->rank] : t->send;
    fill(t->host, sizes[t->rank], t->rank, t->turn);
    if (put(t, send, sizes[t->rank]) || rankcall_gatherv(t->call, send, sizes[t->rank], root ? t->receive : NULL,
                                                         root ? sizes : NULL, root ? offsets : NULL, t->root))
        return -1;
    if (root && fetch(t, t->receive, end))
        return -1;
    for (int rank = 0; rank < t->ranks && root; rank++)
        if (!is_filled(t->host + offsets[rank], sizes[rank], rank, t->turn))
            return 1;
    return 0;
}

static int try_scatter(struct turn *t)
{
    bool root = t->rank == t->root;
    for (int rank = 0; rank < t->ranks && root; rank++)
        fill(t->host + (size_t)rank * t->size, t->size, rank, t->turn);
    char *receive = t->in_place && root ? t->send + (size_t)t->rank * t->size : t->receive;
    if ((root && put(t, t->send, (size_t)t->ranks * t->size)) ||
        rankcall_scatter(t->call, root ? t->send : NULL, receive, t->size, t->root) || fetch(t, receive, t->size))
        return -1;
    return is_filled(t->host, t->size, t->rank, t->turn) ? 0 : 1;
}

/* Element i of rank r is small, so that all operations fit every type. */
static double value_of(int rank, size_t i)
{
    return (double)((size_t)rank % 3 + 1 + i % 2);
}

static double wanted_at(const struct turn *t, size_t i)
{
    double wanted = value_of(0, i);
    for (int rank = 1; rank < t->ranks; rank++) {
        double next = value_of(rank, i);
        wanted = t->op == RANKCALL_SUM       ? wanted + next
                 : t->op == RANKCALL_PRODUCT ? wanted * next
                 : t->op == RANKCALL_MIN     ? (next < wanted ? next : wanted)
                                             : (next > wanted ? next : wanted);
    }
    return wanted;
}

static void store(void *array, int type, size_t i, double value)
{
    switch (type) {
    case RANKCALL_INT16: ((int16_t *)array)[i] = (int16_t)value; break;
    case RANKCALL_INT32: ((int32_t *)array)[i] = (int32_t)value; break;
    case RANKCALL_UINT8: ((uint8_t *)array)[i] = (uint8_t)value; break;
    case RANKCALL_INT64: ((int64_t *)array)[i] = (int64_t)value; break;
    case RANKCALL_FLOAT32: ((float *)array)[i] = (float)value; break;
    default: ((double *)array)[i] = value;
    }
}

static double load(const void *array, int type, size_t i)
{
    switch (type) {
    case RANKCALL_INT16: return ((const int16_t *)array)[i];
    case RANKCALL_INT32: return ((const int32_t *)array)[i];
    case RANKCALL_UINT8: return ((const uint8_t *)array)[i];
    case RANKCALL_INT64: return (double)((const int64_t *)array)[i];
    case RANKCALL_FLOAT32: return ((const float *)array)[i];
    default: return ((const double *)array)[i];
    }
}

static int try_reduce(struct turn *t, bool all)
{
    size_t element = rankcall_dtype_size(t->type), count = t->size / element;
    bool gets = all || t->rank == t->root;
    char *send = t->in_place ? t->receive : t->send;
    for (size_t i = 0; i < count; i++)
        store(t->host, t->type, i, value_of(t->rank, i));
    if (put(t, send, count * element))
        return -1;
    enum rankcall_dtype type = (enum rankcall_dtype)t->type;
    enum rankcall_op op = (enum rankcall_op)t->op;
    int code = all ? rankcall_all_reduce(t->call, send, t->receive, count, type, op)
                   : rankcall_reduce(t->call, send, gets ? t->receive : NULL, count, type, op, t->root);
    if (code || (gets && fetch(t, t->receive, count * element)))
        return -1;
    for (size_t i = 0; i < count && gets; i++) {
        double got = load(t->host, t->type, i), wanted = wanted_at(t, i);
        if (t->type == RANKCALL_UINT8)
            wanted = (double)((uint64_t)wanted & 0xff);
        if (got != wanted)
            return 1;
    }
    return 0;
}

static int try_one(struct turn *t)
{
    switch (t->kind) {
    case BROADCAST: return try_broadcast(t);
    case GATHER: return try_gather(t, false);
    case GATHERV: return try_gatherv(t);
    case ALL_GATHER: return try_gather(t, true);
    case SCATTER: return try_scatter(t);
    case REDUCE: return try_reduce(t, false);
    case ALL_REDUCE: return try_reduce(t, true);
    default: return rankcall_device_barrier(t->call) || rankcall_wait(t->call) ? -1 : 0;
    }
}

/* Sizes around every border: 0, small, a part in a slot, a slot, and more than two. */
static size_t draw_size(uint64_t *state, size_t largest)
{
    static const size_t borders[] = {0, 8, 4096, 65536, (size_t)1 << 20, (size_t)4 << 20, TURN_LARGEST};
    size_t size = borders[draw(state) % 7];
    uint64_t what = draw(state) % 4;
    size = what == 0   ? size
           : what == 1 ? size + draw(state) % 9
           : what == 2 ? size - draw(state) % (size / 2 + 1)
                       : draw(state) % 1000;
    return size > largest ? largest : size;
}

static void draw_turn(struct turn *t, uint64_t *state, size_t largest)
{
    static const int types[] = {RANKCALL_INT16, RANKCALL_INT32,   RANKCALL_UINT8,
                                RANKCALL_INT64, RANKCALL_FLOAT32, RANKCALL_FLOAT64};
    t->kind = (int)(draw(state) % KINDS);
    t->type = types[draw(state) % 6];
    t->op = (int)(draw(state) % 4);
    t->root = (int)(draw(state) % (uint64_t)t->ranks);
    t->size = draw_size(state, largest);
    t->in_place = draw(state) % 2;
}

static int run_turns(struct turn *t, uint64_t seed, int turns, size_t largest)
{
    uint64_t state = seed * 2654435761u + 1;
    int verdict = 0;
    for (t->turn = 0; t->turn < turns && !verdict; t->turn++) {
        draw_turn(t, &state, largest);
        rankcall_mark(t->call, "turn %d", t->turn);
        verdict = try_one(t);
        if (verdict == 1)
            rankcall_fail(
                t->call,
                "rank %d: wrong result: seed %llu, turn %d, kind %d, size %zu, type %d, op %d, root %d, in place %d",
                t->rank, (unsigned long long)seed, t->turn, t->kind, t->size, t->type, t->op, t->root, t->in_place);
    }
    return verdict ? -1 : 0;
}

int turn_many(struct rankcall_call *call, struct rankcall_device *device, uint64_t seed, int turns, size_t largest)
{
    struct turn t = {.call = call, .device = device, .rank = rankcall_call_rank(call)};
    void *memory[3] = {NULL};
    t.ranks = rankcall_call_world_size(call);
    t.room = (size_t)t.ranks * TURN_LARGEST;
    int code = rankcall_device_alloc(device, t.room, &memory[0]) || rankcall_device_alloc(device, t.room, &memory[1]) ||
               rankcall_pinned_alloc(device, t.room, &memory[2]);
    t.send = memory[0];
    t.receive = memory[1];
    t.host = memory[2];
    if (!code)
        code = run_turns(&t, seed, turns, largest);
    rankcall_device_free(device, memory[0]);
    rankcall_device_free(device, memory[1]);
    rankcall_pinned_free(device, memory[2]);
    return code ? -1 : 0;
}
