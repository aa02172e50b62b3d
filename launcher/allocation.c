/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What a batch scheduler has given this process, by its environment. */

#include "launcher/allocation.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define DIGITS_MAX 9

/* Those whose hosts mpirun finds by itself. */
static const struct {
    const char *variable, *name;
} others[] = {{"PBS_JOBID", "PBS"}, {"LSB_JOBID", "LSF"}, {"PE_HOSTFILE", "Grid Engine"}, {"COBALT_JOBID", "Cobalt"}};

static const char *text_of(const char *variable)
{
    const char *text = getenv(variable);
    return text ? text : "";
}

/* The number at the beginning of a text; 0: there is none. */
static int number_of(const char *variable)
{
    long number = strtol(text_of(variable), NULL, 10);
    return number > 0 && number < 1000000000 ? (int)number : 0;
}

/* ---- Lists of hosts ---- */

/* One range of numbers of an item like gpu[01-03,7].cluster. */
struct range {
    const char *prefix, *suffix;
    size_t prefix_size, suffix_size;
    int width;
    long first, last;
};

static size_t item_size(const char *list)
{
    size_t size = 0;
    for (bool inside = false; list[size] && (inside || list[size] != ','); size++)
        inside = list[size] == '[' || (inside && list[size] != ']');
    return size;
}

static bool print_host(const struct range *range, long number, char host[RK_HOST_MAX])
{
    int size = snprintf(host, RK_HOST_MAX, "%.*s%0*ld%.*s", (int)range->prefix_size, range->prefix, range->width,
                        number, (int)range->suffix_size, range->suffix);
    return size < RK_HOST_MAX;
}

/* Reads "03" or "03-11" at *at, and moves it past a comma behind. */
static bool read_range(const char **at, struct range *range)
{
    char *end;
    if (!isdigit((unsigned char)**at))
        return false;
    range->first = range->last = strtol(*at, &end, 10);
    range->width = (int)(end - *at);
    if (*end == '-')
        range->last = strtol(end + 1, &end, 10);
    if (range->width > DIGITS_MAX || range->last > 999999999 || (*end != ',' && *end != ']'))
        return false;
    *at = end + (*end == ',');
    return true;
}

/* Calls `visit` for the hosts of one item until it returns false. Returns whether it always returned true. */
static bool visit_item(const char *item, size_t size, bool (*visit)(void *context, const char *host), void *context)
{
    char host[RK_HOST_MAX];
    const char *open = memchr(item, '[', size), *close = open ? memchr(open, ']', size - (size_t)(open - item)) : NULL;
    if (!close)
        return size >= RK_HOST_MAX || (snprintf(host, sizeof(host), "%.*s", (int)size, item), visit(context, host));
    struct range range = {.prefix = item, .suffix = close + 1};
    range.prefix_size = (size_t)(open - item);
    range.suffix_size = size - (size_t)(close + 1 - item);
    for (const char *at = open + 1; at < close && read_range(&at, &range);)
        for (long number = range.first; number <= range.last; number++)
            if (print_host(&range, number, host) && !visit(context, host))
                return false;
    return true;
}

void rk_hosts_visit(const char *list, bool (*visit)(void *context, const char *host), void *context)
{
    while (*list) {
        size_t size = item_size(list);
        if (!visit_item(list, size, visit, context))
            return;
        list += size + (list[size] == ',');
    }
}

static bool take_first(void *context, const char *host)
{
    snprintf(context, RK_HOST_MAX, "%s", host);
    return false;
}

bool rk_hosts_first(const char *list, char host[RK_HOST_MAX])
{
    host[0] = '\0';
    rk_hosts_visit(list, take_first, host);
    return host[0] != '\0';
}

struct search {
    const char *host;
    bool found;
};

bool rk_hosts_same(const char *a, const char *b)
{
    size_t size = strcspn(a, ".");
    return size && size == strcspn(b, ".") && !strncasecmp(a, b, size);
}

static bool look_at(void *context, const char *host)
{
    struct search *search = context;
    search->found = rk_hosts_same(search->host, host);
    return !search->found;
}

bool rk_hosts_have(const char *list, const char *host)
{
    struct search search = {.host = host};
    rk_hosts_visit(list, look_at, &search);
    return search.found;
}

/* ---- Schedulers ---- */

/* "4", "gpu:4" or "gpu:a100:4"; of "a100:2,v100:1" the first. */
static int gpus_of(const char *variable)
{
    const char *text = text_of(variable);
    char *end;
    for (size_t size = strcspn(text, ","); size; size--)
        if (text[size - 1] == ':') {
            text += size;
            break;
        }
    long count = strtol(text, &end, 10);
    return end > text && count > 0 && count < 1000 ? (int)count : 0;
}

int rk_slurm_tasks(const char *text, int index)
{
    while (isdigit((unsigned char)*text)) {
        char *end;
        long tasks = strtol(text, &end, 10), times = 1;
        if (!strncmp(end, "(x", 2))
            times = strtol(end + 2, &end, 10);
        if (index < times)
            return tasks > 0 && tasks < 1000000 ? (int)tasks : 0;
        index -= (int)times;
        text = end + strcspn(end, ",");
        text += *text == ',';
    }
    return 0;
}

static void read_slurm(struct rk_allocation *allocation)
{
    char host[RK_HOST_MAX] = "";
    const char *node = text_of("SLURMD_NODENAME");
    gethostname(host, sizeof(host) - 1);
    allocation->scheduler = RK_SLURM;
    allocation->name = "Slurm";
    allocation->job = text_of("SLURM_JOB_ID");
    allocation->nodes = number_of("SLURM_JOB_NUM_NODES");
    if (!allocation->nodes)
        allocation->nodes = number_of("SLURM_NNODES");
    allocation->tasks = number_of("SLURM_NTASKS");
    if (!allocation->tasks)
        allocation->tasks = number_of("SLURM_NTASKS_PER_NODE") * allocation->nodes;
    allocation->gpus = gpus_of("SLURM_GPUS_PER_NODE");
    if (!allocation->gpus)
        allocation->gpus = gpus_of("SLURM_GPUS_ON_NODE");
    allocation->hosts = text_of("SLURM_JOB_NODELIST");
    rk_hosts_first(allocation->hosts, allocation->first);
    allocation->here = !allocation->first[0] || rk_hosts_same(allocation->first, host) ||
                       (*node && rk_hosts_same(allocation->first, node) && rk_hosts_have(allocation->hosts, node));
    allocation->among = allocation->here || rk_hosts_have(allocation->hosts, host);
}

static int lines_of(const char *path)
{
    FILE *file = *path ? fopen(path, "re") : NULL;
    int lines = 0, c;
    while (file && (c = getc(file)) != EOF)
        lines += c == '\n';
    if (file)
        fclose(file);
    return lines;
}

void rk_allocation_read(struct rk_allocation *allocation)
{
    *allocation = (struct rk_allocation){.name = "", .job = "", .hosts = "", .here = true, .among = true};
    if (*text_of("SLURM_JOB_ID")) {
        read_slurm(allocation);
        return;
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (*text_of(others[i].variable)) {
            allocation->scheduler = RK_OTHER_SCHEDULER;
            allocation->name = others[i].name;
            allocation->job = text_of(others[i].variable);
            break;
        }
    if (allocation->scheduler == RK_OTHER_SCHEDULER) {
        allocation->tasks = number_of("LSB_DJOB_NUMPROC");
        if (!allocation->tasks)
            allocation->tasks = number_of("NSLOTS");
        if (!allocation->tasks)
            allocation->tasks = lines_of(text_of("PBS_NODEFILE"));
    }
}
