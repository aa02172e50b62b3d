/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Handlers for jobs that are restarted: who is the how-manieth, and who dies how often. */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <rankcall/collectives.h>

#include "handlers.h"

/* How many calls of this handler this process has run before. */
int handle_turn(struct rankcall_call *call)
{
    static int turns;
    return rankcall_result_json(call, "{\"turn\": %d, \"pid\": %d}", turns++, (int)getpid());
}

/* {"rank", "bytes"}: that rank takes so much memory, in small pages: the kernel takes long to give it back. */
int handle_grow(struct rankcall_call *call)
{
    int64_t rank, bytes;
    if (rankcall_get_int(rankcall_args(call), "rank", &rank) || rankcall_get_int(rankcall_args(call), "bytes", &bytes))
        return -1;
    if (rank != rankcall_call_rank(call))
        return 0;
    void *memory = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return rankcall_fail(call, "no memory for %lld bytes", (long long)bytes);
    madvise(memory, (size_t)bytes, MADV_NOHUGEPAGE);
    memset(memory, 1, (size_t)bytes);
    return 0;
}

/* {"rank"}: that rank dies; rank 0 then reads what was attached, long after the call has ended for its client. */
int handle_die_early(struct rankcall_call *call)
{
    int64_t rank;
    struct rankcall_attachment attachment;
    volatile unsigned sum = 0;
    if (rankcall_get_int(rankcall_args(call), "rank", &rank) ||
        rankcall_attachment_at(rankcall_args(call), 0, &attachment))
        return -1;
    if (rank == rankcall_call_rank(call))
        kill(getpid(), SIGKILL);
    usleep(300000);
    for (size_t i = 0; i < attachment.size; i++)
        sum += ((const unsigned char *)attachment.data)[i];
    return 0;
}

/* {"path", "rank", "times", "emit"}: that rank dies, so many times; the file remembers. */
int handle_die_times(struct rankcall_call *call)
{
    const char *path;
    int64_t rank, times;
    bool emit = false;
    struct stat file;
    if (rankcall_get_string(rankcall_args(call), "path", &path) ||
        rankcall_get_int(rankcall_args(call), "rank", &rank) ||
        rankcall_get_int(rankcall_args(call), "times", &times) || rankcall_opt_bool(rankcall_args(call), "emit", &emit))
        return -1;
    if (emit && rankcall_emit_json(call, "{\"rank\": %d}", rankcall_call_rank(call)))
        return -1;
    if (rank == rankcall_call_rank(call)) {
        int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd < 0 || write(fd, "x", 1) != 1 || fstat(fd, &file))
            return rankcall_fail(call, "can't write %s", path);
        close(fd);
        if (emit)
            usleep(100000); /* so that the event is with the client */
        if (file.st_size <= times)
            kill(getpid(), SIGKILL);
    }
    return rankcall_result_json(call, "{\"times\": %d}", (int)times);
}

/* {"path", "go"}: every rank notes that it has begun, and computes until the other file is there, without a checkpoint.
 */
int handle_linger(struct rankcall_call *call)
{
    const char *path, *go;
    if (rankcall_get_string(rankcall_args(call), "path", &path) || rankcall_get_string(rankcall_args(call), "go", &go))
        return -1;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, "x", 1) != 1)
        return rankcall_fail(call, "can't write %s", path);
    close(fd);
    while (access(go, F_OK))
        usleep(1000);
    return 0;
}

/* {"path"}: rank 1 dies, then rank 2, then rank 0, and then no more; the file remembers how often it began. */
int handle_die_mixed(struct rankcall_call *call)
{
    static const int order[] = {1, 2, 0};
    const char *path;
    struct stat file;
    int rank = rankcall_call_rank(call);
    if (rankcall_get_string(rankcall_args(call), "path", &path))
        return -1;
    size_t begun = stat(path, &file) ? 0 : (size_t)file.st_size;
    rankcall_barrier(call); /* all have looked */
    if (begun >= sizeof order / sizeof order[0] || order[begun] != rank) {
        while (begun < sizeof order / sizeof order[0] && !rankcall_cancelled(call))
            usleep(1000);
        return 0;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, "x", 1) != 1)
        return rankcall_fail(call, "can't write %s", path);
    kill(getpid(), SIGKILL);
    return 0;
}

/* {"rank", "lines"}: that rank prints so many lines without rankcall's help, then aborts. */
int handle_last_words(struct rankcall_call *call)
{
    int64_t rank, lines;
    if (rankcall_get_int(rankcall_args(call), "rank", &rank) || rankcall_get_int(rankcall_args(call), "lines", &lines))
        return -1;
    if (rank != rankcall_call_rank(call))
        return 0;
    for (int i = 0; i < lines; i++)
        fprintf(stderr, "word %d of process %d\n", i, (int)getpid());
    signal(SIGABRT, SIG_DFL);
    abort();
}
