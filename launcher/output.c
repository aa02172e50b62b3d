/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Lines of ranks out of mpirun's tagged output. */

#include "launcher/output.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAG_MAX 64 /* bytes of a tag */

struct partial {
    char *data;
    size_t size, room;
};

struct rk_output {
    int ranks;
    enum rk_tags tags;
    bool within; /* a line has begun */
    rk_output_line_fn line;
    void *context;
    rk_output_rank_fn rank;
    void *rank_context;
    int current;        /* whose bytes these are; -1: mpirun's own */
    char held[TAG_MAX]; /* the beginning of what may become a tag */
    size_t held_size;
    struct partial partials[]; /* mpirun's own, then rank by rank */
};

struct rk_output *rk_output_new(int ranks, enum rk_tags tags, rk_output_line_fn line, void *context)
{
    struct rk_output *output = calloc(1, sizeof(*output) + ((size_t)ranks + 1) * sizeof(output->partials[0]));
    if (!output)
        return NULL;
    output->ranks = ranks;
    output->tags = tags;
    output->line = line;
    output->context = context;
    output->current = -1;
    return output;
}

void rk_output_ask(struct rk_output *output, rk_output_rank_fn rank, void *context)
{
    output->rank = rank;
    output->rank_context = context;
}

void rk_output_free(struct rk_output *output)
{
    if (!output)
        return;
    for (int i = 0; i <= output->ranks; i++)
        free(output->partials[i].data);
    free(output);
}

static void give(struct rk_output *output, int rank)
{
    struct partial *partial = &output->partials[rank + 1];
    output->line(output->context, rank, partial->data ? partial->data : "", partial->size);
    partial->size = 0;
}

static bool make_room(struct partial *partial, size_t size)
{
    if (partial->size + size <= partial->room)
        return true;
    size_t room = partial->room ? partial->room : 256;
    while (room < partial->size + size)
        room *= 2;
    char *data = realloc(partial->data, room);
    if (!data)
        return false;
    partial->data = data;
    partial->room = room;
    return true;
}

static void add(struct rk_output *output, const char *text, size_t size)
{
    struct partial *partial = &output->partials[output->current + 1];
    while (size) {
        size_t part = RK_OUTPUT_LINE_MAX - partial->size;
        part = part < size ? part : size;
        if (!make_room(partial, part))
            return; /* output is lost, the job is not */
        memcpy(partial->data + partial->size, text, part);
        partial->size += part;
        if (partial->size == RK_OUTPUT_LINE_MAX)
            give(output, output->current);
        text += part;
        size -= part;
    }
}

/* Matches `word` at *at: 1 and past it, 0 when it is not there, -1 when the text ends within it. */
static int match(const char *text, size_t size, size_t *at, const char *word)
{
    for (; *word; word++, (*at)++) {
        if (*at == size)
            return -1;
        if (text[*at] != *word)
            return 0;
    }
    return 1;
}

/* Matches a number, as match() does; -1 too when the text ends behind its digits. */
static int match_number(const char *text, size_t size, size_t *at, long *number)
{
    size_t begin = *at;
    for (*number = 0; *at < size && isdigit((unsigned char)text[*at]) && *at - begin < 9; (*at)++)
        *number = *number * 10 + (text[*at] - '0');
    return *at == size ? -1 : *at > begin;
}

/* Matches one of the streams' names. */
static int match_stream(const char *text, size_t size, size_t *at)
{
    static const char *const names[] = {"stdout", "stderr", "stddiag"};
    int best = 0;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && best != 1; i++) {
        size_t end = *at;
        int found = match(text, size, &end, names[i]);
        if (found == 1)
            *at = end;
        best = found ? found : best;
    }
    return best;
}

/* srun's "  3: ", as match_tag. */
static int match_label(const struct rk_output *output, const char *text, size_t size, int *rank, size_t *length)
{
    size_t at = 0;
    long number = 0;
    while (at < size && text[at] == ' ')
        at++;
    int found = match_number(text, size, &at, &number);
    if (found == 1)
        found = match(text, size, &at, ": ");
    *rank = (int)number;
    *length = at;
    return found == 1 && number >= output->ranks ? 0 : found;
}

