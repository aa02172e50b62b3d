/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Duplicate keys: SipHash-1-3 (Aumasson and Bernstein, 2012) of 128 bits, and a table with open addressing. */

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "wire/json_keys.h"

static pthread_once_t seed_once = PTHREAD_ONCE_INIT;
static uint64_t seed[2];

static void make_seed(void)
{
    struct timespec now;

    if (getrandom(seed, sizeof seed, GRND_NONBLOCK) == (ssize_t)sizeof seed)
        return;
    clock_gettime(CLOCK_REALTIME, &now); /* early at boot: better than a constant */
    seed[0] = (uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec;
    seed[1] = (uint64_t)(uintptr_t)&now ^ (uint64_t)getpid() << 48;
}

static uint64_t rotate(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

static inline void mix(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static void take_word(struct rk_key_hash *hash, uint64_t word)
{
    hash->v[3] ^= word;
    mix(hash->v);
    hash->v[0] ^= word;
}

void rk_key_begin(struct rk_key_hash *hash)
{
    pthread_once(&seed_once, make_seed);
    hash->v[0] = seed[0] ^ UINT64_C(0x736f6d6570736575);
    hash->v[1] = seed[1] ^ UINT64_C(0x646f72616e646f6d) ^ 0xee;
    hash->v[2] = seed[0] ^ UINT64_C(0x6c7967656e657261);
    hash->v[3] = seed[1] ^ UINT64_C(0x7465646279746573);
    hash->word = 0;
    hash->size = 0;
}

void rk_key_feed(struct rk_key_hash *hash, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        hash->word |= (uint64_t)(unsigned char)bytes[i] << (8 * (hash->size & 7));
        if ((++hash->size & 7) == 0) {
            take_word(hash, hash->word);
            hash->word = 0;
        }
    }
}

static uint64_t finish(uint64_t v[4])
{
    mix(v);
    mix(v);
    mix(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

struct rk_key rk_key_end(struct rk_key_hash *hash)
{
    struct rk_key key;

    take_word(hash, hash->word | (uint64_t)hash->size << 56);
    hash->v[2] ^= 0xee;
    key.a = finish(hash->v);
    hash->v[1] ^= 0xdd;
    key.b = finish(hash->v) | 1; /* never the mark of an empty place */
    return key;
}

void rk_keys_begin(struct rk_keys *keys)
{
    keys->count = keys->cap = 0;
    keys->table = NULL;
}

void rk_keys_end(struct rk_keys *keys)
{
    if (keys->table)
        free(keys->table);
    rk_keys_begin(keys);
}

/* The key's place, or the empty one where it belongs; the table is never full. */
static struct rk_key *place_of(struct rk_key *table, size_t cap, struct rk_key key)
{
    size_t at = key.a & (cap - 1);

    while (table[at].b != 0 && (table[at].a != key.a || table[at].b != key.b))
        at = (at + 1) & (cap - 1);
    return &table[at];
}

/* A table four times as large, with the keys of the old one or the few that had none. */
static struct rk_key *grown(const struct rk_keys *keys, size_t cap)
{
    const struct rk_key *old = keys->table ? keys->table : keys->few;
    size_t places = keys->table ? keys->cap : keys->count;
    struct rk_key *table = calloc(cap, sizeof *table);

    for (size_t i = 0; table && i < places; i++)
        if (old[i].b != 0)
            *place_of(table, cap, old[i]) = old[i];
    return table;
}

static enum rk_key_result add_few(struct rk_keys *keys, struct rk_key key)
{
    for (size_t i = 0; i < keys->count; i++)
        if (keys->few[i].a == key.a && keys->few[i].b == key.b)
            return RK_KEY_DUPLICATE;
    keys->few[keys->count++] = key;
    return RK_KEY_NEW;
}

enum rk_key_result rk_keys_add(struct rk_keys *keys, struct rk_key key)
{
    struct rk_key *place;

    if (!keys->table && keys->count < RK_KEYS_FEW)
        return add_few(keys, key);
    if (keys->count + 1 > keys->cap / 2) {
        size_t cap = keys->cap ? keys->cap * 4 : 32;
        struct rk_key *table = grown(keys, cap);

        if (!table)
            return RK_KEY_NO_MEMORY;
        free(keys->table);
        keys->table = table;
        keys->cap = cap;
    }
    place = place_of(keys->table, keys->cap, key);
    if (place->b != 0)
        return RK_KEY_DUPLICATE;
    *place = key;
    keys->count++;
    return RK_KEY_NEW;
}
