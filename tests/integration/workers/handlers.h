/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The test worker's handlers, by the file that has them. */

#ifndef HANDLERS_H
#define HANDLERS_H

#include <rankcall/worker.h>

/* What setup leaves for the handlers. */
struct test_state {
    char *setup_json;         /* setup's arguments as they came */
    char *marker_folder;      /* where teardown leaves a file per rank, or NULL */
    int kept;                 /* how often `kept` ran on this rank since its setup */
    int last_code;            /* how the last `interrupted` left its collective on this rank */
    int64_t last_checkpoints; /* checkpoints that the last `wait` passed on this rank */
};

/* payload_handlers.c */
int handle_echo(struct rankcall_call *call);
int handle_checksum(struct rankcall_call *call);
int handle_look_up(struct rankcall_call *call);
int handle_look_up_fails(struct rankcall_call *call);
int handle_make(struct rankcall_call *call);

/* result_handlers.c */
int handle_empty(struct rankcall_call *call);
int handle_result_elsewhere(struct rankcall_call *call);
int handle_result_twice(struct rankcall_call *call);
int handle_result_refused(struct rankcall_call *call);
int handle_info(struct rankcall_call *call);
int handle_sum(struct rankcall_call *call);
int handle_print(struct rankcall_call *call);

/* event_handlers.c */
int handle_burst(struct rankcall_call *call);
int handle_threads(struct rankcall_call *call);
int handle_emit_refused(struct rankcall_call *call);
int handle_lent(struct rankcall_call *call);
int handle_steps(struct rankcall_call *call);

/* ending_handlers.c */
int handle_fail(struct rankcall_call *call);
int handle_fail_watched(struct rankcall_call *call);
int handle_last_interrupted(struct rankcall_call *call);
int handle_fail_before_barrier(struct rankcall_call *call);
int handle_fail_silently(struct rankcall_call *call);
int handle_slow(struct rankcall_call *call);
int handle_spin(struct rankcall_call *call);
int handle_wait(struct rankcall_call *call);
int handle_last_wait(struct rankcall_call *call);
int handle_die(struct rankcall_call *call);
int handle_leave_behind(struct rankcall_call *call);
int handle_die_times(struct rankcall_call *call);
int handle_die_mixed(struct rankcall_call *call);
int handle_linger(struct rankcall_call *call);
int handle_last_words(struct rankcall_call *call);
int handle_die_early(struct rankcall_call *call);
int handle_turn(struct rankcall_call *call);
int handle_grow(struct rankcall_call *call);

/* collective_handlers.c */
int handle_collectives(struct rankcall_call *call);
int handle_interrupted(struct rankcall_call *call);
int handle_last_codes(struct rankcall_call *call);
int handle_collectives_refused(struct rankcall_call *call);

/* wedged_handlers.c */
int handle_wedge(struct rankcall_call *call);
int handle_kept(struct rankcall_call *call);

/* Waits at most 30 s for a file to appear; 0, or -1 and the call fails. */
int wait_for_file(struct rankcall_call *call, const char *path);

#endif
