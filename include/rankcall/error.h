/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Error codes, their names, exit statuses and texts: one table for the libraries, the protocol and the command. */

#ifndef RANKCALL_ERROR_H
#define RANKCALL_ERROR_H

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define RANKCALL_PRINTF(format, first) __attribute__((__format__(__printf__, format, first)))
#else
#define RANKCALL_PRINTF(format, first)
#endif

/* X(constant, number on the wire, name, exit status of the command, what it means) */
#define RANKCALL_ERROR_TABLE(X)                                                                      \
    X(RANKCALL_OK, 0, "ok", 0, "success")                                                            \
    X(RANKCALL_EINTERNAL, 1, "internal", 1, "a defect in rankcall itself")                           \
    X(RANKCALL_EINVAL, 2, "invalid_argument", 2, "an argument is wrong")                             \
    X(RANKCALL_EPAYLOAD, 3, "bad_payload", 3, "a payload, its JSON or an attachment is wrong")       \
    X(RANKCALL_ENOJOB, 4, "no_job", 4, "no job answers under that name or path")                     \
    X(RANKCALL_EWORKER, 5, "worker_error", 5, "a handler or setup failed on a rank")                 \
    X(RANKCALL_EBUSY, 6, "busy", 6, "the call queue is full")                                        \
    X(RANKCALL_ETIMEOUT, 7, "timeout", 7, "a deadline passed")                                       \
    X(RANKCALL_ECANCELLED, 8, "cancelled", 8, "the call was cancelled")                              \
    X(RANKCALL_ESHUTTINGDOWN, 9, "shutting_down", 9, "the job is stopping and takes no more calls")  \
    X(RANKCALL_ENOHANDLER, 10, "no_handler", 10, "the job has no handler of that name")              \
    X(RANKCALL_ETOOLARGE, 11, "too_large", 11, "a frame or payload is over its cap")                 \
    X(RANKCALL_EPROTOCOL, 12, "protocol_error", 12, "the peer sent bytes that are not the protocol") \
    X(RANKCALL_EFORBIDDEN, 13, "forbidden", 13, "the peer belongs to another user")                  \
    X(RANKCALL_ECLOSED, 14, "connection_closed", 14, "the connection ended before the answer")       \
    X(RANKCALL_EJOBDIED, 15, "job_died", 15, "the job ended before the answer")                      \
    X(RANKCALL_ERANKDIED, 16, "rank_died", 16, "a rank died")                                        \
    X(RANKCALL_EWEDGED, 17, "wedged", 17, "ranks did not come back from a call")                     \
    X(RANKCALL_ESYSTEM, 18, "system_error", 18, "the operating system refused an operation")         \
    X(RANKCALL_ENOKEY, 19, "no_such_key", 3, "a payload lacks a key")                                \
    X(RANKCALL_ETYPE, 20, "wrong_type", 3, "a payload's value has another type")                     \
    X(RANKCALL_ERANGE, 21, "out_of_range", 3, "a payload's value does not fit")                      \
    X(RANKCALL_EAGAIN, 22, "again", 1, "nothing is ready yet")                                       \
    X(RANKCALL_EEXIST, 23, "job_exists", 19, "a live job has that name or path already")             \
    X(RANKCALL_ELAUNCH, 24, "launch_failed", 20, "the job could not be started")                     \
    X(RANKCALL_EWALLTIME, 25, "walltime", 21, "the job's allocation ends too early")

enum rankcall_code {
#define RANKCALL_ERROR_ENUM(constant, number, name, status, text) constant = number,
    RANKCALL_ERROR_TABLE(RANKCALL_ERROR_ENUM)
#undef RANKCALL_ERROR_ENUM
};

/* What went wrong, where. Strings are never NULL; `rank` is -1 and `host` empty where no rank is to blame. */
struct rankcall_error {
    int code;              /* enum rankcall_code */
    int rank;              /* rank that failed, or -1 */
    const char *host;      /* host of that rank, or "" */
    const char *message;   /* one line: what was wrong, where, and what to do */
    const char *traceback; /* the handler's own traceback or extra text, or "" */
};

/* The error of the calling thread's last rankcall function that failed.
 * Returns: never NULL; valid until the thread's next rankcall call.
 * Threads: each thread has its own. */
const struct rankcall_error *rankcall_last_error(void);

/* The name of a code ("busy"), "unknown" for a number outside the table. */
const char *rankcall_code_name(int code);

/* The table's text of a code. */
const char *rankcall_code_text(int code);

/* The exit status that the `rankcall` command gives for a code; 1 for a number outside the table. */
int rankcall_code_exit_status(int code);

/* The library's version as "MAJOR.MINOR.PATCH". */
const char *rankcall_version(void);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop
#endif
