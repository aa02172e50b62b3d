# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Rank 0's main thread does the IO thread's work while short calls follow one another: whatever comes behind them is served
as ever."""

import contextlib
import os
import signal
import time

from harness import Skip, case, check, equal, main, raises, wait_until
from strangers_client import CALL, INVOKE, STREAM, JobError, Payload, call_head, frame

SHORT = 24  # calls in a row; three times what makes the main thread take over
BOTH = {"ranks": (2, 3), "by": ("launcher", "mpirun"), "own": True}


@contextlib.contextmanager
def few_cpus():
    """Two at most for what is started meanwhile: with the IO thread there are more threads than that."""
    given = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(given)[:2]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, given)


def start(t, **options):
    with few_cpus():
        return t.start(**options)


def short_calls(ids):
    return b"".join(frame(CALL, id, call_head("empty"), Payload()) for id in ids)


def behind_short_ones(client, handler, payload=None, kind=INVOKE, timeout=0.0, streaming_timeout=0.0, short=SHORT):
    """A call right behind short ones, all sent at once. Its id; the others have been answered."""
    ids = [client.new_id() for _ in range(short + 1)]
    last = frame(CALL, ids[-1], call_head(handler, kind, timeout, streaming_timeout), Payload(payload or {}))
    client.send(short_calls(ids[:-1]) + last)
    for id in ids[:-1]:
        equal(client.outcome(id).text, b"{}", "a short call")
    return ids[-1]


def threads_of(pid):
    """CPU time of a process's main thread and of its IO thread, in ns."""
    times = {}
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/comm" % (pid, task)) as comm, open("/proc/%d/task/%s/schedstat" % (pid, task)) as stat:
            name = "main" if int(task) == pid else comm.read().strip()
            times[name] = int(stat.read().split()[0])
    return times["main"], times["rankcall-io"]


@case("the main thread serves short calls that follow closely", **BOTH, timeout=90)
def serves(t):
    job = start(t)
    with job.connect() as client:
        pid = client.status(wait=True)["ranks"][0]["pid"]
        shares = []
        deadline = time.monotonic() + 60
        while not shares or (min(shares) >= 0.5 and time.monotonic() < deadline):  # other programs keep calls apart
            main_before, io_before = threads_of(pid)
            for _ in range(10):
                equal(client.outcome(behind_short_ones(client, "empty", short=200)).text, b"{}", "the last one")
            main_after, io_after = threads_of(pid)
            shares.append((io_after - io_before) / max(1, main_after - main_before))
    check(min(shares) < 0.5, "CPU time of the IO thread beside the main thread's: %s" % shares)


def cpu_of(pid):
    """Where a process's main thread ran last."""
    with open("/proc/%d/stat" % pid) as stat:
        return int(stat.read().rpartition(")")[2].split()[36])


@case("a rank leaves rank 0's CPU while short calls follow closely, and is bound as before", ranks=(2,), by=BOTH["by"],
      own=True, timeout=90)
def keeps_apart(t):
    if len(os.sched_getaffinity(0)) < 2:
        raise Skip("there is one CPU")
    job = start(t)
    with job.connect() as client:
        pids = [rank["pid"] for rank in client.status(wait=True)["ranks"]]
        given = [os.sched_getaffinity(pid) for pid in pids]
        together = {min(given[0])}
        deadline = time.monotonic() + 60
        tries = [False] * 10
        while sum(tries[-10:]) < 8 and time.monotonic() < deadline:  # other programs move them about
            for pid in pids:
                os.sched_setaffinity(pid, together)
            behind_short_ones(client, "empty")
            for pid, cpus in zip(pids, given):
                os.sched_setaffinity(pid, cpus)
            for _ in range(3):
                client.outcome(behind_short_ones(client, "empty", short=200))
            tries.append(cpu_of(pids[0]) != cpu_of(pids[1]))
        equal([os.sched_getaffinity(pid) for pid in pids], given, "where they may run")
    check(sum(tries[-10:]) >= 8, "on CPUs of their own in %d of %d tries" % (sum(tries), len(tries) - 10))


