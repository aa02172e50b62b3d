/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Typed look-ups in a payload's JSON. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "wire/json_text.h"
#include "wire/payload_internal.h"

/* What a look-up found: the item, and the way there, by which its own text is found. */
struct found {
    const struct rankcall_payload *payload;
    const char *key;
    const cJSON *item; /* NULL: nothing there */
    size_t depth, way[RK_JSON_DEPTH + 1];
};

/* The found value's own text. */
static const char *text_of(const struct found *found)
{
    const char *at = rk_json_space(found->payload->text);

    for (size_t i = 0; i < found->depth; i++)
        at = rk_json_child(at, found->way[i]);
    return at;
}

static void enter_member(struct found *found, const char *key)
{
    const cJSON *member;
    size_t index = 0;

    cJSON_ArrayForEach(member, found->item)
    {
        if (strcmp(member->string, key) == 0)
            break;
        index++;
    }
    found->item = member;
    found->way[found->depth++] = index;
}

static void enter_element(struct found *found, const char *token)
{
    size_t digits = strspn(token, "0123456789"), index, left;
    const cJSON *element = found->item->child;

    found->item = NULL;
    if (digits == 0 || digits > 18 || token[digits] || (token[0] == '0' && digits > 1))
        return;
    index = left = strtoul(token, NULL, 10);
    while (element && left-- > 0)
        element = element->next;
    found->item = element;
    found->way[found->depth++] = index;
}

/* RFC 6901: ~1 is '/', ~0 is '~'. In place; a token never grows. */
static void unescape_token(char *token)
{
    char *to = token;

    for (; *token; token++) {
        if (token[0] == '~' && (token[1] == '0' || token[1] == '1'))
            *to++ = *++token == '0' ? '~' : '/';
        else
            *to++ = *token;
    }
    *to = '\0';
}

/* Follows a pointer; `way` has room because the item's depth is within the cap. */
static void follow(struct found *found, char *pointer)
{
    char *token = pointer + 1;

    while (found->item && token) {
        char *next = strchr(token, '/');

        if (next)
            *next++ = '\0';
        unescape_token(token);
        if (cJSON_IsObject(found->item))
            enter_member(found, token);
        else if (cJSON_IsArray(found->item))
            enter_element(found, token);
        else
            found->item = NULL;
        token = next;
    }
}

/* Errors only where nothing can be looked up; nothing found is RANKCALL_OK and item NULL. */
static int find(const struct rankcall_payload *payload, const char *key, struct found *found)
{
    char *pointer;
    int code;

    if (!payload || !key)
        return rk_error(RANKCALL_EINVAL, "payload: %s is NULL", payload ? "the key" : "it");
    if ((code = rk_payload_make_view(payload)))
        return code;
    found->payload = payload;
    found->key = key;
    found->item = payload->view;
    found->depth = 0;
    if (key[0] != '/') {
        enter_member(found, key);
        return RANKCALL_OK;
    }
    if (!(pointer = strdup(key)))
        return rk_error(RANKCALL_EINTERNAL, "payload: memory is out");
    follow(found, pointer);
    free(pointer);
    return RANKCALL_OK;
}

/* The length of text cut for a message, not within a UTF-8 sequence. */
static int cut(const char *text, size_t size, size_t cap)
{
    if (size > cap)
        for (size = cap; size > 0 && ((unsigned char)text[size] & 0xc0) == 0x80;)
            size--;
    return (int)size;
}

static int wrong_type(const struct found *found, const char *expected)
{
    const char *text = text_of(found), *what = "the number ";
    size_t size = (size_t)(rk_json_skip(text) - text);
    int shown = cut(text, size, 60), shown_key = cut(found->key, strlen(found->key), 100);

    if (cJSON_IsArray(found->item) || cJSON_IsObject(found->item))
        return rk_error(RANKCALL_ETYPE, "payload: \"%.*s\": expected %s, got %s", shown_key, found->key, expected,
                        cJSON_IsArray(found->item) ? "an array" : "an object");
    if (cJSON_IsString(found->item))
        what = "the string ";
    else if (!cJSON_IsNumber(found->item))
        what = "";
    return rk_error(RANKCALL_ETYPE, "payload: \"%.*s\": expected %s, got %s%.*s%s", shown_key, found->key, expected,
                    what, shown, text, (size_t)shown < size ? "..." : "");
}

