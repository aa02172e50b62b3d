/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* What the job says of itself: the payloads of WELCOME and STATUS_REPLY. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "core/inside.h"
#include "device/cpus.h"
#include "mesh/collect.h"

static const char *state_name(enum rk_state state)
{
    static const char *const names[] = {"starting", "ready", "failed", "draining", "stopping"};
    return names[state];
}

const char *rk_worker_name(const struct rankcall_context *context)
{
    return context->worker->name ? context->worker->name : context->options->name;
}

/* Sets a member to an object or array made elsewhere, and frees that. */
static void set_nested(struct rankcall_payload *payload, const char *key, struct rankcall_payload *value)
{
    if (value)
        rankcall_set_json(payload, key, rankcall_payload_json(value, NULL));
    rankcall_payload_free(value);
}

/* A member that is an array of objects, as it is written. */
struct array {
    FILE *stream; /* NULL: memory was out */
    char *text;
    size_t size;
    bool begun;
};

static void array_begin(struct array *array)
{
    *array = (struct array){0};
    array->stream = open_memstream(&array->text, &array->size);
    if (array->stream)
        putc('[', array->stream);
}

/* Takes `item`; NULL, when memory was out, counts as {}. */
static void array_add(struct array *array, struct rankcall_payload *item)
{
    if (array->stream)
        fprintf(array->stream, "%s%s", array->begun ? "," : "", item ? rankcall_payload_json(item, NULL) : "{}");
    array->begun = true;
    rankcall_payload_free(item);
}

static void array_end(struct array *array, struct rankcall_payload *payload, const char *key)
{
    if (!array->stream)
        return;
    putc(']', array->stream);
    fclose(array->stream);
    rankcall_set_json(payload, key, array->text);
    free(array->text);
}

/* Of payloads made by `make` for 0 to count - 1. */
static void set_array(struct rk_frontend *frontend, struct rankcall_payload *payload, const char *key, int count,
                      struct rankcall_payload *(*make)(struct rk_frontend *, int))
{
    struct array array;
    array_begin(&array);
    for (int i = 0; i < count; i++)
        array_add(&array, make(frontend, i));
    array_end(&array, payload, key);
}

/* ---- Ranks ---- */

static bool is_dead(const struct rk_frontend *frontend, int rank)
{
    char text[256];
    return rk_mesh_broken(frontend->context->mesh) &&
           rk_mesh_death(frontend->context->mesh, rank - 1, text, sizeof text) == rank;
}

/* Of other nodes' ranks that cannot be asked this much is known: without a call they are idle. */
static const char *unseen_state(const struct rk_frontend *frontend)
{
    bool asked = frontend->state != RK_JOB_STOPPING && rk_mesh_may_ask(frontend->context->mesh);
    return asked || frontend->running || !frontend->main_serves ? "unknown" : "idle";
}

static const char *rank_state(const struct rk_frontend *frontend, const struct rk_whereabouts *place)
{
    const struct rk_job_call *call = frontend->running;
    if (!place->known)
        return unseen_state(frontend);
    if (place->activity != RK_IDLE)
        return place->activity == RK_IN_COLLECTIVE    ? "collective"
               : place->activity == RK_TAKING_PAYLOAD ? "receiving"
                                                      : "handler";
    if (!frontend->main_serves)
        return place->number ? "idle" : "setup";
    if (!call)
        return "idle";
    return place->number == call->number ? "reported" : "receiving";
}

static void set_collective(struct rankcall_payload *row, const struct rk_whereabouts *place)
{
    struct rankcall_payload *collective = rankcall_payload_new();
    if (!collective)
        return;
    rankcall_set_string(collective, "name", rk_collective_name(place->kind));
    rankcall_set_int(collective, "number", (int64_t)place->sequence);
    set_nested(row, "collective", collective);
}

/* Where a rank was last seen; while the mesh is regrouped nobody may look. */
static void look_for(const struct rk_frontend *frontend, int rank, struct rk_whereabouts *place)
{
    const struct rk_mesh *mesh = frontend->context->mesh;
    memset(place, 0, sizeof *place);
    if (frontend->away || is_dead(frontend, rank))
        return;
    rk_mesh_whereabouts(mesh, rank, place);
    place->known &= !rk_mesh_is_far(mesh, rank) || place->asked_us >= frontend->asked_since_us;
}

