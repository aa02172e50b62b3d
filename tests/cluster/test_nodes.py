# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Jobs on several nodes: what wakes idle ranks, and what is lost when ranks and nodes die."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

from on_nodes import FOUR, HERE, NODES, expect_work, main, nodes, on, ranks_of, start
from harness import SLOW, case, check, equal, program, wait_until
from strangers_client import Attachment, JobError, Payload

IDLE_SHARE = 0.002  # of a core, of a rank; half of it is measured where nothing else runs
WINDOW = 3.0


def cpu_seconds(rank):
    """Of all threads of a rank, wherever it is."""
    text = on(rank["host"], "sh", "-c", "cat /proc/%d/task/*/schedstat" % rank["pid"])
    return sum(int(line.split()[0]) for line in text.splitlines()) / 1e9


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


main("nodes")