static int out_of_range(const struct found *found, const char *why)
{
    const char *text = text_of(found);
    size_t size = (size_t)(rk_json_skip(text) - text);
    int shown = cut(text, size, 60);

    return rk_error(RANKCALL_ERANGE, "payload: \"%.*s\": %.*s%s %s", cut(found->key, strlen(found->key), 100),
                    found->key, shown, text, (size_t)shown < size ? "..." : "", why);
}

static int no_key(const struct found *found)
{
    const cJSON *first = found->payload->view->child;
    int shown = cut(found->key, strlen(found->key), 100);

    if (!first)
        return rk_error(RANKCALL_ENOKEY, "payload: there is no \"%.*s\" (the object is empty)", shown, found->key);
    return rk_error(RANKCALL_ENOKEY, "payload: there is no \"%.*s\" (among the %d keys there is \"%.*s\")", shown,
                    found->key, cJSON_GetArraySize(found->payload->view), cut(first->string, strlen(first->string), 40),
                    first->string);
}

/* What one type's look-up does with an item that is neither missing nor, for the optional ones, null. */
typedef int (*convert_fn)(const struct found *found, void *value);

static int to_int(const struct found *found, void *value)
{
    int64_t number;

    if (!cJSON_IsNumber(found->item))
        return wrong_type(found, "an integer");
    switch (rk_json_integer(text_of(found), &number)) {
    case RK_FRACTION: return wrong_type(found, "an integer");
    case RK_INTEGER_RANGE: return out_of_range(found, "is not held exactly by both a 64-bit integer and a double");
    default: *(int64_t *)value = number; return RANKCALL_OK;
    }
}

static int to_double(const struct found *found, void *value)
{
    if (!cJSON_IsNumber(found->item))
        return wrong_type(found, "a number");
    if (!isfinite(found->item->valuedouble))
        return out_of_range(found, "is beyond the range of a double");
    *(double *)value = found->item->valuedouble;
    return RANKCALL_OK;
}

static int to_bool(const struct found *found, void *value)
{
    if (!cJSON_IsBool(found->item))
        return wrong_type(found, "true or false");
    *(bool *)value = cJSON_IsTrue(found->item);
    return RANKCALL_OK;
}

static int to_string(const struct found *found, void *value)
{
    if (!cJSON_IsString(found->item))
        return wrong_type(found, "a string");
    if (rk_json_has_nul(text_of(found)))
        return rk_error(RANKCALL_EPAYLOAD, "payload: \"%.*s\": the string holds \\u0000, which a C string cannot",
                        cut(found->key, strlen(found->key), 100), found->key);
    *(const char **)value = found->item->valuestring;
    return RANKCALL_OK;
}

static int get(const struct rankcall_payload *payload, const char *key, convert_fn convert, void *value)
{
    struct found found;
    int code = find(payload, key, &found);

    if (code)
        return code;
    return found.item ? convert(&found, value) : no_key(&found);
}

static int opt(const struct rankcall_payload *payload, const char *key, convert_fn convert, void *value)
{
    struct found found;
    int code = find(payload, key, &found);

    if (code || !found.item || cJSON_IsNull(found.item))
        return code;
    return convert(&found, value);
}

int rankcall_get_int(const struct rankcall_payload *payload, const char *key, int64_t *value)
{
    return get(payload, key, to_int, value);
}

int rankcall_get_double(const struct rankcall_payload *payload, const char *key, double *value)
{
    return get(payload, key, to_double, value);
}

int rankcall_get_bool(const struct rankcall_payload *payload, const char *key, bool *value)
{
    return get(payload, key, to_bool, value);
}

int rankcall_get_string(const struct rankcall_payload *payload, const char *key, const char **value)
{
    return get(payload, key, to_string, value);
}

int rankcall_opt_int(const struct rankcall_payload *payload, const char *key, int64_t *value)
{
    return opt(payload, key, to_int, value);
}

