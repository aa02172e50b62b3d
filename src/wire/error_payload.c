/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* An error as an ERROR frame's payload, and back. */

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "wire/frame.h"
#include "wire/json_check.h"

/* The bytes of the valid UTF-8 character at `text`, 0 if there is none. */
static size_t character(const char *text, size_t left)
{
    for (size_t size = 1; size <= 4 && size <= left; size++)
        if (rk_utf8_ok(text, size))
            return size;
    return 0;
}

/* Sets a member to the text, with U+FFFD for each byte that is not UTF-8. */
static int set_text(struct rankcall_payload *payload, const char *key, const char *text)
{
    size_t left = text ? strlen(text) : 0;
    char *clean, *to;
    int code;

    if (rk_utf8_ok(text, left))
        return rankcall_set_string(payload, key, left ? text : "");
    if (!(clean = to = malloc(3 * left + 1)))
        return rk_error(RANKCALL_EINTERNAL, "memory is out");
    while (left > 0) {
        size_t size = character(text, left);

        to = size ? mempcpy(to, text, size) : mempcpy(to, "\xef\xbf\xbd", 3);
        text += size ? size : 1;
        left -= size ? size : 1;
    }
    *to = '\0';
    code = rankcall_set_string(payload, key, clean);
    free(clean);
    return code;
}

struct rankcall_payload *rk_error_to_payload(const struct rankcall_error *error)
{
    struct rankcall_payload *payload = rankcall_payload_new();

    if (payload && (rankcall_set_string(payload, "error", rankcall_code_name(error->code)) ||
                    set_text(payload, "message", error->message) || rankcall_set_int(payload, "rank", error->rank) ||
                    set_text(payload, "host", error->host) || set_text(payload, "traceback", error->traceback))) {
        rankcall_payload_free(payload);
        payload = NULL;
    }
    return payload;
}

/* A member's text, or `otherwise` where it is missing or of another type: a peer's poor report is still an error. */
static const char *text_or(const struct rankcall_payload *payload, const char *key, const char *otherwise)
{
    const char *text = otherwise;

    if (payload)
        (void)rankcall_opt_string(payload, key, &text);
    return text;
}

int rk_error_from_payload(const struct rk_error_head *head, const struct rankcall_payload *payload)
{
    struct rankcall_error error = {.code = (int)head->code, .rank = head->rank};

    error.message = text_or(payload, "message", rankcall_code_text(error.code));
    error.host = text_or(payload, "host", "");
    error.traceback = text_or(payload, "traceback", "");
    return rk_error_copy(&error);
}
