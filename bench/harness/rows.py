# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""The rows, in groups that share their jobs. A group is a function that measures and returns its rows."""

import contextlib
import os
import subprocess
import time

from .collectives import collectives
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
    client.finish()
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
    client.finish()
    job.wait()


def us(answer):
    return [ns / 1e3 for ns in answer["ns"]]


def calls_between(ours, job, floor, row, size, effort, warm_up=50, calls=250):
    """One row of calls: the floor's ranks are stopped while ours is measured, and ours sleep of themselves."""

    def measure_floor():
        job.hold(False)
        answer = floor.ask("invoke", "-", size, warm_up, calls)
        job.hold(True)
        return us(answer)

    return in_turns(row, lambda: us(ours.ask("invoke", "empty", size, warm_up, calls)), measure_floor, 20, effort)


def invoke(bench, effort):
    """One client, one call after the other; the first calls of each block warm up and are left out."""
    rows = []
    for ranks in RANKS:
        with job_of_ours(bench, ranks) as (_, ours), floor_of_calls(bench, ranks) as (job, floor):
            for size, name in ((0, "empty"), (256, "256 B")):
                row = Row("invoke-%d-%d" % (size, ranks), "invoke, %s, %d ranks" % (name, ranks), "us", target=2.0,
                          floor="socket + MPI_Bcast + MPI_Reduce")
                rows.append(calls_between(ours, job, floor, row, size, effort))
    return rows


def rate(answer):
    return [answer["events"] / (answer["ns"] / 1e9) / 1e3]


def events(bench, effort):
    """Bursts of events of 64 B to one client, from the first event to the result, against bare frames of that size."""
    ranks, burst = RANKS[-1], 40000
    rows = []
    with job_of_ours(bench, ranks) as (_, ours):
        floor = Driver(bench, "bench/floor/events")
        for key, rank, text in (("0", 0, "rank 0"), ("1", 1, "rank 1"), ("all", -1, "%d ranks" % ranks)):
            row = Row("events-64-" + key, "events of 64 B from %s" % text, "1000/s", better="higher",
                      floor="raw socket, a write per frame")
            each = burst if rank >= 0 else burst // ranks
            rows.append(in_turns(row, lambda rank=rank, each=each: rate(ours.ask("stream", "burst", rank, each)),
                                 lambda: rate(floor.ask("events", "-", EVENT_FRAME, burst, 1)), 7, effort, limit_s=5))
        batched = Row("socket-batched", "raw socket, 500 frames a write", "1000/s", better="higher")
        rows.append(in_turns(batched, lambda: rate(floor.ask("events", "-", EVENT_FRAME, 10 * burst, 500)), None, 5, 1))
        floor.finish()
    return rows


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
    """Idle jobs, each with an idle client connected, beside ranks that only pause()."""
    rows, watched = [], []
    with contextlib.ExitStack() as jobs:
        for ranks in RANKS:
            job, client = jobs.enter_context(job_of_ours(bench, ranks))
            client.ask("invoke", "empty", 0, 0, 100)
            floor = Mpirun(bench, ranks, "bench/floor/init", "--stay", env=bench.floor_env(ranks))
            jobs.callback(floor.end)
            time.sleep(1)  # until mpirun has settled
            watched += [job.ranks(), [job.child.pid], floor.ranks(), [floor.child.pid]]
        found = shares(watched, 10 * effort)
    for i, ranks in enumerate(RANKS):
        ours, our_mpirun, floor, floor_mpirun = found[4 * i:4 * i + 4]
        worst = Row("idle-rank-%d" % ranks, "idle CPU, busiest of %d ranks" % ranks, "%", target=0.1)
        worst.ours.add([max(ours)])
        worst.floor.add([max(floor)])
        whole = Row("idle-job-%d" % ranks, "idle CPU, job with mpirun, per rank of %d" % ranks, "%", target=0.1)
        whole.ours.add([sum(ours + our_mpirun) / ranks])
        whole.floor.add([sum(floor + floor_mpirun) / ranks])
        rows += [worst, whole]
    return rows


