/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The keys of one object, to find duplicates in linear time whatever a peer sends.
 *
 * A key is known by its SipHash of 128 bits under a random seed of this process: who does not know the seed cannot make
 * two keys collide, and by chance they do not. So keys need not be kept or compared. */

#ifndef RK_WIRE_JSON_KEYS_H
#define RK_WIRE_JSON_KEYS_H

#include <stddef.h>
#include <stdint.h>

#define RK_KEYS_FEW 6 /* keys held without a table, as in most objects */

struct rk_key_hash {
    uint64_t v[4], word;
    size_t size;
};

struct rk_key {
    uint64_t a, b;
};

struct rk_keys {
    size_t count, cap;
    struct rk_key *table;
    struct rk_key few[RK_KEYS_FEW];
};

/* Hashing the bytes of a key after unescaping. */
void rk_key_begin(struct rk_key_hash *hash);
void rk_key_feed(struct rk_key_hash *hash, const char *bytes, size_t size);
struct rk_key rk_key_end(struct rk_key_hash *hash);

enum rk_key_result { RK_KEY_NEW, RK_KEY_DUPLICATE, RK_KEY_NO_MEMORY };

void rk_keys_begin(struct rk_keys *keys);
enum rk_key_result rk_keys_add(struct rk_keys *keys, struct rk_key key);
void rk_keys_end(struct rk_keys *keys);

#endif
