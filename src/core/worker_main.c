/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The SPMD program: setup, the loop of calls, teardown. */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/call.h"
#include "core/compute.h"
#include "core/frontend.h"
#include "device/device.h"
#include "mesh/collect.h"
#include "wire/frame.h"

#define END_PATIENCE_MS 500
#define AGAIN_FREE      2       /* attempts to regroup, in a row, without a pause before */
#define AGAIN_US        250000  /* the first pause; then twice as long each time ... */
#define AGAIN_US_MAX    2000000 /* ... up to this */

/* Whether this process is the one that prints before MPI is up. */
static bool is_chief(void)
{
    static const char *const variables[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"};
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        const char *value = getenv(variables[i]);
        if (value)
            return !strcmp(value, "0");
    }
    return true;
}

static int check_worker(const struct rankcall_worker *worker, struct rankcall_context *context)
{
    if (!worker || !worker->handlers || !worker->handlers[0].name)
        return rk_error(RANKCALL_EINVAL, "the worker has no handler");
    for (const struct rankcall_handler *handler = worker->handlers; handler->name; handler++) {
        size_t size = strlen(handler->name);
        if (!handler->run || !size || size > RANKCALL_MAX_NAME || !rk_utf8_ok(handler->name, size))
            return rk_error(RANKCALL_EINVAL, "handler %u: it needs a function and a name of 1 to %d bytes of UTF-8",
                            context->handlers, RANKCALL_MAX_NAME);
        for (const struct rankcall_handler *other = worker->handlers; other < handler; other++)
            if (!strcmp(other->name, handler->name))
                return rk_error(RANKCALL_EINVAL, "two handlers are named \"%s\"", handler->name);
        context->handlers++;
    }
    context->worker = worker;
    return RANKCALL_OK;
}

static void ignore_signal(int number)
{
    (void)number;
}

/* Rank 0 leads an orderly stop; the others wait for its word. A handler rather than SIG_IGN, which programs that the
 * worker starts would inherit. */
