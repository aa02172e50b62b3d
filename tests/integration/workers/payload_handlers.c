/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Handlers about payloads: given back, checksummed on every rank, looked into, made. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rankcall/mpi.h>

#include "handlers.h"
#include "pattern.h"

static int copy_attachments(const struct rankcall_payload *from, struct rankcall_payload *to)
{
    for (size_t i = 0; i < rankcall_attachment_count(from); i++) {
        struct rankcall_attachment attachment;
        if (rankcall_attachment_at(from, i, &attachment) || rankcall_attach_copy(to, &attachment))
            return -1;
    }
    return 0;
}

int handle_echo(struct rankcall_call *call)
{
    if (rankcall_call_rank(call) != 0)
        return 0;
    size_t size;
    const char *json = rankcall_payload_json(rankcall_args(call), &size);
    struct rankcall_payload *result;
    if (rankcall_payload_from_json(json, size, &result))
        return -1;
    if (copy_attachments(rankcall_args(call), result)) {
        rankcall_payload_free(result);
        return -1;
    }
    return rankcall_result(call, result);
}

static uint32_t checksum_attachment(uint32_t crc, const struct rankcall_attachment *attachment)
{
    uint32_t numbers[3] = {(uint32_t)attachment->type, (uint32_t)attachment->dtype, (uint32_t)attachment->ndim};
    crc = pattern_crc(crc, attachment->name, strlen(attachment->name));
    crc = pattern_crc(crc, numbers, sizeof numbers);
    crc = pattern_crc(crc, attachment->shape, (size_t)attachment->ndim * sizeof attachment->shape[0]);
    return pattern_crc(crc, attachment->data, attachment->size);
}

/* The bytes as this rank sees them: JSON text, then each attachment's name, numbers and data. */
static int checksum_args(const struct rankcall_payload *args, uint32_t *crc)
{
    size_t size;
    const char *json = rankcall_payload_json(args, &size);
    *crc = pattern_crc(0, json, size);
    for (size_t i = 0; i < rankcall_attachment_count(args); i++) {
        struct rankcall_attachment attachment;
        if (rankcall_attachment_at(args, i, &attachment))
            return -1;
        if ((uintptr_t)attachment.data % 64 != 0)
            return 1;
        *crc = checksum_attachment(*crc, &attachment);
    }
    return 0;
}

/* Here and there: nobody else may see it, nor a later call. */
static void scribble(const struct rankcall_payload *args)
{
    struct rankcall_attachment attachment;
    for (size_t i = 0; i < rankcall_attachment_count(args); i++)
        if (!rankcall_attachment_at(args, i, &attachment))
            for (uint64_t at = attachment.size / 2; at < attachment.size; at += 9000)
                ((uint8_t *)attachment.data)[at] ^= 0x5a;
}

int handle_checksum(struct rankcall_call *call)
{
    uint32_t crc = 0;
    double sums[256], sum;
    int failed = checksum_args(rankcall_args(call), &crc);
    if (rankcall_args_private(call))
        scribble(rankcall_args(call));
    sum = failed ? -1.0 : (double)crc;
    MPI_Gather(&sum, 1, MPI_DOUBLE, sums, 1, MPI_DOUBLE, 0, rankcall_call_comm(call));
    if (failed > 0)
        return rankcall_fail(call, "an attachment is not aligned to 64 bytes");
    if (failed || rankcall_call_rank(call) != 0)
        return failed;
    struct rankcall_payload *result = rankcall_payload_new();
    rankcall_set_doubles(result, "sums", sums, (size_t)rankcall_call_world_size(call));
    return rankcall_result(call, result);
}

static int look_up_int(const struct rankcall_payload *args, struct rankcall_payload *result, const char *how)
{
    int64_t value = 77, min = INT64_MIN, max = INT64_MAX;
    int code = rankcall_opt_int(args, "min", &min);
    if (!code)
        code = rankcall_opt_int(args, "max", &max);
    if (code)
        return code;
    if (strcmp(how, "get") == 0)
        code = rankcall_get_int(args, "key", &value);
    else if (strcmp(how, "opt") == 0)
        code = rankcall_opt_int(args, "key", &value);
    else
        code = rankcall_opt_int_in(args, "key", min, max, &value);
    struct rankcall_error error = *rankcall_last_error();
    rankcall_set_string(result, "message", code ? error.message : "");
    rankcall_set_int(result, "value", value);
    return code;
}

static int look_up_double(const struct rankcall_payload *args, struct rankcall_payload *result, const char *how)
{
    double value = 77, min = -1e308, max = 1e308;
    int code = rankcall_opt_double(args, "min", &min);
    if (!code)
        code = rankcall_opt_double(args, "max", &max);
    if (code)
        return code;
    if (strcmp(how, "get") == 0)
        code = rankcall_get_double(args, "key", &value);
    else if (strcmp(how, "opt") == 0)
        code = rankcall_opt_double(args, "key", &value);
    else
        code = rankcall_opt_double_in(args, "key", min, max, &value);
    struct rankcall_error error = *rankcall_last_error();
    rankcall_set_string(result, "message", code ? error.message : "");
    rankcall_set_double(result, "value", value);
    return code;
}

