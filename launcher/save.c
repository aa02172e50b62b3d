/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Attachments as files: named, written aside, renamed. */

#include "launcher/save.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "launcher/npy.h"
#include "launcher/say.h"

#define BASE_MAX 160 /* bytes of an attachment's name that are kept */

static const char *extension(int type)
{
    switch (type) {
    case RANKCALL_IMAGE_PNG: return ".png";
    case RANKCALL_IMAGE_JPEG: return ".jpg";
    case RANKCALL_NDARRAY: return ".npy";
    default: return ".bin";
    }
}

/* The length of `name` without the extension that it will get anyway. */
static size_t stem(const char *name, const char *suffix)
{
    size_t size = strlen(name), tail = strlen(suffix);
    return size > tail && strcmp(name + size - tail, suffix) == 0 ? size - tail : size;
}

/* Whether the byte at `c` may stand in a file's name; *skip gets how many bytes it stands for. */
static bool harmless(const unsigned char *c, size_t *skip)
{
    *skip = 1;
    if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0) { /* U+0080 to U+009F: controls */
        *skip = 2;
        return false;
    }
    return c[0] >= 0x20 && c[0] != 0x7f && c[0] != '/' && c[0] != '\\';
}

void rk_save_name(const char *name, int type, const char *suffix, int count, char file[RK_SAVE_NAME_MAX])
{
    char base[BASE_MAX + 1], number[16] = "";
    size_t end = stem(name, extension(type)), size = 0, skip;
    for (size_t i = 0; i < end; i += skip) {
        bool good = harmless((const unsigned char *)name + i, &skip);
        if (size == BASE_MAX)
            break;
        base[size] = good && (size > 0 || !strchr(".-", name[i])) ? name[i] : '_';
        size++;
    }
    while (size == BASE_MAX && (base[size - 1] & 0x80)) /* no cut within a character */
        size--;
    if (count > 1)
        snprintf(number, sizeof(number), "-%d", count);
    snprintf(file, RK_SAVE_NAME_MAX, "%.*s%s%s%s", (int)size, base, number, suffix, extension(type));
}

static int make_folders(const char *folder)
{
    char *path = strdup(folder);
    if (!path)
        return rk_error(RANKCALL_EINTERNAL, "no memory for a path");
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0777); /* what fails here shows at the last part */
        *slash = '/';
    }
    free(path);
    if (mkdir(folder, 0777) && errno != EEXIST)
        return rk_error_system("cannot make the folder %s", folder);
    return RANKCALL_OK;
}

int rk_saver_open(struct rk_saver *saver, const char *folder)
{
    *saver = (struct rk_saver){.folder = folder, .fd = -1};
    if (!folder)
        return RANKCALL_OK;
    int code = make_folders(folder);
    if (code)
        return code;
    saver->fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (saver->fd < 0 || faccessat(saver->fd, ".", W_OK | X_OK, AT_EACCESS))
        return rk_error_system("cannot write into %s", folder);
    return RANKCALL_OK;
}

void rk_saver_close(struct rk_saver *saver)
{
    rk_fd_close(&saver->fd);
}

/* Writes the file's content; *raw is set for an array that .npy files cannot hold. */
static bool write_content(FILE *out, const struct rankcall_attachment *attachment, bool *raw)
{
    *raw = attachment->type == RANKCALL_NDARRAY && !rk_npy_write_header(out, attachment);
    if (attachment->size)
        fwrite(attachment->data, 1, attachment->size, out);
    return fflush(out) == 0 && !ferror(out);
}

static int write_file(const struct rk_saver *saver, const char *name, const struct rankcall_attachment *attachment,
                      bool *raw)
{
    char aside[48];
    snprintf(aside, sizeof(aside), ".rankcall-%d.part", (int)getpid());
    int fd = openat(saver->fd, aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
    if (!out) {
        int code = rk_error_system("cannot write %s/%s", saver->folder, name);
        rk_fd_close(&fd);
        return code;
    }
    int code = RANKCALL_OK;
    if (!write_content(out, attachment, raw))
        code = rk_error_system("cannot write %s/%s", saver->folder, name);
    if (fclose(out) && !code)
        code = rk_error_system("cannot write %s/%s", saver->folder, name);
    if (!code && renameat(saver->fd, aside, saver->fd, name))
        code = rk_error_system("cannot write %s/%s", saver->folder, name);
    if (code)
        unlinkat(saver->fd, aside, 0);
    return code;
}

static void say_written(const struct rk_saver *saver, const char *name, const struct rankcall_attachment *attachment,
                        bool raw)
{
    size_t size = strlen(saver->folder);
    rk_say("wrote %s%s%s (%s, %llu bytes%s%s)", saver->folder, size && saver->folder[size - 1] == '/' ? "" : "/", name,
           rankcall_type_name(attachment->type), (unsigned long long)attachment->size, raw ? ", raw " : "",
           raw ? rankcall_dtype_name(attachment->dtype) : "");
}

/* How many attachments before this one would get the same name, plus one. */
static int count_of(const struct rankcall_payload *payload, size_t position, const char *file)
{
    int count = 1;
    for (size_t i = 0; i < position; i++) {
        struct rankcall_attachment other;
        char name[RK_SAVE_NAME_MAX];
        if (rankcall_attachment_at(payload, i, &other))
            continue;
        rk_save_name(other.name, other.type, "", 1, name);
        count += strcmp(name, file) == 0;
    }
    return count;
}

static int save_one(const struct rk_saver *saver, const struct rankcall_payload *payload, size_t position,
                    const char *suffix)
{
    struct rankcall_attachment attachment;
    char file[RK_SAVE_NAME_MAX];
    bool raw = false;
    int code = rankcall_attachment_at(payload, position, &attachment);
    if (code)
        return code;
    rk_save_name(attachment.name, attachment.type, "", 1, file);
    rk_save_name(attachment.name, attachment.type, suffix, count_of(payload, position, file), file);
    code = write_file(saver, file, &attachment, &raw);
    if (!code)
        say_written(saver, file, &attachment, raw);
    return code;
}

int rk_save(struct rk_saver *saver, const struct rankcall_payload *payload, const char *suffix)
{
    size_t count = rankcall_attachment_count(payload);
    int code = RANKCALL_OK;
    if (count && !saver->folder && !saver->told) {
        rk_say("attachments came with it and were not written: -o FOLDER writes them");
        saver->told = true;
    }
    for (size_t i = 0; saver->folder && !code && i < count; i++)
        code = save_one(saver, payload, i, suffix);
    return code;
}
