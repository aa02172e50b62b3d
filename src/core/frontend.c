/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The IO thread of rank 0: its loop, and the desk where it meets the main thread. */

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/defaults.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/log.h"
#include "core/inside.h"
#include "device/device.h"

/* ---- The main thread's side ---- */

/* Says that something lies on the desk. With the lock held. */
static void fill(struct rk_frontend *frontend)
{
    atomic_store(&frontend->desk.filled, true);
}

void rk_frontend_set_up(struct rk_frontend *frontend, const struct rk_tally *tally)
{
    pthread_mutex_lock(&frontend->desk.lock);
    frontend->desk.set_up = true;
    frontend->desk.tally = *tally;
    fill(frontend);
    pthread_mutex_unlock(&frontend->desk.lock);
    rk_io_ring(frontend->context->mesh);
}

struct rankcall_payload *rk_frontend_args(struct rk_frontend *frontend)
{
    return atomic_exchange(&frontend->desk.args, NULL); /* the announcement's ring came after it */
}

bool rk_frontend_cancelled(struct rk_frontend *frontend)
{
    return atomic_load(&frontend->desk.cancelled);
}

void rk_frontend_done(struct rk_frontend *frontend, const struct rk_tally *tally, struct rankcall_payload *result)
{
    rk_notes_free_spent(frontend);
    pthread_mutex_lock(&frontend->desk.lock);
    frontend->desk.done = true;
    frontend->desk.tally = *tally;
    frontend->desk.result = result;
    fill(frontend);
    pthread_mutex_unlock(&frontend->desk.lock);
    if (!rk_baton_resume(frontend))
        rk_io_ring(frontend->context->mesh);
}

bool rk_frontend_release_mesh(struct rk_frontend *frontend, bool again)
{
    const struct timespec nap = {.tv_nsec = RK_NAP_MIN_US * 1000};
    if (again) {
        pthread_mutex_lock(&frontend->desk.lock);
        atomic_store(&frontend->desk.away, false);
        frontend->desk.broken = true;
        fill(frontend);
        pthread_mutex_unlock(&frontend->desk.lock);
    }
    while (!atomic_load(&frontend->desk.away)) {
        if (atomic_load(&frontend->doomed))
            return false;
        nanosleep(&nap, NULL);
    }
    atomic_store(&frontend->desk.taken, true);
    return true;
}

void rk_frontend_count_death(struct rk_frontend *frontend)
{
    if (rk_deaths_count(frontend))
        return;
    pthread_mutex_lock(&frontend->desk.lock);
    frontend->desk.spent = true;
    fill(frontend);
    pthread_mutex_unlock(&frontend->desk.lock);
    for (;;)
        pause();
}

/* ---- The IO thread's side ---- */

void rk_frontend_announce(struct rk_frontend *frontend, struct rk_announcement *announcement,
                          struct rankcall_payload *args)
{
    frontend->awaited = RK_BOTH;
    frontend->tally = RK_TALLY_NONE;
    /* The main thread has a reference of its own: when a rank dies, this thread drops the call. */
    rankcall_payload_free(atomic_exchange(&frontend->desk.args, args ? rk_payload_ref(args) : NULL));
    rk_mesh_announce(frontend->context->mesh, announcement, args);
}

/* Rank 0's handler, or all the others', have returned. */
static void part_done(struct rk_frontend *frontend, enum rk_part part, const struct rk_tally *tally)
{
    rk_tally_add(&frontend->tally, tally);
    frontend->awaited &= ~(unsigned)part;
    if (!frontend->awaited)
        rk_ledger_expect(frontend->ledger, frontend->tally.messages);
}

static void setup_returned(struct rk_frontend *frontend, const struct rk_tally *tally)
{
    rk_ledger_expect(frontend->ledger, tally->messages);
    while (!rk_ledger_complete(frontend->ledger) && !rk_mesh_broken(frontend->context->mesh)) /* on their way */
        rk_funnel_work(frontend);
    if (tally->failed && frontend->setup_error && rk_resume_expected(frontend))
        rk_resume_leave(frontend, frontend->setup_error);
    if (frontend->state == RK_JOB_STARTING)
        frontend->state = tally->failed ? RK_JOB_FAILED : RK_JOB_READY;
    rk_ledger_begin(frontend->ledger, UINT64_MAX);
    rk_clients_announce_state(frontend);
    if (tally->failed)
        rk_stop_begin(frontend, 0, 0);
    else
        rk_journal_ready(frontend->journal);
    frontend->main_serves = true;
    rk_stop_check(frontend);
    rk_calls_dispatch(frontend);
}

static void bell_rang(evutil_socket_t fd, short events, void *context)
{
    struct rk_frontend *frontend = context;
    (void)fd, (void)events;
    rk_io_drain(frontend->context->mesh);
    frontend->activity++;
}

