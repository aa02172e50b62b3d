/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Binding threads and memory, and asking the kernel how they are bound. */

#include "device/bind.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "device/device.h"

#define NODES_MAX 1024
#define WORD_BITS (8 * sizeof(unsigned long))

struct node_mask {
    unsigned long word[NODES_MAX / WORD_BITS];
};

/* MPI has threads of its own already. One that ends meanwhile need not be bound. */
bool rk_bind_process(const struct rk_cpus *cpus)
{
    bool bound = true;
    DIR *folder = opendir("/proc/self/task");
    if (!folder)
        return rk_cpus_bind_thread(0, cpus);
    for (struct dirent *entry; (entry = readdir(folder));)
        if (isdigit((unsigned char)entry->d_name[0]))
            bound &= rk_cpus_bind_thread(atoi(entry->d_name), cpus) || errno == ESRCH;
    int saved = errno;
    closedir(folder);
    errno = saved;
    return bound;
}

/* The calling thread's policy; false: it cannot be asked. */
static bool read_policy(int *mode, struct node_mask *nodes)
{
    if (syscall(SYS_get_mempolicy, mode, nodes->word, (unsigned long)NODES_MAX + 1, NULL, 0ul))
        return false;
    *mode &= 0xff; /* without its flags */
    return true;
}

/* A policy of the user's (numactl) stays, and a node outside what this process was given is out of reach. */
static bool may_prefer(int node)
{
    struct node_mask nodes = {0}, allowed = {0};
    int mode = MPOL_DEFAULT;
    if (read_policy(&mode, &nodes) && mode != MPOL_DEFAULT)
        return false;
    if (syscall(SYS_get_mempolicy, NULL, allowed.word, (unsigned long)NODES_MAX + 1, NULL,
                (unsigned long)MPOL_F_MEMS_ALLOWED))
        return true;
    return allowed.word[(size_t)node / WORD_BITS] >> (size_t)node % WORD_BITS & 1;
}

/* A preference, not an order: a node that is full must not end a rank while others have memory. */
bool rk_bind_memory(int node)
{
    struct node_mask mask = {0};
    if (node < 0 || node >= NODES_MAX || !may_prefer(node))
        return true;
    mask.word[(size_t)node / WORD_BITS] = 1ul << (size_t)node % WORD_BITS;
    return !syscall(SYS_set_mempolicy, MPOL_PREFERRED, mask.word, (unsigned long)NODES_MAX + 1);
}

void rk_bound_memory(char *text, size_t size)
{
    static const char *const names[] = {"default", "prefer", "bind", "interleave", "local", "prefer_many"};
    char list[64];
    struct node_mask mask = {0};
    struct rk_cpus nodes = {0};
    int mode = 0;
    if (!read_policy(&mode, &mask)) {
        snprintf(text, size, "?");
        return;
    }
    for (unsigned node = 0; node < NODES_MAX; node++)
        if (mask.word[node / WORD_BITS] >> node % WORD_BITS & 1)
            rk_cpus_add(&nodes, node);
    const char *name = mode < (int)(sizeof names / sizeof *names) ? names[mode] : "other";
    rk_cpus_text(&nodes, list, sizeof list);
    snprintf(text, size, "%.12s%s%.16s", name, *list ? ":" : "", list);
}

void rk_device_memory_of(pid_t process, char *text, size_t size)
{
    char path[64], word[32] = "?";
    snprintf(path, sizeof path, "/proc/%d/numa_maps", (int)process);
    FILE *file = fopen(path, "re");
    if (file) {
        if (fscanf(file, "%*s %31s", word) != 1)
            strcpy(word, "?");
        fclose(file);
    }
    snprintf(text, size, "%s", word);
}