static void set_whereabouts(const struct rk_frontend *frontend, struct rankcall_payload *row, int rank,
                            const struct rk_whereabouts *place)
{
    const struct rk_job_call *call = frontend->running;
    if (frontend->away || is_dead(frontend, rank)) {
        rankcall_set_string(row, "state", frontend->away ? "regrouping" : "dead");
        return;
    }
    rankcall_set_string(row, "state", rank_state(frontend, place));
    if (!place->known || !call || place->number != call->number)
        return;
    rankcall_set_double(row, "since", (double)(rk_now_us() - place->since_us) / 1e6);
    if (place->kind != RK_NO_COLLECTIVE)
        set_collective(row, place);
    if (*place->mark)
        rankcall_set_string(row, "mark", place->mark);
}

/* Where a rank may run now: as this node's kernel says, or its own has. False: neither does. */
static bool find_cpus(const struct rk_frontend *frontend, const struct rk_rank_info *info,
                      const struct rk_whereabouts *place, struct rk_cpus *cpus)
{
    if (!rk_mesh_is_far(frontend->context->mesh, info->rank))
        return rk_cpus_of_thread(info->pid, cpus);
    memset(cpus, 0, sizeof *cpus);
    if (place->known)
        memcpy(cpus, place->cpus, sizeof place->cpus);
    return !rk_cpus_empty(cpus);
}

/* Where a rank runs: where it may now, or else where it might when it started. */
static void set_place(struct rk_frontend *frontend, struct rankcall_payload *row, const struct rk_rank_info *info,
                      const struct rk_whereabouts *place)
{
    char text[RK_CPUS_TEXT];
    struct rk_cpus cpus;
    bool known = find_cpus(frontend, info, place, &cpus);
    rankcall_set_string(row, "cpus", known ? rk_cpus_text(&cpus, text, sizeof text) : info->cpus);
    if (info->rank == 0 && rk_cpus_of_thread(0, &cpus))
        rankcall_set_string(row, "io_cpus", rk_cpus_text(&cpus, text, sizeof text));
    rankcall_set_string(row, "memory", info->memory);
    rankcall_set_string(row, "bound", info->bound);
    rankcall_set_string(row, "device", info->device);
    if (*info->uuid)
        rankcall_set_string(row, "uuid", info->uuid);
}

static struct rankcall_payload *rank_row(struct rk_frontend *frontend, int rank)
{
    const struct rk_rank_info *info = rk_mesh_info(frontend->context->mesh, rank);
    struct rankcall_payload *row = rankcall_payload_new();
    struct rk_whereabouts place;
    if (!row)
        return NULL;
    look_for(frontend, rank, &place);
    rankcall_set_int(row, "rank", info->rank);
    rankcall_set_string(row, "host", info->host);
    rankcall_set_int(row, "pid", info->pid);
    set_place(frontend, row, info, &place);
    set_whereabouts(frontend, row, rank, &place);
    return row;
}

static struct rankcall_payload *handler_row(struct rk_frontend *frontend, int index)
{
    const struct rankcall_handler *handler = &frontend->context->worker->handlers[index];
    struct rankcall_payload *row = rankcall_payload_new();
    if (!row)
        return NULL;
    rankcall_set_string(row, "name", handler->name);
    rankcall_set_string(row, "help", handler->help ? handler->help : "");
    return row;
}

static void set_identity(struct rk_frontend *frontend, struct rankcall_payload *payload)
{
    const struct rankcall_context *context = frontend->context;
    rankcall_set_string(payload, "job", context->options->name);
    rankcall_set_string(payload, "worker", rk_worker_name(context));
    rankcall_set_string(payload, "version", rankcall_version());
    rankcall_set_int(payload, "pid", getpid());
    rankcall_set_string(payload, "host", rankcall_host(context));
    rankcall_set_string(payload, "socket", context->options->socket);
    rankcall_set_int(payload, "world_size", rankcall_world_size(context));
}

static void set_queue(struct rk_frontend *frontend, struct rankcall_payload *payload)
{
    struct rankcall_payload *queue = rankcall_payload_new();
    if (!queue)
        return;
    rankcall_set_int(queue, "length", frontend->queue.length);
    rankcall_set_int(queue, "capacity", frontend->queue.capacity);
    set_nested(payload, "queue", queue);
}

static void set_counters(struct rk_frontend *frontend, struct rankcall_payload *payload)
{
    struct rankcall_payload *calls = rankcall_payload_new();
    if (!calls)
        return;
    rankcall_set_int(calls, "completed", (int64_t)frontend->counters.completed);
    rankcall_set_int(calls, "failed", (int64_t)frontend->counters.failed);
    rankcall_set_int(calls, "cancelled", (int64_t)frontend->counters.cancelled);
    rankcall_set_int(calls, "refused", (int64_t)frontend->counters.refused);
    set_nested(payload, "calls", calls);
}

