/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* Two runners whose calls wait while ranks are killed: resume JOB COUNT SIGNAL PID...
 *
 * The first call of the first runner runs; then they take turns in submitting COUNT calls of "turn"; then the processes
 * get the signal. Prints one JSON line: how the running call ended, after how many milliseconds, and the turns and
 * processes of the others in the order of their submission, with the milliseconds until the first of them; `failed_at`:
 * when the running call ended, by CLOCK_MONOTONIC. */

#include <poll.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

#define CALLS_MAX 1000

static double now_ms(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static void wait_until_it_runs(struct rankcall_runner *runner)
{
    for (;;) {
        struct rankcall_payload *status;
        OK(rankcall_status(runner, &status));
        bool runs = strstr(rankcall_payload_json(status, NULL), "\"running\":{");
        rankcall_payload_free(status);
        if (runs)
            return;
        usleep(1000);
    }
}

static void wait_for_both(struct rankcall_runner *const runners[2])
{
    struct pollfd fds[2];
    for (int i = 0; i < 2; i++)
        fds[i] = (struct pollfd){rankcall_runner_fd(runners[i]), rankcall_runner_poll_events(runners[i]), 0};
    poll(fds, 2, 1);
    for (int i = 0; i < 2; i++)
        OK(rankcall_process(runners[i]));
}

int main(int argc, char **argv)
{
    struct rankcall_runner *runners[2];
    struct rankcall_pending *first, *calls[CALLS_MAX];
    struct rankcall_item item;
    int count = argc > 4 ? atoi(argv[2]) : 0;
    if (count < 1 || count > CALLS_MAX)
        return fprintf(stderr, "usage: resume JOB COUNT SIGNAL PID...\n"), 2;
    for (int i = 0; i < 2; i++)
        OK(rankcall_connect(argv[1], &runners[i]));
    OK(rankcall_submit(runners[0], &(struct rankcall_call_options){.handler = "wait", .streaming = true}, NULL,
                       &first));
    wait_until_it_runs(runners[0]);
    for (int i = 0; i < count; i++) {
        char json[32];
        snprintf(json, sizeof json, "{\"i\": %d}", i);
        OK(rankcall_submit(runners[i % 2], &(struct rankcall_call_options){.handler = "turn"}, json_payload(json),
                           &calls[i]));
        while (rankcall_next(calls[i], 0.001, &item) != RANKCALL_EAGAIN)
            CHECK(!"the call waits"); /* writes it, and keeps the two runners' calls apart */
    }
    double begun = now_ms();
    for (int i = 4; i < argc; i++)
        CHECK(kill(atoi(argv[i]), atoi(argv[3])) == 0);
    int code;
    while (!(code = rankcall_next(first, 0, &item)) || code == RANKCALL_EAGAIN) {
        if (!code)
            rankcall_payload_free(item.payload);
        wait_for_both(runners); /* who does not look does not come back */
    }
    double failed = now_ms();
    printf("{\"code\": \"%s\", \"rank\": %d, \"message\": \"%s\", \"host\": \"%s\", ", rankcall_code_name(code),
           rankcall_last_error()->rank, rankcall_last_error()->message, rankcall_last_error()->host);
    printf("\"ms\": %.3f, \"failed_at\": %.3f, \"turns\": [", failed - begun, failed);
    double served = 0;
    for (int i = 0; i < count; i++) {
        while ((code = rankcall_next(calls[i], 0, &item)) == RANKCALL_EAGAIN)
            wait_for_both(runners);
        OK(code);
        if (i == 0)
            served = now_ms() - begun;
        printf("%s%s", i ? ", " : "", rankcall_payload_json(item.payload, NULL));
        rankcall_payload_free(item.payload);
        rankcall_pending_free(calls[i]);
    }
    printf("], \"served_ms\": %.3f}\n", served);
    rankcall_pending_free(first);
    for (int i = 0; i < 2; i++)
        rankcall_runner_free(runners[i]);
    return 0;
}