def start_of_floor(bench, ranks):
    """Starts and ends bare MPI. Returns the milliseconds until MPI_Init is done, and until mpirun has ended."""
    begin = time.monotonic()
    job = Mpirun(bench, ranks, "bench/floor/init", env=bench.floor_env(ranks), stdout=subprocess.PIPE)
    with job.child.stdout as output:
        output.readline()
        up = time.monotonic()
    job.wait()
    return 1e3 * (up - begin), 1e3 * (time.monotonic() - begin)


def start(bench, effort):
    """From rankcall_start to READY, against mpirun of a program that initialises and finalises MPI."""
    rows = []
    driver = Driver(bench, "bench/start")
    program = bench.program("bench/worker")

    def run_ours(ranks):
        return [ns / 1e6 for ns in driver.ask("start", program, ranks)["ns"]]

    def run_floor(ranks, until_up):
        up, ended = start_of_floor(bench, ranks)
        until_up.floor.add([up])
        return [ended]

    for ranks in (1, 4):
        text = "start to READY, %d rank%s" % (ranks, "s"[ranks == 1:])
        whole = Row("start-%d" % ranks, text, "ms", floor="mpirun of MPI_Init and MPI_Finalize, to its end")
        until_up = Row("start-up-%d" % ranks, text, "ms", floor="the same, until rank 0 has left MPI_Init")
        in_turns(whole, lambda: run_ours(ranks), lambda: run_floor(ranks, until_up), 5, effort, limit_s=6)
        until_up.ours = whole.ours
        rows += [whole, until_up]
    driver.finish()
    return rows


def deaths(bench, effort):
    """A rank is killed while a call runs and another one waits: until the error, and until the other's result."""
    rows = []
    ours = Driver(bench, "bench/deaths")
    program = bench.program("bench/worker")

    def killed(rank, error):
        to_error, to_next = (ns / 1e6 for ns in ours.ask("kill", "-", rank)["ns"])
        error.ours.add([to_error])
        return [to_next]

    for ranks in RANKS:
        ours.ask("start", program, ranks)
        text = "of %d ranks killed" % ranks
        error = Row("death-error-%d" % ranks, "one %s, to the error" % text, "ms", target=10)
        row = Row("death-next-%d" % ranks, "one %s, to the next result" % text, "ms", target=1.3,
                  floor="MPI_Comm_create_group, MPI_Comm_spawn, MPI_Intercomm_merge, MPI_Comm_split")
        under = [bench.mpirun, "--oversubscribe", "--bind-to", "none", "--enable-recovery", "-n", str(ranks)]
        floor = Driver(bench, "bench/floor/regroup", under=under, env=bench.floor_env(ranks))
        in_turns(row, lambda: killed(ranks - 1, error), lambda: [ns / 1e6 for ns in floor.ask("go")["ns"]], 10, effort,
                 limit_s=12)
        floor.end()
        first = Row("death-rank0-%d" % ranks, "rank 0 %s, to the error" % text, "ms", target=10)
        row_0 = Row("death-next-rank0-%d" % ranks, "rank 0 %s, to the next result" % text, "ms", target=1.3,
                    floor=row.floor_text)
        in_turns(row_0, lambda: killed(0, first), None, 5, effort, limit_s=12)
        row_0.floor = row.floor
        rows += [error, row, first, row_0]
        lost = Row("restart-error-%d" % ranks, "all %s, to the error" % text, "ms", target=10)
        whole = Row("restart-%d" % ranks, "all %s, to the next result" % text, "ms", target=1.2,
                    floor="mpirun of MPI_Init, until rank 0 has left it")
        in_turns(whole, lambda: killed(-1, lost), lambda: [start_of_floor(bench, ranks)[0]], 10, effort, limit_s=12)
        rows += [lost, whole]
    ours.finish()
    return rows


GROUPS = {"invoke": invoke, "events": events, "idle": idle, "start": start, "collectives": collectives,
          "deaths": deaths}
