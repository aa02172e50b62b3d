/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The thread's last error, and the look-ups in the one table of codes. */

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define MESSAGE_CAP   4096
#define HOST_CAP      256
#define TRACEBACK_CAP ((size_t)64 << 10)

struct last_error {
    struct rankcall_error error;
    char message[MESSAGE_CAP];
    char host[HOST_CAP];
    char *traceback; /* malloc()ed, or NULL: few errors have one */
};

static _Thread_local struct last_error last = {.error = {RANKCALL_OK, -1, "", "", ""}};

/* The key's only use is its destructor, which frees the traceback of a thread that ends. */
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;

static void free_traceback(void *slot)
{
    struct last_error *ended = slot;

    free(ended->traceback);
    ended->traceback = NULL;
    ended->error.traceback = "";
}

static void make_key(void)
{
    (void)pthread_key_create(&key, free_traceback);
}

/* The length of `text` cut to at most `cap` bytes, never within a UTF-8 sequence. */
static size_t cut_length(const char *text, size_t cap)
{
    size_t length = strnlen(text, cap + 1);

    if (length <= cap)
        return length;
    for (length = cap; length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80;)
        length--;
    return length;
}

static void copy_cut(char *to, size_t cap, const char *from)
{
    size_t length = cut_length(from, cap - 1);

    memmove(to, from, length);
    to[length] = '\0';
}

static void set_traceback(const char *text)
{
    char *copy = *text ? strndup(text, cut_length(text, TRACEBACK_CAP)) : NULL;

    free(last.traceback);
    last.traceback = copy;
    last.error.traceback = copy ? copy : "";
    if (copy && pthread_once(&key_once, make_key) == 0)
        (void)pthread_setspecific(key, &last);
}

static int set_last(int code, int rank, const char *host, const char *message, const char *traceback)
{
    copy_cut(last.message, sizeof last.message, message);
    copy_cut(last.host, sizeof last.host, host);
    set_traceback(traceback);
    last.error.code = code;
    last.error.rank = rank;
    last.error.message = last.message;
    last.error.host = last.host;
    return code;
}

int rk_error(int code, const char *format, ...)
{
    char message[MESSAGE_CAP + 4]; /* room to see that it must be cut */
    int kept = errno;
    va_list list;

    va_start(list, format);
    if (vsnprintf(message, sizeof message, format, list) < 0)
        message[0] = '\0';
    va_end(list);
    set_last(code, -1, "", message, "");
    errno = kept;
    return code;
}

int rk_error_system(const char *format, ...)
{
    char message[MESSAGE_CAP], reason[128];
    int number = errno;
    va_list list;

    va_start(list, format);
    if (vsnprintf(message, sizeof message, format, list) < 0)
        message[0] = '\0';
    va_end(list);
    rk_error(RANKCALL_ESYSTEM, "%s: %s", message, strerror_r(number, reason, sizeof reason));
    errno = number;
    return RANKCALL_ESYSTEM;
}

static const char *or_empty(const char *text)
{
    return text ? text : "";
}

int rk_error_copy(const struct rankcall_error *error)
{
    return set_last(error->code, error->rank, or_empty(error->host), or_empty(error->message),
                    or_empty(error->traceback));
}

static const char *append(char **at, const char *text)
{
    char *start = *at;

    *at = stpcpy(start, text) + 1;
    return start;
}

struct rankcall_error *rk_error_clone(const struct rankcall_error *error)
{
    const char *host = or_empty(error->host), *message = or_empty(error->message);
    const char *traceback = or_empty(error->traceback);
    struct rankcall_error *clone = malloc(sizeof *clone + strlen(host) + strlen(message) + strlen(traceback) + 3);
    char *at = (char *)(clone + 1);

    if (!clone)
        return NULL;
    clone->code = error->code;
    clone->rank = error->rank;
    clone->host = append(&at, host);
    clone->message = append(&at, message);
    clone->traceback = append(&at, traceback);
    return clone;
}

void rk_error_free(struct rankcall_error *error)
{
    int kept = errno;

    free(error);
    errno = kept;
}

void rk_error_clear(void)
{
    if (last.error.code != RANKCALL_OK)
        set_last(RANKCALL_OK, -1, "", "", "");
}

const struct rankcall_error *rankcall_last_error(void)
{
    return &last.error;
}

struct code_entry {
    const char *name, *text;
    int status;
};

static const struct code_entry codes[] = {
#define CODE_ENTRY(constant, number, name, status, text) [number] = {name, text, status},
    RANKCALL_ERROR_TABLE(CODE_ENTRY)
#undef CODE_ENTRY
};

static const struct code_entry *find_code(int code)
{
    static const struct code_entry unknown = {"unknown", "a code that this version does not know", 1};

    if (code < 0 || (size_t)code >= sizeof codes / sizeof codes[0] || !codes[code].name)
        return &unknown;
    return &codes[code];
}

const char *rankcall_code_name(int code)
{
    return find_code(code)->name;
}

const char *rankcall_code_text(int code)
{
    return find_code(code)->text;
}

int rankcall_code_exit_status(int code)
{
    return find_code(code)->status;
}

const char *rankcall_version(void)
{
    return PACKAGE_VERSION;
}
