/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The worker API: what a handler author writes. Link with `pkg-config --libs rankcall-worker`.
 *
 *     #include <rankcall/worker.h>
 *
 *     static int hello(struct rankcall_call *call)
 *     {
 *         const char *who = "world";
 *         if (rankcall_opt_string(rankcall_args(call), "who", &who))
 *             return -1;
 *         struct rankcall_payload *result = rankcall_payload_new();
 *         rankcall_set_string(result, "greeting", who);
 *         return rankcall_result(call, result);
 *     }
 *
 *     static const struct rankcall_handler handlers[] = {{"hello", hello, "greets"}, {0}};
 *
 *     RANKCALL_WORKER(.name = "hello", .handlers = handlers)
 *
 * That is the whole program: `rankcall run -n 4 -- ./hello`, or `mpirun -n 4 ./hello --socket /some/path`. */

#ifndef RANKCALL_WORKER_H
#define RANKCALL_WORKER_H

#include <rankcall/collectives.h>
#include <rankcall/error.h>
#include <rankcall/payload.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

struct rankcall_context; /* this rank in the job: lives from before setup until after teardown */
struct rankcall_call;    /* one call on this rank: lives as long as the handler runs */

/* A handler returns 0 for success. Any other value fails the call; its message is that of rankcall_fail(), or else of
 * the last rankcall function that failed in this thread. */
typedef int (*rankcall_handler_fn)(struct rankcall_call *call);

struct rankcall_handler {
    const char *name; /* 1 to RANKCALL_MAX_NAME bytes of UTF-8, unique in the worker */
    rankcall_handler_fn run;
    const char *help; /* one line for `rankcall status`; may be NULL */
};

/* Members that were added later may be left out in C++, too. */
#ifdef __cplusplus
#define RANKCALL_OPTIONAL = nullptr
#else
#define RANKCALL_OPTIONAL
#endif

/* What a worker is. Name members as in the example above: more may be added at the end. */
struct rankcall_worker {
    const char *name;                        /* of the program, for `rankcall ps`; NULL: argv[0]'s last part */
    const struct rankcall_handler *handlers; /* ended by a NULL name; the first is the default handler */
    /* Called once on every rank before the first call. May be NULL. Returns 0, or fails the job's start. */
    int (*setup)(struct rankcall_context *context, const struct rankcall_payload *args);
    /* Called once on every rank whose setup succeeded, after the last call. May be NULL. */
    void (*teardown)(struct rankcall_context *context);
    /* Called on the ranks that lived on when another has died and was replaced, while the replacement runs setup: the
     * place to make anew what was bound to the old communicators; rankcall_comm gives the new one. May be NULL. Returns
     * 0, or ends the job. */
    int (*regroup)(struct rankcall_context *context) RANKCALL_OPTIONAL;
};

/* Runs the SPMD program: initialises MPI with MPI_THREAD_MULTIPLE (unless that was done), runs setup, serves calls
 * until the job is stopped, runs teardown, finalises MPI.
 * Takes its own options out of argv (`--help` lists them); what follows `--` is the worker's, see rankcall_argv.
 * Returns: the exit status for main: 0 after an orderly stop.
 * Collective: every rank of MPI_COMM_WORLD. Blocking: for the life of the job. */
int rankcall_worker_main(int argc, char **argv, const struct rankcall_worker *worker);

#ifdef __cplusplus
#define RANKCALL_WORKER(...)                                 \
    int main(int argc, char **argv)                          \
    {                                                        \
        const struct rankcall_worker worker = {__VA_ARGS__}; \
        return rankcall_worker_main(argc, argv, &worker);    \
    }
#else
#define RANKCALL_WORKER(...)                                                                   \
    int main(int argc, char **argv)                                                            \
    {                                                                                          \
        return rankcall_worker_main(argc, argv, &(const struct rankcall_worker){__VA_ARGS__}); \
    }
#endif

/* ---- The rank ---- */

int rankcall_rank(const struct rankcall_context *context);
int rankcall_world_size(const struct rankcall_context *context);

/* The rank's place among the ranks of its node: 0 to the node's ranks - 1. */
int rankcall_local_rank(const struct rankcall_context *context);

/* The host's name. Ownership: the context's. */
const char *rankcall_host(const struct rankcall_context *context);

/* The GPU that this rank agreed on with the others of its node: the PCI address, such as "0000:3b:00.0", for
 * cudaDeviceGetByPCIBusId, and the UUID, which tells a slice of a GPU (MIG) too. "": it has none, or that is not known.
 * Ownership: the context's. */
const char *rankcall_gpu(const struct rankcall_context *context);
const char *rankcall_gpu_uuid(const struct rankcall_context *context);

/* What followed `--` on the command line; argv[argc] is NULL. Ownership: the context's. */
char **rankcall_argv(const struct rankcall_context *context, int *argc);

/* A pointer of the worker's own, NULL at first: the loaded model, say. */
void rankcall_set_state(struct rankcall_context *context, void *state);
void *rankcall_state(const struct rankcall_context *context);

