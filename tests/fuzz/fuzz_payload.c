/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Any bytes as a payload: what is accepted can be looked up without harm, and building the same payload anew gives the
 * same bytes. */

#include <stdlib.h>
#include <string.h>

#include "wire/frame.h"
#include "wire/payload.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int truth)
{
    if (!truth)
        abort();
}

static void look_up(const struct rankcall_payload *payload)
{
    static const char *const keys[] = {"", "a", "b", "/", "/a", "/a/0", "/a/b", "/a/0/b", "/~0~1/1"};
    struct rankcall_attachment found;
    const double *numbers;
    const char *text;
    double number;
    int64_t integer;
    size_t count;
    bool truth;

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        (void)rankcall_get_int(payload, keys[i], &integer);
        (void)rankcall_get_double(payload, keys[i], &number);
        (void)rankcall_get_bool(payload, keys[i], &truth);
        (void)rankcall_get_string(payload, keys[i], &text);
        (void)rankcall_get_doubles(payload, keys[i], &numbers, &count);
        (void)rankcall_attachment_of(payload, keys[i], RANKCALL_NDARRAY, RANKCALL_INT8, &found);
    }
}

/* Reads every byte of the attachments, which a sanitizer watches, into a payload of their own. */
static void attach_all(const struct rankcall_payload *from, struct rankcall_payload *to)
{
    struct rankcall_attachment found, again;

    for (size_t i = 0; i < rankcall_attachment_count(from); i++) {
        require(rankcall_attachment_at(from, i, &found) == RANKCALL_OK);
        require((uintptr_t)found.data % RK_PAYLOAD_ALIGN == 0);
        require(rankcall_attachment(from, found.name, &again) == RANKCALL_OK && again.data == found.data);
        require(rankcall_attach_copy(to, &found) == RANKCALL_OK);
    }
}

static void rebuild(const struct rankcall_payload *payload)
{
    struct rankcall_payload *again;
    size_t size;
    const char *text = rankcall_payload_json(payload, &size);
    uint8_t *bytes;

    require(rankcall_payload_from_json(text, size, &again) == RANKCALL_OK);
    attach_all(payload, again);
    require(rk_payload_freeze(again) == RANKCALL_OK);
    if (rk_payload_size(again) > 0) { /* {} alone may be sent as no bytes or as some */
        require(rk_payload_size(again) == rk_payload_size(payload));
        bytes = rk_payload_alloc(rk_payload_size(again));
        rk_payload_copy(again, bytes);
        require(memcmp(bytes, rk_payload_bytes(payload), rk_payload_size(payload)) == 0);
        free(bytes);
    }
    rankcall_payload_free(again);
}

/* Setting members of the received text keeps the others. */
static void change(const struct rankcall_payload *payload)
{
    struct rankcall_payload *again;
    size_t size;
    const char *text = rankcall_payload_json(payload, &size);
    int64_t value;

    require(rankcall_payload_from_json(text, size, &again) == RANKCALL_OK);
    require(rankcall_set_int(again, "a", -5) == RANKCALL_OK);
    require(rankcall_set_string(again, "b", "\"\\\n") == RANKCALL_OK);
    text = rankcall_payload_json(again, &size);
    require(rk_json_check(text, size) == RANKCALL_OK);
    require(rankcall_get_int(again, "a", &value) == RANKCALL_OK && value == -5);
    look_up(again);
    rankcall_payload_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rankcall_payload *payload;
    uint8_t *bytes = rk_payload_alloc(size);
    const char *text;
    size_t text_size;

    memcpy(bytes, data, size);
    if (rk_payload_decode(bytes, size, &payload)) {
        free(bytes);
        return 0;
    }
    text = rankcall_payload_json(payload, &text_size);
    if (rk_json_check(text, text_size) == RANKCALL_OK) {
        look_up(payload);
        rebuild(payload);
        change(payload);
    }
    rankcall_payload_free(payload);
    return 0;
}
