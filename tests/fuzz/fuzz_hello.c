/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A greeting: the first byte says which of its frames, the rest is that frame's head. What is taken must come back the
 * same when it is sent on, and what is longer than is known must not matter. */

#include <stdlib.h>
#include <string.h>

#include "wire/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool holds)
{
    if (!holds)
        abort();
}

static void hello(const uint8_t *head, size_t size)
{
    struct rk_hello one, other;
    uint8_t bytes[RK_HEAD_CAP];
    if (rk_hello_decode(head, size, &one))
        return;
    expect(one.min_version && one.min_version <= one.max_version);
    expect(!rk_hello_decode(bytes, rk_hello_encode(&one, bytes), &other));
    expect(one.min_version == other.min_version && one.max_version == other.max_version);
    expect(one.features == other.features && one.token == other.token);
}

static void welcome(const uint8_t *head, size_t size)
{
    struct rk_welcome one, other;
    uint8_t bytes[RK_HEAD_CAP];
    if (rk_welcome_decode(head, size, &one))
        return;
    expect(!rk_welcome_decode(bytes, rk_welcome_encode(&one, bytes), &other));
    expect(one.version == other.version && one.world_size == other.world_size && one.features == other.features);
    expect(one.payload_cap == other.payload_cap && one.token == other.token);
    if (one.token)
        expect(one.begun == other.begun && one.clock_us == other.clock_us && one.times == other.times);
}

static void away(const uint8_t *head, size_t size)
{
    struct rk_away_head one, other;
    uint8_t bytes[RK_HEAD_CAP];
    if (rk_away_decode(head, size, &one))
        return;
    expect(!rk_away_decode(bytes, rk_away_encode(&one, bytes), &other) && one.begun == other.begun);
}

static void call(const uint8_t *head, size_t size)
{
    struct rk_call_head one, other;
    uint8_t bytes[RK_HEAD_CAP];
    if (rk_call_decode(head, size, &one))
        return;
    expect(!rk_call_decode(bytes, rk_call_encode(&one, bytes), &other));
    expect(!strcmp(one.handler, other.handler) && one.flags == other.flags && one.begun == other.begun);
    expect(one.timeout_us == other.timeout_us && one.submitted_us == other.submitted_us);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const heads[])(const uint8_t *, size_t) = {hello, welcome, away, call};
    if (size < 1 || size > RK_HEAD_CAP)
        return 0;
    uint8_t *head = malloc(size); /* its end is the allocation's */
    if (head) {
        memcpy(head, data + 1, size - 1);
        heads[data[0] % (sizeof heads / sizeof heads[0])](head, size - 1);
    }
    free(head);
    return 0;
}
