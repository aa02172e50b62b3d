/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The worker that the integration tests call: its table of handlers, a setup that can be told to fail, a teardown
 * that leaves a mark. */

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "handlers.h"

static const struct rankcall_handler handlers[] = {
    {"empty", handle_empty, "does nothing"},
    {"echo", handle_echo, "gives its arguments back"},
    {"checksum", handle_checksum, "checksums of the arguments as every rank sees them"},
    {"look_up", handle_look_up, "one look-up, and what it said"},
    {"look_up_fails", handle_look_up_fails, "fails with the message of a failed look-up"},
    {"make", handle_make, "makes an attachment of a size"},
    {"result_elsewhere", handle_result_elsewhere, "sets a result on the other ranks only"},
    {"result_twice", handle_result_twice, "sets two results"},
    {"result_refused", handle_result_refused, "tries results that must be refused"},
    {"info", handle_info, "what the API says about every rank"},
    {"sum", handle_sum, "adds a number over all ranks"},
    {"print", handle_print, "prints"},
    {"burst", handle_burst, "emits many events"},
    {"threads", handle_threads, "emits events from threads"},
    {"emit_refused", handle_emit_refused, "tries events that must be refused"},
    {"lent", handle_lent, "waits for the memory of its events"},
    {"steps", handle_steps, "tells its progress, with previews"},
    {"fail", handle_fail, "fails"},
    {"fail_watched", handle_fail_watched, "fails while the others look whether the call is to be left"},
    {"last_interrupted", handle_last_interrupted, "the last call that was to be left"},
    {"fail_before_barrier", handle_fail_before_barrier, "fails while the others sit in a barrier"},
    {"fail_silently", handle_fail_silently, "fails without a message"},
    {"slow", handle_slow, "sleeps"},
    {"spin", handle_spin, "computes"},
    {"wait", handle_wait, "waits to be cancelled"},
    {"last_wait", handle_last_wait, "how far the last wait came"},
    {"die", handle_die, "kills a rank"},
    {"leave_behind", handle_leave_behind, "leaves a process or a thread behind"},
    {"grow", handle_grow, "takes memory on a rank, for good"},
    {"die_times", handle_die_times, "kills a rank a number of times"},
    {"die_mixed", handle_die_mixed, "kills one rank after the other"},
    {"linger", handle_linger, "does not look whether it is cancelled"},
    {"last_words", handle_last_words, "prints and aborts"},
    {"die_early", handle_die_early, "dies, and rank 0 reads its arguments later"},
    {"turn", handle_turn, "counts"},
    {"wedge", handle_wedge, "does not come back on some ranks"},
    {"kept", handle_kept, "how often it ran on each rank"},
    {"collectives", handle_collectives, "collectives whose results are known"},
    {"interrupted", handle_interrupted, "repeats a collective until it is interrupted"},
    {"last_codes", handle_last_codes, "how the last interrupted ended"},
    {"collectives_refused", handle_collectives_refused, "collectives with wrong arguments"},
    {0},
};

static int mark(struct rankcall_context *context, const char *folder, const char *what)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s.%d", folder, what, rankcall_rank(context));
    FILE *file = fopen(path, "wx"); /* a second setup or teardown would find its own mark */
    if (!file)
        return rankcall_fail_setup(context, "can't write %s", path);
    fprintf(file, "%d\n", (int)getpid());
    fclose(file);
    return 0;
}

/* Waits for the file that the arguments' "go" names. */
static int wait_for_go(struct rankcall_context *context, const struct rankcall_payload *args)
{
    const char *path = NULL;
    if (rankcall_opt_string(args, "go", &path))
        return -1;
    for (int tries = 0; path && access(path, F_OK) != 0; tries++) {
        if (tries == 30000)
            return rankcall_fail_setup(context, "%s did not appear", path);
        usleep(1000);
    }
    return 0;
}

/* Fails, hangs or dies on the rank that the arguments choose; -1 means all of them. */
static int misbehave(struct rankcall_context *context, const struct rankcall_payload *args)
{
    static const int64_t nobody = -2;
    int64_t fail = nobody, mute = nobody, hang = nobody, die = nobody, rank = rankcall_rank(context);
    const char *message = "told to fail", *traceback = NULL;
    if (rankcall_opt_int(args, "fail", &fail) || rankcall_opt_int(args, "fail_mute", &mute) ||
        rankcall_opt_int(args, "hang", &hang) || rankcall_opt_int(args, "die", &die) ||
        rankcall_opt_string(args, "message", &message) || rankcall_opt_string(args, "traceback", &traceback))
        return -1;
    if (traceback && (fail == -1 || fail == rank))
        return rankcall_fail_setup_with(context, message, traceback);
    if (fail == -1 || fail == rank)
        return rankcall_fail_setup(context, "%s", message);
    if (mute == -1 || mute == rank)
        return 7;
    while (hang == -1 || hang == rank)
        pause();
    if (die == -1 || die == rank)
        kill(getpid(), SIGKILL);
    return 0;
}

/* Dies if the file is there that the arguments' "fall" names, with the moment and the rank behind: once. */
static int fall(struct rankcall_context *context, const struct rankcall_payload *args, const char *moment)
{
    const char *path = NULL;
    char file[PATH_MAX];
    if (rankcall_opt_string(args, "fall", &path))
        return -1;
    snprintf(file, sizeof file, "%s.%s.%d", path ? path : "", moment, rankcall_rank(context));
    if (path && !unlink(file))
        kill(getpid(), SIGKILL);
    return 0;
}

static int regrouped(struct rankcall_context *context)
{
    const struct test_state *state = rankcall_state(context);
    struct rankcall_payload *args = NULL;
    if (rankcall_payload_from_json(state->setup_json, strlen(state->setup_json), &args))
        return -1;
    int code = fall(context, args, "hook");
    rankcall_payload_free(args);
    return code;
}

static int set_up(struct rankcall_context *context, const struct rankcall_payload *args)
{
    const char *folder = NULL;
    if (fall(context, args, "setup"))
        return -1;
    if (rankcall_opt_string(args, "marks", &folder) || (folder && mark(context, folder, "setup")) ||
        wait_for_go(context, args) || misbehave(context, args))
        return -1;
    struct test_state *state = calloc(1, sizeof *state);
    state->setup_json = strdup(rankcall_payload_json(args, NULL));
    state->marker_folder = folder ? strdup(folder) : NULL;
    rankcall_set_state(context, state);
    return 0;
}

static void tear_down(struct rankcall_context *context)
{
    struct test_state *state = rankcall_state(context);
    if (state->marker_folder)
        mark(context, state->marker_folder, "teardown");
    free(state->marker_folder);
    free(state->setup_json);
    free(state);
}

RANKCALL_WORKER(.name = "test_worker", .handlers = handlers, .setup = set_up, .regroup = regrouped,
                .teardown = tear_down)