/* Prints one line to standard output as `[rank 3] text`, or `[debug] [rank 3] text` to standard error. Debug lines
 * appear when RANKCALL_DEBUG is set to something else than 0 or the program runs with --debug.
 * Threads: any. */
void rankcall_print(const struct rankcall_context *context, const char *format, ...) RANKCALL_PRINTF(2, 3);
void rankcall_debug(const struct rankcall_context *context, const char *format, ...) RANKCALL_PRINTF(2, 3);

/* Fails setup with a message; always returns -1, so that `return rankcall_fail_setup(…)` reads well. */
int rankcall_fail_setup(struct rankcall_context *context, const char *format, ...) RANKCALL_PRINTF(2, 3);

/* The same with a traceback, any text of several lines, for the error's member of that name; NULL: none. */
int rankcall_fail_setup_with(struct rankcall_context *context, const char *message, const char *traceback);

/* True in a process that has taken the place of a rank that died: while it runs setup, the others run regroup. */
bool rankcall_is_replacement(const struct rankcall_context *context);

/* The number of the last call that was to be left before its end, because it failed, was cancelled or timed out, as far
 * as this node knows; 0: none since the last regroup. Threads: any. */
uint64_t rankcall_last_interrupted(const struct rankcall_context *context);

/* ---- The call ---- */

struct rankcall_context *rankcall_call_context(const struct rankcall_call *call);

/* The same as rankcall_state(rankcall_call_context(call)), and so on: what handlers ask most. */
void *rankcall_call_state(const struct rankcall_call *call);
int rankcall_call_rank(const struct rankcall_call *call);
int rankcall_call_world_size(const struct rankcall_call *call);

/* The job's own number of the call: 1, 2, 3 … in the order in which calls run; the same on every rank. */
uint64_t rankcall_call_number(const struct rankcall_call *call);

/* The handler's name as called. */
const char *rankcall_call_handler(const struct rankcall_call *call);

/* The payload. Ownership: the call's; look-ups and attachments are valid until the handler returns. */
const struct rankcall_payload *rankcall_args(const struct rankcall_call *call);

/* Whether the attachments' bytes are this rank's alone, so that a handler may write into them, const or not, for as
 * long as it has the payload. False at rank 0 where others may still be reading them. */
bool rankcall_args_private(const struct rankcall_call *call);

/* True when the client streams: events reach it. False: events are dropped where they are made. */
bool rankcall_streaming(const struct rankcall_call *call);

/* Sets the result. Only rank 0's goes back; other ranks may set one or not. Without one the result is {}.
 * Ownership: takes `result`, also on failure. Errors: RANKCALL_ETOOLARGE; RANKCALL_EINVAL for NULL. */
int rankcall_result(struct rankcall_call *call, struct rankcall_payload *result);

/* The same from JSON text made by a format. Errors: RANKCALL_EPAYLOAD with the byte offset. */
int rankcall_result_json(struct rankcall_call *call, const char *format, ...) RANKCALL_PRINTF(2, 3);

/* Sends one event to the client, from any rank. Events of a rank arrive in order, each once, before the result.
 * Ownership: takes `event`, also on failure. Errors: RANKCALL_ETOOLARGE; RANKCALL_EINVAL for NULL.
 * Blocking: while the client is slower than the ranks. Threads: any thread of the rank while the handler runs. */
int rankcall_emit(struct rankcall_call *call, struct rankcall_payload *event);

/* The same from JSON text made by a format. Errors: RANKCALL_EPAYLOAD with the byte offset. */
int rankcall_emit_json(struct rankcall_call *call, const char *format, ...) RANKCALL_PRINTF(2, 3);

/* Fails the call on this rank with a message; always returns -1. The first one counts. Reaches the client at once,
 * also while other ranks sit in a collective. Threads: the handler's. */
int rankcall_fail(struct rankcall_call *call, const char *format, ...) RANKCALL_PRINTF(2, 3);

/* The same with a traceback, any text of several lines, for the error's member of that name; NULL: none. */
int rankcall_fail_with(struct rankcall_call *call, const char *message, const char *traceback);

/* Why the call is to be left, as a collective would return it, or RANKCALL_OK; as far as this node knows, so ranks may
 * get different answers: for a watch over something that blocks. Threads: any of the rank while the handler runs. */
int rankcall_interrupted(const struct rankcall_call *call);

/* A checkpoint: whether the call was cancelled or its client is gone. All ranks get the same answer at the same
 * checkpoint, so that all can leave together. A cancelled call's result goes nowhere; return 0 or fail, as you like. A
 * rank that does not leave within the job's grace (--grace) is killed and replaced; while nobody has ended the call,
 * one that others wait for has as long as it likes, if it shows now and then that it lives: by a checkpoint, an event,
 * a collective or rankcall_mark. Collective: every rank calls it equally often. Blocking: until rank 0 has come to the
 * same checkpoint. */
bool rankcall_cancelled(struct rankcall_call *call);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop
#endif
