# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""What ranks of other nodes do, as the status tells of it, and those that don't come back from a call."""

import contextlib
import json
import os
import re
import signal
import time

from on_nodes import FOUR, expect_work, main, on, ranks_of, start
from harness import COMMAND, SLOW, case, check, equal, wait_until
from strangers_client import STREAM, JobError

GRACE = ("--grace", "1")
UNTOLD = 0.5  # seconds that a node may take to tell of its ranks


def states(client):
    return [rank["state"] for rank in client.status()["ranks"]]


def when_told(ask):
    """What the status tells when all nodes have answered in time."""
    told = []
    wait_until(lambda: told.append(ask()) or "unknown" not in str(told[-1]), "all nodes to tell: %s" % told, 10)
    return told[-1]


def start_to_wedge(t, hosts=FOUR, **options):
    """A job whose ranks may take a second to come back, and know that they have been called before."""
    job = start(t, hosts, options=options.pop("grace", GRACE), run_options=("--restarts", "20"), **options)
    with job.connect() as client:
        client.invoke("kept")
        return job, ranks_of(client)


def expect_wedged(client, id, before, ranks):
    """The error of a call from which those ranks did not come back."""
    try:
        list(client.items(id))
    except JobError as error:
        equal((error.name, error.rank, error.body["host"]), ("wedged", ranks[0], before[ranks[0]]["host"]), str(error))
        for rank in ranks:
            check("rank %d (pid %d on %s)" % (rank, before[rank]["pid"], before[rank]["host"]) in error.body["message"], str(error))
        equal(error.body["message"].count("(pid"), len(ranks), "ranks in the line: %s" % error)
        return error
    raise AssertionError("a result although ranks did not come back")


def expect_replaced(job, before, replaced, stays=False):
    """The next call succeeds, those ranks are new, and the others have kept their memory unless MPI could not replace them
    (never of a job that `stays`)."""
    size = len(before)
    after = expect_work(job, size)
    equal([one["host"] for one in after], [one["host"] for one in before])
    new = [rank for rank in range(size) if after[rank]["pid"] != before[rank]["pid"]]
    with job.connect() as client:
        kept = client.invoke("kept").json["kept"]
    if new == list(range(size)) and replaced and not stays:
        why = re.search("cannot regroup.*", job.output())
        print("  MPI could not replace ranks %s, and the job was started again: %s" % (replaced, why and why[0]))
        check("starting the job again" in job.output(), job.output())
        return
    equal(new, replaced, "ranks that are new")
    equal([count > 1 for count in kept], [rank not in replaced for rank in range(size)], "memory that was kept")


def expect_stack(error, name, ranks):
    """Each of the ranks has shown its stack."""
    stacks = re.split(r"^rank (\d+) .*:\n", error.body["traceback"], flags=re.M)
    told = dict(zip(map(int, stacks[1::2]), stacks[2::2]))
    equal(sorted(told), sorted(ranks), error.body["traceback"])
    for rank in ranks:
        check(name in told[rank], "rank %d: %r is not in %s" % (rank, name, told[rank]))


def rank_stays(t, args, ranks, text, stack, cancels=False):
    """Some ranks don't come back from a call, by themselves or when it is cancelled; the call behind it runs."""
    job, before = start_to_wedge(t)
    with job.connect() as client, job.connect() as other:
        began = time.monotonic()
        id = client.submit("wedge", args | {"ranks": ranks})
        wait_until(lambda: all(states(client)[rank] == "handler" for rank in ranks), "the call to run", 10)
        ran = time.monotonic() - began
        if cancels:
            began = time.monotonic()
            client.cancel(id)
        behind = other.submit("sum", {"value": 1.0})
        error = expect_wedged(client, id, before, ranks)
        took = time.monotonic() - began
        check(0.9 < took < 8.0 * SLOW, "the call ran after %.2f s, the error came after %.2f s" % (ran, took))
        equal(error.body["message"].count(text), len(ranks), "%r in %s" % (text, error.body["message"]))
        expect_stack(error, stack, ranks)
        with contextlib.suppress(ConnectionError):  # the job was started again; this client does not come back
            equal(other.outcome(behind).json, {"sum": 10.0}, "the call behind it")
    expect_replaced(job, before, ranks)
    print("  told after %.2f s" % took)


