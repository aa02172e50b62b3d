# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Ranks that never come back from a call: who waits hears which and where, they are replaced, and the next call is served."""

import os
import signal
import subprocess
import time

from harness import COMMAND, case, check, equal, main, mpirun_line, wait_until
from strangers_client import STREAM, JobError

GRACE = ("--grace", "1")
BARE = ("--enable-recovery",)
SHOWS_STACK = os.environ.get("RANKCALL_TEST_SANITIZE") != "thread"  # which hands on no signal to who computes for ever


def enduring(function):
    """mpirun 4.1.4 starts no replacement about once in a hundred times, in twenty when several are due; the job ends then,
    with that reason. So once more, and a second time."""
    def attempt(t):
        for _ in range(2):
            try:
                function(t)
                return
            except ConnectionError:
                job = t.jobs[-1]
                equal(job.wait(), 15, "exit status")
                check("cannot regroup" in job.output(), job.output())
        function(t)
    return attempt


def start(t, grace=GRACE, **options):
    """A job whose ranks may take a second to come back."""
    if t.by == "mpirun":
        options["run_options"] = BARE if mpirun_line() == 4 else BARE + ("--with-ft", "ulfm")
    job = t.start(options=grace, **options)
    job.any_status |= t.by == "mpirun" and mpirun_line() == 5  # which ends with that of the rank that was replaced
    return job


def pids(client):
    return [rank["pid"] for rank in client.status(wait=True)["ranks"]]


def wedged(client, id, ranks):
    """The error of a call from which those ranks did not come back."""
    try:
        list(client.items(id))
    except JobError as error:
        equal((error.name, error.rank), ("wedged", ranks[0]), str(error))
        for rank in ranks:
            check("rank %d (pid" % rank in error.body["message"], str(error))
        equal(error.body["message"].count("(pid"), len(ranks), "ranks in the line: %s" % error)
        return error
    raise AssertionError("a result although ranks did not come back")


def expect_next(client, before, replaced):
    """The job serves the next call, has replaced those ranks, and the others have kept their memory."""
    ranks = len(before)
    equal(client.invoke("sum", {"value": 1.0}).json, {"sum": ranks * (ranks + 1) / 2}, "the next call")
    for rank, (old, new) in enumerate(zip(before, pids(client))):
        check((old != new) == (rank in replaced), "rank %d: process %d, then %d" % (rank, old, new))
    kept = client.invoke("kept").json["kept"]
    equal([count > 1 for count in kept], [rank not in replaced for rank in range(ranks)], "memory that was kept")


def prepare(client):
    client.invoke("kept")
    return pids(client)


def one_stays(t, how, text, ranks=(1,), stack=None):
    job = start(t)
    with job.connect() as client:
        before = prepare(client)
        began = time.monotonic()
        error = wedged(client, client.submit("wedge", {"ranks": ranks, "how": how}), ranks)
        took = time.monotonic() - began
        check(0.9 < took < 2.5, "the error came after %.2f s" % took)
        check(text in error.body["message"], "%r is not in %s" % (text, error.body["message"]))
        if stack and SHOWS_STACK:
            check(stack in error.body["traceback"], "%r is not in %s" % (stack, error.body["traceback"]))
        expect_next(client, before, ranks)


@case("a rank that computes for ever when the others are back", ranks=(2, 4), own=True, by=("launcher", "mpirun"), timeout=90)
@enduring
def spins(t):
    one_stays(t, "spin", "in the handler, before any collective, running", stack="compute_for_ever")


@case("a rank that sleeps for ever", ranks=(2,), own=True, timeout=90)
@enduring
def sleeps(t):
    one_stays(t, "sleep", "sleeping", stack="sleep_for_ever")


@case("a rank in MPI's own barrier that the other did not enter", ranks=(2,), own=True, timeout=90)
@enduring
def barrier(t):
    one_stays(t, "barrier", "in the handler", stack="handle_wedge")


@case("several ranks that don't come back are named and replaced together", ranks=(3,), own=True, timeout=90)
@enduring
def several(t):
    one_stays(t, "barrier", "in the handler", ranks=(1, 2), stack="handle_wedge")


@case("a rank in MPI's own receive of what nobody sends", ranks=(2,), own=True, timeout=90)
@enduring
def receive(t):
    one_stays(t, "recv", "in the handler", stack="handle_wedge")


@case("a rank that was stopped has a state and no stack", ranks=(3,), own=True, timeout=90)
@enduring
def stopped(t):
    one_stays(t, "stop", "stopped", stack="it gives no stack")


