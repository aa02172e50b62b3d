/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A job's status in words. */

#include "launcher/describe.h"

#include <string.h>

#include "launcher/say.h"
#include "launcher/table.h"

#define SHOWN_CALLS 10

const char *rk_describe_text(const struct rankcall_payload *status, const char *key)
{
    const char *text = "?";
    rankcall_opt_string(status, key, &text);
    return text;
}

int64_t rk_describe_int(const struct rankcall_payload *status, const char *key)
{
    int64_t number = 0;
    rankcall_opt_int(status, key, &number);
    return number;
}

void rk_describe_time(double seconds, char *text, size_t size)
{
    long s = seconds > 0 && seconds < 1e12 ? (long)seconds : 0;
    if (s < 60)
        snprintf(text, size, "%lds", s);
    else if (s < 3600)
        snprintf(text, size, "%ldm%02lds", s / 60, s % 60);
    else if (s < 86400)
        snprintf(text, size, "%ldh%02ldm", s / 3600, s / 60 % 60);
    else
        snprintf(text, size, "%ldd%02ldh", s / 86400, s / 3600 % 24);
}

void rk_describe_running(const struct rankcall_payload *status, char *text, size_t size)
{
    double age = 0;
    char since[32];
    if (!rankcall_has(status, "running")) {
        snprintf(text, size, "-");
        return;
    }
    rankcall_opt_double(status, "/running/age", &age);
    bool ended = false; /* its outcome is told, but not all ranks have come back */
    rankcall_opt_bool(status, "/running/ended", &ended);
    rk_describe_time(age, since, sizeof(since));
    snprintf(text, size, "%s for %s, call %lld%s", rk_describe_text(status, "/running/handler"), since,
             (long long)rk_describe_int(status, "/running/call"), ended ? " (leaving)" : "");
}

void rk_describe_timing(const struct rankcall_timing *timing)
{
    rk_say("call %llu: queued %llu us, broadcast %llu us, handler %llu to %llu us (slowest: rank %d), reply %llu us",
           (unsigned long long)timing->call, (unsigned long long)timing->queued_us,
           (unsigned long long)timing->broadcast_us, (unsigned long long)timing->handler_min_us,
           (unsigned long long)timing->handler_max_us, timing->slowest_rank, (unsigned long long)timing->reply_us);
}

/* A member of an item of one of the status's arrays. */
static const char *key_of(const char *array, int64_t item, const char *member)
{
    static char key[64];
    snprintf(key, sizeof(key), "/%s/%lld/%s", array, (long long)item, member);
    return key;
}

static bool has_item(const struct rankcall_payload *status, const char *array, int64_t item)
{
    char key[48];
    snprintf(key, sizeof(key), "/%s/%lld", array, (long long)item);
    return rankcall_has(status, key);
}

static void add_titles(struct rk_table *table, const char *const *titles, size_t count)
{
    table->columns = count;
    for (size_t i = 0; i < count; i++)
        rk_table_add(table, "%s", titles[i]);
}

static void add_text(struct rk_table *table, const struct rankcall_payload *status, const char *key)
{
    rk_table_add(table, "%s", rk_describe_text(status, key));
}

static void add_int(struct rk_table *table, const struct rankcall_payload *status, const char *key)
{
    rk_table_add(table, "%lld", (long long)rk_describe_int(status, key));
}

static void add_call(struct rk_table *table, const struct rankcall_payload *status, int64_t item)
{
    double age = 0;
    char since[32];
    rankcall_opt_double(status, key_of("current", item, "age"), &age);
    rk_describe_time(age, since, sizeof(since));
    add_int(table, status, key_of("current", item, "call"));
    add_text(table, status, key_of("current", item, "state"));
    add_text(table, status, key_of("current", item, "handler"));
    add_text(table, status, key_of("current", item, "kind"));
    rk_table_add(table, "%s", since);
    add_int(table, status, key_of("current", item, "bytes"));
    add_int(table, status, key_of("current", item, "client/pid"));
    add_text(table, status, key_of("current", item, "client/name"));
}

void rk_describe_calls(const struct rankcall_payload *status, FILE *out, const char *indent)
{
    static const char *const titles[] = {"CALL", "STATE", "HANDLER", "KIND", "AGE", "BYTES", "PID", "CLIENT"};
    struct rk_table table = {0};
    int64_t shown = 0, all = rk_describe_int(status, "/queue/length") + rankcall_has(status, "running");
    if (!has_item(status, "current", 0))
        return;
    add_titles(&table, titles, sizeof(titles) / sizeof(titles[0]));
    while (shown < SHOWN_CALLS && has_item(status, "current", shown))
        add_call(&table, status, shown++);
    rk_table_print(&table, out, indent);
    if (shown < all)
        fprintf(out, "%s... and %lld more\n", indent, (long long)(all - shown));
}

/* What a rank was last seen doing: `collective barrier 3 for 12s, at "layer 4"`. */
static void describe_where(const struct rankcall_payload *status, int64_t rank, char *text, size_t size)
{
    double since = -1;
    const char *collective = "", *mark = "";
    char age[32], name[64];
    const char *state = rk_describe_text(status, key_of("ranks", rank, "state"));
    rankcall_opt_string(status, key_of("ranks", rank, "collective/name"), &collective);
    rankcall_opt_string(status, key_of("ranks", rank, "mark"), &mark);
    if (strcmp(state, "reported"))
        rankcall_opt_double(status, key_of("ranks", rank, "since"), &since);
    rk_describe_time(since, age, sizeof(age));
    snprintf(name, sizeof(name), " %s %lld", collective,
             (long long)rk_describe_int(status, key_of("ranks", rank, "collective/number")));
    snprintf(text, size, "%s%s%s%s%s%s%s", state, strcmp(state, "collective") ? "" : name, since < 0 ? "" : " for ",
             since < 0 ? "" : age, mark[0] ? ", at \"" : "", mark, mark[0] ? "\"" : "");
}

void rk_describe_ranks(const struct rankcall_payload *status, bool where, FILE *out, const char *indent)
{
    static const char *const titles[] = {"RANK", "HOST", "PID", "CPUS", "IO", "BOUND", "MEMORY", "DEVICE", "STATE"};
    struct rk_table table = {0};
    char text[256];
    add_titles(&table, titles, where ? 9 : 8);
    for (int64_t i = 0; i < rk_describe_int(status, "world_size"); i++) {
        rk_table_add(&table, "%lld", (long long)i);
        add_text(&table, status, key_of("ranks", i, "host"));
        add_int(&table, status, key_of("ranks", i, "pid"));
        add_text(&table, status, key_of("ranks", i, "cpus"));
        const char *io = "-"; /* rank 0 alone has that thread */
        rankcall_opt_string(status, key_of("ranks", i, "io_cpus"), &io);
        rk_table_add(&table, "%s", io);
        add_text(&table, status, key_of("ranks", i, "bound"));
        add_text(&table, status, key_of("ranks", i, "memory"));
        add_text(&table, status, key_of("ranks", i, "device"));
        describe_where(status, i, text, sizeof(text));
        if (where)
            rk_table_add(&table, "%s", text);
    }
    rk_table_print(&table, out, indent);
}
