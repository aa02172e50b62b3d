/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What mpirun --tag-output writes, taken apart into lines of ranks.
 *
 * The tag "[1,3]<stdout>:" stands before every line, but also before every piece that mpirun happened to read: a long
 * line of one rank may be cut by pieces of others. Here each rank's pieces are put together again. */

#ifndef RK_LAUNCHER_OUTPUT_H
#define RK_LAUNCHER_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

#define RK_OUTPUT_LINE_MAX (256 << 10) /* a longer line is given in parts */

/* A line without its newline, any bytes; rank -1: mpirun's own. */
typedef void (*rk_output_line_fn)(void *context, int rank, const char *text, size_t size);

struct rk_output;

/* How lines are tagged. */
enum rk_tags {
    RK_TAGS_PLAIN,  /* "[1,3]<stdout>:" by mpirun of Open MPI 4 */
    RK_TAGS_SPACED, /* the same and a space, by that of Open MPI 5 */
    RK_TAGS_LABELS, /* " 3: " by srun --label, at the beginning of a line alone */
};

/* For ranks 0 to ranks - 1. NULL: memory. */
struct rk_output *rk_output_new(int ranks, enum rk_tags tags, rk_output_line_fn line, void *context);
void rk_output_free(struct rk_output *output);

/* Asks for the rank of a process that is tagged with these numbers: mpirun's group and the process in it; -1: nobody
 * knows. Without it the second number is the rank. */
typedef int (*rk_output_rank_fn)(void *context, int group, int member);
void rk_output_ask(struct rk_output *output, rk_output_rank_fn rank, void *context);

void rk_output_feed(struct rk_output *output, const char *data, size_t size);

/* No more comes: gives what has no newline yet. */
void rk_output_end(struct rk_output *output);

/* What to print before a rank's line: "[rank 3] ", or nothing when the line has that already, also behind "[debug] ".
 */
void rk_output_prefix(int rank, const char *text, size_t size, char prefix[32]);

#endif
