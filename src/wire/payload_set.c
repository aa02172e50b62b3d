/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Building a payload's JSON: every member is kept as raw text, so that numbers keep all their digits. */

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "wire/json_text.h"
#include "wire/payload_internal.h"

static int no_memory(void)
{
    return rk_error(RANKCALL_EINTERNAL, "payload: memory is out");
}

static int check_target(const struct rankcall_payload *payload, const char *key)
{
    if (!payload || !key)
        return rk_error(RANKCALL_EINVAL, "payload: %s is NULL", payload ? "the key" : "it");
    if (payload->frozen)
        return rk_error(RANKCALL_EINVAL,
                        "payload: \"%.100s\" cannot be set: the payload is read-only (it was received "
                        "or given away)",
                        key);
    if (!rk_utf8_ok(key, strlen(key)))
        return rk_error(RANKCALL_EPAYLOAD, "payload: a key is not UTF-8");
    return RANKCALL_OK;
}

static int add(cJSON *members, const char *key, const char *text)
{
    cJSON *made = cJSON_CreateRaw(text);

    if (made && cJSON_AddItemToObject(members, key, made))
        return RANKCALL_OK;
    cJSON_Delete(made);
    return no_memory();
}

/* Sets a member, in its old place if it has one. */
static int put(cJSON *members, const char *key, const char *text)
{
    cJSON *made, *old = cJSON_GetObjectItemCaseSensitive(members, key);

    if (!old)
        return add(members, key, text);
    made = cJSON_CreateRaw(text);
    if (made && cJSON_ReplaceItemInObjectCaseSensitive(members, key, made))
        return RANKCALL_OK;
    cJSON_Delete(made);
    return no_memory();
}

/* Adds the members of the text, each with its raw text. */
static int split_text(const struct rankcall_payload *payload, cJSON *members)
{
    const char *at = payload->text;
    const cJSON *member;
    int code;

    if ((code = rk_payload_make_view(payload)))
        return code;
    cJSON_ArrayForEach(member, payload->view)
    {
        const char *key = rk_json_space(rk_json_space(at) + 1); /* over '{' or ',' */
        const char *value = rk_json_space(rk_json_space(rk_json_skip(key)) + 1);
        char *text;

        at = rk_json_skip(value);
        text = strndup(value, (size_t)(at - value));
        code = text ? add(members, member->string, text) : no_memory();
        free(text);
        if (code)
            return code;
    }
    return RANKCALL_OK;
}

static int make_members(struct rankcall_payload *payload)
{
    cJSON *members;
    int code = RANKCALL_OK;

    if (payload->members)
        return RANKCALL_OK;
    if (!(members = cJSON_CreateObject()))
        return no_memory();
    if (payload->text && (code = split_text(payload, members)))
        cJSON_Delete(members);
    else
        payload->members = members;
    return code;
}

/* Sets a member to JSON text that is known to be right. */
static int set_raw(struct rankcall_payload *payload, const char *key, const char *text)
{
    int code;

    if ((code = check_target(payload, key)) || (code = make_members(payload)) ||
        (code = put(payload->members, key, text)))
        return code;
    rk_payload_drop_view(payload);
    rk_payload_drop_text(payload);
    return RANKCALL_OK;
}

int rankcall_set_int(struct rankcall_payload *payload, const char *key, int64_t value)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRId64, value);
    return set_raw(payload, key, text);
}

static int not_finite(const char *key, double value)
{
    return rk_error(RANKCALL_ERANGE, "payload: \"%.100s\": %s has no place in JSON", key ? key : "",
                    isnan(value) ? "NaN" : "infinity");
}

int rankcall_set_double(struct rankcall_payload *payload, const char *key, double value)
{
    char text[RK_JSON_DOUBLE_SIZE];

    if (!isfinite(value))
        return not_finite(key, value);
    rk_json_double(value, text);
    return set_raw(payload, key, text);
}

int rankcall_set_bool(struct rankcall_payload *payload, const char *key, bool value)
{
    return set_raw(payload, key, value ? "true" : "false");
}

int rankcall_set_string(struct rankcall_payload *payload, const char *key, const char *value)
{
    cJSON *item;
    char *text;
    int code;

    if (!value)
        return rk_error(RANKCALL_EINVAL, "payload: \"%.100s\": the string is NULL", key ? key : "");
    if (!rk_utf8_ok(value, strlen(value)))
        return rk_error(RANKCALL_EPAYLOAD, "payload: \"%.100s\": the string is not UTF-8", key ? key : "");
    item = cJSON_CreateStringReference(value);
    text = item ? cJSON_PrintUnformatted(item) : NULL;
    code = text ? set_raw(payload, key, text) : no_memory();
    cJSON_free(text);
    cJSON_Delete(item);
    return code;
}

int rankcall_set_doubles(struct rankcall_payload *payload, const char *key, const double *values, size_t count)
{
    char *text, *at;
    int code;

    if (!values && count > 0)
        return rk_error(RANKCALL_EINVAL, "payload: \"%.100s\": the numbers are NULL", key ? key : "");
    if (count > RK_JSON_CAP / 2)
        return rk_error(RANKCALL_ETOOLARGE, "payload: \"%.100s\": %zu numbers are too many for JSON: attach an ndarray",
                        key ? key : "", count);
    if (!(text = at = malloc(count * RK_JSON_DOUBLE_SIZE + 3)))
        return no_memory();
    *at++ = '[';
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(values[i])) {
            code = not_finite(key, values[i]);
            goto out;
        }
        rk_json_double(values[i], at);
        at += strlen(at);
        if (i + 1 < count)
            *at++ = ',';
    }
    strcpy(at, "]");
    code = set_raw(payload, key, text);
out:
    free(text);
    return code;
}

int rankcall_set_json(struct rankcall_payload *payload, const char *key, const char *json)
{
    size_t size;
    int code;

    if (!json)
        return rk_error(RANKCALL_EINVAL, "payload: \"%.100s\": the JSON is NULL", key ? key : "");
    size = strlen(json);
    if (size > RK_JSON_CAP)
        return rk_error(RANKCALL_ETOOLARGE, "payload: \"%.100s\": %zu bytes of JSON, over the cap of %u",
                        key ? key : "", size, RK_JSON_CAP);
    code = rk_json_check_value(json, size);
    return code ? code : set_raw(payload, key, json);
}
