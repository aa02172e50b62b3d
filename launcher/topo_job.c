/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Where the ranks of a running job are: the kernel of their machine is asked. */

#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "device/device.h"
#include "device/nvml.h"
#include "launcher/describe.h"
#include "launcher/topo.h"

#define USES_MAX 1024 /* processes on GPUs of this machine */

static const char *key_of(int rank, const char *member)
{
    static char key[64];
    snprintf(key, sizeof key, "/ranks/%d/%s", rank, member);
    return key;
}

bool rk_topo_is_here(const struct rankcall_payload *status, int rank)
{
    char host[72] = "";
    struct rk_cpus cpus;
    pid_t pid = (pid_t)rk_describe_int(status, key_of(rank, "pid"));
    gethostname(host, sizeof host - 1);
    return !strcmp(host, rk_describe_text(status, key_of(rank, "host"))) && pid > 0 && rk_cpus_of_thread(pid, &cpus);
}

/* Rank 0's thread that speaks with clients; 0: there is none. */
static pid_t io_thread(pid_t process)
{
    char path[320], name[32];
    pid_t found = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)process);
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && !found && (entry = readdir(folder));) {
        snprintf(path, sizeof path, "/proc/%d/task/%.200s/comm", (int)process, entry->d_name);
        FILE *file = isdigit((unsigned char)entry->d_name[0]) ? fopen(path, "re") : NULL;
        if (file && fgets(name, sizeof name, file) && !strcmp(name, RK_IO_THREAD "\n"))
            found = atoi(entry->d_name);
        if (file)
            fclose(file);
    }
    if (folder)
        closedir(folder);
    return found;
}

/* The index of the GPU that the job names: "gpu 0000:3b:00.0", or by UUID; one that this machine does not tell of, like
 * a slice, is added. */
static int find_gpu(struct rk_topo *topo, const char *device, const char *uuid)
{
    const char *address = strncmp(device, "gpu ", 4) ? NULL : device + 4;
    if (!address)
        return -1;
    for (int i = 0; i < topo->gpu_count; i++)
        if (*uuid ? !strcmp(topo->gpus[i].uuid, uuid) : !strcmp(topo->gpus[i].address, address))
            return i;
    if (topo->gpu_count == RK_GPUS_MAX)
        return -1;
    struct rk_gpu *gpu = &topo->gpus[topo->gpu_count];
    *gpu = (struct rk_gpu){.minor = -1, .usable = true};
    snprintf(gpu->uuid, sizeof gpu->uuid, "%s", uuid);
    for (int i = 0; i < topo->gpu_count; i++)
        if (!strcmp(topo->gpus[i].address, address))
            gpu->near = topo->gpus[i].near;
    return topo->gpu_count++;
}

static void look_at_rank(struct rk_topo *topo, const struct rankcall_payload *status, int rank)
{
    struct rk_topo_rank *row = &topo->ranks[topo->count];
    struct rk_place *place = &topo->places[topo->count];
    const char *uuid = "";
    row->number = rank;
    row->pid = (int)rk_describe_int(status, key_of(rank, "pid"));
    snprintf(row->host, sizeof row->host, "%s", rk_describe_text(status, key_of(rank, "host")));
    snprintf(row->bound, sizeof row->bound, "%s", rk_describe_text(status, key_of(rank, "bound")));
    snprintf(row->device, sizeof row->device, "%s", rk_describe_text(status, key_of(rank, "device")));
    rk_device_memory_of(row->pid, row->memory, sizeof row->memory);
    rankcall_opt_string(status, key_of(rank, "uuid"), &uuid);
    *place = (struct rk_place){.memory = -1, .gpu = find_gpu(topo, row->device, uuid)};
    rk_cpus_of_thread(row->pid, &place->workers);
    place->cpus = place->workers;
    pid_t thread = rank == 0 ? io_thread(row->pid) : 0;
    struct rk_cpus io;
    if (thread && rk_cpus_of_thread(thread, &io) && !rk_cpus_equal(&io, &place->workers)) {
        place->io = io;
        rk_cpus_join(&place->cpus, &io);
    }
    topo->count++;
}

/* The driver is asked where processes compute, and believed. One that has not opened its GPU, or that a container gives
 * another number, is not known to it. */
static void ask_driver(struct rk_topo *topo)
{
    static struct rk_gpu_use uses[USES_MAX];
    int count = rk_nvml_uses(uses, USES_MAX);
    for (int i = 0; i < topo->count; i++) {
        struct rk_topo_rank *row = &topo->ranks[i];
        const char *found = NULL, *told = strncmp(row->device, "gpu ", 4) ? "" : row->device + 4;
        for (int n = 0; n < count; n++)
            if (uses[n].process == row->pid && (!found || !strcmp(uses[n].address, told)))
                found = uses[n].address;
        row->asked = found;
        if (!found || !strcmp(found, told) || !strcmp(told, "slice"))
            continue;
        snprintf(row->other, sizeof row->other, "%s", found);
        for (int gpu = 0; gpu < topo->gpu_count; gpu++)
            if (!strcmp(topo->gpus[gpu].address, found))
                topo->places[i].gpu = gpu;
    }
}

int rk_topo_of_job(struct rk_topo *topo, const struct rankcall_payload *status)
{
    int size = (int)rk_describe_int(status, "world_size");
    topo->places = calloc((size_t)size + 1, sizeof *topo->places);
    topo->ranks = calloc((size_t)size + 1, sizeof *topo->ranks);
    if (!topo->places || !topo->ranks)
        return rk_error(RANKCALL_EINTERNAL, "no memory for %d ranks", size);
    topo->job = rk_describe_text(status, "job");
    for (int rank = 0; rank < size; rank++)
        if (rk_topo_is_here(status, rank))
            look_at_rank(topo, status, rank);
    ask_driver(topo);
    rk_placement_judge(topo->gpus, NULL, topo->count, topo->places);
    return RANKCALL_OK;
}
