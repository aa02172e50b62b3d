# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Jobs on several nodes: what wakes idle ranks, what is lost when ranks and nodes die, what ranks of other nodes do, and
those that don't come back. Runs in node1 of tests/cluster/nodes
(tests/cluster/run-nodes starts it there)."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration"))
from harness import SLOW, Skip, case, check, equal, main, program, wait_until  # noqa: E402
from harness import COMMAND  # noqa: E402
from strangers_client import STREAM, Client, JobError, Payload, Attachment  # noqa: E402

NODES = os.path.join(HERE, "nodes")
IDLE_SHARE = 0.002  # of a core, of a rank; half of it is measured where nothing else runs
WINDOW = 3.0
FOUR = "node1:2,node2:2"


def on(node, *words):
    """What a command in a node prints."""
    return subprocess.run([NODES, "run", node, *words], check=True, capture_output=True, text=True).stdout


def nodes(*words):
    subprocess.run([NODES, *words], check=True)


def cpu_seconds(rank):
    """Of all threads of a rank, wherever it is."""
    text = on(rank["host"], "sh", "-c", "cat /proc/%d/task/*/schedstat" % rank["pid"])
    return sum(int(line.split()[0]) for line in text.splitlines()) / 1e9


def ranks_of(client):
    return client.status(wait=True)["ranks"]


def start(t, hosts, ranks=None, **options):
    # The ranks of a job that loses a node may live on there for a moment, out of anybody's reach.
    options.setdefault("run_options", ())
    os.environ.pop("RANKCALL_TEST_HOSTS", None)
    import harness
    harness.HOSTS = hosts
    return t.start(ranks=ranks or t.ranks, **options)


def busiest_share(ranks):
    before, began = [cpu_seconds(rank) for rank in ranks], time.monotonic()
    time.sleep(WINDOW)
    after, ended = [cpu_seconds(rank) for rank in ranks], time.monotonic()
    return max(b - a for a, b in zip(before, after)) / (ended - began)


@case("idle ranks on every node sleep, and a call wakes them", ranks=(4,), own=True, timeout=60)
def idle(t):
    job = start(t, FOUR)
    with job.connect() as client:
        ranks = ranks_of(client)
        equal([rank["host"] for rank in ranks], ["node1", "node1", "node2", "node2"])
        client.invoke("sum", {"value": 1.0})
        shares = []
        wait_until(lambda: shares.append(busiest_share(ranks)) or shares[-1] <= IDLE_SHARE, "idle ranks to sleep: %s" % shares, 30)
        times = []
        for _ in range(20):
            time.sleep(0.15)  # naps have grown to their longest
            began = time.monotonic()
            client.invoke("empty")
            times.append(time.monotonic() - began)
        print("  idle %.3f %% of a core; a call after 150 ms: %.2f ms" % (100 * shares[-1], 1000 * sorted(times)[10]))
        check(sorted(times)[5] < 0.03, "calls wait for naps to end: %s" % times)


@case("a job on three nodes computes, is cancelled and stops", ranks=(3,), own=True)
def three(t):
    job = start(t, "node1:1,node2:1,node3:1")
    with job.connect() as client:
        equal([rank["host"] for rank in ranks_of(client)], ["node1", "node2", "node3"])
        for value in (1.0, 2.5):
            equal(client.invoke("sum", {"value": value}).json, {"sum": value * 6})
        call = client.submit("wait")
        wait_until(lambda: client.status()["running"] is not None, "the call to run", 10)
        client.cancel(call)
        with contextlib.suppress(JobError):
            client.outcome(call)
        equal(client.invoke("sum", {"value": 1.0}).json, {"sum": 6.0})


@case("without connections between nodes ranks look often, and say so", ranks=(2,), own=True)
def unlinked(t):
    job = start(t, "node1:1,node2:1", env={"RANKCALL_TEST_NO_LINKS": "1"},
                run_options=("--launcher-arg", "-x", "--launcher-arg", "RANKCALL_TEST_NO_LINKS"))
    check("cannot connect with each other" in job.output() or "not all nodes" in job.output(), job.output())
    with job.connect() as client:
        for value in (1.0, 2.0):
            equal(client.invoke("sum", {"value": value}).json, {"sum": 3 * value})