/* A tag at the beginning of `text`: 1 with its rank and length, 0 when there is none, -1 when more is needed to tell.
 */
static int match_tag(const struct rk_output *output, const char *text, size_t size, int *rank, size_t *length)
{
    size_t at = 0;
    long job, number = 0;
    int found = match(text, size, &at, "[");
    if (found == 1)
        found = match_number(text, size, &at, &job);
    if (found == 1)
        found = match(text, size, &at, ",");
    if (found == 1)
        found = match_number(text, size, &at, &number);
    if (found == 1)
        found = match(text, size, &at, "]<");
    if (found == 1)
        found = match_stream(text, size, &at);
    if (found == 1)
        found = match(text, size, &at, output->tags == RK_TAGS_SPACED ? ">: " : ">:");
    if (found == 1 && output->rank)
        number = output->rank(output->rank_context, (int)job, (int)number);
    *rank = (int)number;
    *length = at;
    return found == 1 && number >= output->ranks ? 0 : found;
}

/* As take(), for lines of srun's. */
static size_t take_labelled(struct rk_output *output, const char *data, size_t size)
{
    size_t at = 0, length;
    int rank;
    while (at < size) {
        int found = output->within ? 0 : match_label(output, data + at, size - at, &rank, &length);
        if (found < 0 && size - at < TAG_MAX)
            break;
        if (found == 1) {
            output->current = rank;
            at += length;
        }
        const char *end = memchr(data + at, '\n', size - at);
        size_t run = end ? (size_t)(end - data) - at : size - at;
        add(output, data + at, run);
        at += run + (end != NULL);
        output->within = !end;
        if (end) {
            give(output, output->current);
            output->current = -1;
        }
    }
    return at;
}

/* Takes what can be taken; returns how much. The rest may be the beginning of a tag. */
static size_t take(struct rk_output *output, const char *data, size_t size)
{
    size_t at = 0, length;
    int rank;
    if (output->tags == RK_TAGS_LABELS)
        return take_labelled(output, data, size);
    while (at < size) {
        size_t run = at;
        while (run < size && data[run] != '\n' && data[run] != '[')
            run++;
        add(output, data + at, run - at);
        at = run;
        if (at == size)
            break;
        if (data[at] == '\n') {
            give(output, output->current);
            output->current = -1;
            at++;
            continue;
        }
        int found = match_tag(output, data + at, size - at, &rank, &length);
        if (found < 0 && size - at < TAG_MAX)
            break;
        if (found == 1) {
            output->current = rank;
            at += length;
        } else {
            add(output, data + at++, 1);
        }
    }
    return at;
}

void rk_output_feed(struct rk_output *output, const char *data, size_t size)
{
    /* What was held is at most a tag's length: it is completed byte by byte until it is clear what it is. */
    while (output->held_size && size) {
        output->held[output->held_size++] = *data++;
        size--;
        size_t taken = take(output, output->held, output->held_size);
        output->held_size -= taken;
        memmove(output->held, output->held + taken, output->held_size);
    }
    size_t taken = take(output, data, size);
    if (size - taken) {
        output->held_size = size - taken;
        memcpy(output->held, data + taken, output->held_size);
    }
}

void rk_output_end(struct rk_output *output)
{
    add(output, output->held, output->held_size);
    output->held_size = 0;
    for (int rank = -1; rank < output->ranks; rank++)
        if (output->partials[rank + 1].size)
            give(output, rank);
}

void rk_output_prefix(int rank, const char *text, size_t size, char prefix[32])
{
    static const char *const leads[] = {"", "[debug] ", "rankcall: "};
    size_t length = (size_t)snprintf(prefix, 32, "[rank %d] ", rank);
    bool present = rank < 0;
    for (size_t i = 0; i < sizeof(leads) / sizeof(leads[0]); i++) {
        size_t lead = strlen(leads[i]);
        present |= size >= lead + length && !memcmp(text, leads[i], lead) && !memcmp(text + lead, prefix, length);
    }
    if (present)
        prefix[0] = '\0';
}
