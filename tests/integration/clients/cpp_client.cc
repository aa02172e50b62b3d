// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The rankcall authors

// A client in C++ of the C++ worker: cpp_client JOB

#include <cstdio>
#include <cstring>
#include <memory>

#include <rankcall/runner.h>

namespace
{

struct Free {
    void operator()(rankcall_runner *runner) const
    {
        rankcall_runner_free(runner);
    }
    void operator()(rankcall_pending *pending) const
    {
        rankcall_pending_free(pending);
    }
    void operator()(rankcall_payload *payload) const
    {
        rankcall_payload_free(payload);
    }
};

int fail(const char *what)
{
    std::fprintf(stderr, "%s: %s\n", what, rankcall_last_error()->message);
    return 1;
}

// Events' values must add up to the result's.
int stream_total(rankcall_runner *runner)
{
    rankcall_pending *out;
    if (rankcall_stream(runner, "total", nullptr, &out))
        return fail("stream");
    std::unique_ptr<rankcall_pending, Free> pending(out);
    double events = 0, sum = -1;
    for (rankcall_item item{}; item.kind != RANKCALL_ITEM_RESULT;) {
        if (rankcall_next(pending.get(), 30, &item))
            return fail("next");
        std::unique_ptr<rankcall_payload, Free> payload(item.payload);
        double mine = 0;
        const bool event = item.kind == RANKCALL_ITEM_EVENT;
        if (rankcall_get_double(payload.get(), event ? "mine" : "sum", event ? &mine : &sum))
            return fail("get");
        events += mine;
    }
    return events == sum ? 0 : fail("the sum differs");
}

int expect_complaint(rankcall_runner *runner)
{
    rankcall_payload *result;
    if (rankcall_invoke(runner, "complain", nullptr, &result) != RANKCALL_EWORKER)
        return fail("no complaint");
    return std::strstr(rankcall_last_error()->message, "complains") ? 0 : fail("another message");
}

} // namespace

int main(int argc, char **argv)
{
    rankcall_runner *out;
    if (argc != 2 || rankcall_connect(argv[1], &out))
        return fail("connect");
    std::unique_ptr<rankcall_runner, Free> runner(out);
    return stream_total(runner.get()) || expect_complaint(runner.get());
}