static void follow_rank_zero(void)
{
    struct sigaction now, action = {.sa_handler = ignore_signal, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (getenv("SLURM_JOB_ID") && !sigaction(SIGUSR1, NULL, &now) && now.sa_handler == SIG_DFL)
        sigaction(SIGUSR1, &action, NULL); /* Slurm's warning before the end */
}

/* Open MPI 5 may write once more to the socket of a rank that has died, which is no reason to die as well. */
static void outlive_others(void)
{
    struct sigaction now, action = {.sa_handler = ignore_signal, .sa_flags = SA_RESTART};
    if (!sigaction(SIGPIPE, NULL, &now) && now.sa_handler == SIG_DFL)
        sigaction(SIGPIPE, &action, NULL);
}

_Static_assert(sizeof(struct rk_offer) <= RK_OFFER_ROOM, "the ranks' infos have no room for their offers");

/* The ranks of this node, told of each other, come to the same plan, and this one takes its place in it. */
static void agree(void *user, const struct rk_rank_info *ranks, int size, struct rk_rank_info *mine)
{
    struct rankcall_context *context = user;
    struct rk_device_report report;
    struct rk_offer *offers = calloc((size_t)size, sizeof *offers);
    int *numbers = calloc((size_t)size, sizeof *numbers), count = 0, self = 0;
    for (int i = 0; offers && numbers && i < size; i++) {
        if (ranks[i].node != mine->node)
            continue;
        if (i == mine->rank)
            self = count;
        numbers[count] = i;
        memcpy(&offers[count++], ranks[i].offer, sizeof *offers);
    }
    if (count)
        rk_device_settle(context->device, offers, numbers, count, self);
    rk_apart_open(context);
    free(offers);
    free(numbers);
    rk_device_report(context->device, &report);
    memcpy(mine->device, report.device, sizeof mine->device);
    memcpy(mine->uuid, report.uuid, sizeof mine->uuid);
    memcpy(mine->cpus, report.cpus, sizeof mine->cpus);
    memcpy(mine->memory, report.memory, sizeof mine->memory);
    memcpy(mine->bound, report.bound, sizeof mine->bound);
}

#define STOPPED_US 3000000 /* beyond the grace: by then rank 0 has told of the node that is silent */

static int join_mesh(struct rankcall_context *context)
{
    struct rk_rank_info info = {0};
    int code = rk_device_open(context->options->bind, context->options->gpus, &context->device);
    if (code)
        return code;
    const struct rk_offer *offer = rk_device_offer(context->device);
    memcpy(info.offer, offer, sizeof *offer);
    info.aware = offer->cuda;
    rk_mesh_prepare_environment((int)rk_cpus_count(&offer->given));
    if (context->options->grace_us)
        rk_mesh_end_stopped(context->options->grace_us + STOPPED_US);
    code = rk_mesh_open(&info, agree, context, &context->mesh);
    if (!code && rankcall_rank(context) != 0)
        follow_rank_zero();
    if (!code && rk_mesh_outlives(context->mesh))
        outlive_others();
    return code;
}

static void report_setup_failure(struct rankcall_context *context, const char *what, int status)
{
    const struct rankcall_error *last = rankcall_last_error();
    char text[128];
    snprintf(text, sizeof text, "%s returned %d without a message", what, status);
    const char *message = context->setup_failure ? context->setup_failure : last->code ? last->message : text;
    rk_log(RK_LOG_ERROR, "%s failed on rank %d (%s): %s", what, rankcall_rank(context), rankcall_host(context),
           message);
    struct rankcall_payload *error = rk_context_error(context, message, context->setup_traceback);
    if (error && !rk_payload_freeze(error))
        rk_context_send(context, RK_MESSAGE_ERROR, 0, 0, error);
    rankcall_payload_free(error);
}

/* Ranks have died and nobody will take their places: rank 0's frontend tells the clients and ends the job. If it is not
 * there any more, somebody else must. */
_Noreturn static void end_with_the_dead(struct rankcall_context *context)
{
    const struct timespec patience = {.tv_nsec = END_PATIENCE_MS * 1000000};
    char text[256];
    if (rk_mesh_death(context->mesh, -1, text, sizeof text) == 0)
        rk_log(RK_LOG_ERROR, "%s", text);
    if (context->frontend)
        rk_io_ring(context->mesh); /* whose watcher of the dead has left may not have rung */
    nanosleep(&patience, NULL);
    rk_mesh_abort(context->mesh, rankcall_code_exit_status(RANKCALL_ERANKDIED));
}

/* Before the how-manieth attempt in a row: replacements that die again and again get some rest between. */
static int64_t pause_before(unsigned tries)
{
    int64_t pause_us = AGAIN_US;
    if (tries < AGAIN_FREE)
        return 0;
    for (unsigned i = AGAIN_FREE; i < tries && pause_us < AGAIN_US_MAX; i++)
        pause_us *= 2;
    return pause_us < AGAIN_US_MAX ? pause_us : AGAIN_US_MAX;
}

/* The living start replacements for the dead, who run setup meanwhile, and begin anew when one more dies. */
static void regroup(struct rankcall_context *context)
{
    struct rk_tally tally;
    unsigned tries = 0;
    bool again = false;
    if (!rk_mesh_can_regroup(context->mesh) || !context->options->restarts)
        end_with_the_dead(context);
    do {
        if (context->frontend && !rk_frontend_release_mesh(context->frontend, again))
            end_with_the_dead(context);
        while (!rk_mesh_regroup(context->mesh, RK_REGROUP_GRACE_S * INT64_C(1000000), pause_before(tries++)))
            if (context->frontend)
                rk_frontend_count_death(context->frontend);
        rk_error_clear();
        int status = context->worker->regroup ? context->worker->regroup(context) : 0;
        tally = (struct rk_tally){.failed = status != 0, .messages = status != 0};
        if (status)
            report_setup_failure(context, "regroup", status);
        again = true;
    } while (!rk_mesh_tally(context->mesh, &tally));
    rk_mesh_show_stack(context->mesh);
    if (context->frontend)
        rk_frontend_set_up(context->frontend, &tally);
}

/* Runs setup on all ranks, or as a replacement on this one. Returns whether it succeeded here; at rank 0 the frontend
 * hears how it went on all. */
static bool set_up(struct rankcall_context *context)
{
    struct rk_tally tally;
    rk_error_clear();
    int status = context->worker->setup ? context->worker->setup(context, context->options->setup) : 0;
    tally = (struct rk_tally){.failed = status != 0, .messages = status != 0};
    if (status)
        report_setup_failure(context, "setup", status);
    if (!rk_mesh_tally(context->mesh, &tally)) {
        if (!rk_mesh_is_replacement(context->mesh))
            end_with_the_dead(context);
        regroup(context);
    } else if (context->frontend) {
        rk_frontend_set_up(context->frontend, &tally);
    }
    return status == 0;
}

static void run_call(struct rankcall_context *context, const struct rk_announcement *announcement,
                     struct rankcall_payload *args)
{
    struct rk_tally tally;
    struct rankcall_payload *result = NULL;
    rk_mesh_enter(context->mesh, announcement->number, announcement->announced_us);
    if (!rk_mesh_broadcast(context->mesh, announcement, &args)) {
        rankcall_payload_free(args);
        return; /* the next that is heard is that ranks have died */
    }
    rk_call_run(context, announcement, &args, &tally, &result);
    rankcall_payload_free(args);
    if (context->frontend)
        rk_frontend_done(context->frontend, &tally, result);
    rk_mesh_tidy();
    rk_apart_look(context);
}

/* Serves until a STOP is announced. */
static void serve(struct rankcall_context *context)
{
    rk_mesh_show_stack(context->mesh);
    for (;;) {
        struct rk_announcement announcement = {0};
        struct rankcall_payload *args = NULL;
        if (context->frontend)
            rk_baton_await(context->frontend);
        rk_mesh_await(context->mesh, &announcement);
        if (context->frontend)
            rk_baton_leave(context->frontend, &announcement);
        if (context->frontend)
            args = rk_frontend_args(context->frontend);
        if (announcement.operation == RK_OPERATION_STOP)
            return;
        if (announcement.operation == RK_OPERATION_CALL) {
            run_call(context, &announcement, args);
        } else {
            rankcall_payload_free(args);
            regroup(context);
        }
    }
}

static int live(struct rankcall_context *context)
{
    if (rankcall_rank(context) == 0 && rk_frontend_start(context, &context->frontend))
        return rankcall_last_error()->code;
    bool ready = set_up(context);
    serve(context); /* a job whose setup failed is announced its STOP at once */
    if (ready && context->worker->teardown)
        context->worker->teardown(context);
    return ready ? RANKCALL_OK : RANKCALL_EWORKER;
}

/* Every rank leaves with the same status: that of the worst. */
static int leave(struct rankcall_context *context, int code)
{
    struct rk_tally tally = {.failed = code != RANKCALL_OK};
    int worst = code;
    if (!rk_mesh_tally(context->mesh, &tally)) /* rank 0 tells the clients only when every rank's teardown is done */
        end_with_the_dead(context);
    if (!code && tally.failed)
        worst = RANKCALL_EWORKER;
    if (context->frontend && context->options->launcher)
        unlink(context->options->launcher); /* so it knows that this was the end, and not one more death */
    rk_frontend_finish(context->frontend);
    rk_compute_close(context->computer);
    rk_mesh_close(context->mesh);
    rk_device_close(context->device);
    free(context->setup_failure);
    free(context->setup_traceback);
    return rankcall_code_exit_status(worst);
}

static int run(struct rankcall_context *context)
{
    int code = join_mesh(context);
    if (!code)
        code = live(context);
    bool started = context->mesh && (rankcall_rank(context) != 0 || context->frontend);
    if (started)
        return leave(context, code);
    /* Nothing can be said to the other ranks in an orderly way: end them all. */
    rk_log(RK_LOG_ERROR, "%s", rankcall_last_error()->message);
    rk_mesh_abort(context->mesh, rankcall_code_exit_status(code));
}

int rankcall_worker_main(int argc, char **argv, const struct rankcall_worker *worker)
{
    struct rankcall_context context = {0};
    struct rk_options options;
    if (check_worker(worker, &context)) {
        rk_log(RK_LOG_ERROR, "%s: %s", argv[0], rankcall_last_error()->message);
        return rankcall_code_exit_status(RANKCALL_EINVAL);
    }
    enum rk_options_end end = rk_options_read(argc, argv, worker, is_chief(), &options);
    if (end != RK_OPTIONS_RUN)
        return end == RK_OPTIONS_EXIT ? 0 : rankcall_code_exit_status(RANKCALL_EINVAL);
    if (options.debug)
        rk_log_set_level(RK_LOG_DEBUG);
    context.options = &options;
    rk_fd_raise_limit();
    int status = run(&context);
    rk_options_free(&options);
    return status;
}
