/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A maximum matching of ranks and GPUs by augmenting paths; who is left over shares. */

#include "device/matching.h"

#include <string.h>

struct matching {
    const struct rk_request *requests;
    int owner[RK_GPUS_MAX];  /* the rank that has a GPU; -1 */
    int ranks[RK_GPUS_MAX];  /* how many do */
    bool tried[RK_GPUS_MAX]; /* on the path that is looked for */
};

/* The n-th of the GPUs that a rank sees, counted from its own place among equals. */
static int choice(const struct matching *matching, int rank, int n)
{
    const struct rk_request *request = &matching->requests[rank];
    return request->gpus[(rank + n) % request->gpu_count];
}

/* Finds the rank a GPU, where need be by moving those who came before to others. Ranks on a path are as many as GPUs at
 * most. */
static bool match(struct matching *matching, int rank)
{
    for (int n = 0; n < matching->requests[rank].gpu_count; n++) {
        int gpu = choice(matching, rank, n);
        if (matching->owner[gpu] >= 0)
            continue;
        matching->owner[gpu] = rank;
        return true;
    }
    for (int n = 0; n < matching->requests[rank].gpu_count; n++) {
        int gpu = choice(matching, rank, n);
        if (matching->tried[gpu])
            continue;
        matching->tried[gpu] = true;
        if (match(matching, matching->owner[gpu])) {
            matching->owner[gpu] = rank;
            return true;
        }
    }
    return false;
}

/* The GPU with the fewest ranks, the first of them in the rank's order. */
static int share(struct matching *matching, int rank)
{
    int best = choice(matching, rank, 0);
    for (int n = 1; n < matching->requests[rank].gpu_count; n++) {
        int gpu = choice(matching, rank, n);
        if (matching->ranks[gpu] < matching->ranks[best])
            best = gpu;
    }
    return best;
}

void rk_matching_make(int gpu_count, const struct rk_request *requests, int count, struct rk_place *places)
{
    struct matching matching = {.requests = requests};
    for (int gpu = 0; gpu < RK_GPUS_MAX; gpu++)
        matching.owner[gpu] = -1;
    for (int rank = 0; rank < count; rank++) {
        places[rank].gpu = -1;
        memset(matching.tried, 0, sizeof matching.tried);
        match(&matching, rank);
    }
    for (int gpu = 0; gpu < gpu_count; gpu++)
        if (matching.owner[gpu] >= 0) {
            places[matching.owner[gpu]].gpu = gpu;
            matching.ranks[gpu] = 1;
        }
    for (int rank = 0; rank < count; rank++)
        if (places[rank].gpu < 0 && requests[rank].gpu_count)
            matching.ranks[places[rank].gpu = share(&matching, rank)]++;
}