static int look_up_bool(const struct rankcall_payload *args, struct rankcall_payload *result, const char *how)
{
    bool value = true;
    int code =
        strcmp(how, "get") == 0 ? rankcall_get_bool(args, "key", &value) : rankcall_opt_bool(args, "key", &value);
    struct rankcall_error error = *rankcall_last_error();
    rankcall_set_string(result, "message", code ? error.message : "");
    rankcall_set_bool(result, "value", value);
    return code;
}

static int look_up_string(const struct rankcall_payload *args, struct rankcall_payload *result, const char *how)
{
    const char *value = "default";
    int code =
        strcmp(how, "get") == 0 ? rankcall_get_string(args, "key", &value) : rankcall_opt_string(args, "key", &value);
    struct rankcall_error error = *rankcall_last_error();
    rankcall_set_string(result, "message", code ? error.message : "");
    rankcall_set_string(result, "value", value);
    return code;
}

static int look_up_doubles(const struct rankcall_payload *args, struct rankcall_payload *result, const char *how)
{
    (void)how;
    const double *values = NULL;
    size_t count = 0;
    int code = rankcall_get_doubles(args, "key", &values, &count);
    struct rankcall_error error = *rankcall_last_error();
    rankcall_set_string(result, "message", code ? error.message : "");
    rankcall_set_doubles(result, "value", values, count);
    return code;
}

/* An attachment named "key" as the type and dtype that the arguments name by number. */
static int look_up_attachment(const struct rankcall_payload *args, struct rankcall_payload *result, const char *how)
{
    int64_t type = 0, dtype = 0;
    struct rankcall_attachment found = {.size = 0};
    int code = rankcall_opt_int(args, "type", &type);
    if (!code)
        code = rankcall_opt_int(args, "dtype", &dtype);
    if (code)
        return code;
    code = strcmp(how, "get") == 0 ? rankcall_attachment(args, "key", &found)
                                   : rankcall_attachment_of(args, "key", (int)type, (int)dtype, &found);
    struct rankcall_error error = *rankcall_last_error();
    rankcall_set_string(result, "message", code ? error.message : "");
    rankcall_set_int(result, "value", (int64_t)found.size);
    return code;
}

/* {"what": "int", "how": "get"|"opt"|"in", "key": …, "pointer": "/a/0"}: tries it, tells code, message and value. */
int handle_look_up(struct rankcall_call *call)
{
    static const struct {
        const char *what;
        int (*look_up)(const struct rankcall_payload *, struct rankcall_payload *, const char *);
    } table[] = {{"int", look_up_int},       {"double", look_up_double},   {"bool", look_up_bool},
                 {"string", look_up_string}, {"doubles", look_up_doubles}, {"attachment", look_up_attachment}};
    const char *what, *how;
    const struct rankcall_payload *args = rankcall_args(call);
    if (rankcall_get_string(args, "what", &what) || rankcall_get_string(args, "how", &how))
        return -1;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(what, table[i].what) != 0)
            continue;
        struct rankcall_payload *result = rankcall_payload_new();
        int code = table[i].look_up(args, result, how);
        rankcall_set_string(result, "code", rankcall_code_name(code));
        rankcall_set_bool(result, "has", rankcall_has(args, "key"));
        return rankcall_result(call, result);
    }
    return rankcall_fail(call, "no look-up named %s", what);
}

/* Reaches inside with a JSON Pointer; without rankcall_fail(), so that the look-up's own message goes back. */
int handle_look_up_fails(struct rankcall_call *call)
{
    int64_t value;
    if (rankcall_get_int(rankcall_args(call), "/grid/0/nx", &value))
        return -1;
    return rankcall_result_json(call, "{\"value\": %lld}", (long long)value);
}

/* {"size", "seed"}: a result with one attachment of that many bytes, made in place. */
int handle_make(struct rankcall_call *call)
{
    int64_t size = 0, seed = 0;
    if (rankcall_get_int(rankcall_args(call), "size", &size) || rankcall_opt_int(rankcall_args(call), "seed", &seed))
        return -1;
    if (rankcall_call_rank(call) != 0)
        return 0;
    void *bytes = malloc((size_t)size + 1);
    if (!bytes)
        return rankcall_fail(call, "no memory for %lld bytes", (long long)size);
    pattern_fill(bytes, (size_t)size, (uint32_t)seed, 0, 0);
    struct rankcall_payload *result = rankcall_payload_new();
    struct rankcall_attachment attachment = {.name = "made", .data = bytes, .size = (uint64_t)size};
    if (rankcall_attach_take(result, &attachment)) {
        rankcall_payload_free(result);
        return -1;
    }
    rankcall_set_int(result, "crc", pattern_crc(0, bytes, (size_t)size));
    return rankcall_result(call, result);
}