@case("a rank in a collective that the others have passed leaves it and lives", ranks=(3,), own=True)
def collective(t):
    job = start(t)
    with job.connect() as client:
        before = prepare(client)
        id = client.submit("wedge", {"ranks": [2], "how": "collective", "barriers": 2})
        error = wedged(client, id, [2])
        check("in collective 3 (barrier)" in error.body["message"], str(error))
        expect_next(client, before, [])


@case("the error tells the last collective and the marker", ranks=(2,), own=True, timeout=90)
@enduring
def places(t):
    job = start(t)
    with job.connect() as client:
        id = client.submit("wedge", {"ranks": [1], "how": "sleep", "barriers": 7, "mark": "half way"})
        error = wedged(client, id, [1])
        check('behind collective 7 (barrier), marker "half way"' in error.body["message"], str(error))
        equal(client.invoke("sum", {"value": 1.0}).json, {"sum": 3.0}, "the next call")


@case("a rank that waits at a checkpoint for a wedged one lives", ranks=(3,), own=True, timeout=90)
@enduring
def checkpoint(t):
    job = start(t)
    with job.connect() as client:
        before = prepare(client)
        id = client.submit("wedge", {"ranks": [2], "how": "spin", "checkpoints": True})
        time.sleep(0.3)
        client.cancel(id)
        wedged(client, id, [2])
        expect_next(client, before, [2])


@case("a cancelled call ends when the ranks have left, or as wedged", ranks=(2,), own=True, timeout=90)
@enduring
def cancelled(t):
    job = start(t)
    with job.connect() as client:
        before = prepare(client)
        for how, name in (("checkpoint", "cancelled"), ("spin", "wedged")):
            id = client.submit("wedge", {"ranks": [0, 1] if how == "checkpoint" else [1], "how": how, "checkpoints": True})
            wait_until(lambda: client.status()["running"], "the call to run", 10)
            time.sleep(0.3)
            began = time.monotonic()
            client.cancel(id)
            try:
                client.outcome(id)
                raise AssertionError("a result of a call that was cancelled")
            except JobError as error:
                equal(error.name, name, str(error))
            took = time.monotonic() - began
            check(took < 0.5 if name == "cancelled" else 0.9 < took < 2.5, "%s after %.2f s" % (name, took))
        expect_next(client, before, [1])


@case("a call that is cancelled while it is queued ends at once", ranks=(2,), own=True)
def queued(t):
    job = start(t, grace=("--grace", "20"))
    with job.connect() as client:
        running = client.submit("slow", {"seconds": 1})
        waiting = client.submit("empty")
        began = time.monotonic()
        client.cancel(waiting)
        try:
            client.outcome(waiting)
            raise AssertionError("a result of a call that was cancelled")
        except JobError as error:
            equal(error.name, "cancelled")
        check(time.monotonic() - began < 0.5, "it took %.2f s" % (time.monotonic() - began))
        client.outcome(running)


@case("signs of life begin the grace anew", ranks=(2,), own=True, timeout=60)
def alive(t):
    job = start(t)
    with job.connect() as client:
        before = prepare(client)
        for sign in ("mark", "emit"):
            id = client.submit("wedge", {"ranks": [1], "how": sign, "seconds": 2.5}, STREAM)
            items = list(client.items(id))
            equal(len(items), 26 if sign == "emit" else 1, "events and the result")
        id = client.submit("wedge", {"ranks": [0], "how": "checkpoint", "seconds": 2.5})
        client.outcome(id)
        expect_next(client, before, [])


@case("ranks that all still compute are left alone", ranks=(2,), own=True)
def long_work(t):
    job = start(t)
    with job.connect() as client:
        before = prepare(client)
        client.invoke("slow", {"seconds": 2.5})
        expect_next(client, before, [])


@case("a job that is stopped as a whole and goes on is not wedged", ranks=(2,), own=True)
def suspended(t):
    job = start(t, grace=("--grace", "2"))
    with job.connect() as client:
        before = prepare(client)
        id = client.submit("wedge", {"ranks": [1], "how": "quietly", "seconds": 1.5})
        wait_until(lambda: client.status()["running"], "the call to run", 10)
        time.sleep(0.3)
        for number, pause in ((signal.SIGSTOP, 3), (signal.SIGCONT, 0)):
            for pid in before:
                os.kill(pid, number)
            time.sleep(pause)
        client.outcome(id)
        expect_next(client, before, [])


@case("without a limit nothing is wedged", ranks=(2,), own=True)
def unlimited(t):
    job = start(t, grace=("--grace", "0"))
    with job.connect() as client:
        before = prepare(client)
        client.outcome(client.submit("wedge", {"ranks": [1], "how": "quietly", "seconds": 2.5}))
        expect_next(client, before, [])


