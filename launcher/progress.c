/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The progress bar of a streamed call. */

#include "launcher/progress.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/fd.h"
#include "launcher/json_print.h"
#include "launcher/say.h"

#define CLEAR   "\r\x1b[K"
#define EACH_US 50000 /* between two drawings */
#define BAR     24    /* columns */

static void say_above(void *context, const char *line, unsigned long size)
{
    struct rk_progress *progress = context;
    if (progress->drawn)
        fputs(CLEAR, stderr);
    fwrite(line, 1, size, stderr);
    progress->drawn = false;
    progress->drawn_us = 0;
}

void rk_progress_begin(struct rk_progress *progress)
{
    *progress = (struct rk_progress){.active = true, .part = -1};
    rk_say_through(say_above, progress);
}

/* A number at most as long as a glance needs; anything else as it stands. */
static void print_value(const struct rk_json_member *member, char *text, size_t size)
{
    const char *value = member->value;
    int length = (int)member->value_size;
    if (*value == '"')
        snprintf(text, size, "%.*s", length - 2, value + 1);
    else if (strchr("-0123456789", *value) && length > 8)
        snprintf(text, size, "%.6g", strtod(value, NULL));
    else
        snprintf(text, size, "%.*s", length, value);
}

static bool is_scalar(const struct rk_json_member *member)
{
    return !strchr("{[n", *member->value) && member->value_size < 64;
}

static bool is_progress(const struct rk_json_member *member)
{
    return member->key_size == 10 && memcmp(member->key, "\"progress\"", 10) == 0;
}

void rk_progress_event(struct rk_progress *progress, int rank, const struct rankcall_payload *event)
{
    double part;
    struct rk_json_member member;
    const char *at = rankcall_payload_json(event, NULL);
    size_t used = (size_t)snprintf(progress->fields, sizeof(progress->fields), "rank %d", rank);
    progress->events++;
    if (!rankcall_get_double(event, "progress", &part))
        progress->part = fmin(fmax(part, 0), 1);
    while (at && rk_json_next_member(&at, &member)) {
        char value[72];
        if (!is_scalar(&member) || is_progress(&member))
            continue;
        print_value(&member, value, sizeof(value));
        size_t left = sizeof(progress->fields) - used;
        size_t size = (size_t)snprintf(progress->fields + used, left, "  %.*s %s", (int)member.key_size - 2,
                                       member.key + 1, value);
        if (size >= left) {
            progress->fields[used] = '\0';
            return;
        }
        used += size;
    }
}

/* Cuts a line to so many columns, taking every character for one. */
static void cut(char *line, int width)
{
    int columns = 0;
    for (; *line; line++)
        if (((unsigned char)*line & 0xc0) != 0x80 && columns++ == width) {
            *line = '\0';
            return;
        }
}

void rk_progress_line(const struct rk_progress *progress, int width, char *line, size_t size)
{
    char bar[BAR + 1];
    if (progress->part < 0) {
        snprintf(line, size, "%llu events  %s", (unsigned long long)progress->events, progress->fields);
    } else {
        for (int i = 0; i < BAR; i++)
            bar[i] = i < (int)(progress->part * BAR + 0.5) ? '#' : '.';
        bar[BAR] = '\0';
        snprintf(line, size, "[%s] %3d%%  %s", bar, (int)(progress->part * 100), progress->fields);
    }
    cut(line, width);
}

static void draw(struct rk_progress *progress)
{
    struct winsize window = {0};
    char line[512];
    ioctl(STDERR_FILENO, TIOCGWINSZ, &window);
    rk_progress_line(progress, window.ws_col > 1 ? window.ws_col - 1 : 79, line, sizeof(line));
    fprintf(stderr, CLEAR "%s", line);
    progress->drawn = true;
    progress->drawn_us = rk_now_us();
}

void rk_progress_draw(struct rk_progress *progress)
{
    if (progress->active && progress->events && rk_now_us() - progress->drawn_us >= EACH_US)
        draw(progress);
}

void rk_progress_end(struct rk_progress *progress)
{
    if (!progress->active)
        return;
    if (progress->events) {
        draw(progress);
        fputc('\n', stderr);
    }
    progress->active = false;
    rk_say_through(NULL, NULL);
}
