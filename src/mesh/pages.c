/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

#include "mesh/pages.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define RANGES 32 /* each is given back by itself; where there are as many, all pages are */

/* ioctl_pagemap_scan(2), which older headers lack. */
struct range {
    uint64_t start, end, categories;
};
struct scan {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN         _IOWR('f', 16, struct scan)
#define PAGE_FILE    (UINT64_C(1) << 2) /* of a file, or shared memory */
#define PAGE_PRESENT (UINT64_C(1) << 3)
#define PAGE_SWAPPED (UINT64_C(1) << 4)

/* -1: there is none. */
static int page_map(void)
{
    static int fd = -2;
    if (fd == -2)
        fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    return fd;
}

bool rk_pages_unwrite(uint8_t *bytes, uint64_t size)
{
    struct range ranges[RANGES];
    struct scan scan = {.size = sizeof scan,
                        .start = (uint64_t)(uintptr_t)bytes,
                        .end = (uint64_t)(uintptr_t)(bytes + size),
                        .vec = (uint64_t)(uintptr_t)ranges,
                        .vec_len = RANGES,
                        .category_inverted = PAGE_FILE,
                        .category_mask = PAGE_FILE,
                        .category_anyof_mask = PAGE_PRESENT | PAGE_SWAPPED,
                        .return_mask = PAGE_PRESENT};
    int fd = page_map(), found = fd < 0 ? -1 : ioctl(fd, SCAN, &scan);
    bool few = found >= 0 && found < RANGES;
    if (!few)
        madvise(bytes, size, MADV_DONTNEED);
    for (int i = 0; few && i < found; i++)
        madvise((void *)(uintptr_t)ranges[i].start, ranges[i].end - ranges[i].start, MADV_DONTNEED);
    return few;
}
