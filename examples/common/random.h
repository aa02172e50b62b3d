/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Random numbers without state: number `index` of stream `seed` can be asked for by any rank in any order, so what is
 * drawn does not depend on how many ranks share the work. */

#ifndef EXAMPLES_RANDOM_H
#define EXAMPLES_RANDOM_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

/* The finaliser of SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014,
 * with the constants of Stafford's variant 13. */
static inline uint64_t random_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint64_t random_bits(uint64_t seed, uint64_t index)
{
    return random_mix(random_mix(seed) + (index + 1) * 0x9e3779b97f4a7c15u);
}

/* Uniform in [0, 1). */
static inline double random_uniform(uint64_t seed, uint64_t index)
{
    return (double)(random_bits(seed, index) >> 11) * 0x1p-53;
}

/* Mean 0, variance 1: Box and Muller, "A note on the generation of random normal deviates", 1958. */
static inline double random_normal(uint64_t seed, uint64_t index)
{
    const double pi = 3.14159265358979323846;
    const double radius = sqrt(-2 * log(1 - random_uniform(seed, 2 * index)));

    return radius * cos(2 * pi * random_uniform(seed, 2 * index + 1));
}

/* Puts `order` into random order: Durstenfeld, "Algorithm 235: Random permutation", 1964. */
static inline void random_shuffle(uint64_t seed, int *order, int count)
{
    for (int last = count - 1; last > 0; last--) {
        const int other = (int)(random_bits(seed, (uint64_t)last) % (uint64_t)(last + 1));
        const int kept = order[last];
        order[last] = order[other];
        order[other] = kept;
    }
}

#endif