int rankcall_opt_double(const struct rankcall_payload *payload, const char *key, double *value)
{
    return opt(payload, key, to_double, value);
}

int rankcall_opt_bool(const struct rankcall_payload *payload, const char *key, bool *value)
{
    return opt(payload, key, to_bool, value);
}

int rankcall_opt_string(const struct rankcall_payload *payload, const char *key, const char **value)
{
    return opt(payload, key, to_string, value);
}

struct int_range {
    int64_t min, max, value;
};

static int to_int_in(const struct found *found, void *context)
{
    struct int_range *range = context;
    int code = to_int(found, &range->value);

    if (code == RANKCALL_OK && (range->value < range->min || range->value > range->max))
        return rk_error(RANKCALL_ERANGE, "payload: \"%.*s\": expected %lld to %lld, got %lld",
                        cut(found->key, strlen(found->key), 100), found->key, (long long)range->min,
                        (long long)range->max, (long long)range->value);
    return code;
}

int rankcall_opt_int_in(const struct rankcall_payload *payload, const char *key, int64_t min, int64_t max,
                        int64_t *value)
{
    struct int_range range = {min, max, *value};
    int code = opt(payload, key, to_int_in, &range);

    if (code == RANKCALL_OK)
        *value = range.value;
    return code;
}

struct double_range {
    double min, max, value;
};

static int to_double_in(const struct found *found, void *context)
{
    struct double_range *range = context;
    int code = to_double(found, &range->value);

    if (code == RANKCALL_OK && (range->value < range->min || range->value > range->max))
        return rk_error(RANKCALL_ERANGE, "payload: \"%.*s\": expected %g to %g, got %g",
                        cut(found->key, strlen(found->key), 100), found->key, range->min, range->max, range->value);
    return code;
}

int rankcall_opt_double_in(const struct rankcall_payload *payload, const char *key, double min, double max,
                           double *value)
{
    struct double_range range = {min, max, *value};
    int code = opt(payload, key, to_double_in, &range);

    if (code == RANKCALL_OK)
        *value = range.value;
    return code;
}

static int fill_doubles(struct found *found, struct rk_doubles *made)
{
    const cJSON *element;
    double *to = made->values;
    int code;

    found->way[found->depth++] = 0; /* messages quote the element */
    cJSON_ArrayForEach(element, made->source)
    {
        found->item = element;
        if ((code = to_double(found, to++)))
            return code;
        found->way[found->depth - 1]++;
    }
    return RANKCALL_OK;
}

static int to_doubles(const struct found *given, void *out)
{
    struct rankcall_payload *payload = (struct rankcall_payload *)given->payload;
    struct found found = *given;
    struct rk_doubles *made;
    size_t count;
    int code;

    if (!cJSON_IsArray(found.item))
        return wrong_type(&found, "an array of numbers");
    for (made = payload->doubles; made; made = made->next) {
        if (made->source == found.item) {
            *(struct rk_doubles **)out = made;
            return RANKCALL_OK;
        }
    }
    count = (size_t)cJSON_GetArraySize(found.item);
    if (!(made = malloc(sizeof *made + count * sizeof made->values[0])))
        return rk_error(RANKCALL_EINTERNAL, "payload: no memory for %zu numbers", count);
    made->source = found.item;
    made->count = count;
    if ((code = fill_doubles(&found, made))) {
        free(made);
        return code;
    }
    made->next = payload->doubles;
    *(struct rk_doubles **)out = payload->doubles = made;
    return RANKCALL_OK;
}

int rankcall_get_doubles(const struct rankcall_payload *payload, const char *key, const double **values, size_t *count)
{
    struct rk_doubles *found;
    int code = get(payload, key, to_doubles, &found);

    if (code)
        return code;
    *values = found->values;
    *count = found->count;
    return RANKCALL_OK;
}

bool rankcall_has(const struct rankcall_payload *payload, const char *key)
{
    struct found found;

    return find(payload, key, &found) == RANKCALL_OK && found.item && !cJSON_IsNull(found.item);
}
