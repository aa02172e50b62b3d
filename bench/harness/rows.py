# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""The rows, in groups that share their jobs. A group is a function that measures and returns its rows."""

import contextlib
import os
import time

from .measure import Row, in_turns
from .process import Driver, Mpirun

RANKS = (2, 4)
EVENT_FRAME = 32 + 16 + 64  # header, head, payload


@contextlib.contextmanager
def job_of_ours(bench, ranks, connect=True):
    """A job and a client of it."""
    path = bench.path(".sock")
    job = Mpirun(bench, ranks, "bench/worker", "--socket", path)
    client = Driver(bench, "bench/client", path)
    client.ask("invoke", "empty", 0, 0, 1)  # READY
    yield job, client
    client.tell("stop")
    client.end()
    job.wait()


@contextlib.contextmanager
def floor_of_calls(bench, ranks):
    path = bench.path(".sock")
    job = Mpirun(bench, ranks, "bench/floor/invoke", path, env=bench.floor_env(ranks))
    client = Driver(bench, "bench/floor/invoke_client", path)
    client.ask("invoke", "-", 0, 0, 1)
    job.hold(True)
    yield job, client
    job.hold(False)
    client.end()
    job.wait()


def us(answer):
    return [ns / 1e3 for ns in answer["ns"]]


def calls_between(ours, job, floor, row, size, blocks, warm_up=50, calls=250):
    """One row of calls: the floor's ranks are stopped while ours is measured, and ours sleep of themselves."""

    def measure_floor():
        job.hold(False)
        row.floor.add(us(floor.ask("invoke", "-", size, warm_up, calls)))
        job.hold(True)

    in_turns(blocks, lambda: row.ours.add(us(ours.ask("invoke", "empty", size, warm_up, calls))), measure_floor)


def invoke(bench, effort):
    """One client, one call after the other; the first calls of each block warm up and are left out."""
    rows = []
    for ranks in RANKS:
        with job_of_ours(bench, ranks) as (_, ours), floor_of_calls(bench, ranks) as (job, floor):
            for size, name in ((0, "empty"), (256, "256 B")):
                row = Row("invoke-%d-%d" % (size, ranks), "invoke, %s, %d ranks" % (name, ranks), "us", target=2.0,
                          floor="socket + MPI_Bcast + MPI_Reduce")
                calls_between(ours, job, floor, row, size, 16 * effort)
                rows.append(row)
    return rows


def rate(answer):
    return [answer["events"] / (answer["ns"] / 1e9) / 1e3]


def events(bench, effort):
    """Bursts of events of 64 B to one client, from the first event to the result, against bare frames of that size."""
    ranks, burst = RANKS[-1], 40000
    sources = (("0", 0, "from rank 0"), ("1", 1, "from rank 1"), ("all", -1, "from %d ranks" % ranks))
    rows, steps = [], []
    with job_of_ours(bench, ranks) as (_, ours):
        floor = Driver(bench, "bench/floor/events")

        def measure(row, rank):
            each = burst if rank >= 0 else burst // ranks
            row.ours.add(rate(ours.ask("stream", "burst", rank, each)))
            row.floor.add(rate(floor.ask("events", "-", EVENT_FRAME, burst, 1)))

        for key, rank, text in sources:
            row = Row("events-64-" + key, "events of 64 B %s" % text, "1000/s", better="higher",
                      floor="raw socket, a write per frame")
            rows.append(row)
            steps.append(lambda row=row, rank=rank: measure(row, rank))
        in_turns(5 * effort, *steps)
        batched = Row("socket-batched", "raw socket, 500 frames a write", "1000/s", better="higher")
        in_turns(3, lambda: batched.ours.add(rate(floor.ask("events", "-", EVENT_FRAME, 10 * burst, 500))))
        floor.end()
    return rows + [batched]


def cpu_ns(pid):
    """What a process has used of a CPU; every thread counts."""
    used = 0
    for thread in os.listdir("/proc/%d/task" % pid):
        with contextlib.suppress(OSError), open("/proc/%d/task/%s/schedstat" % (pid, thread)) as stat:
            used += int(stat.read().split()[0])
    return used


def shares(processes, seconds):
    """The share of a CPU, in percent, that each process took in that time. `processes`: lists of process ids."""
    begin, start = [[cpu_ns(pid) for pid in pids] for pids in processes], time.monotonic()
    time.sleep(seconds)
    taken = (time.monotonic() - start) * 1e9
    return [[100 * (cpu_ns(pid) - before) / taken for pid, before in zip(pids, befores)]
            for pids, befores in zip(processes, begin)]


def idle(bench, effort):
    """An idle job, with an idle client connected, beside ranks that only pause(); 10 s for each sample of the table."""
    rows = []
    for ranks in RANKS:
        with job_of_ours(bench, ranks) as (job, client):
            client.ask("invoke", "empty", 0, 0, 100)
            floor = Mpirun(bench, ranks, "bench/floor/init", "--stay", env=bench.floor_env(ranks))
            time.sleep(1)  # mpirun forwards the first output and settles
            found = shares([job.ranks(), [job.child.pid], floor.ranks(), [floor.child.pid]], 10 * effort)
            floor.kill()
        worst = Row("idle-rank-%d" % ranks, "idle CPU, busiest of %d ranks" % ranks, "%", target=0.1)
        worst.ours.add([max(found[0])])
        worst.floor.add([max(found[2])])
        whole = Row("idle-job-%d" % ranks, "idle CPU, job with mpirun, per rank of %d" % ranks, "%", target=0.1)
        whole.ours.add([sum(found[0] + found[1]) / ranks])
        whole.floor.add([sum(found[2] + found[3]) / ranks])
        rows += [worst, whole]
    return rows


def start(bench, effort):
    """From rankcall_start to READY, against mpirun of a program that initialises and finalises MPI."""
    rows = []
    driver = Driver(bench, "bench/start")

    def run_floor(row, ranks):
        begin = time.monotonic()
        Mpirun(bench, ranks, "bench/floor/init", env=bench.floor_env(ranks)).wait()
        row.floor.add([(time.monotonic() - begin) * 1e3])

    for ranks in (1, 4):
        row = Row("start-%d" % ranks, "start to READY, %d rank%s" % (ranks, "s"[ranks == 1:]), "ms",
                  floor="mpirun of MPI_Init, MPI_Finalize")
        in_turns(5 * effort,
                 lambda: row.ours.add(ns / 1e6 for ns in driver.ask("start", bench.program("bench/worker"), ranks)["ns"]),
                 lambda: run_floor(row, ranks))
        rows.append(row)
    driver.end()
    return rows


GROUPS = {"invoke": invoke, "events": events, "idle": idle, "start": start}
