/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Sets of CPUs, by the system's numbers, as plain bytes. */

#ifndef RK_DEVICE_CPUS_H
#define RK_DEVICE_CPUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RK_CPUS_MAX  4096
#define RK_CPUS_TEXT 256 /* room for a list; a longer one ends with "..." */

struct rk_cpus {
    uint64_t word[RK_CPUS_MAX / 64];
};

/* Numbers above the highest possible are left out. */
void rk_cpus_add(struct rk_cpus *set, unsigned cpu);
bool rk_cpus_has(const struct rk_cpus *set, unsigned cpu);

unsigned rk_cpus_count(const struct rk_cpus *set);
bool rk_cpus_empty(const struct rk_cpus *set);
bool rk_cpus_equal(const struct rk_cpus *one, const struct rk_cpus *other);

/* Whether they have one in common; whether `inner` lies within `outer`. */
bool rk_cpus_meet(const struct rk_cpus *one, const struct rk_cpus *other);
bool rk_cpus_within(const struct rk_cpus *inner, const struct rk_cpus *outer);

struct rk_cpus rk_cpus_and(const struct rk_cpus *one, const struct rk_cpus *other);
struct rk_cpus rk_cpus_without(const struct rk_cpus *set, const struct rk_cpus *others);
void rk_cpus_join(struct rk_cpus *set, const struct rk_cpus *more);

/* The highest number in the set; -1 when it is empty. */
int rk_cpus_last(const struct rk_cpus *set);

/* A list like "0-3,8", "" for the empty set. Returns `text`. */
const char *rk_cpus_text(const struct rk_cpus *set, char *text, size_t size);

/* Reads such a list. false: it is none. */
bool rk_cpus_parse(const char *text, struct rk_cpus *set);

/* Where a thread may run, asked from the kernel; 0: the calling one. false: there is no such thread. */
bool rk_cpus_of_thread(pid_t thread, struct rk_cpus *set);

/* Binds a thread. false with errno. */
bool rk_cpus_bind_thread(pid_t thread, const struct rk_cpus *set);

#endif
