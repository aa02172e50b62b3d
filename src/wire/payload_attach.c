/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Attachments: the names of their types, checking them, attaching and finding them. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "wire/payload_internal.h"

struct dtype_entry {
    const char *name;
    size_t size;
};

static const struct dtype_entry dtypes[] = {
    [RANKCALL_DTYPE_NONE] = {"", 0},
    [RANKCALL_BOOL] = {"bool", 1},
    [RANKCALL_INT8] = {"int8", 1},
    [RANKCALL_INT16] = {"int16", 2},
    [RANKCALL_INT32] = {"int32", 4},
    [RANKCALL_INT64] = {"int64", 8},
    [RANKCALL_UINT8] = {"uint8", 1},
    [RANKCALL_UINT16] = {"uint16", 2},
    [RANKCALL_UINT32] = {"uint32", 4},
    [RANKCALL_UINT64] = {"uint64", 8},
    [RANKCALL_FLOAT16] = {"float16", 2},
    [RANKCALL_FLOAT32] = {"float32", 4},
    [RANKCALL_FLOAT64] = {"float64", 8},
    [RANKCALL_COMPLEX64] = {"complex64", 8},
    [RANKCALL_COMPLEX128] = {"complex128", 16},
    [RANKCALL_BFLOAT16] = {"bfloat16", 2},
};