static int watch_bell(struct rk_frontend *frontend)
{
    frontend->bell =
        event_new(frontend->base, rk_io_bell_fd(frontend->context->mesh), EV_READ | EV_PERSIST, bell_rang, frontend);
    if (!frontend->bell || event_add(frontend->bell, NULL))
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    return RANKCALL_OK;
}

/* Rank 0's main thread has put the mesh together again. */
static void return_to_mesh(struct rk_frontend *frontend)
{
    frontend->away = false;
    atomic_store(&frontend->desk.away, false);
    atomic_store(&frontend->desk.taken, false);
    if (watch_bell(frontend)) {
        rk_log(RK_LOG_ERROR, "%s", rankcall_last_error()->message);
        rk_mesh_abort(frontend->context->mesh, 1);
    }
}

/* Takes what the main thread has put on the desk. */
static bool clear_desk(struct rk_frontend *frontend)
{
    struct rk_desk *desk = &frontend->desk;
    if (!atomic_load(&desk->filled))
        return false;
    pthread_mutex_lock(&desk->lock);
    atomic_store(&desk->filled, false);
    bool set_up = desk->set_up, done = desk->done, finish = desk->finish, broken = desk->broken, spent = desk->spent;
    struct rk_tally tally = desk->tally;
    struct rankcall_payload *result = desk->result;
    desk->set_up = desk->done = desk->broken = desk->spent = false;
    desk->result = NULL;
    *frontend->notes_end = desk->notes;
    if (desk->notes)
        frontend->notes_end = desk->notes_end;
    desk->notes = NULL;
    desk->notes_end = &desk->notes;
    pthread_mutex_unlock(&desk->lock);
    bool mended = set_up && (frontend->away || rk_mesh_is_replacement(frontend->context->mesh));
    if ((set_up || broken) && frontend->away)
        return_to_mesh(frontend);
    if (spent)
        rk_deaths_end(frontend);
    if (broken) { /* the next that it sees is that */
        rk_resume_seat(frontend);
        frontend->main_serves = true;
    }
    if (mended) {
        rk_resume_seat(frontend);
        rk_resume_pause(frontend);
    }
    if (set_up)
        setup_returned(frontend, &tally);
    if (done && frontend->running) {
        frontend->result = result;
        part_done(frontend, RK_RANK_0, &tally);
    } else if (done) { /* lost with its call */
        rankcall_payload_free(result);
    }
    frontend->over = finish;
    return true;
}

static bool take_reports(struct rk_frontend *frontend)
{
    struct rk_tally tally;
    if (!frontend->running || !(frontend->awaited & RK_OTHERS) || !rk_mesh_reported(frontend->context->mesh, &tally))
        return false;
    part_done(frontend, RK_OTHERS, &tally);
    return true;
}