@case("the status tells what ranks of every node do", ranks=(4,), own=True, timeout=60)
def status(t):
    job = start(t, FOUR)
    with job.connect() as client:
        ranks_of(client)
        wait_until(lambda: states(client) == ["idle"] * 4, "the ranks to be idle", 10)
        id = client.submit("interrupted", {"kind": "all_gather", "absent": 3, "absent_us": 8000000, "turns": 1})
        wait_until(lambda: states(client) == ["collective"] * 3 + ["handler"], "the ranks to be there", 10)
        ranks = when_told(lambda: client.status()["ranks"])
        equal([rank.get("collective") for rank in ranks], [{"name": "all_gather", "number": 1}] * 3 + [None], "collectives")
        equal([rank["mark"] for rank in ranks], ["turn 0"] * 4, "markers")
        for rank in ranks:
            check(0 <= rank["since"] < 60, "since: %s" % rank)
            seen = on(rank["host"], "sh", "-c", "grep Cpus_allowed_list /proc/%d/status" % rank["pid"]).split()[1]
            equal(rank["cpus"], seen, "where rank %d may run" % rank["rank"])
        text = when_told(lambda: t.run(COMMAND, "status", "-j", job.path, text=True).stdout)
        equal(text.count("collective all_gather 1 for"), 3, text)
        equal(text.count('at "turn 0"'), 4, text)
        told = json.loads(when_told(lambda: t.run(COMMAND, "status", "-j", job.path, "--json", text=True).stdout))
        equal([rank["state"] for rank in told["ranks"]], ["collective"] * 3 + ["handler"], "by --json")
        times = []
        for _ in range(50):
            began = time.monotonic()
            client.status()
            times.append(time.monotonic() - began)
        print("  a question for the status: %.2f ms" % (1000 * sorted(times)[25]))
        check(sorted(times)[25] < UNTOLD / 5, "it takes too long to ask: %s" % times)
        client.cancel(id)
        with contextlib.suppress(JobError):
            client.outcome(id)


@case("the status shows where a rank of another node may run now", ranks=(2,), own=True)
def moved(t):
    job = start(t, "node1:1,node2:1")
    with job.connect() as client:
        pid, cpus = ranks_of(client)[1]["pid"], sorted(os.sched_getaffinity(0))
        for cpu in (cpus[0], cpus[-1]):
            on("node2", "taskset", "-p", "-c", str(cpu), str(pid))
            equal(when_told(lambda: client.status()["ranks"])[1]["cpus"], str(cpu))


@case("a node that does not tell of its ranks makes them unknown, and costs half a second", ranks=(4,), own=True, timeout=60)
def untold(t):
    job = start(t, FOUR)
    with job.connect() as client, job.connect() as second:
        ranks = ranks_of(client)
        on("node2", "kill", "-STOP", str(ranks[2]["pid"]))  # whose thread answers for its node
        try:
            for one in (client, second):
                began = time.monotonic()
                equal(states(one), ["idle", "idle", "unknown", "unknown"])
                seconds = time.monotonic() - began
                check(0.9 * UNTOLD < seconds < UNTOLD + 2 * SLOW, "it took %.2f s" % seconds)
        finally:
            on("node2", "kill", "-CONT", str(ranks[2]["pid"]))
        wait_until(lambda: states(client) == ["idle"] * 4, "the ranks to be known again", 10)
        equal(client.invoke("sum", {"value": 1.0}).json, {"sum": 10.0})


@case("a rank of another node that computes for ever is named with its stack and replaced", ranks=(4,), own=True, timeout=120)
def far_spins(t):
    rank_stays(t, {"how": "spin", "barriers": 3, "mark": "half way"}, [3],
               'last seen behind collective 3 (barrier), marker "half way", running', "compute_for_ever")


