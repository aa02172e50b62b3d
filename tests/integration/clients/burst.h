/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A streamed `burst` of the test worker, checked byte for byte as it comes. */

#ifndef BURST_H
#define BURST_H

#include <stdint.h>

#include <rankcall/runner.h>

#define BURST_MAX_RANKS 64

struct burst {
    uint32_t seed;
    uint64_t count;              /* events of each emitting rank */
    size_t size, attach;         /* bytes of JSON and of the attachment */
    int64_t check;               /* a checkpoint every so many events */
    bool emits[BURST_MAX_RANKS]; /* the ranks that emit */
    uint64_t next[BURST_MAX_RANKS], events;
};

/* All ranks emit. */
struct burst burst_of(uint32_t seed, uint64_t count, size_t size, int world_size);

void burst_submit(struct burst *burst, struct rankcall_runner *runner, struct rankcall_pending **out);

/* Waits for one item and checks it against what must come next. False: it was the result, and nothing is missing. */
bool burst_step(struct burst *burst, struct rankcall_pending *pending);

/* Submit, every item, free. */
void burst_run(struct burst *burst, struct rankcall_runner *runner);

#endif
