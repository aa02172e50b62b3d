# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Events under load: whole, in order, never mixed, with bounded memory; slow and vanishing readers."""

import statistics
import subprocess
import time

from harness import FULL, ROOM, SLOW, case, check, equal, main, memory, program, raises, wait_until
from strangers_client import STREAM

MEBI = 1 << 20


def receive(t, *arguments, job=None):
    """Starts the checking client of one burst: seed, count, size, attachment, ranks, and where to pause."""
    line = [program("receive"), (job or t.job).path, *map(str, arguments)]
    return subprocess.Popen(line, env=t.sandbox.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def expect_events(process, count, deadline=100):
    """Lets the client go on and checks that it got every event."""
    out, err = process.communicate("go on\n", timeout=deadline * SLOW)
    equal(process.returncode, 0, "the receiving client\n" + err)
    equal(int(out.split()[-2]), count, "events")
    return float(out.split()[-1])


def expect_bounded(job, before, limit=32 * MEBI):
    peak = memory(job.pids[0], "VmHWM") - before
    check(peak < limit * ROOM, "rank 0 grew by %.1f MiB at its peak" % (peak / MEBI))


@case("a million events of 64 bytes from one rank arrive whole with bounded memory", own=True, timeout=100, labels=("serial",))
def million(t):
    t.job = t.start()
    before = memory(t.job.pids[0])
    count = 1000000 if SLOW == 1 else 20000
    seconds = expect_events(receive(t, 1, count, 64, 0, "1"), count)
    print("       %.0f events a second from rank 1" % (count / seconds))
    expect_bounded(t.job, before)


@case("a hundred thousand events from each of four ranks at once arrive whole with bounded memory", ranks=(4,),
      own=True, timeout=100, labels=("serial",))
def four_ranks(t):
    t.job = t.start()
    before = memory(t.job.pids[0])
    count = 100000 if SLOW == 1 else 5000
    seconds = expect_events(receive(t, 2, count, 64, 0, "0,1,2,3"), 4 * count)
    print("       %.0f events a second from four ranks" % (4 * count / seconds))
    expect_bounded(t.job, before)


@case("bursts from rank 0 alone and from every choice of ranks are whole", ranks=(1, 2, 3, 4), by=("launcher", "mpirun"))
def chosen_ranks(t):
    for choice in range(1, 1 << t.ranks):
        ranks = [rank for rank in range(t.ranks) if choice >> rank & 1]
        expect_events(receive(t, choice, 3000 // t.ranks, 64 + 13 * choice, 0, ",".join(map(str, ranks))),
                      3000 // t.ranks * len(ranks))


@case("events with attachments of many sizes arrive whole", ranks=(3,))
def attachments(t):
    for count, attach in ((300, 1), (300, 4000), (100, 70000), (10, 3 * MEBI)):
        expect_events(receive(t, count, count, 64, attach, "0,1,2"), 3 * count)


@case("large events of all ranks at once arrive whole, those of the next call, too", ranks=(1, 2, 4))
def large_streams(t):
    for seed, count, attach in ((1, 60, MEBI), (2, 1, MEBI), (3, 20, 5 * MEBI), (4, 2, 9 * MEBI), (5, 150, 33000)):
        expect_events(receive(t, seed, count, 64, attach, ",".join(map(str, range(t.ranks)))), t.ranks * count)


@case("a cancelled stream of large events leaves nothing to the next call", ranks=(2, 4))
def large_cancelled(t):
    with t.connect() as client:
        for size in (100000, MEBI, 3 * MEBI):
            id = client.submit("burst", {"count": 1000, "size": 64, "attach": size, "check": 5}, STREAM)
            items = client.items(id)
            for _ in range(20):
                next(items)
            client.cancel(id)
            with raises("cancelled"):
                list(items)
            expect_events(receive(t, 1, 3, 64, size, ",".join(map(str, range(t.ranks)))), t.ranks * 3)


@case("an event of 64 MiB arrives whole", ranks=(2,))
def large(t):
    expect_events(receive(t, 1, 1, 64, 64 * MEBI, "0,1"), 2)


def paused(t, ranks, attach=0, count=200000):
    """A client in mid-burst that reads no more; returns it when the producers stand still."""
    client = receive(t, 3, count, 64, attach, ranks, 1000 if not attach else 5)
    equal(client.stdout.readline(), "paused\n", "the slow client")
    return client


def standing_still(t):
    """Waits until no rank makes events any more: all processor times stay the same for a while."""
    last = []

    def quiet():
        now = [process_time(pid) for pid in t.job.pids]
        still = bool(last) and sum(now) - sum(last[-1]) < 0.02 * 0.1 * len(now)
        last.append(now)
        time.sleep(0.1)
        return still

    wait_until(quiet, "the producers to stall", 30 * SLOW)


def process_time(pid):
    """Seconds of processor that a process has used."""
    with open("/proc/%d/schedstat" % pid) as file:
        return int(file.read().split()[0]) * 1e-9


def time_of_status(client, count=100):
    """Median seconds of a status question."""
    times = []
    for _ in range(count):
        began = time.monotonic()
        client.status()
        times.append(time.monotonic() - began)
    return statistics.median(times)


@case("a slow reader stalls its producers, and memory stays bounded", ranks=(2, 4), own=True, timeout=90)
def slow_reader(t):
    t.job = t.start()
    ranks = ",".join(map(str, range(t.ranks)))
    count = (200000 if SLOW == 1 else 100000) // t.ranks
    for attach, events in ((0, count), (100000, max(count // 200, 150))):
        before = memory(t.job.pids[0])
        client = paused(t, ranks, attach, events)
        standing_still(t)
        expect_bounded(t.job, before, 64 * MEBI)
        with t.connect() as other:
            check(time_of_status(other) < 0.01 * SLOW, "status takes too long beside a stalled stream")
            equal(other.status()["running"]["handler"], "burst")
        expect_events(client, t.ranks * events)
        expect_bounded(t.job, before, 64 * MEBI)


@case("a slow reader that asks for the status gets it after the events before it")
def slow_reader_status(t):
    with t.connect() as client:
        id = client.submit("burst", {"count": 50000}, STREAM)
        standing_still(t)
        equal(client.status()["running"]["handler"], "burst")
        counts = [0] * t.ranks
        for rank, sequence, _ in client.items(id):
            if rank is not None:
                equal(sequence, counts[rank], "sequence")
                counts[rank] += 1
        equal(counts, [50000] * t.ranks, "events")


@case("killing a slow reader frees its producers")
def killed_slow_reader(t):
    client = paused(t, "0,1")
    standing_still(t)
    client.kill()
    client.communicate()
    expect_events(receive(t, 4, 100, 64, 0, "0,1"), 200)


@case("the events of two clients at once never mix", ranks=(2, 4))
def two_clients(t):
    ranks = ",".join(map(str, range(t.ranks)))
    for turn in range(5):
        clients = [receive(t, 100 * turn + number, 3000, 64 + number, 0, ranks) for number in range(4)]
        for client in clients:
            expect_events(client, 3000 * t.ranks)


@case("two streams on one connection never mix")
def two_streams(t):
    with t.connect() as client:
        ids = {client.submit("burst", {"count": 500, "seed": seed}, STREAM): seed for seed in range(1, 9)}
        for id, seed in reversed(ids.items()):
            items = list(client.items(id))
            equal({payload.json["s"] for rank, _, payload in items if rank is not None}, {seed}, "seeds")
            equal(len(items), 1001, "items")


@case("a cancelled burst's events never show under the next call")
def cancelled_burst(t):
    with t.connect() as client:
        for seed in range(1, 20):
            id = client.submit("burst", {"count": 100000, "seed": seed, "check": 10}, STREAM)
            items = client.items(id)
            for _ in range(seed * 10):
                next(items)
            client.cancel(id)
            following = client.submit("burst", {"count": 20, "seed": 1000 + seed}, STREAM)
            seeds = {payload.json["s"] for rank, _, payload in client.items(following) if rank is not None}
            equal(seeds, {1000 + seed}, "seeds under the next call")


@case("events that must be refused are, and the good one between them arrives", own=True)
def refused(t):
    t.job = t.start(options=("--payload-cap", "4M"))
    with t.connect() as client:
        equal(client.payload_cap, 4 * MEBI, "payload cap")
        items = list(client.stream("emit_refused", {"mebibytes": 5}))
    equal([payload.json for rank, _, payload in items if rank is not None], [{"good": True}] * t.ranks, "events")
    equal([sequence for rank, sequence, _ in items if rank is not None], [0] * t.ranks, "sequences")
    equal(items[-1][2].json, {"null": "invalid_argument", "bad": "bad_payload", "good": "ok", "large": "too_large"})


@case("who waits for the memory of its event gets it back before it emits another", ranks=(1, 2))
def lent(t):
    sizes = [1, 100, 5000, 20000, 40000, 300000, 2 * MEBI]
    with t.connect() as client:
        items = list(client.stream("lent", {"sizes": sizes}))
    equal(len(items), len(sizes) * t.ranks + 1, "events and a result")
    equal(items[-1][2].json, {"back": len(sizes)})


@case("clients killed in mid-stream never harm the next call", ranks=(4,), own=True, timeout=600 if FULL else 60,
      labels=("long",) if FULL else ())
def kills(t):
    t.job = t.start()
    before, kills = memory(t.job.pids[0]), 1000
    result = t.run(program("killer"), t.job.path, str(kills), "500" if FULL else "12", deadline=600, text=True)
    equal(result.returncode, 0, "the killer\n" + result.stderr)
    done = int(result.stdout)
    print("       %d clients killed" % done)
    check(done >= (kills if FULL else 30 / SLOW), "only %d kills" % done)
    expect_bounded(t.job, before)
    with t.connect() as client:
        t.job.wait_alone(client)


main("events")