@case("a rank that stays after its client has gone is replaced", ranks=(3,), own=True, timeout=90)
@enduring
def disconnected(t):
    job = start(t)
    with job.connect() as client:
        before = prepare(client)
        with job.connect() as other:
            other.submit("wedge", {"ranks": [1], "how": "spin", "checkpoints": True})
            wait_until(lambda: client.status()["running"], "the call to run", 10)
            time.sleep(0.3)
        began = time.monotonic()
        expect_next(client, before, [1])
        check(0.9 < time.monotonic() - began < 5, "it took %.2f s" % (time.monotonic() - began))
    wait_until(lambda: "compute_for_ever" in job.output(), "the log to tell the stack", 5)


@case("a call times out at its deadline, and who stays is replaced later", ranks=(3,), own=True, timeout=90)
@enduring
def timed_out(t):
    job = start(t)
    with job.connect() as client, job.connect() as other:
        before = prepare(client)
        began = time.monotonic()
        id = client.submit("wedge", {"ranks": [2], "how": "recv", "checkpoints": True}, timeout=0.5)
        after = other.submit("sum", {"value": 1.0})
        try:
            client.outcome(id)
            raise AssertionError("a result of a call that never ends")
        except JobError as error:
            equal(error.name, "timeout", str(error))
        check(time.monotonic() - began < 0.9, "the timeout came after %.2f s" % (time.monotonic() - began))
        equal(other.outcome(after).json, {"sum": 6.0}, "the call behind it")
        expect_next(client, before, [2])


@case("a rank in MPI's barrier whose peer has failed is replaced", ranks=(2,), own=True, timeout=90)
@enduring
def failed(t):
    job = start(t)
    with job.connect() as client:
        before = prepare(client)
        id = client.submit("wedge", {"ranks": [1], "how": "barrier", "fail": 0})
        try:
            client.outcome(id)
            raise AssertionError("a result although a rank failed")
        except JobError as error:
            equal((error.name, error.rank), ("worker_error", 0), str(error))
        expect_next(client, before, [1])


@case("rank 0 that does not come back is told of before it is killed", ranks=(2,), own=True, timeout=90)
@enduring
def rank_0(t):
    job = start(t)
    with job.connect() as client:
        error = wedged(client, client.submit("wedge", {"ranks": [0], "how": "spin"}), [0])
        if SHOWS_STACK:
            check("compute_for_ever" in error.body["traceback"], error.body["traceback"])
        wait_until(lambda: "killing rank 0" in job.output(), "rank 0's end", 5)
        client.expect_close()
    wait_until(lambda: not os.path.exists("/proc/%d" % job.pids[0]), "rank 0's process to be gone", 5)
    with job.connect() as client:
        check(pids(client)[0] != job.pids[0], "rank 0 is still the same process")
        equal(client.invoke("sum", {"value": 1.0}).json, {"sum": 3.0}, "the next call")


@case("where the dead can't be replaced the job ends, wedged", ranks=(2,), own=True, by=("launcher", "mpirun"))
def unrecoverable(t):
    options = GRACE + (("--restarts", "0") if t.by == "launcher" else ())
    job = t.start(options=options)
    with job.connect() as client:
        id = client.submit("wedge", {"ranks": [1], "how": "spin"})
        behind = client.submit("empty")
        wedged(client, id, [1])
        try:
            client.outcome(behind)
            raise AssertionError("a result of a job that ends")
        except JobError as error:
            equal(error.name, "shutting_down")
    equal(job.wait(), 17, "exit status")


@case("rank 0 is stopped in a call: its launcher kills it, the others stay, and what waits runs", ranks=(3,), own=True)
def rank_0_stopped(t):
    job = start(t)
    with job.connect() as client:
        client.submit("wedge", {"ranks": [0], "how": "sleep"})
        wait_until(lambda: client.status()["running"], "the call to run", 10)
        os.kill(job.pids[0], signal.SIGSTOP)
        began = time.monotonic()
        client.expect_close()
        check(time.monotonic() - began < 10, "after %g s" % (time.monotonic() - began))
    with job.connect() as client:
        equal(client.invoke("sum", {"value": 1.0}).json, {"sum": 6.0})
        equal([rank["pid"] for rank in client.status(wait=True)["ranks"]][1:], job.pids[1:], "the others live on")
    check("has been stopped for 1 s: killing it" in job.stderr(), job.stderr())