/* ---- Calls ---- */

static const char *call_state(const struct rk_job_call *call)
{
    return call->waiting ? "queued" : call->ended ? "leaving" : "running";
}

static void set_client(struct rankcall_payload *row, const struct rk_job_call *call)
{
    struct rankcall_payload *client = rankcall_payload_new();
    if (!client)
        return;
    rankcall_set_int(client, "pid", call->pid);
    rankcall_set_string(client, "name", call->client ? call->client->name : "");
    set_nested(row, "client", client);
}

/* An id is the client's choice of 64 bits. */
static void set_id(struct rankcall_payload *row, uint64_t id)
{
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)id);
    rankcall_set_json(row, "id", text);
}

static struct rankcall_payload *call_row(const struct rk_frontend *frontend, const struct rk_job_call *call)
{
    struct rankcall_payload *row = rankcall_payload_new();
    int64_t now = rk_now_us();
    if (!row)
        return NULL;
    rankcall_set_int(row, "call", (int64_t)call->serial);
    rankcall_set_string(row, "state", call_state(call));
    rankcall_set_string(row, "handler", frontend->context->worker->handlers[call->handler].name);
    rankcall_set_string(row, "kind", call->streaming ? "stream" : "invoke");
    set_client(row, call);
    set_id(row, call->id);
    rankcall_set_double(row, "age", (double)(now - call->arrived_us) / 1e6);
    if (call->number)
        rankcall_set_double(row, "running", (double)(now - call->started_us) / 1e6);
    rankcall_set_int(row, "bytes", (int64_t)call->bytes);
    return row;
}

/* The running call, then the oldest of those that wait. */
static void set_current(const struct rk_frontend *frontend, struct rankcall_payload *payload)
{
    struct array array;
    array_begin(&array);
    if (frontend->running)
        array_add(&array, call_row(frontend, frontend->running));
    const struct rk_queue_node *node = rk_queue_oldest(&frontend->queue);
    for (int i = 0; node && i < RK_STATUS_QUEUED; i++, node = rk_queue_behind(&frontend->queue, node))
        array_add(&array, call_row(frontend, rk_call_of_node(node)));
    array_end(&array, payload, "current");
}

static void set_running(struct rk_frontend *frontend, struct rankcall_payload *payload)
{
    const struct rk_job_call *call = frontend->running;
    struct rankcall_payload *running = call ? rankcall_payload_new() : NULL;
    if (!running) {
        rankcall_set_json(payload, "running", "null");
        return;
    }
    rankcall_set_int(running, "call", (int64_t)call->serial);
    rankcall_set_int(running, "number", (int64_t)call->number);
    rankcall_set_string(running, "handler", frontend->context->worker->handlers[call->handler].name);
    rankcall_set_string(running, "kind", call->streaming ? "stream" : "invoke");
    rankcall_set_double(running, "age", (double)(rk_now_us() - call->started_us) / 1e6);
    rankcall_set_bool(running, "ended", call->ended);
    set_nested(payload, "running", running);
}

static int handler_count(const struct rk_frontend *frontend)
{
    return (int)frontend->context->handlers;
}

struct rankcall_payload *rk_status_payload(struct rk_frontend *frontend, int64_t since_us)
{
    struct rankcall_payload *status = rankcall_payload_new();
    if (!status)
        return NULL;
    frontend->asked_since_us = since_us;
    rankcall_set_string(status, "state", state_name(frontend->state));
    set_identity(frontend, status);
    rankcall_set_double(status, "uptime", (double)(rk_now_us() - frontend->born_us) / 1e6);
    rankcall_set_int(status, "connections", frontend->client_count);
    set_queue(frontend, status);
    set_counters(frontend, status);
    rk_walltime_tell(frontend, status);
    set_running(frontend, status);
    set_current(frontend, status);
    set_array(frontend, status, "handlers", handler_count(frontend), handler_row);
    set_array(frontend, status, "ranks", rankcall_world_size(frontend->context), rank_row);
    return status;
}

struct rankcall_payload *rk_welcome_payload(struct rk_frontend *frontend)
{
    struct rankcall_payload *welcome = rankcall_payload_new();
    if (!welcome)
        return NULL;
    set_identity(frontend, welcome);
    set_array(frontend, welcome, "handlers", handler_count(frontend), handler_row);
    return welcome;
}
