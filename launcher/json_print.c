/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* JSON text as the command prints it. */

#include <string.h>

#include "launcher/json_print.h"
#include "wire/json_check.h"
#include "wire/json_text.h"

/* The bytes of the UTF-8 character at `text`, 0 when there is none. */
static size_t character(const char *text)
{
    size_t left = strnlen(text, 4);
    for (size_t size = 1; size <= left; size++)
        if (rk_utf8_ok(text, size))
            return size;
    return 0;
}

void rk_json_print_string(FILE *out, const char *text)
{
    static const char escaped[] = "\"\\\n\r\t", letters[] = "\"\\nrt";
    putc('"', out);
    while (*text) {
        const char *found = strchr(escaped, *text);
        size_t size = character(text);
        if (found)
            fprintf(out, "\\%c", letters[found - escaped]);
        else if ((unsigned char)*text < 0x20)
            fprintf(out, "\\u%04x", (unsigned char)*text);
        else if (size)
            fwrite(text, 1, size, out);
        else
            fputs("\xef\xbf\xbd", out);
        text += size ? size : 1;
    }
    putc('"', out);
}

void rk_json_print_line(FILE *out, const char *json, size_t size)
{
    while (size) {
        size_t run = 0;
        while (run < size && json[run] != '\n' && json[run] != '\r')
            run++;
        fwrite(json, 1, run, out);
        if (run == size)
            return;
        putc(' ', out);
        json += run + 1;
        size -= run + 1;
    }
}

void rk_json_print_error(FILE *out, const struct rankcall_error *error)
{
    fprintf(out, "\"error\": \"%s\", \"message\": ", rankcall_code_name(error->code));
    rk_json_print_string(out, error->message);
    fprintf(out, ", \"rank\": %d, \"host\": ", error->rank);
    rk_json_print_string(out, error->host);
    fputs(", \"traceback\": ", out);
    rk_json_print_string(out, error->traceback);
}

bool rk_json_next_member(const char **at, struct rk_json_member *member)
{
    const char *here = rk_json_space(*at);
    if (*here != '{' && *here != ',')
        return false;
    here = rk_json_space(here + 1);
    if (*here != '"')
        return false;
    member->key = here;
    here = rk_json_skip(here);
    member->key_size = (size_t)(here - member->key);
    member->value = rk_json_space(rk_json_space(here) + 1); /* past the colon */
    here = rk_json_skip(member->value);
    member->value_size = (size_t)(here - member->value);
    *at = here;
    return true;
}

void rk_json_print_timing(FILE *out, const struct rankcall_timing *timing)
{
    fprintf(out,
            "{\"call\": %llu, \"queued_us\": %llu, \"broadcast_us\": %llu, \"handler_min_us\": %llu, "
            "\"handler_max_us\": %llu, \"slowest_rank\": %d, \"reply_us\": %llu}",
            (unsigned long long)timing->call, (unsigned long long)timing->queued_us,
            (unsigned long long)timing->broadcast_us, (unsigned long long)timing->handler_min_us,
            (unsigned long long)timing->handler_max_us, timing->slowest_rank, (unsigned long long)timing->reply_us);
}
