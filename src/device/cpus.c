/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Sets of CPUs. */

#include "device/cpus.h"

#include <ctype.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS (RK_CPUS_MAX / 64)

void rk_cpus_add(struct rk_cpus *set, unsigned cpu)
{
    if (cpu < RK_CPUS_MAX)
        set->word[cpu / 64] |= UINT64_C(1) << cpu % 64;
}

bool rk_cpus_has(const struct rk_cpus *set, unsigned cpu)
{
    return cpu < RK_CPUS_MAX && set->word[cpu / 64] >> cpu % 64 & 1;
}

unsigned rk_cpus_count(const struct rk_cpus *set)
{
    unsigned count = 0;
    for (size_t i = 0; i < WORDS; i++)
        count += (unsigned)__builtin_popcountll(set->word[i]);
    return count;
}

bool rk_cpus_empty(const struct rk_cpus *set)
{
    return rk_cpus_last(set) < 0;
}

bool rk_cpus_equal(const struct rk_cpus *one, const struct rk_cpus *other)
{
    return !memcmp(one, other, sizeof *one);
}

bool rk_cpus_meet(const struct rk_cpus *one, const struct rk_cpus *other)
{
    for (size_t i = 0; i < WORDS; i++)
        if (one->word[i] & other->word[i])
            return true;
    return false;
}

bool rk_cpus_within(const struct rk_cpus *inner, const struct rk_cpus *outer)
{
    for (size_t i = 0; i < WORDS; i++)
        if (inner->word[i] & ~outer->word[i])
            return false;
    return true;
}

struct rk_cpus rk_cpus_and(const struct rk_cpus *one, const struct rk_cpus *other)
{
    struct rk_cpus both;
    for (size_t i = 0; i < WORDS; i++)
        both.word[i] = one->word[i] & other->word[i];
    return both;
}

struct rk_cpus rk_cpus_without(const struct rk_cpus *set, const struct rk_cpus *others)
{
    struct rk_cpus left;
    for (size_t i = 0; i < WORDS; i++)
        left.word[i] = set->word[i] & ~others->word[i];
    return left;
}

void rk_cpus_join(struct rk_cpus *set, const struct rk_cpus *more)
{
    for (size_t i = 0; i < WORDS; i++)
        set->word[i] |= more->word[i];
}

int rk_cpus_last(const struct rk_cpus *set)
{
    for (int i = WORDS - 1; i >= 0; i--)
        if (set->word[i])
            return i * 64 + 63 - __builtin_clzll(set->word[i]);
    return -1;
}

const char *rk_cpus_text(const struct rk_cpus *set, char *text, size_t size)
{
    size_t used = 0;
    int last = rk_cpus_last(set);
    *text = '\0';
    for (int cpu = 0; cpu <= last; cpu++) {
        char item[32];
        int first = cpu;
        if (!rk_cpus_has(set, (unsigned)cpu))
            continue;
        while (rk_cpus_has(set, (unsigned)cpu + 1))
            cpu++;
        snprintf(item, sizeof item, first == cpu ? "%s%d" : "%s%d-%d", used ? "," : "", first, cpu);
        if (used + strlen(item) + 4 > size && cpu != last) {
            snprintf(text + used, size - used, "...");
            break;
        }
        used += (size_t)snprintf(text + used, size - used, "%s", item);
    }
    return text;
}

/* A number of the list; -1: there is none. */
static long read_number(const char **at)
{
    char *end;
    if (!isdigit((unsigned char)**at))
        return -1;
    long number = strtol(*at, &end, 10);
    *at = end;
    return number < RK_CPUS_MAX ? number : -1;
}

bool rk_cpus_parse(const char *text, struct rk_cpus *set)
{
    *set = (struct rk_cpus){0};
    for (const char *at = text;; at++) {
        long first = read_number(&at), last = first;
        if (*at == '-') {
            at++;
            last = read_number(&at);
        }
        if (first < 0 || last < first)
            return false;
        for (long cpu = first; cpu <= last; cpu++)
            rk_cpus_add(set, (unsigned)cpu);
        if (!*at || !strcmp(at, "\n"))
            return true;
        if (*at != ',')
            return false;
    }
}

bool rk_cpus_of_thread(pid_t thread, struct rk_cpus *set)
{
    cpu_set_t *mask = CPU_ALLOC(RK_CPUS_MAX);
    size_t size = CPU_ALLOC_SIZE(RK_CPUS_MAX);
    *set = (struct rk_cpus){0};
    bool known = mask && !sched_getaffinity(thread, size, mask);
    for (unsigned cpu = 0; known && cpu < RK_CPUS_MAX; cpu++)
        if (CPU_ISSET_S(cpu, size, mask))
            rk_cpus_add(set, cpu);
    CPU_FREE(mask);
    return known;
}

bool rk_cpus_bind_thread(pid_t thread, const struct rk_cpus *set)
{
    cpu_set_t *mask = CPU_ALLOC(RK_CPUS_MAX);
    size_t size = CPU_ALLOC_SIZE(RK_CPUS_MAX);
    if (!mask)
        return false;
    CPU_ZERO_S(size, mask);
    for (unsigned cpu = 0; cpu < RK_CPUS_MAX; cpu++)
        if (rk_cpus_has(set, cpu))
            CPU_SET_S(cpu, size, mask);
    bool bound = !sched_setaffinity(thread, size, mask);
    CPU_FREE(mask);
    return bound;
}