@case("ranks of another node in MPI's own receive when the call is cancelled are replaced", ranks=(4,), own=True, timeout=120)
def far_receives(t):
    rank_stays(t, {"how": "recv", "checkpoints": True}, [3], "in the handler, before any collective", "handle_wedge", cancels=True)


@case("ranks of two nodes in MPI's own barrier are named and replaced together", ranks=(4,), own=True, timeout=120)
def both_barrier(t):
    rank_stays(t, {"how": "barrier"}, [1, 3], "in the handler, before any collective", "handle_wedge")


@case("all ranks of another node that sleep for ever are replaced", ranks=(4,), own=True, timeout=120)
def whole_node(t):
    rank_stays(t, {"how": "sleep"}, [2, 3], "sleeping", "sleep_for_ever")


@case("a rank of another node that was stopped has a state and no stack", ranks=(4,), own=True, timeout=120)
def far_stopped(t):
    rank_stays(t, {"how": "stop"}, [3], "stopped", "it gives no stack")


@case("a rank of another node in a collective that the others have passed leaves it and lives", ranks=(4,), own=True, timeout=60)
def far_collective(t):
    job, before = start_to_wedge(t)
    with job.connect() as client:
        error = expect_wedged(client, client.submit("wedge", {"ranks": [3], "how": "collective", "barriers": 2}), before, [3])
        check("in collective 3 (barrier)" in error.body["message"], str(error))
    expect_replaced(job, before, [], stays=True)


@case("signs of life of a rank of another node begin the grace anew", ranks=(4,), own=True, timeout=60)
def far_alive(t):
    job, before = start_to_wedge(t)
    with job.connect() as client:
        for sign in ("mark", "emit"):
            id = client.submit("wedge", {"ranks": [3], "how": sign, "seconds": 2.5}, STREAM)
            equal(len(list(client.items(id))), 26 if sign == "emit" else 1, "events and the result")
    expect_replaced(job, before, [], stays=True)


@case("a death while all ranks of another node sit in MPI's own receive: they are replaced, too", ranks=(4,), own=True, timeout=120)
def none_returns(t):
    job, before = start_to_wedge(t, grace=("--grace", "60"))
    with job.connect() as client:
        id = client.submit("wedge", {"ranks": [2, 3], "how": "recv", "checkpoints": True})
        wait_until(lambda: states(client)[2:] == ["handler"] * 2, "the call to run", 10)
        os.kill(before[1]["pid"], signal.SIGKILL)
        try:
            client.outcome(id)
            raise AssertionError("a result although a rank died")
        except JobError as error:
            equal((error.name, error.rank), ("rank_died", 1), str(error))
    expect_replaced(job, before, [1, 2, 3])


@case("the first rank of another node that was stopped is killed by the next one there and replaced", ranks=(4,), own=True, timeout=120)
def first_stopped(t):
    job, before = start_to_wedge(t)
    with job.connect() as client:
        error = expect_wedged(client, client.submit("wedge", {"ranks": [2], "how": "stop", "barriers": 1}), before, [2, 3])
        equal(error.body["message"].count("is unknown: its node does not tell"), 2, str(error))
    expect_replaced(job, before, [2])
    check("rank 2 (pid %d) has been stopped for" % before[2]["pid"] in job.output(), job.output())


@case("a node that does not tell why its ranks don't come back: the job is started again", ranks=(4,), own=True, timeout=120)
def silent(t):
    job, before = start_to_wedge(t)
    with job.connect() as client:
        error = expect_wedged(client, client.submit("wedge", {"ranks": [2, 3], "how": "stop", "barriers": 1}), before, [2, 3])
        equal(error.body["message"].count("is unknown: its node does not tell"), 2, str(error))
    after = expect_work(job, 4)
    equal([one["host"] for one in after], [one["host"] for one in before])
    check(not {one["pid"] for one in after if one["host"] == "node1"} & {one["pid"] for one in before if one["host"] == "node1"},
          "the job is still the same")


main("far ranks")
