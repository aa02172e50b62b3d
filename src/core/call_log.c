/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The log of calls: one line each, of key=value pairs. What is to be said of a call is noted when it is over; the lines
 * are made and written when the IO thread is about to sleep, or when many have come together, so that no call waits for
 * them. */

#include "core/call_log.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "core/inside.h"

#define LINE_MAX_SIZE 2048

struct rk_call_log {
    int fd;
    bool own; /* the descriptor is to be closed */
    unsigned count;
    struct rk_call_record records[RK_CALL_LOG_BATCH];
};

int rk_call_log_open(const char *path, struct rk_call_log **out)
{
    struct rk_call_log *log = calloc(1, sizeof *log);
    if (!log)
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    log->own = strcmp(path, "-") != 0;
    log->fd = log->own ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600) : STDERR_FILENO;
    if (log->fd < 0) {
        free(log);
        return rk_error_system("--call-log: cannot write %s", path);
    }
    *out = log;
    return RANKCALL_OK;
}

void rk_call_log_close(struct rk_call_log *log)
{
    if (!log)
        return;
    rk_call_log_write(log);
    if (log->own)
        close(log->fd);
    free(log);
}

void rk_call_log_add(struct rk_call_log *log, const struct rk_call_record *record)
{
    if (log->count == RK_CALL_LOG_BATCH)
        rk_call_log_write(log);
    log->records[log->count++] = *record;
}

bool rk_call_log_full(const struct rk_call_log *log)
{
    return log->count >= RK_CALL_LOG_BATCH / 2;
}

static void print_time(FILE *line, int64_t ago_us)
{
    struct timespec now;
    struct tm parts;
    char text[32];
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000 - ago_us;
    time_t seconds = (time_t)(us / 1000000);
    gmtime_r(&seconds, &parts);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    fprintf(line, "time=%s.%06dZ", text, (int)(us % 1000000));
}

/* A value that may be any UTF-8: in quotes unless it is a plain word, and always on one line. */
static void print_text(FILE *line, const char *key, const char *text)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/:+@";
    fprintf(line, " %s=", key);
    if (*text && !text[strspn(text, plain)]) {
        fputs(text, line);
        return;
    }
    putc('"', line);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < 0x20 || c == 0x7f)
            fprintf(line, "\\u%04x", c);
        else
            fprintf(line, c == '"' || c == '\\' ? "\\%c" : "%c", c);
    }
    putc('"', line);
}

static void print_timing(FILE *line, const struct rk_call_record *record)
{
    const struct rk_result_head *timing = &record->timing;
    fprintf(line, " queued_us=%llu", (unsigned long long)timing->queued_us);
    if (record->number && timing->slowest_rank >= 0)
        fprintf(line, " broadcast_us=%llu handler_min_us=%llu handler_max_us=%llu slowest_rank=%d reply_us=%llu",
                (unsigned long long)timing->broadcast_us, (unsigned long long)timing->handler_min_us,
                (unsigned long long)timing->handler_max_us, timing->slowest_rank, (unsigned long long)timing->reply_us);
    if (record->leaving_us)
        fprintf(line, " leaving_us=%llu", (unsigned long long)record->leaving_us);
}

static void print_record(FILE *line, const struct rk_call_record *record, int64_t now_us)
{
    print_time(line, now_us - record->over_us);
    fprintf(line, " call=%llu", (unsigned long long)record->timing.call);
    if (record->number)
        fprintf(line, " number=%llu", (unsigned long long)record->number);
    print_text(line, "handler", record->handler);
    fprintf(line, " kind=%s client=%d bytes=%llu", record->streaming ? "stream" : "invoke", (int)record->pid,
            (unsigned long long)record->bytes);
    fprintf(line, " outcome=%s", record->gone ? "disconnected" : rankcall_code_name(record->code));
    print_timing(line, record);
    putc('\n', line);
}

void rk_call_log_write(struct rk_call_log *log)
{
    static char text[RK_CALL_LOG_BATCH * LINE_MAX_SIZE];
    FILE *lines = log->count ? fmemopen(text, sizeof text, "w") : NULL;
    int64_t now = rk_now_us();
    if (!lines)
        return;
    for (unsigned i = 0; i < log->count; i++)
        print_record(lines, &log->records[i], now);
    long size = ftell(lines);
    fclose(lines);
    for (long at = 0; at < size;) {
        ssize_t done = write(log->fd, text + at, (size_t)(size - at));
        if (done <= 0)
            break; /* a full disk: calls are more important */
        at += done;
    }
    log->count = 0;
}
