/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* A job's status in words. */

#include "launcher/describe.h"

#include <string.h>

#include "launcher/say.h"
#include "launcher/table.h"

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
    snprintf(text, size, "%s for %s%s", rk_describe_text(status, "/running/handler"), since, ended ? " (ended)" : "");
}

void rk_describe_timing(const struct rankcall_timing *timing)
{
    rk_say("call %llu: queued %llu us, broadcast %llu us, handler %llu to %llu us (slowest: rank %d), reply %llu us",
           (unsigned long long)timing->call, (unsigned long long)timing->queued_us,
           (unsigned long long)timing->broadcast_us, (unsigned long long)timing->handler_min_us,
           (unsigned long long)timing->handler_max_us, timing->slowest_rank, (unsigned long long)timing->reply_us);
}

void rk_describe_ranks(const struct rankcall_payload *status, FILE *out, const char *indent)
{
    static const char *const texts[] = {"host", "cpus", "device"};
    struct rk_table table = {.columns = 5};
    static const char *const titles[] = {"RANK", "HOST", "PID", "CPUS", "DEVICE"};
    for (size_t i = 0; i < 5; i++)
        rk_table_add(&table, "%s", titles[i]);
    for (int64_t i = 0; i < rk_describe_int(status, "world_size"); i++) {
        char key[48];
        snprintf(key, sizeof(key), "/ranks/%lld/pid", (long long)i);
        long long pid = rk_describe_int(status, key);
        for (size_t column = 0; column < 3; column++) {
            snprintf(key, sizeof(key), "/ranks/%lld/%s", (long long)i, texts[column]);
            if (column == 0)
                rk_table_add(&table, "%lld", (long long)i);
            rk_table_add(&table, "%s", rk_describe_text(status, key));
            if (column == 0)
                rk_table_add(&table, "%lld", pid);
        }
    }
    rk_table_print(&table, out, indent);
}
