/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Arguments of a call from the command line; a file's type is told from its first bytes, or from its name. */

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>

#include "base/error.h"
#include "launcher/attach.h"
#include "launcher/file.h"
#include "launcher/npy.h"

#define PNG_MAGIC  "\x89PNG\r\n\x1a\n"
#define JPEG_MAGIC "\xff\xd8\xff"

static const struct {
    const char *name;
    int type;
} types[] = {
    {"bytes", RANKCALL_BYTES},     {"png", RANKCALL_IMAGE_PNG},   {"image/png", RANKCALL_IMAGE_PNG},
    {"jpeg", RANKCALL_IMAGE_JPEG}, {"jpg", RANKCALL_IMAGE_JPEG},  {"image/jpeg", RANKCALL_IMAGE_JPEG},
    {"npy", RANKCALL_NDARRAY},     {"ndarray", RANKCALL_NDARRAY},
};

/* An attachment's argument, taken apart. */
struct argument {
    char name[RANKCALL_MAX_NAME + 1];
    int type; /* -1: to be found out */
    const char *path;
};

int rk_attach_json(const char *argument, struct rankcall_payload **out)
{
    struct rk_file file;
    if (!argument)
        return rankcall_payload_from_json("{}", SIZE_MAX, out);
    if (argument[0] != '@' && strcmp(argument, "-") != 0)
        return rankcall_payload_from_json(argument, SIZE_MAX, out);
    const char *path = argument[0] == '@' ? argument + 1 : argument;
    int code = rk_file_open(path, &file);
    if (code)
        return code;
    code = rankcall_payload_from_json(file.data ? file.data : "", file.size, out);
    if (code)
        code = rk_error(code, "%s: %s", strcmp(path, "-") ? path : "standard input", rankcall_last_error()->message);
    rk_file_close(&file);
    return code;
}

static int type_of_name(const char *name)
{
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (strcasecmp(types[i].name, name) == 0)
            return types[i].type;
    return -1;
}

static int take_apart(const char *text, struct argument *argument)
{
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || !equals[1])
        return rk_error(RANKCALL_EINVAL, "-a %s: write name=file, or name:type=file", text);
    const char *colon = memrchr(text, ':', (size_t)(equals - text));
    size_t size = (size_t)((colon ? colon : equals) - text);
    if (size < 1 || size > RANKCALL_MAX_NAME)
        return rk_error(RANKCALL_EINVAL, "-a %s: an attachment's name has 1 to %d bytes", text, RANKCALL_MAX_NAME);
    memcpy(argument->name, text, size);
    argument->name[size] = '\0';
    argument->path = equals + 1;
    argument->type = -1;
    if (!colon)
        return RANKCALL_OK;
    char type[16] = "";
    if ((size_t)(equals - colon) <= sizeof(type))
        memcpy(type, colon + 1, (size_t)(equals - colon - 1));
    argument->type = type_of_name(type);
    return argument->type >= 0
               ? RANKCALL_OK
               : rk_error(RANKCALL_EINVAL, "-a %s: the type after the colon is bytes, png, jpeg or npy", text);
}

/* The first bytes decide. The name speaks only for what the bytes say nothing of: a file that is called a picture and
 * is none is more likely a mistake than meant. */
static int detect(const struct argument *argument, const struct rk_file *file, int *type)
{
    const char *dot = strrchr(argument->path, '.');
    int named = dot && !strchr(dot, '/') ? type_of_name(dot + 1) : -1;
    *type = RANKCALL_BYTES;
    if (file->size >= 8 && memcmp(file->data, PNG_MAGIC, 8) == 0)
        *type = RANKCALL_IMAGE_PNG;
    else if (file->size >= 3 && memcmp(file->data, JPEG_MAGIC, 3) == 0)
        *type = RANKCALL_IMAGE_JPEG;
    else if (rk_npy_is(file->data, file->size))
        *type = RANKCALL_NDARRAY;
    else if (named > RANKCALL_BYTES)
        return rk_error(RANKCALL_EPAYLOAD,
                        "it is called %s but its first bytes are not of that type (force one with %s:bytes=)", dot,
                        argument->name);
    return RANKCALL_OK;
}

static void release_file(void *data, void *context)
{
    struct rk_file *file = context;
    (void)data;
    rk_file_close(file);
    free(file);
}

static int attach_file(struct rankcall_payload *payload, const struct argument *argument, struct rk_file *file)
{
    struct rankcall_attachment attachment = {
        .name = argument->name, .type = argument->type, .data = file->data, .size = file->size};
    int code = argument->type < 0 ? detect(argument, file, &attachment.type) : RANKCALL_OK;
    if (!code && attachment.type == RANKCALL_NDARRAY)
        code = rk_npy_read(file->data, file->size, &attachment);
    if (code) {
        release_file(NULL, file);
        return code;
    }
    return rankcall_attach(payload, &attachment, release_file, file);
}

static int attach_one(struct rankcall_payload *payload, const char *text)
{
    struct argument argument;
    int code = take_apart(text, &argument);
    if (code)
        return code;
    struct rk_file *file = calloc(1, sizeof(*file));
    if (!file)
        return rk_error(RANKCALL_EINTERNAL, "no memory for an attachment");
    code = rk_file_open(argument.path, file);
    if (code) {
        free(file);
        return code;
    }
    code = attach_file(payload, &argument, file);
    return code ? rk_error(code, "-a %s: %s", text, rankcall_last_error()->message) : RANKCALL_OK;
}

int rk_attach_files(struct rankcall_payload *payload, const struct rk_list *arguments)
{
    int code = RANKCALL_OK;
    for (size_t i = 0; !code && i < arguments->count; i++)
        code = attach_one(payload, arguments->items[i]);
    return code;
}
