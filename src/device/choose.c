/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Which GPUs ranks may use: what CUDA will show to them, and of that what --gpus names. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "device/machine.h"
#include "device/nvml.h"

struct list {
    struct rk_gpu *gpus;
    int count;
};

/* The next of the names that commas divide; false at the end of the list. */
static bool next_name(const char **at, char *name, size_t size)
{
    size_t length = strcspn(*at, ",");
    if (!**at)
        return false;
    snprintf(name, size, "%.*s", (int)length, *at + strspn(*at, " "));
    name[strcspn(name, " ,")] = '\0';
    *at += length + ((*at)[length] == ',');
    return true;
}

/* A name that is a number; -1: it is none. */
static int number_of(const char *name)
{
    char *end;
    long number = strtol(name, &end, 10);
    return *name >= '0' && *name <= '9' && !*end && number < 1000000 ? (int)number : -1;
}

static void add(struct list *list, const struct rk_gpu *gpu)
{
    for (int i = 0; i < list->count; i++)
        if (!strcmp(list->gpus[i].uuid, gpu->uuid) && !strcmp(list->gpus[i].address, gpu->address))
            return;
    if (list->count < RK_GPUS_MAX)
        list->gpus[list->count++] = *gpu;
}

/* PCI addresses are written with a domain of four digits, of eight, or without. */
static bool same_address(const char *name, const char *address)
{
    unsigned domain = 0, bus, device, function, parts[4];
    if (sscanf(name, "%x:%x:%x.%x", &domain, &bus, &device, &function) != 4) {
        domain = 0;
        if (sscanf(name, "%x:%x.%x", &bus, &device, &function) != 3)
            return false;
    }
    return sscanf(address, "%x:%x:%x.%x", &parts[0], &parts[1], &parts[2], &parts[3]) == 4 && parts[0] == domain &&
           parts[1] == bus && parts[2] == device && parts[3] == function;
}

/* By UUID, or an unambiguous beginning of it, or address. */
static const struct rk_gpu *find(const struct list *list, const char *name)
{
    const struct rk_gpu *found = NULL;
    for (int i = 0; i < list->count; i++) {
        const struct rk_gpu *gpu = &list->gpus[i];
        if (same_address(name, gpu->address) && !strncmp(gpu->uuid, "GPU-", 4))
            return gpu;
        if (same_address(name, gpu->address) && !*gpu->uuid)
            return gpu;
        if (strlen(name) > 4 && !strncasecmp(gpu->uuid, name, strlen(name))) {
            if (found)
                return NULL;
            found = gpu;
        }
    }
    return found;
}

/* A slice is next to what its GPU is next to. Older names of slices tell the GPU: MIG-GPU-.../1/0; of the others NVML
 * knows it, or it is known where all GPUs are next to the same. */
static struct rk_gpu slice(const char *name, const struct list *all, const struct rk_gpu_choice *choice)
{
    char parent[20] = "";
    struct rk_gpu made = {.minor = -1, .usable = true};
    snprintf(made.uuid, sizeof made.uuid, "%s", name);
    snprintf(made.model, sizeof made.model, "MIG slice");
    if (all->count > 1 && choice->parent && strncmp(name, "MIG-GPU-", 8) && !choice->parent(name, parent))
        parent[0] = '\0';
    for (int i = 0; i < all->count; i++) {
        const struct rk_gpu *gpu = &all->gpus[i];
        bool told = *gpu->uuid && !strncmp(name + 4, gpu->uuid, strlen(gpu->uuid));
        if (told || (*parent && same_address(parent, gpu->address))) {
            snprintf(made.address, sizeof made.address, "%s", gpu->address);
            made.near = gpu->near;
            return made;
        }
        if (i == 0)
            made.near = gpu->near;
        else if (!rk_cpus_equal(&made.near, &gpu->near))
            made.near = (struct rk_cpus){0};
    }
    if (all->count == 1)
        snprintf(made.address, sizeof made.address, "%s", all->gpus[0].address);
    return made;
}

static bool is_slice(const char *name)
{
    return !strncmp(name, "MIG-", 4);
}

/* As CUDA reads CUDA_VISIBLE_DEVICES: what is wrong ends the list. */
static void take_visible(const struct list *all, const char *visible, const struct rk_gpu_choice *choice,
                         struct list *list)
{
    char name[96];
    while (next_name(&visible, name, sizeof name)) {
        int number = number_of(name);
        const struct rk_gpu *gpu = number >= 0 && number < all->count ? &all->gpus[number] : NULL;
        struct rk_gpu made;
        if (!gpu && number < 0 && is_slice(name)) {
            made = slice(name, all, choice);
            gpu = &made;
        } else if (!gpu && number < 0) {
            gpu = find(all, name);
        }
        if (!gpu)
            return;
        add(list, gpu);
    }
}

