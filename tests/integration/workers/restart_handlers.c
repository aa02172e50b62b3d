/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Handlers for jobs that are restarted: who is the how-manieth, and who dies how often. */

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "handlers.h"

/* How many calls of this handler this process has run before. */
int handle_turn(struct rankcall_call *call)
{
    static int turns;
    return rankcall_result_json(call, "{\"turn\": %d, \"pid\": %d}", turns++, (int)getpid());
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