static const char *const types[] = {
    [RANKCALL_BYTES] = "bytes",
    [RANKCALL_IMAGE_PNG] = "image/png",
    [RANKCALL_IMAGE_JPEG] = "image/jpeg",
    [RANKCALL_NDARRAY] = "ndarray",
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

size_t rankcall_dtype_size(int dtype)
{
    return dtype < 0 || (size_t)dtype >= COUNT(dtypes) ? 0 : dtypes[dtype].size;
}

const char *rankcall_dtype_name(int dtype)
{
    return dtype < 0 || (size_t)dtype >= COUNT(dtypes) ? "" : dtypes[dtype].name;
}

const char *rankcall_type_name(int type)
{
    return type < 0 || (size_t)type >= COUNT(types) ? "" : types[type];
}

static int check_name(const char *name, size_t size)
{
    if (size == 0 || size > RANKCALL_MAX_NAME)
        return rk_error(RANKCALL_EPAYLOAD, "payload: an attachment's name has %zu bytes, expected 1 to %d", size,
                        RANKCALL_MAX_NAME);
    if (!rk_utf8_ok(name, size))
        return rk_error(RANKCALL_EPAYLOAD, "payload: an attachment's name is not UTF-8");
    return RANKCALL_OK;
}

/* Multiplies without overflow; a dimension of 0 makes the whole 0, whatever the others are. */
static bool shape_size(const struct rankcall_attachment *array, uint64_t *size)
{
    bool fits = true;

    *size = rankcall_dtype_size(array->dtype);
    for (int i = 0; i < array->ndim; i++) {
        if (array->shape[i] == 0) {
            *size = 0;
            return true;
        }
        fits = fits && !__builtin_mul_overflow(*size, array->shape[i], size);
    }
    return fits;
}

/* `%.*s` of an attachment's name in messages. */
#define NAME_FORMAT "payload: attachment \"%.*s\": "

static int check_array(const struct rankcall_attachment *array, int name_size)
{
    uint64_t size;

    if (rankcall_dtype_size(array->dtype) == 0)
        return rk_error(RANKCALL_EPAYLOAD, NAME_FORMAT "an ndarray's dtype is %d, expected 1 to %zu", name_size,
                        array->name, array->dtype, COUNT(dtypes) - 1);
    if (array->ndim < 0 || array->ndim > RANKCALL_MAX_DIMS)
        return rk_error(RANKCALL_EPAYLOAD, NAME_FORMAT "%d dimensions, expected 0 to %d", name_size, array->name,
                        array->ndim, RANKCALL_MAX_DIMS);
    if (!shape_size(array, &size))
        return rk_error(RANKCALL_EPAYLOAD, NAME_FORMAT "the shape's product overflows", name_size, array->name);
    if (size != array->size)
        return rk_error(RANKCALL_EPAYLOAD,
                        NAME_FORMAT "the shape needs %" PRIu64 " bytes of %s, but there are %" PRIu64, name_size,
                        array->name, size, rankcall_dtype_name(array->dtype), array->size);
    return RANKCALL_OK;
}

int rk_attachment_check(const struct rankcall_attachment *attachment, size_t name_size)
{
    const char *name = attachment->name;
    int code = check_name(name, name_size), shown = (int)name_size;

    if (code)
        return code;
    if (attachment->type < 0 || (size_t)attachment->type >= COUNT(types))
        return rk_error(RANKCALL_EPAYLOAD, NAME_FORMAT "type is %d, expected 0 to %zu", shown, name, attachment->type,
                        COUNT(types) - 1);
    if (attachment->type == RANKCALL_NDARRAY)
        return check_array(attachment, shown);
    if (attachment->dtype != RANKCALL_DTYPE_NONE || attachment->ndim != 0)
        return rk_error(RANKCALL_EPAYLOAD, NAME_FORMAT "%s has neither dtype nor dimensions", shown, name,
                        types[attachment->type]);
    return RANKCALL_OK;
}

static int grow(struct rankcall_payload *payload)
{
    size_t cap = payload->attached_cap ? payload->attached_cap * 2 : 2;
    struct rk_attached *grown;

    if (payload->attached_count < payload->attached_cap)
        return RANKCALL_OK;
    if (!(grown = realloc(payload->attached, cap * sizeof *grown)))
        return rk_error(RANKCALL_EINTERNAL, "payload: memory is out");
    payload->attached = grown;
    payload->attached_cap = cap;
    return RANKCALL_OK;
}

int rk_payload_add(struct rankcall_payload *payload, const struct rk_attached *attached, size_t name_size)
{
    char *name;
    int code = grow(payload);

    if (code)
        return code;
    if (!(name = strndup(attached->attachment.name, name_size)))
        return rk_error(RANKCALL_EINTERNAL, "payload: memory is out");
    payload->attached[payload->attached_count] = *attached;
    payload->attached[payload->attached_count++].attachment.name = name;
    return RANKCALL_OK;
}

static const struct rk_attached *find(const struct rankcall_payload *payload, const char *name)
{
    for (size_t i = 0; i < payload->attached_count; i++)
        if (strcmp(payload->attached[i].attachment.name, name) == 0)
            return &payload->attached[i];
    return NULL;
}

static int check_attach(const struct rankcall_payload *payload, const struct rankcall_attachment *attachment)
{
    int code;

    if (!payload || !attachment || !attachment->name)
        return rk_error(RANKCALL_EINVAL, "payload: an attachment needs a payload and a name");
    if (payload->frozen)
        return rk_error(RANKCALL_EINVAL,
                        "payload: \"%s\" cannot be attached: the payload is read-only (it was received or given away)",
                        attachment->name);
    if ((code = rk_attachment_check(attachment, strlen(attachment->name))))
        return code;
    if (!attachment->data && attachment->size > 0)
        return rk_error(RANKCALL_EPAYLOAD, "payload: attachment \"%s\": data is NULL", attachment->name);
    if (find(payload, attachment->name))
        return rk_error(RANKCALL_EPAYLOAD, "payload: there is an attachment \"%s\" already", attachment->name);
    if (payload->attached_count >= RANKCALL_MAX_ATTACHMENTS)
        return rk_error(RANKCALL_EPAYLOAD, "payload: attachment \"%s\" is one more than the %d that fit",
                        attachment->name, RANKCALL_MAX_ATTACHMENTS);
    return RANKCALL_OK;
}

int rankcall_attach(struct rankcall_payload *payload, const struct rankcall_attachment *attachment,
                    void (*release)(void *data, void *context), void *context)
{
    struct rk_attached attached = {.release = release, .context = context};
    int code = check_attach(payload, attachment);

    if (code == RANKCALL_OK) {
        attached.attachment = *attachment;
        code = rk_payload_add(payload, &attached, strlen(attachment->name));
    }
    if (code && attachment && release)
        release((void *)attachment->data, context);
    return code;
}

void rankcall_release_count(void *data, void *context)
{
    (void)data;
    atomic_fetch_add_explicit((_Atomic uint64_t *)context, 1, memory_order_release);
}

static void release_malloced(void *data, void *context)
{
    (void)context;
    free(data);
}

int rankcall_attach_take(struct rankcall_payload *payload, const struct rankcall_attachment *attachment)
{
    return rankcall_attach(payload, attachment, release_malloced, NULL);
}

/* `size`: how many bytes, in place of a pointer. */
static void release_copy(void *data, void *size)
{
    rk_payload_give(data, (uintptr_t)size);
}

int rankcall_attach_copy(struct rankcall_payload *payload, const struct rankcall_attachment *attachment)
{
    struct rankcall_attachment copy;
    int code = check_attach(payload, attachment);
    void *data;

    if (code)
        return code;
    if (!(data = rk_payload_alloc(attachment->size)))
        return rk_error(RANKCALL_EINTERNAL, "payload: no memory for the %" PRIu64 " bytes of attachment \"%s\"",
                        attachment->size, attachment->name);
    if (attachment->size > 0)
        memcpy(data, attachment->data, attachment->size);
    copy = *attachment;
    copy.data = data;
    return rankcall_attach(payload, &copy, release_copy, (void *)(uintptr_t)copy.size);
}

static int own(struct rk_attached *attached)
{
    struct rankcall_attachment *borrowed = &attached->attachment;
    void *data = rk_payload_alloc(borrowed->size);

    if (!data)
        return rk_error(RANKCALL_EINTERNAL, "payload: no memory for the %" PRIu64 " bytes of attachment \"%s\"",
                        borrowed->size, borrowed->name);
    memcpy(data, borrowed->data, borrowed->size);
    borrowed->data = data;
    attached->release = release_copy;
    attached->context = (void *)(uintptr_t)borrowed->size;
    return RANKCALL_OK;
}

int rk_payload_own(struct rankcall_payload *payload)
{
    int code = RANKCALL_OK;

    if (payload->frozen)
        return RANKCALL_OK; /* its pieces point to the data as it is */
    for (size_t i = 0; i < payload->attached_count && code == RANKCALL_OK; i++)
        if (!payload->attached[i].release && payload->attached[i].attachment.size > 0)
            code = own(&payload->attached[i]);
    return code;
}

size_t rankcall_attachment_count(const struct rankcall_payload *payload)
{
    return payload ? payload->attached_count : 0;
}

int rankcall_attachment_at(const struct rankcall_payload *payload, size_t position, struct rankcall_attachment *out)
{
    if (!payload || position >= payload->attached_count)
        return rk_error(RANKCALL_EINVAL, "payload: there is no attachment number %zu: it has %zu", position,
                        rankcall_attachment_count(payload));
    *out = payload->attached[position].attachment;
    return RANKCALL_OK;
}

int rankcall_attachment(const struct rankcall_payload *payload, const char *name, struct rankcall_attachment *out)
{
    const struct rk_attached *found;

    if (!payload || !name)
        return rk_error(RANKCALL_EINVAL, "payload: %s is NULL", payload ? "the attachment's name" : "it");
    if (!(found = find(payload, name)))
        return rk_error(RANKCALL_ENOKEY, "payload: there is no attachment \"%.255s\" (it has %zu%s%s%s)", name,
                        payload->attached_count, payload->attached_count ? ": \"" : "",
                        payload->attached_count ? payload->attached[0].attachment.name : "",
                        payload->attached_count > 1   ? "\" ..."
                        : payload->attached_count > 0 ? "\""
                                                      : "");
    *out = found->attachment;
    return RANKCALL_OK;
}

/* "ndarray of float32", or the type alone. */
static int wrong_attachment(const struct rankcall_attachment *got, int type, int dtype)
{
    const char *expected_dtype = rankcall_dtype_name(dtype), *got_dtype = rankcall_dtype_name(got->dtype);

    return rk_error(RANKCALL_ETYPE, "payload: attachment \"%s\": expected %s%s%s, got %s%s%s", got->name,
                    rankcall_type_name(type), *expected_dtype ? " of " : "", expected_dtype,
                    rankcall_type_name(got->type), *got_dtype ? " of " : "", got_dtype);
}

int rankcall_attachment_of(const struct rankcall_payload *payload, const char *name, int type, int dtype,
                           struct rankcall_attachment *out)
{
    struct rankcall_attachment found;
    int code = rankcall_attachment(payload, name, &found);

    if (code)
        return code;
    if (found.type != type || (dtype != RANKCALL_DTYPE_NONE && found.dtype != dtype))
        return wrong_attachment(&found, type, dtype);
    *out = found;
    return RANKCALL_OK;
}
