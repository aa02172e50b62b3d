/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What is written into private views of shared memory goes, and nothing else is seen there then. */

#include "unit.h"

#include <sys/mman.h>
#include <unistd.h>

#include "mesh/pages.h"

#define PAGE  4096u
#define PAGES 3000u

struct views {
    uint8_t *shared, *private;
    size_t size;
};

static int open_views(void **state)
{
    static struct views views;
    int fd = memfd_create("test", MFD_CLOEXEC);
    views.size = (size_t)PAGES * PAGE;
    if (fd < 0 || ftruncate(fd, (off_t)views.size))
        return -1;
    views.shared = mmap(NULL, views.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    views.private = mmap(NULL, views.size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    close(fd);
    *state = &views;
    return views.shared == MAP_FAILED || views.private == MAP_FAILED ? -1 : 0;
}

static int close_views(void **state)
{
    struct views *views = *state;
    return munmap(views->shared, views->size) || munmap(views->private, views->size);
}

/* Fills what is shared, has every page at hand, and writes into the private view's pages from `first` on. */
static void fill_and_write(const struct views *views, uint8_t content, size_t first, size_t step)
{
    volatile uint8_t seen = 0;
    memset(views->shared, content, views->size);
    for (size_t page = 0; page < PAGES; page++)
        seen ^= views->private[page * PAGE];
    for (size_t page = first; page < PAGES; page += step)
        views->private[page * PAGE + page % PAGE] = (uint8_t)~content;
    (void)seen;
}

static void check_unwritten(const struct views *views, uint8_t content)
{
    (void)rk_pages_unwrite(views->private, views->size);
    assert_memory_equal(views->private, views->shared, views->size);
    memset(views->shared, content + 1, views->size);
    assert_memory_equal(views->private, views->shared, views->size);
}

static void nothing_was_written(void **state)
{
    fill_and_write(*state, 1, PAGES, 1);
    check_unwritten(*state, 1);
}

static void every_page_was_written(void **state)
{
    fill_and_write(*state, 2, 0, 1);
    check_unwritten(*state, 2);
}

static void many_pieces_were_written(void **state)
{
    fill_and_write(*state, 3, 1, 2);
    check_unwritten(*state, 3);
    fill_and_write(*state, 5, 0, 300);
    check_unwritten(*state, 5);
}

static void a_view_that_nobody_has_looked_into(void **state)
{
    const struct views *views = *state;
    memset(views->shared, 7, views->size);
    check_unwritten(views, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_was_written, open_views, close_views),
        cmocka_unit_test_setup_teardown(every_page_was_written, open_views, close_views),
        cmocka_unit_test_setup_teardown(many_pieces_were_written, open_views, close_views),
        cmocka_unit_test_setup_teardown(a_view_that_nobody_has_looked_into, open_views, close_views),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