/* Spinning, it asks for all sockets only now and then; between, for that of the last caller, most likely the next. */
static void look_at_clients(struct rk_frontend *frontend)
{
    if (frontend->looks++ % RK_LOOK_EVERY == 0 || frontend->reads_on) {
        frontend->reads_on = false;
        event_base_loop(frontend->base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
        if (!frontend->away && !rk_mesh_broken(frontend->context->mesh))
            rk_wedge_look(frontend); /* while events keep it awake; else before it sleeps */
    } else if (!frontend->running && frontend->recent)
        rk_client_look(frontend->recent);
}

bool rk_frontend_work(struct rk_frontend *frontend)
{
    uint64_t before = frontend->activity;
    look_at_clients(frontend);
    if (rk_baton_hurries(frontend))
        return true;
    bool progress = clear_desk(frontend);
    if (!frontend->away && rk_mesh_broken(frontend->context->mesh))
        rk_deaths_take(frontend);
    progress |= rk_survey_work(frontend);
    if (frontend->away) {
        rk_funnel_drop(frontend);
        rk_clients_flush(frontend);
        return progress || frontend->activity != before;
    }
    progress |= take_reports(frontend);
    progress |= rk_funnel_work(frontend);
    if (frontend->running && rk_ledger_complete(frontend->ledger))
        rk_call_returned(frontend);
    rk_clients_flush(frontend);
    if (frontend->log && rk_call_log_full(frontend->log))
        rk_call_log_write(frontend->log);
    return progress || frontend->activity != before;
}

/* Where ranks compute on all CPUs, an answer must not wait for their turns to end: a sleeping IO thread asks for
 * precedence, which only the privileged get, and for short turns. A spinning one must have neither, or it starves the
 * main thread. */
static void prefer_latency(struct rk_frontend *frontend, bool on)
{
    struct rk_turns wish = frontend->turns;
    if (!frontend->shares_turns)
        return;
    if (on)
        rk_turns_shorten(&wish);
    if (on && frontend->may_precede)
        wish.nice -= 10;
    if (rk_turns_set(&wish) || !frontend->may_precede)
        return;
    frontend->may_precede = false;
    prefer_latency(frontend, on);
}

/* Sleeps until a descriptor or the bell calls, unless the ranks have something after all: then it returns true. */
static bool doze(struct rk_frontend *frontend, int64_t nap_us)
{
    struct timeval limit = {.tv_usec = (suseconds_t)(frontend->away ? RK_AWAY_POLL_US : nap_us)};
    if (frontend->away) { /* the main thread cannot ring */
        event_add(frontend->look, &limit);
        event_base_loop(frontend->base, EVLOOP_ONCE);
        event_del(frontend->look);
        return false;
    }
    rk_wedge_look(frontend);
    rk_io_doze(frontend->context->mesh);
    rk_events_urge(frontend->context->mesh);
    bool idle = !atomic_load(&frontend->desk.filled) && !rk_mesh_broken(frontend->context->mesh);
    bool found = idle && (take_reports(frontend) || rk_funnel_work(frontend) || rk_survey_work(frontend));
    if (idle && !found) {
        if (frontend->running) { /* messages of ranks may need a look to come through, see mesh/bell.c */
            limit.tv_usec = (suseconds_t)rk_wedge_nap(frontend, nap_us);
            event_add(frontend->look, &limit);
        }
        prefer_latency(frontend, true);
        event_base_loop(frontend->base, EVLOOP_ONCE);
        prefer_latency(frontend, false);
        event_del(frontend->look);
    }
    rk_io_wake(frontend->context->mesh);
    return found;
}

static void looked(evutil_socket_t fd, short events, void *context)
{
    (void)fd, (void)events, (void)context;
}

bool rk_frontend_spin(struct rk_frontend *frontend, struct rk_spin *spin, bool progress)
{
    if (progress) {
        spin->until_us = rk_now_us() + RK_SPIN_US;
        if (frontend->running && frontend->running->started_us + RK_COLD_SPIN_US > spin->until_us)
            spin->until_us = frontend->running->started_us + RK_COLD_SPIN_US;
        spin->looks = 0;
        return true;
    }
    if (!rk_funnel_moving(frontend) && ++spin->looks >= RK_SPIN_LOOKS && rk_now_us() >= spin->until_us)
        return false;
    if (!rk_funnel_yields(frontend) && rk_give_way()) {
        spin->looks = RK_SPIN_LOOKS;
        spin->until_us = 0;
    }
    return true;
}

static void *io_main(void *context)
{
    struct rk_frontend *frontend = context;
    struct rk_spin spin = {0};
    int64_t nap_us = RK_NAP_MIN_US;
    bool found = false, polls = rk_mesh_nodes(frontend->context->mesh) > 1 && !rk_mesh_linked(frontend->context->mesh);
    int64_t nap_max_us = polls ? RK_REMOTE_POLL_US : RK_NAP_MAX_US;
    pthread_setname_np(pthread_self(), RK_IO_THREAD);
    rk_device_bind_io(frontend->context->device);
    frontend->shares_turns = rk_turns_get(&frontend->turns);
    frontend->may_precede = true;
    while (!frontend->over) {
        if (rk_baton_pass(frontend))
            spin = (struct rk_spin){0};
        bool progress = rk_frontend_work(frontend) || found;
        found = false;
        if (progress)
            nap_us = RK_NAP_MIN_US;
        if (rk_frontend_spin(frontend, &spin, progress))
            continue;
        if (frontend->log)
            rk_call_log_write(frontend->log);
        uint64_t before = frontend->activity;
        found = doze(frontend, nap_us);
        nap_us = nap_us * 2 < nap_max_us ? nap_us * 2 : nap_max_us;
        nap_us = frontend->activity != before ? RK_NAP_MIN_US : nap_us; /* rings may precede what they tell of */
    }
    rk_listener_close(frontend); /* first: who hears that the job is gone may start the next one of its name */
    rk_clients_close(frontend);
    return NULL;
}

static void signalled(evutil_socket_t number, short events, void *context)
{
    struct rk_frontend *frontend = context;
    (void)events;
    frontend->activity++;
    /* So mpirun ends a job in which it can't start replacements. The launcher starts it again, with that name. */
    if (frontend->away && rk_resume_sure(frontend)) {
        rk_log(RK_LOG_INFO, "%s while ranks are replaced: left to who started the job", strsignal((int)number));
        return;
    }
    /* mpirun kills what is left a second after its own signal, and a log line may find a broken pipe: the socket's name
     * goes first. */
    rk_listener_close(frontend);
    rk_log(RK_LOG_INFO, "%s: stopping", strsignal((int)number));
    rk_stop_begin(frontend, RK_SIGNAL_DRAIN_US, RK_STOP_GRACE_S * 1000000);
}

void rk_frontend_rest(struct rk_frontend *frontend)
{
    if (event_pending(frontend->rest, EV_TIMEOUT, NULL))
        return;
    int64_t half_us = rk_mesh_payload_memory_rest_us() / 2;
    const struct timeval later = {.tv_sec = half_us / 1000000, .tv_usec = half_us % 1000000};
    event_add(frontend->rest, &later);
}

static void rested(evutil_socket_t fd, short events, void *context)
{
    struct rk_frontend *frontend = context;
    (void)fd, (void)events;
    if (rk_mesh_payload_memory_rest())
        rk_frontend_rest(frontend);
}

static int make_events(struct rk_frontend *frontend)
{
    struct event_config *config = event_config_new();
    if (config) {
        event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
        frontend->base = event_base_new_with_config(config);
        event_config_free(config);
    }
    if (!frontend->base)
        return rk_error(RANKCALL_EINTERNAL, "cannot make an event loop");
    frontend->look = evtimer_new(frontend->base, looked, NULL);
    frontend->signals[0] = evsignal_new(frontend->base, SIGTERM, signalled, frontend);
    frontend->signals[1] = evsignal_new(frontend->base, SIGINT, signalled, frontend);
    frontend->rest = evtimer_new(frontend->base, rested, frontend);
    if (!frontend->look || !frontend->rest || !frontend->signals[0] || !frontend->signals[1])
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    event_add(frontend->signals[0], NULL);
    event_add(frontend->signals[1], NULL);
    return watch_bell(frontend);
}

static void free_event(struct event *event)
{
    if (event)
        event_free(event);
}

static void frontend_free(struct rk_frontend *frontend)
{
    struct event *const events[] = {frontend->bell,          frontend->look,       frontend->rest,
                                    frontend->regroup_timer, frontend->signals[0], frontend->signals[1]};
    rk_listener_close(frontend);
    rk_stop_cleanup(frontend);
    rk_resume_close(frontend);
    rk_walltime_close(frontend);
    rk_lend_close(frontend);
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        free_event(events[i]);
    if (frontend->base)
        event_base_free(frontend->base);
    rankcall_payload_free(atomic_load(&frontend->desk.args));
    rk_notes_free_spent(frontend);
    rk_call_log_close(frontend->log);
    rk_ledger_free(frontend->ledger);
    rk_wedge_close(frontend);
    rk_error_free(frontend->setup_error);
    rk_error_free(frontend->last_death);
    pthread_mutex_destroy(&frontend->desk.lock);
    free(frontend);
}

static int prepare(struct rk_frontend *frontend, struct rankcall_context *context)
{
    const struct rk_options *options = context->options;
    frontend->context = context;
    frontend->memory = rk_mesh_payload_memory(context->mesh);
    frontend->listen_fd = frontend->spare_fd = frontend->keeper = -1;
    frontend->born_us = rk_now_us();
    frontend->notes_end = &frontend->notes;
    frontend->desk.notes_end = &frontend->desk.notes;
    pthread_mutex_init(&frontend->desk.lock, NULL);
    rk_baton_open(frontend);
    rk_queue_init(&frontend->queue, options->queue, options->payload_cap * RK_QUEUE_PAYLOADS);
    frontend->ledger = rk_ledger_new(rk_mesh_size(context->mesh));
    int code = frontend->ledger ? make_events(frontend) : rk_error(RANKCALL_EINTERNAL, "out of memory");
    if (!code && options->call_log)
        code = rk_call_log_open(options->call_log, &frontend->log);
    if (!code && !(code = rk_lend_open(frontend)) && !(code = rk_wedge_open(frontend)))
        code = rk_walltime_open(frontend);
    return code ? code : rk_resume_open(frontend);
}

int rk_frontend_start(struct rankcall_context *context, struct rk_frontend **out)
{
    struct rk_frontend *frontend = calloc(1, sizeof *frontend);
    if (!frontend)
        return rk_error(RANKCALL_EINTERNAL, "out of memory");
    int code = prepare(frontend, context);
    if (!code && (errno = pthread_create(&frontend->thread, NULL, io_main, frontend)))
        code = rk_error_system("cannot start the IO thread");
    if (code)
        frontend_free(frontend);
    else
        *out = frontend;
    return code;
}

void rk_frontend_finish(struct rk_frontend *frontend)
{
    if (!frontend)
        return;
    pthread_mutex_lock(&frontend->desk.lock);
    frontend->desk.finish = true;
    fill(frontend);
    pthread_mutex_unlock(&frontend->desk.lock);
    rk_io_ring(frontend->context->mesh);
    pthread_join(frontend->thread, NULL);
    frontend_free(frontend);
}
