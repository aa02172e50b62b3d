# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Jobs that are told to go, and launchers that are killed: who hears what, how soon they are gone, what they leave."""

import contextlib
import os
import signal
import time

from harness import SLOW, case, check, equal, main, raises, wait_until
from resuming_client import ResumingClient
from sandbox import is_alive, numbered_processes, parent_of, shared_memory_of
from strangers_client import EVENT, STREAM


def expect_next(t, job):
    """The next job of that name starts, and serves."""
    wait_until(lambda: not t.sandbox.leftovers(), "leftovers to go", 5)
    following = t.start(name=job.name)
    with following.connect() as client:
        equal(client.invoke("sum", {"value": 1.0}).json, {"sum": 3.0})
    following.stop()
    wait_until(lambda: not t.sandbox.leftovers(), "leftovers to go", 5)


def tree(root):
    """A process and all below it."""
    parents, found = {pid: parent_of(pid) for pid in numbered_processes()}, [root]
    for parent in found:
        found += [pid for pid, other in parents.items() if other == parent]
    return found


def noted(t, job):
    """Waits until the launcher has written down what its processes would leave."""
    def written():
        t.sandbox.note_shared_memory()
        with job.connect() as client:
            pids = [rank["pid"] for rank in client.status(wait=True)["ranks"]]
        with contextlib.suppress(FileNotFoundError), open("%s/.%d.leftovers" % (t.sandbox.runtime, job.process.pid)) as file:
            text = file.read()
            return all(name in text for pid in pids for name in shared_memory_of(pid))

    wait_until(written, "the launcher to write it down", 10)


@case("the launcher is killed, at rest, in a call, and after a restart: the ranks go, and the next job starts", ranks=(2,),
      own=True, timeout=60)
def launcher_killed(t):
    for when in ("at rest", "in a call", "after a restart"):
        job = t.start()
        client = ResumingClient(job.path)
        pids = job.pids
        if when == "in a call":
            next(client.stream("wait"))
        if when == "after a restart":
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            wait_until(lambda: "READY again" in job.stderr(), "READY again", 10)
            with job.connect() as other:
                pids = [rank["pid"] for rank in other.status(wait=True)["ranks"]]
        began = time.monotonic()
        os.kill(job.process.pid, signal.SIGKILL)
        job.process.wait()
        wait_until(lambda: not any(is_alive(pid) for pid in pids), "the ranks to go", 5)
        took = time.monotonic() - began
        client.close()
        print("%s: gone after %.0f ms" % (when, 1e3 * took))
        check(took < 1 * SLOW, "%s: the ranks were gone after %.1f s" % (when, took))
        expect_next(t, job)


@case("launcher and mpirun are killed together: the ranks go, and nothing is left", ranks=(3,), own=True, timeout=60)
def both_killed(t):
    for when in ("at rest", "in a call", "in a call after a death"):
        job = t.start()
        with job.connect() as client:
            if when == "in a call after a death":
                with raises("rank_died"):
                    client.invoke("die", {"rank": 1, "signal": int(signal.SIGKILL)})
            pids = [rank["pid"] for rank in client.status(wait=True)["ranks"]]
            noted(t, job)
            if when != "at rest":
                client.submit("slow", {"seconds": 20})
                wait_until(lambda: client.status()["running"], "the call to run")
            began, mpirun = time.monotonic(), parent_of(job.pids[0])
            os.kill(job.process.pid, signal.SIGKILL)
            os.kill(mpirun, signal.SIGKILL)
            job.process.wait()
            wait_until(lambda: not any(is_alive(pid) for pid in pids), "the ranks to go", 5)
            print("%s: gone after %.0f ms" % (when, 1e3 * (time.monotonic() - began)))
        wait_until(lambda: not t.sandbox.leftovers(), "leftovers to go", 5)


@case("all processes of a job are killed at once: the next one removes what is left, and nothing of a living one", ranks=(2,),
      own=True, timeout=60)
def no_survivor(t):
    job, other = t.start(), t.start()
    theirs, ours = (set().union(*map(shared_memory_of, one.pids)) for one in (other, job))
    for one in (other, job):
        noted(t, one)
    victims = tree(job.process.pid)
    for number in (signal.SIGSTOP, signal.SIGKILL):  # so that none sees another one die, the children first
        for pid in reversed(victims):
            os.kill(pid, number)
    wait_until(lambda: not any(is_alive(pid) for pid in victims), "them to go", 5)
    job.process.wait()
    check(ours & set(os.listdir("/dev/shm")), "nothing was left that could be removed")
    following = t.start(name=job.name)
    equal(ours & set(os.listdir("/dev/shm")), set(), "left behind")
    equal(theirs - set(os.listdir("/dev/shm")), set(), "taken from the living job")
    for one in (following, other):
        with one.connect() as client:
            equal(client.invoke("sum", {"value": 1.0}).json, {"sum": 3.0})


