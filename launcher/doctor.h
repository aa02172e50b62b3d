/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* rankcall doctor: what its files share. doctor.c prints, doctor_checks.c looks at this host, doctor_nodes.c at the
 * ways to the others of a Slurm job. */

#ifndef RK_LAUNCHER_DOCTOR_H
#define RK_LAUNCHER_DOCTOR_H

#include <stdbool.h>

enum rk_health {
    RK_WELL,
    RK_ABSENT, /* what is not here need not be, or can't be checked here */
    RK_POOR,   /* slower, or of less use than could be */
    RK_ILL,    /* jobs will fail */
};

struct rk_finding {
    enum rk_health health;
    char text[400]; /* what was found */
    char fix[300];  /* what to do; "" when there is nothing */
};

struct rk_check {
    const char *name;
    void (*look)(struct rk_finding *finding);
};

/* Fills the finding. `fix` NULL: none. */
__attribute__((format(printf, 4, 5))) void rk_find(struct rk_finding *finding, enum rk_health health, const char *fix,
                                                   const char *format, ...);

extern const struct rk_check rk_checks[]; /* ended by an empty name */

/* The ways to the other nodes of the allocation, and their clocks. */
void rk_check_nodes(struct rk_finding *finding);
void rk_check_clock(struct rk_finding *finding);

/* On such a node: meets HOST:PORT. Returns the exit status. */
int rk_doctor_meet(const char *where);

#endif
