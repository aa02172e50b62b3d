/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The worker that computes on devices: collectives on their memory with known results, copies, and the switches of the
 * doubles of CUDA and NCCL, where those are there. */

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rankcall/device.h>
#include <rankcall/worker.h>

#include "collect.h"
#include "device_turns.h"

struct state {
    struct rankcall_device *device;
    int last_code;
};

static struct rankcall_device *device_of(const struct rankcall_call *call)
{
    return ((struct state *)rankcall_call_state(call))->device;
}

static int empty(struct rankcall_call *call)
{
    (void)call;
    return 0;
}

/* What each rank computes on. */
static int info(struct rankcall_call *call)
{
    double mine[2] = {rankcall_device_kind(device_of(call)), rankcall_device_index(device_of(call))}, all[128];
    if (rankcall_gather(call, mine, sizeof mine, all, 0))
        return -1;
    struct rankcall_payload *result = rankcall_payload_new();
    rankcall_set_doubles(result, "devices", all, 2 * (size_t)rankcall_call_world_size(call));
    return rankcall_result(call, result);
}

/* {"seed", "turns", "largest"}: random collectives on device memory whose results are known. */
static int collectives(struct rankcall_call *call)
{
    int64_t seed = 1, turns = 30, largest = TURN_LARGEST;
    if (rankcall_opt_int(rankcall_args(call), "seed", &seed) ||
        rankcall_opt_int(rankcall_args(call), "turns", &turns) ||
        rankcall_opt_int_in(rankcall_args(call), "largest", 0, TURN_LARGEST, &largest))
        return -1;
    return turn_many(call, device_of(call), (uint64_t)seed, (int)turns, (size_t)largest);
}

struct plan {
    const char *kind;
    int64_t size, absent, absent_us, turns;
    bool fails, dies;
};

static int read_plan(const struct rankcall_payload *args, struct plan *plan)
{
    *plan = (struct plan){.kind = "all_reduce", .size = 4096, .absent = -1, .turns = INT64_MAX};
    return rankcall_opt_string(args, "kind", &plan->kind) || rankcall_opt_int(args, "size", &plan->size) ||
           rankcall_opt_int(args, "absent", &plan->absent) || rankcall_opt_int(args, "absent_us", &plan->absent_us) ||
           rankcall_opt_int(args, "turns", &plan->turns) || rankcall_opt_bool(args, "fails", &plan->fails) ||
           rankcall_opt_bool(args, "dies", &plan->dies);
}

static int repeat(struct rankcall_call *call, const struct plan *plan, char *send, char *receive)
{
    int code = RANKCALL_OK;
    bool absent = plan->absent == rankcall_call_rank(call);
    for (int64_t turn = 0; !code && turn < plan->turns; turn++) {
        rankcall_mark(call, "turn %lld", (long long)turn);
        if (absent)
            nap(plan->absent_us);
        if (absent && plan->dies)
            kill(getpid(), SIGKILL);
        if (absent && plan->fails)
            return rankcall_fail(call, "told to fail");
        code = strcmp(plan->kind, "barrier") ? collect_once(call, plan->kind, send, receive, (size_t)plan->size)
                                             : rankcall_device_barrier(call);
        if (!code)
            code = rankcall_wait(call);
    }
    return code;
}

/* {"kind", "size", "turns", "absent", "absent_us", "fails", "dies"}: says that it runs, then repeats a collective on
 * device memory until it is interrupted. Rank `absent` comes `absent_us` late; or it fails or dies instead. */
static int interrupted(struct rankcall_call *call)
{
    struct state *state = rankcall_call_state(call);
    struct plan plan;
    void *send = NULL, *receive = NULL;
    if (read_plan(rankcall_args(call), &plan) || rankcall_device_alloc(state->device, (size_t)plan.size, &send) ||
        rankcall_device_alloc(state->device, (size_t)plan.size * (size_t)rankcall_call_world_size(call), &receive))
        return -1;
    state->last_code = -1;
    if (rankcall_call_rank(call) == 0)
        rankcall_emit_json(call, "{\"running\": true}");
    int code = repeat(call, &plan, send, receive);
    state->last_code = code;
    rankcall_device_free(state->device, send);
    rankcall_device_free(state->device, receive);
    return code ? -1 : 0;
}

/* The code with which each rank left the last `interrupted`. */
static int last_codes(struct rankcall_call *call)
{
    double mine = ((struct state *)rankcall_call_state(call))->last_code, all[128];
    if (rankcall_gather(call, &mine, sizeof mine, all, 0))
        return -1;
    struct rankcall_payload *result = rankcall_payload_new();
    rankcall_set_doubles(result, "codes", all, (size_t)rankcall_call_world_size(call));
    return rankcall_result(call, result);
}

/* {"array": ndarray}: to the device, there all ranks' are added, and back. */
static int add(struct rankcall_call *call)
{
    struct rankcall_attachment array;
    struct rankcall_payload *result = rankcall_payload_new();
    if (rankcall_attachment_to_device(call, "array", RANKCALL_FLOAT32, &array))
        return -1;
    void *memory = (void *)array.data;
    int code = rankcall_all_reduce(call, memory, memory, array.size / sizeof(float), RANKCALL_FLOAT32, RANKCALL_SUM);
    if (!code)
        code = rankcall_attach_from_device(call, result, &array);
    if (memory)
        rankcall_device_free(device_of(call), memory);
    return code ? -1 : rankcall_result(call, result);
}

