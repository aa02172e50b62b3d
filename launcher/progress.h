/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The progress bar of a streamed call, the last line of a terminal. */

#ifndef RK_LAUNCHER_PROGRESS_H
#define RK_LAUNCHER_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include <rankcall/payload.h>

struct rk_progress {
    bool active, drawn;
    uint64_t events;
    int64_t drawn_us;
    double part; /* 0 to 1; negative: no event has told */
    char fields[256];
};

/* From here on rk_say's lines appear above the bar. */
void rk_progress_begin(struct rk_progress *progress);

/* Takes what an event tells: `progress`, and its other members that are numbers, texts or booleans. */
void rk_progress_event(struct rk_progress *progress, int rank, const struct rankcall_payload *event);

/* Draws what is not yet drawn. */
void rk_progress_draw(struct rk_progress *progress);

/* Leaves the last state on the terminal. */
void rk_progress_end(struct rk_progress *progress);

/* One line of at most `width` columns: the bar and the fields. */
void rk_progress_line(const struct rk_progress *progress, int width, char *line, size_t size);

#endif