@case("SIGTERM and SIGINT let the running call finish, queued ones end, and nobody comes back", ranks=(2,), own=True,
      timeout=60)
def stopped_in_order(t):
    for number in (signal.SIGTERM, signal.SIGINT):
        job = t.start()
        with ResumingClient(job.path) as client, job.connect() as other:
            running = client.submit("slow", {"seconds": 1.0})
            queued = client.submit("sum", {"value": 1.0})
            wait_until(lambda: other.status()["queue"]["length"] == 1, "the call to wait", 10)
            os.kill(job.process.pid, number)
            with raises("shutting_down"):
                client.outcome(queued)
            check("number" in client.outcome(running).json, "the running call's result")
        equal(job.wait(), 0, job.output())
        expect_next(t, job)


@case("a call that runs longer than the drain time is cancelled, and the job ends with status 0", ranks=(2,), own=True,
      timeout=60)
def drained(t):
    job = t.start()
    with ResumingClient(job.path) as client:
        running = client.submit("wait", kind=STREAM)
        equal(client.receive_for(running).type, EVENT)
        began = time.monotonic()
        os.kill(job.process.pid, signal.SIGTERM)
        with raises("cancelled"):
            client.outcome(running)
        check(9 < time.monotonic() - began < 12 * SLOW, "after %.1f s" % (time.monotonic() - began))
    equal(job.wait(), 0, job.output())
    expect_next(t, job)


@case("a second SIGINT ends a job that is being restarted, at once", ranks=(2,), own=True)
def second_signal(t):
    job, _ = t.start_held()
    for pid in job.pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: "starting the job again" in job.stderr(), "the restart", 10)
    began = time.monotonic()
    for _ in range(2):
        job.process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    check(job.wait(10) != 0, "exit status 0 after a forced end")
    check(time.monotonic() - began < 4 * SLOW, "after %.1f s" % (time.monotonic() - began))
    wait_until(lambda: not t.sandbox.leftovers(), "leftovers to go", 5)


@case("what ranks have started and left behind holds up no stop, and is ended", ranks=(2,), own=True, timeout=60)
def left_behind(t):
    for way in ("child", "daemon", "orphan"):
        for rank in (0, 1):
            job = t.start()
            with ResumingClient(job.path) as client:
                call = client.submit("leave_behind", {"rank": rank, "way": way})
                if way == "orphan":
                    with raises("rank_died", rank=rank):
                        client.outcome(call)
                else:
                    client.outcome(call)
                client.outcome(client.submit("sum", {"value": 1.0}))
            began = time.monotonic()
            job.process.send_signal(signal.SIGTERM)
            equal(job.wait(), 0, "%s of rank %d\n%s" % (way, rank, job.output()))
            check(time.monotonic() - began < 6 * SLOW, "%s of rank %d: after %.1f s" % (way, rank, time.monotonic() - began))
            wait_until(lambda: not t.sandbox.leftovers(), "leftovers to go", 5)


@case("a rank whose main thread ends alone has died, with its other threads", ranks=(1, 2), own=True, timeout=60)
def thread_ends(t):
    job = t.start(run_options=("--restarts", "100"))
    with ResumingClient(job.path) as client, job.connect() as other:
        for rank in (t.ranks - 1, 0, 0):
            pid = other.status(wait=True)["ranks"][rank]["pid"] if rank else None
            with raises("rank_died", rank=rank):
                client.outcome(client.submit("leave_behind", {"rank": rank, "way": "thread"}))
            equal(client.outcome(client.submit("sum", {"value": 1.0})).json, {"sum": t.ranks * (t.ranks + 1) / 2})
            if pid:
                wait_until(lambda: not is_alive(pid), "the rest of the process to go", 5)
    job.stop()


@case("rank 0 dies and is not to be replaced: its clients are told who died of what", ranks=(1, 2), own=True)
def told_at_the_end(t):
    job = t.start(run_options=("--restarts", "0"))
    with ResumingClient(job.path) as client, job.connect() as other:
        running, queued = client.submit("wait"), client.submit("sum", {"value": 1.0})
        wait_until(lambda: other.status()["queue"]["length"] == 1, "the call to wait", 10)
        os.kill(job.pids[0], signal.SIGKILL)
        for call in (running, queued):
            with raises("rank_died", rank=0):
                client.outcome(call)
    equal(job.wait(), 15, job.output())
    check("rank 0" in job.stderr(), job.stderr())


main("leaving")