@case("a job that is stopped as a whole is left alone", ranks=(2,), own=True)
def all_stopped(t):
    job = start(t)
    for pid in job.pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(4)
    for pid in job.pids:
        os.kill(pid, signal.SIGCONT)
    with job.connect() as client:
        equal(client.invoke("sum", {"value": 1.0}).json, {"sum": 3.0})
        equal([rank["pid"] for rank in client.status(wait=True)["ranks"]], job.pids, "all live on")


@case("a job of one rank that does not leave a call is started again", ranks=(1,), own=True)
def alone(t):
    job = start(t)
    with job.connect() as client:
        id = client.submit("wedge", {"ranks": [0], "how": "sleep"})
        wait_until(lambda: client.status()["running"], "the call to run", 10)
        client.cancel(id)
        wedged(client, id, [0])
        client.expect_close()
    with job.connect() as client:
        equal(client.invoke("sum", {"value": 1.0}).json, {"sum": 1.0})
    check("starting the job again" in job.stderr(), job.stderr())


@case("a job of one rank that does not leave a call ends, wedged, where it is not to be restarted", ranks=(1,), own=True)
def alone_once(t):
    job = t.start(options=(*GRACE, "--restarts", "0"))
    with job.connect() as client:
        id = client.submit("wedge", {"ranks": [0], "how": "sleep"})
        wait_until(lambda: client.status()["running"], "the call to run", 10)
        client.cancel(id)
        wedged(client, id, [0])
    equal(job.wait(), 17, "exit status")


@case("a job on two nodes whose ranks do not leave a call ends, wedged", ranks=(4,), own=True, by=("mpirun",))
def nodes(t):
    job = t.start(options=GRACE, env={"RANKCALL_TEST_NODES": "2"})
    with job.connect() as client:
        id = client.submit("wedge", {"ranks": [1, 3], "how": "spin"})
        wait_until(lambda: client.status()["running"], "the call to run", 10)
        time.sleep(0.3)
        client.cancel(id)
        error = wedged(client, id, [1, 3])
        if SHOWS_STACK:
            equal(error.body["traceback"].count("compute_for_ever"), 2, error.body["traceback"])
    equal(job.wait(), 17, "exit status")


@case("the same on nodes that cannot tell each other", ranks=(4,), own=True, by=("mpirun",))
def unlinked(t):
    job = t.start(options=GRACE, env={"RANKCALL_TEST_NODES": "2", "RANKCALL_TEST_NO_LINKS": "1"})
    with job.connect() as client:
        id = client.submit("wedge", {"ranks": [1, 3], "how": "spin"})
        wait_until(lambda: client.status()["running"], "the call to run", 10)
        time.sleep(0.3)
        client.cancel(id)
        wedged(client, id, [1])  # of the other node's nothing is known
    equal(job.wait(), 17, "exit status")


@case("a stop during a wedged call ends it by force", ranks=(2,), own=True)
def stop(t):
    job = start(t, grace=("--grace", "20"))
    with job.connect() as client:
        client.submit("wedge", {"ranks": [1], "how": "spin"})
        wait_until(lambda: client.status()["running"], "the call to run", 10)
        client.stop()
        equal(job.wait(), 17, "exit status")


@case("a worker's own handler of a signal stays", ranks=(2,), own=True)
def signals(t):
    job = start(t)
    with job.connect() as client:
        caught = set()
        for pid in pids(client):
            with open("/proc/%d/status" % pid) as file:
                mask = next(int(line.split()[1], 16) for line in file if line.startswith("SigCgt"))
            caught.add(sum(1 for number in range(35, 65) if mask >> (number - 1) & 1))
        equal(caught, {1}, "real-time signals that are taken")


@case("Ctrl-C waits for the ranks to leave, a second one does not", ranks=(2,), own=True, timeout=90)
@enduring
def command_line(t):
    job = start(t, grace=("--grace", "2"))
    for count in (1, 2):
        with job.connect() as client:
            client.invoke("empty")
            caller = subprocess.Popen([COMMAND, "invoke", "-j", job.path, "-H", "wedge", '{"ranks": [1], "how": "spin"}'],
                                      env=t.sandbox.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            wait_until(lambda: client.status()["running"], "the call to run", 10)
            time.sleep(0.2)
            began = time.monotonic()
            for _ in range(count):
                caller.send_signal(signal.SIGINT)
                time.sleep(0.2)
            _, errors = caller.communicate(timeout=20)
            took = time.monotonic() - began
            equal(caller.returncode, 130, errors)
            check(1.7 < took < 4 if count == 1 else took < 1, "it took %.2f s: %s" % (took, errors))
            check(("wedged" in errors) == (count == 1), errors)
            equal(client.invoke("sum", {"value": 1.0}).json, {"sum": 3.0})


main("wedged")
