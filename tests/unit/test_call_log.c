/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 The rankcall authors */

/* The log of calls, and the sum of what ranks tell of a call. */

#include "unit.h"

#include <unistd.h>

#include "core/call_log.h"
#include "mesh/mesh.h"

struct file {
    char path[32];
    char text[1 << 18];
};

static void open_log(struct file *file, struct rk_call_log **log)
{
    memset(file, 0, sizeof *file);
    strcpy(file->path, "/tmp/rk-log-XXXXXX");
    close(mkstemp(file->path));
    assert_ok(rk_call_log_open(file->path, log));
}

/* Closes the log; its text is the file's then. */
static void close_log(struct file *file, struct rk_call_log *log)
{
    rk_call_log_close(log);
    FILE *stream = fopen(file->path, "r");
    assert_non_null(stream);
    assert_true(fread(file->text, 1, sizeof file->text - 1, stream) < sizeof file->text - 1);
    fclose(stream);
    unlink(file->path);
}

static struct rk_call_record record_of(const char *handler)
{
    struct rk_call_record record = {.handler = handler, .pid = 12, .bytes = 34, .number = 5};
    record.timing = (struct rk_result_head){.call = 6, .queued_us = 7, .slowest_rank = -1};
    return record;
}

static void a_line_has_what_is_known(void **state)
{
    static struct file file;
    struct rk_call_log *log;
    struct rk_call_record record = record_of("denoise");
    (void)state;
    open_log(&file, &log);
    rk_call_log_add(log, &record);
    record.number = 0;
    record.code = RANKCALL_ECANCELLED;
    record.streaming = true;
    rk_call_log_add(log, &record);
    record = record_of("denoise");
    record.timing = (struct rk_result_head){1, 2, 3, 4, 5, 6, 7};
    record.gone = true;
    record.leaving_us = 8;
    rk_call_log_add(log, &record);
    close_log(&file, log);
    assert_non_null(strstr(file.text, "Z call=6 number=5 handler=denoise kind=invoke client=12 bytes=34 outcome=ok "
                                      "queued_us=7\n"));
    assert_non_null(strstr(file.text, "Z call=6 handler=denoise kind=stream client=12 bytes=34 outcome=cancelled "
                                      "queued_us=7\n"));
    assert_non_null(strstr(file.text, "outcome=disconnected queued_us=1 broadcast_us=2 handler_min_us=3 "
                                      "handler_max_us=4 slowest_rank=7 reply_us=5 leaving_us=8\n"));
}

static void names_cannot_break_a_line(void **state)
{
    static struct file file;
    struct rk_call_log *log;
    struct rk_call_record record = record_of("a b\n\"\\ \xc3\xa9");
    (void)state;
    open_log(&file, &log);
    rk_call_log_add(log, &record);
    close_log(&file, log);
    assert_non_null(strstr(file.text, " handler=\"a b\\u000a\\\"\\\\ \xc3\xa9\" kind="));
    assert_true(strchr(file.text, '\n') == file.text + strlen(file.text) - 1);
}

static void no_line_is_lost_when_many_come_together(void **state)
{
    static struct file file;
    static char name[RANKCALL_MAX_NAME + 1];
    struct rk_call_log *log;
    int lines = 0;
    (void)state;
    open_log(&file, &log);
    memset(name, '\1', RANKCALL_MAX_NAME); /* the longest in quotes */
    struct rk_call_record record = record_of(name);
    for (int i = 0; i < 2 * RK_CALL_LOG_BATCH + 3; i++)
        rk_call_log_add(log, &record);
    assert_false(rk_call_log_full(log));
    close_log(&file, log);
    for (const char *at = file.text; (at = strchr(at, '\n')); at++)
        lines++;
    assert_int_equal(lines, 2 * RK_CALL_LOG_BATCH + 3);
}

static struct rk_tally tally_of(int rank, uint64_t handler, uint64_t payload, uint64_t ended)
{
    return (struct rk_tally){.messages = 1, .spans = {payload, ended, handler, handler, rank, 0}};
}

static void a_sum_has_the_extremes_and_the_slowest_rank(void **state)
{
    struct rk_tally sum = RK_TALLY_NONE, none = RK_TALLY_NONE;
    const struct rk_tally parts[] = {tally_of(2, 50, 9, 59), tally_of(0, 70, 3, 73), tally_of(1, 20, 80, 100)};
    (void)state;
    rk_tally_add(&sum, &none);
    assert_int_equal(sum.spans.slowest, -1);
    for (size_t i = 0; i < COUNT(parts); i++)
        rk_tally_add(&sum, &parts[i]);
    rk_tally_add(&sum, &none);
    assert_int_equal(sum.messages, 3);
    assert_int_equal(sum.spans.handler_min, 20);
    assert_int_equal(sum.spans.handler_max, 70);
    assert_int_equal(sum.spans.slowest, 0);
    assert_int_equal(sum.spans.payload_us, 80);
    assert_int_equal(sum.spans.ended_us, 100);
}

UNIT_MAIN(cmocka_unit_test(a_line_has_what_is_known), cmocka_unit_test(names_cannot_break_a_line),
          cmocka_unit_test(no_line_is_lost_when_many_come_together),
          cmocka_unit_test(a_sum_has_the_extremes_and_the_slowest_rank))
