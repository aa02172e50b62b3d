/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A streamed `burst` of the test worker, checked byte for byte as it comes. */

#include "burst.h"

#include <inttypes.h>

#include "check.h"
#include "pattern.h"

struct burst burst_of(uint32_t seed, uint64_t count, size_t size, int world_size)
{
    struct burst burst = {.seed = seed, .count = count, .size = size};
    for (int rank = 0; rank < world_size; rank++)
        burst.emits[rank] = true;
    return burst;
}

void burst_submit(struct burst *burst, struct rankcall_runner *runner, struct rankcall_pending **out)
{
    char args[1024], ranks[4 * BURST_MAX_RANKS] = "";
    size_t at = 0;
    for (int rank = 0; rank < BURST_MAX_RANKS; rank++)
        if (burst->emits[rank])
            at += (size_t)snprintf(ranks + at, sizeof ranks - at, "%s%d", at ? "," : "", rank);
    snprintf(args, sizeof args,
             "{\"seed\":%" PRIu32 ",\"count\":%" PRIu64 ",\"size\":%zu,\"attach\":%zu,\"check\":%" PRId64
             ",\"ranks\":[%s]}",
             burst->seed, burst->count, burst->size, burst->attach, burst->check, ranks);
    OK(rankcall_stream(runner, "burst", json_payload(args), out));
}

static void check_attachment(const struct burst *burst, const struct rankcall_item *item, uint64_t index)
{
    struct rankcall_attachment attachment;
    OK(rankcall_attachment(item->payload, "data", &attachment));
    CHECK(attachment.size == burst->attach);
    uint8_t *wanted = malloc(burst->attach);
    pattern_fill(wanted, burst->attach, burst->seed, item->rank, index);
    CHECK(memcmp(wanted, attachment.data, burst->attach) == 0);
    free(wanted);
}

static void check_event(struct burst *burst, const struct rankcall_item *item)
{
    static _Thread_local char wanted[(1 << 20) + 1];
    CHECK(item->rank >= 0 && item->rank < BURST_MAX_RANKS && burst->emits[item->rank]);
    uint64_t index = burst->next[item->rank]++;
    CHECK(item->sequence == index);
    size_t size;
    const char *text = rankcall_payload_json(item->payload, &size);
    pattern_text(wanted, burst->size, burst->seed, item->rank, index);
    CHECK(size == burst->size);
    SAME(text, wanted);
    CHECK(rankcall_attachment_count(item->payload) == (burst->attach > 0));
    if (burst->attach > 0)
        check_attachment(burst, item, index);
    burst->events++;
}

static void check_result(const struct burst *burst, const struct rankcall_item *item)
{
    int64_t seed = -1;
    CHECK(item->kind == RANKCALL_ITEM_RESULT);
    OK(rankcall_get_int(item->payload, "seed", &seed));
    CHECK(seed == burst->seed);
    for (int rank = 0; rank < BURST_MAX_RANKS; rank++)
        CHECK(burst->next[rank] == (burst->emits[rank] ? burst->count : 0));
}

bool burst_step(struct burst *burst, struct rankcall_pending *pending)
{
    struct rankcall_item item;
    OK(rankcall_next(pending, 60, &item));
    bool event = item.kind == RANKCALL_ITEM_EVENT;
    if (event)
        check_event(burst, &item);
    else
        check_result(burst, &item);
    rankcall_payload_free(item.payload);
    return event;
}

void burst_run(struct burst *burst, struct rankcall_runner *runner)
{
    struct rankcall_pending *pending;
    burst_submit(burst, runner, &pending);
    while (burst_step(burst, pending))
        ;
    rankcall_pending_free(pending);
}
