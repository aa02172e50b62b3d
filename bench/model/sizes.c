/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What the tables of a job have for each rank, as it was compiled: prints {"name": bytes, ...}. */

#include <stdio.h>

#include "mesh/collect_internal.h"
#include "mesh/internal.h"

static void print(const char *name, size_t bytes, const char *after)
{
    printf("\"%s\": %zu%s", name, bytes, after);
}

int main(void)
{
    printf("{");
    print("rank_info", sizeof(struct rk_rank_info), ", ");
    print("rank_debt", sizeof(struct rk_debt), ", ");
    print("rank_row", 2 * sizeof(uint64_t), ", "); /* of the ledger: the call and the next sequence */
    print("rank_place", sizeof(struct rk_place), ", ");
    print("rank_seat", sizeof(struct rk_seat), ", ");
    print("rank_boxes", (size_t)RK_BOXES * (sizeof(struct rk_box) + RK_BOX_SIZE), ", ");
    print("window_all", RK_WINDOW_ALL, ", ");
    print("window_least", RK_WINDOW_MIN, "}\n");
    return 0;
}
