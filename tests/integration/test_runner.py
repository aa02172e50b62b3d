# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""The runner API in C: each case of runner_api in a sandbox of its own, or against a shared job."""

from harness import case, equal, main, program

AGAINST_A_JOB = {
    "connect": "a runner connects by name, by path, by the environment, and to the only job",
    "connect_refused": "a connection that can't be says why",
    "invoke": "an invoke gives the result",
    "invoke_errors": "an invoke that fails tells code, rank, host and message",
    "stream": "a stream gives events, then the result, then nothing more",
    "outstanding": "many calls may be outstanding on one runner",
    "timing": "a result tells its timing, an error tells none",
    "next_waits": "next waits as long as it is told",
    "cancel": "a running and a queued call can be cancelled",
    "forget": "a pending freed in mid-call cancels the call",
    "free_runner_in_mid_call": "a runner freed with calls under way cancels them",
    "release": "attached memory is released once, whatever happens",
    "status": "the status is a payload",
    "status_in_mid_call": "the status and is_alive answer in mid-call",
    "own_loop": "a caller's own event loop gets every item",
    "own_loop_writes": "a caller's own event loop writes a large call",
    "threads": "runners in several threads are independent",
}
ON_THEIR_OWN = {
    "start": "start, call, stop",
    "start_two": "two jobs started by one process, one terminated, one freed",
    "start_setup": "start passes arguments to setup",
    "start_failing_setup": "start fails with the failing rank's error",
    "start_timeout": "start at its timeout leaves nothing",
    "start_dying_setup": "start fails when a rank dies in setup",
    "start_no_program": "start without a program fails",
    "start_same_name": "start under a living job's name fails",
    "start_and_vanish": "a started job ends with the process that started it",
    "stop_drains": "stop lets the running call finish within the drain time",
    "stop_at_once": "stop without drain time cancels the running call",
    "terminate_stubborn": "terminate ends a job whose handler does not listen",
}


def expect_success(t, name, argument):
    result = t.run(program("runner_api"), name, argument, text=True)
    equal(result.returncode, 0, "runner_api %s\n%s%s" % (name, result.stdout, result.stderr))


def register(name, sentence, own, **options):
    def run(t):
        if own:
            expect_success(t, name, program("test_worker"))
        else:
            expect_success(t, name, t.job.name)

    case(sentence, own=own, **options)(run)


for key, text in AGAINST_A_JOB.items():
    register(key, text, own=False)
for key, text in ON_THEIR_OWN.items():
    register(key, text, own=True)


@case("arguments and results above the cap are refused on the client's side and the job's", own=True)
def too_large(t):
    t.job = t.start(options=("--payload-cap", "1M"))
    expect_success(t, "too_large", t.job.name)


@case("a job that dies under a runner ends every call with an error", own=True, by=("launcher", "mpirun"))
def dead_job(t):
    job = t.start(options=("--restarts", "0"))
    expect_success(t, "dead_job", job.name)
    job.wait()


main("runner API")