/* Events tell how far the stream is. */
static int events(struct rankcall_call *call)
{
    struct rankcall_event *event;
    void *memory;
    bool done = false;
    char text[16] = "0123456789";
    if (rankcall_event_new(device_of(call), &event) || rankcall_event_done(event, &done) || !done ||
        rankcall_device_alloc(device_of(call), sizeof text, &memory) ||
        rankcall_device_copy(device_of(call), memory, text, sizeof text) || rankcall_event_record(event) ||
        rankcall_event_wait(call, event) || rankcall_event_done(event, &done) || !done)
        return -1;
    rankcall_event_free(event);
    rankcall_event_free(NULL);
    return rankcall_device_free(device_of(call), memory);
}

/* {"which"}: what must be refused on the rank itself. */
static int refused(struct rankcall_call *call)
{
    int64_t which = 0;
    void *there;
    int here = 0, code = -1;
    if (rankcall_opt_int(rankcall_args(call), "which", &which) || rankcall_device_alloc(device_of(call), 64, &there))
        return -1;
    if (which == 0)
        code = rankcall_all_reduce(call, there, &here, 1, RANKCALL_INT32, RANKCALL_SUM);
    else if (which == 1)
        code = rankcall_device_alloc(device_of(call), (size_t)1 << 40, &there);
    else if (which == 2)
        code = rankcall_device_copy(device_of(call), NULL, there, 64);
    else if (which == 3) /* one is on the host, the others are not */
        code = rankcall_all_reduce(call, rankcall_call_rank(call) ? there : &here,
                                   rankcall_call_rank(call) ? there : &here, 1, RANKCALL_INT32, RANKCALL_SUM);
    else
        code = rankcall_device_error(device_of(call), 2, "a kernel of ours");
    struct rankcall_error error = *rankcall_last_error();
    if (code)
        rankcall_fail(call, "%s", error.message);
    rankcall_device_free(device_of(call), there);
    return code ? -1 : 0;
}

/* A stream stands still behind what the handler does not wait for: the end of the call does. */
static int careless(struct rankcall_call *call)
{
    static char from[1 << 16];
    void *memory;
    if (rankcall_device_alloc(device_of(call), sizeof from, &memory))
        return -1;
    return rankcall_device_copy(device_of(call), memory, from, sizeof from);
}

/* ---- The doubles ---- */

static void *in_double(const char *variable, const char *name)
{
    const char *path = getenv(variable);
    void *library = path ? dlopen(path, RTLD_NOW) : NULL;
    return library ? dlsym(library, name) : NULL;
}

static int flip(struct rankcall_call *call, const char *key, const char *variable, const char *function)
{
    void (*set)(bool);
    bool on = false;
    if (rankcall_opt_bool(rankcall_args(call), key, &on))
        return -1;
    *(void **)&set = in_double(variable, function);
    if (rankcall_has(rankcall_args(call), key))
        set(on);
    return 0;
}

/* {"rank", "cuda", "nccl", "error", "after", "hang", "stand"}: what is to fail next on that rank, or on all. */
static int disturb(struct rankcall_call *call)
{
    const struct rankcall_payload *args = rankcall_args(call);
    const char *cuda = NULL, *nccl = NULL;
    int64_t rank = -1, error = 0, after = 0;
    void (*set)(const char *, int, int);
    if (rankcall_opt_int(args, "rank", &rank) || rankcall_opt_string(args, "cuda", &cuda) ||
        rankcall_opt_string(args, "nccl", &nccl) || rankcall_opt_int(args, "error", &error) ||
        rankcall_opt_int(args, "after", &after))
        return -1;
    if (rank >= 0 && rank != rankcall_call_rank(call))
        return 0;
    *(void **)&set = in_double("RANKCALL_TEST_CUDA_MODULE", "double_fail");
    if (cuda)
        set(cuda, (int)error, (int)after);
    *(void **)&set = in_double("RANKCALL_TEST_NCCL", "nccl_double_fail");
    if (nccl)
        set(nccl, (int)error, (int)after);
    return flip(call, "stand", "RANKCALL_TEST_CUDA_MODULE", "double_hang") ||
           flip(call, "hang", "RANKCALL_TEST_NCCL", "nccl_double_hang");
}

/* What rank 0's doubles hold. */
static int held(struct rankcall_call *call)
{
    int (*made)(void), (*open)(void), (*blocks)(void);
    *(void **)&made = in_double("RANKCALL_TEST_NCCL", "nccl_double_made");
    *(void **)&open = in_double("RANKCALL_TEST_NCCL", "nccl_double_open");
    *(void **)&blocks = in_double("RANKCALL_TEST_CUDA_MODULE", "double_held");
    return rankcall_result_json(call, "{\"made\": %d, \"open\": %d, \"held\": %d}", made(), open(), blocks());
}

/* ---- The worker ---- */

static const struct rankcall_handler handlers[] = {
    {"empty", empty, "does nothing"},
    {"info", info, "what each rank computes on"},
    {"collectives", collectives, "collectives whose results are known"},
    {"interrupted", interrupted, "repeats a collective until it is interrupted"},
    {"last_codes", last_codes, "how the last interrupted ended"},
    {"add", add, "adds an array on the devices"},
    {"events", events, "records and waits"},
    {"refused", refused, "what must be refused"},
    {"careless", careless, "does not wait for its copy"},
    {"disturb", disturb, "has the doubles fail"},
    {"held", held, "what the doubles hold"},
    {0},
};

static int set_up(struct rankcall_context *context, const struct rankcall_payload *args)
{
    struct state *state = calloc(1, sizeof *state);
    (void)args;
    rankcall_set_state(context, state);
    return rankcall_device_open(context, &state->device) ? -1 : 0;
}

static void tear_down(struct rankcall_context *context)
{
    free(rankcall_state(context));
}

RANKCALL_WORKER(.name = "device_worker", .handlers = handlers, .setup = set_up, .teardown = tear_down)