@case("status is told while a long call computes behind short ones", **BOTH)
def told(t):
    over = os.path.join(t.sandbox.folder, "over")
    job = start(t)
    with job.connect() as client, job.connect() as other:
        id = behind_short_ones(client, "spin", {"until": over})
        wait_until(lambda: other.status()["running"], "the call to run")
        equal(other.status()["running"]["handler"], "spin", "the running call")
        open(over, "w").close()
        client.outcome(id)


@case("a long call behind short ones is cancelled", **BOTH)
def cancelled(t):
    job = start(t)
    with job.connect() as client:
        for _ in range(10):
            id = behind_short_ones(client, "wait", kind=STREAM)
            items = client.items(id)
            equal(next(items)[2].json, {"running": True}, "its event")
            client.cancel(id)
            with raises("cancelled"):
                list(items)


@case("a timeout ends a call that computes behind short ones", **BOTH)
def timed_out(t):
    over = os.path.join(t.sandbox.folder, "over")
    job = start(t)
    with job.connect() as client:
        for streaming in (False, True):
            limits = {"streaming_timeout": 0.3} if streaming else {"timeout": 0.3}
            began = time.monotonic()
            id = behind_short_ones(client, "spin", {"until": over}, STREAM if streaming else INVOKE, **limits)
            with raises("timeout"):
                list(client.items(id))
            check(time.monotonic() - began < 10, "the error came while the handler computed")
            open(over, "w").close()
            client.invoke()
            os.unlink(over)


@case("events of every rank come behind short calls", **BOTH)
def events(t):
    job = start(t)
    with job.connect() as client:
        for ranks in [[rank] for rank in range(t.ranks)] + [list(range(t.ranks))]:
            for count in (1, 2, 500):
                id = behind_short_ones(client, "burst", {"count": count, "ranks": ranks}, STREAM)
                seen = {}
                for rank, sequence, _ in client.items(id):
                    if rank is not None:
                        equal(sequence, seen.get(rank, 0), "sequence of rank %d" % rank)
                        seen[rank] = sequence + 1
                equal(seen, {rank: count for rank in ranks}, "events")


@case("large payloads and results come behind short calls", **BOTH)
def large(t):
    job = start(t)
    with job.connect() as client:
        for size in (900, 2000, 70000, 3 << 20):
            text = {"text": "x" * size}
            equal(client.outcome(behind_short_ones(client, "echo", text)).json, text, "%d bytes" % size)


@case("failures of every rank are told behind short calls", **BOTH)
def failures(t):
    job = start(t)
    with job.connect() as client:
        for rank in range(t.ranks):
            id = behind_short_ones(client, "fail", {"rank": rank})
            with raises("worker_error", rank=rank):
                client.outcome(id)


@case("a rank that dies behind short calls is replaced", ranks=(2, 3), own=True)
def dies(t):
    job = start(t)
    with job.connect() as client:
        client.invoke()
        for rank, how in ((1, signal.SIGKILL), (t.ranks - 1, 0)):
            id = behind_short_ones(client, "die", {"rank": rank, "signal": how})
            with raises("rank_died", rank=rank):
                client.outcome(id)
            client.outcome(behind_short_ones(client, "empty"))


@case("a rank killed amid short calls is replaced, and one of them fails at most", ranks=(2, 3), own=True)
def killed(t):
    job = start(t)
    with job.connect() as client:
        for victim in (1, t.ranks - 1):
            pid = client.status(wait=True)["ranks"][victim]["pid"]
            failed = 0
            for turn in range(40):
                ids = [client.submit("empty") for _ in range(SHORT)]
                if turn == 20:
                    os.kill(pid, signal.SIGKILL)
                for id in ids:
                    try:
                        client.outcome(id)
                    except JobError as error:
                        equal((error.name, error.rank), ("rank_died", victim), str(error))
                        failed += 1
            check(failed <= 1, "%d calls failed" % failed)


@case("a job stops behind short calls", **BOTH)
def stops(t):
    job = start(t)
    with job.connect() as client, job.connect() as other:
        ids = [client.new_id() for _ in range(SHORT)]
        client.send(short_calls(ids))
        client.outcome(ids[0])  # they were read together
        other.stop()
        for id in ids[1:]:
            try:
                client.outcome(id)
            except JobError as error:
                check(error.name in ("shutting_down", "cancelled"), str(error))  # cancelled: the one that ran
    equal(job.wait(), 0, "exit status")


if __name__ == "__main__":
    main("Rank 0's two threads")