/* The highest number in a list of numbers; -1: it is no such list. */
static int highest(const char *numbers)
{
    char name[96];
    int top = -1;
    while (next_name(&numbers, name, sizeof name)) {
        int number = number_of(name);
        if (number < 0)
            return -1;
        if (number > top)
            top = number;
    }
    return top;
}

/* Slurm numbers the GPUs of the machine. Where it hides the others, CUDA_VISIBLE_DEVICES counts among those of the
 * step; where it does not, both lists are the same. */
static void keep_slurms(struct list *all, const struct rk_gpu_choice *choice)
{
    struct rk_gpu kept[RK_GPUS_MAX];
    struct list list = {kept, 0};
    if (!choice->slurm || highest(choice->slurm) < 0 || highest(choice->slurm) >= all->count)
        return;
    take_visible(all, choice->slurm, choice, &list);
    if (choice->visible && (!strcmp(choice->visible, choice->slurm) || highest(choice->visible) >= list.count))
        return;
    memcpy(all->gpus, kept, (size_t)list.count * sizeof *kept);
    all->count = list.count;
}

static int take_wanted(const struct list *visible, const struct rk_gpu_choice *choice, struct list *list)
{
    const char *wanted = choice->wanted;
    char name[96];
    while (next_name(&wanted, name, sizeof name)) {
        int number = number_of(name);
        const struct rk_gpu *gpu =
            number >= 0 ? (number < visible->count ? &visible->gpus[number] : NULL) : find(visible, name);
        struct rk_gpu made;
        if (!gpu && is_slice(name)) {
            made = slice(name, visible, choice);
            gpu = &made;
        }
        if (!gpu)
            return rk_error(RANKCALL_EINVAL, "--gpus: there is no GPU \"%s\" among the %d that may be used here", name,
                            visible->count);
        add(list, gpu);
    }
    return RANKCALL_OK;
}

struct rk_gpu_choice rk_gpu_choice_here(const char *wanted)
{
    const char *slurm = getenv("SLURM_STEP_GPUS") ? getenv("SLURM_STEP_GPUS") : getenv("SLURM_JOB_GPUS");
    return (struct rk_gpu_choice){
        .visible = getenv("CUDA_VISIBLE_DEVICES"), .slurm = slurm, .wanted = wanted, .parent = rk_nvml_parent};
}

int rk_gpu_choice_check(const char *wanted)
{
    char name[96];
    const char *at = wanted;
    bool some = false;
    if (!strcmp(wanted, "all") || !strcmp(wanted, "none"))
        return RANKCALL_OK;
    while (next_name(&at, name, sizeof name)) {
        some = true;
        if (number_of(name) < 0 && strncmp(name, "GPU-", 4) && !is_slice(name) && !strchr(name, ':'))
            return rk_error(RANKCALL_EINVAL,
                            "--gpus: \"%s\" is neither a number nor a UUID (GPU-..., MIG-...) nor a PCI address", name);
    }
    return some ? RANKCALL_OK : rk_error(RANKCALL_EINVAL, "--gpus: it takes all, none, or a list such as 0,1");
}

int rk_gpus_choose(const struct rk_gpu *gpus, int gpu_count, const struct rk_gpu_choice *choice,
                   struct rk_gpu chosen[RK_GPUS_MAX], int *count)
{
    struct rk_gpu usable[RK_GPUS_MAX], seen[RK_GPUS_MAX];
    struct list all = {usable, 0}, visible = {seen, 0}, wanted = {chosen, 0};
    int code = RANKCALL_OK;
    *count = 0;
    if (choice->wanted && (code = rk_gpu_choice_check(choice->wanted)))
        return code;
    if (choice->wanted && !strcmp(choice->wanted, "none"))
        return RANKCALL_OK;
    for (int i = 0; i < gpu_count; i++)
        if (gpus[i].usable)
            add(&all, &gpus[i]);
    if (all.count == gpu_count) /* else the others are hidden already */
        keep_slurms(&all, choice);
    if (choice->visible) {
        take_visible(&all, choice->visible, choice, &visible);
    } else {
        visible = all;
    }
    if (choice->wanted && strcmp(choice->wanted, "all")) {
        code = take_wanted(&visible, choice, &wanted);
    } else {
        memcpy(chosen, visible.gpus, (size_t)visible.count * sizeof *chosen);
        wanted.count = visible.count;
    }
    *count = wanted.count;
    return code;
}