@case("payloads of every size reach all nodes whole", ranks=(4,), own=True, timeout=60)
def payloads(t):
    import zlib
    job = start(t, FOUR)
    with job.connect() as client:
        for size in (1, 900, 968, 1100, 32 << 10, 65 << 10, 1 << 20, (5 << 20) + 3, 40 << 20):
            data = (os.urandom(min(size, 1 << 20)) * -(-size // (1 << 20)))[:size]
            crc = zlib.crc32(b"{}")
            for part in (b"x", bytes(12), data):
                crc = zlib.crc32(part, crc)
            sums = client.invoke("checksum", Payload(b"{}", [Attachment("x", data)])).json["sums"]
            equal(sums, [crc] * 4, "%d bytes" % size)


@case("a hundred thousand events from each rank of another node arrive whole", ranks=(4,), own=True, timeout=120)
def burst(t):
    count = 100000
    job = start(t, FOUR)
    for rank in (2, 3):
        line = [program("receive"), job.path, "7", str(count), "64", "0", str(rank)]
        got = t.run(*line, deadline=100)
        check(got.returncode == 0, "%s: %s%s" % (line, got.stdout, got.stderr))


def killed(client, rank):
    """Has a handler kill its rank; the error that the call ends with, and how long that took."""
    began = time.monotonic()
    try:
        client.invoke("die", {"rank": rank, "signal": int(signal.SIGKILL)})
    except JobError as error:
        return error, time.monotonic() - began
    raise AssertionError("a result although rank %d died" % rank)


def expect_work(job, ranks):
    """The next call succeeds, at whatever rank 0 there is by then."""
    for _ in range(3):
        try:
            with job.connect() as client:
                equal(client.invoke("sum", {"value": 1.0}).json, {"sum": ranks * (ranks + 1) / 2})
                return ranks_of(client)
        except (ConnectionError, JobError) as failure:
            last = failure
    raise AssertionError("no call succeeds: %s" % last)


@case("a rank of another node that dies is told of at once and replaced where it was", ranks=(4,), own=True, timeout=120)
def replaced(t):
    job = start(t, FOUR, run_options=("--restarts", "20"))
    for rank in (3, 2):
        with job.connect() as client:
            before = ranks_of(client)
            error, seconds = killed(client, rank)
        equal((error.name, error.rank, error.body["host"]), ("rank_died", rank, "node2"), str(error))
        check("signal 9" in str(error) and "pid %d" % before[rank]["pid"] in str(error), str(error))
        check(seconds < 1.0 * SLOW, "it took %.3f s to hear of it" % seconds)
        after = expect_work(job, 4)
        equal([one["host"] for one in after], [one["host"] for one in before])
        check(after[rank]["pid"] != before[rank]["pid"], "rank %d is the same process" % rank)
        if all(a["pid"] == b["pid"] for a, b in zip(after, before) if a["rank"] != rank):
            print("  rank %d: told after %.1f ms" % (rank, 1000 * seconds))
        else:
            print("  rank %d: MPI could not replace it, and the job was started again" % rank)


@case("all ranks of a node that die at once, while its daemon lives, are replaced there", ranks=(5,), own=True, timeout=120)
def all_of_a_node(t):
    job = start(t, "node1:2,node2:3", run_options=("--restarts", "20"))
    for order in ((2, 3, 4), (4, 3, 2)):
        with job.connect() as client:
            before = ranks_of(client)
            call = client.submit("wait")
            wait_until(lambda: client.status()["running"] is not None, "the call to run", 10)
            began = time.monotonic()
            on("node2", "kill", "-KILL", *(str(before[rank]["pid"]) for rank in order))
            try:
                client.outcome(call)
                raise AssertionError("a result although ranks died")
            except JobError as error:
                equal((error.name, error.body["host"]), ("rank_died", "node2"), str(error))
        after = expect_work(job, 5)
        seconds = time.monotonic() - began
        equal([one["host"] for one in after], [one["host"] for one in before])
        kept = [a["rank"] for a, b in zip(after, before) if a["pid"] == b["pid"]]
        check(seconds < 40 * SLOW, "it took %.1f s\n%s" % (seconds, job.output()))
        print("  %s died, %s were kept, the next result came after %.1f s" % (order, kept, seconds))
        check(kept == [0, 1] or "starting the job again" in job.output(), "kept: %s" % kept)


@case("rank 0 that dies is replaced on its node by those on others", ranks=(2,), own=True, timeout=120)
def rank_0(t):
    job = start(t, "node1:1,node2:1", run_options=("--restarts", "20"))
    with job.connect() as client:
        before = ranks_of(client)
        with contextlib.suppress(ConnectionError, JobError):
            client.invoke("die", {"rank": 0, "signal": int(signal.SIGKILL)})
    after = expect_work(job, 2)
    equal([one["host"] for one in after], ["node1", "node2"])
    check(after[0]["pid"] != before[0]["pid"], "rank 0 is the same process")


@case("the only rank of a node that dies is told of at once", ranks=(2,), own=True, timeout=120)
def single(t):
    job = start(t, "node1:1,node2:1", run_options=("--restarts", "20"))
    with job.connect() as client:
        error, seconds = killed(client, 1)
    equal((error.name, error.rank, error.body["host"]), ("rank_died", 1, "node2"), str(error))
    check(seconds < 1.0 * SLOW, "it took %.3f s to hear of it" % seconds)
    began = time.monotonic()
    expect_work(job, 2)
    why = re.search("cannot regroup.*", job.output())
    print("  the next result after %.2f s%s" % (time.monotonic() - began, why and ": " + why[0] or ""))


@case("a node that does not answer any more is told of within a second, and the job ends", ranks=(4,), own=True, timeout=60)
def lost(t):
    job = start(t, FOUR, run_options=("--restarts", "0"))
    job.any_status = True
    try:
        with job.connect() as client:
            call = client.submit("slow", {"seconds": 30})
            wait_until(lambda: client.status()["running"] is not None, "the call to run", 10)
            nodes("cut", "node2")
            began = time.monotonic()
            try:
                client.outcome(call)
                raise AssertionError("a result although a node is lost")
            except JobError as error:
                seconds = time.monotonic() - began
                equal((error.name, error.body["host"]), ("rank_died", "node2"), str(error))
                check("does not answer" in str(error), str(error))
        print("  told after %.2f s" % seconds)
        check(seconds < 2.0 * SLOW, "it took %.3f s to hear of it" % seconds)
        check(job.wait() != 0, "exit status of a job that lost a node")
    finally:
        nodes("join", "node2")
    for node in ("node1", "node2"):  # who was cut off ends by itself
        wait_until(lambda: "test_worker" not in on(node, "ps", "-e", "-o", "comm"), "the ranks on %s to end" % node, 20)
        subprocess.run([NODES, "run", node, "pkill", "-KILL", "-x", "orted"], check=False)


@case("a rank of another node that ends at its start ends the job, with its status", ranks=(4,), own=True, timeout=60)
def ends_early(t):
    script = os.path.join(t.folder("worker"), "worker")
    with open(script, "w") as file:
        file.write("#!/bin/sh\n[ $(hostname) != node2 ] || exit 3\nexec %s \"$@\"\n" % program("test_worker"))
    os.chmod(script, 0o755)
    job = start(t, FOUR, program_path=script, ready=False, env={"RANKCALL_TEST_PLAIN_US": "4000000"})
    job.any_status = True
    check(job.wait(40) != 0, "exit status of a job that could not start")
    check("status 3" in job.output() or re.search("Exit code: +3", job.output()), job.output())


def lose_node(t, hosts, mode, ranks):
    """A job of four ranks loses node2; the ranks that it has then."""
    job = start(t, hosts, ranks=4, run_options=("--on-node-loss", mode))
    job.any_status = True
    try:
        with job.connect() as client:
            equal([rank["host"] for rank in ranks_of(client)], ["node1", "node1", "node2", "node2"])
        nodes("cut", "node2")
        if not ranks:
            check(job.wait(60) != 0, "exit status of a job without places for its ranks")
            return job
        wait_until(lambda: "READY again" in job.output(), "the job to be started again", 60)
        after = expect_work(job, ranks)
        equal([rank["host"] for rank in after], ["node1", "node1", "node3", "node3"][:ranks])
        return job
    finally:
        nodes("join", "node2")
        with contextlib.suppress(subprocess.CalledProcessError):
            on("node2", "pkill", "-KILL", "orted|test_worker")


@case("a job that has lost a node starts again on a spare one", ranks=(4,), own=True, timeout=120)
def spare(t):
    lose_node(t, "node1:2,node2:2,node3:2", "fail", 4)


@case("a job that has lost a node starts again with the ranks that fit", ranks=(4,), own=True, timeout=120)
def shrink(t):
    lose_node(t, FOUR, "shrink", 2)


@case("a job that has lost a node without another place for its ranks ends and says why", ranks=(4,), own=True, timeout=120)
def no_place(t):
    job = lose_node(t, FOUR, "fail", 0)
    check("node2 is lost, and the others have 2 places for 4 ranks" in job.output(), job.output())


@case("a Python runner's ranks are on the hosts that it names", ranks=(4,), own=True)
def python_hosts(t):
    package = os.path.join(os.path.dirname(os.path.dirname(HERE)), "python")
    environment = {**os.environ, "PYTHONPATH": package, "RANKCALL_TORCH": "0"}
    words = [sys.executable, os.path.join(HERE, "python_hosts.py"), "node1:2", "node2:2"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
    check(done.returncode == 0, done.stdout + done.stderr)
    hosts = ["node1", "node1", "node2", "node2"]
    seen = json.loads(done.stdout.splitlines()[-1])
    equal(seen, {"hosts": hosts, "sizes": [(1 << 20) + 7] * 4, "in_order": [True] * 4, "status": hosts})


# ---- What ranks of other nodes do, and those that don't come back ----

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


if "RANKCALL_NODES" not in os.environ:
    print("skip   not in a node of tests/cluster/nodes")
    sys.exit(77)
main("nodes")
