/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The GPUs that the driver of this machine has. */

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device/machine.h"
#include "device/nvml.h"

/* A folder of a test's own holds what lies in both. */
static const char *root(const char *real)
{
    const char *pretended = getenv("RANKCALL_TEST_GPUS");
    return pretended ? pretended : real;
}

/* The value of a line "Name: \t value". */
static bool read_line(char *line, const char *name, char *value, size_t size)
{
    size_t length = strlen(name);
    if (strncmp(line, name, length) || line[length] != ':')
        return false;
    for (line += length + 1; isspace((unsigned char)*line); line++)
        continue;
    line[strcspn(line, "\n")] = '\0';
    snprintf(value, size, "%s", line);
    return true;
}

/* Containers and Slurm take device files away; a look at the permissions does not wake a GPU, as opening would. */
static bool is_usable(int minor)
{
    char path[512];
    snprintf(path, sizeof path, "%s/nvidia%d", root("/dev"), minor);
    return minor >= 0 && !access(path, R_OK | W_OK);
}

static bool read_gpu(const char *address, struct rk_gpu *gpu)
{
    char path[512], line[256], number[16] = "-1", excluded[8] = "";
    *gpu = (struct rk_gpu){0};
    snprintf(gpu->address, sizeof gpu->address, "%.19s", address);
    snprintf(path, sizeof path, "%s/gpus/%s/information", root("/proc/driver/nvidia"), address);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    while (fgets(line, sizeof line, file))
        if (!read_line(line, "Model", gpu->model, sizeof gpu->model) &&
            !read_line(line, "GPU UUID", gpu->uuid, sizeof gpu->uuid) &&
            !read_line(line, "GPU Excluded", excluded, sizeof excluded))
            read_line(line, "Device Minor", number, sizeof number);
    fclose(file);
    gpu->minor = atoi(number);
    gpu->usable = is_usable(gpu->minor) && strcmp(excluded, "Yes") != 0;
    return true;
}

static int by_address(const void *one, const void *other)
{
    return strcmp(((const struct rk_gpu *)one)->address, ((const struct rk_gpu *)other)->address);
}

int rk_gpus_of_driver(struct rk_gpu gpus[RK_GPUS_MAX])
{
    char path[512];
    int count = 0;
    snprintf(path, sizeof path, "%s/gpus", root("/proc/driver/nvidia"));
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && count < RK_GPUS_MAX && (entry = readdir(folder));)
        if (entry->d_name[0] != '.' && read_gpu(entry->d_name, &gpus[count]))
            count++;
    if (folder) {
        closedir(folder);
    } else if (!getenv("RANKCALL_TEST_GPUS") || getenv("RANKCALL_TEST_NVML")) { /* some containers hide it */
        count = rk_nvml_gpus(gpus);
        for (int i = 0; i < count; i++)
            gpus[i].usable = is_usable(gpus[i].minor);
    }
    qsort(gpus, (size_t)count, sizeof *gpus, by_address);
    return count;
}
