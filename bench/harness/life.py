# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""Rows of a job's life: idle, its memory, its start, deaths."""

import contextlib
import os
import subprocess
import time

from .jobs import RANKS, job_of_ours, launched_job
from .measure import Row, in_turns
from .process import Driver, Mpirun, descendants


def cpu_ns(pid):
    """What a process has used of a CPU; every thread counts."""
    used = 0
    for thread in os.listdir("/proc/%d/task" % pid):
        with contextlib.suppress(OSError), open("/proc/%d/task/%s/schedstat" % (pid, thread)) as stat:
            used += int(stat.read().split()[0])
    return used


def name_of(pid):
    try:
        with open("/proc/%d/comm" % pid) as comm:
            return comm.read().strip()
    except OSError:
        return ""


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
            job, client = jobs.enter_context(launched_job(bench, ranks))
            client.ask("invoke", "empty", 0, 0, 100)
            floor = Mpirun(bench, ranks, "bench/floor/init", "--stay", env=bench.floor_env(ranks))
            jobs.callback(floor.end)
            time.sleep(1)  # until mpirun has settled
            workers = [pid for pid in descendants(job.child.pid) if name_of(pid) == "worker"]
            others = [pid for pid in [job.child.pid] + descendants(job.child.pid) if pid not in workers]
            watched += [workers, others, floor.ranks(), [floor.child.pid]]
        found = shares(watched, 10 * effort)
    for i, ranks in enumerate(RANKS):
        ours, others, floor, floor_mpirun = found[4 * i:4 * i + 4]
        worst = Row("idle-rank-%d" % ranks, "idle CPU, busiest of %d ranks" % ranks, "%", target=0.1)
        worst.ours.add([max(ours)])
        worst.floor.add([max(floor)])
        whole = Row("idle-job-%d" % ranks, "idle CPU, all processes, per rank of %d" % ranks, "%", target=0.1)
        whole.ours.add([sum(ours + others) / ranks])
        whole.floor.add([sum(floor + floor_mpirun) / ranks])
        rows += [worst, whole]
    return rows


def resident_mb(pid):
    """What a process holds of memory, shared pages included."""
    with open("/proc/%d/statm" % pid) as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE") / (1 << 20)


def memory(bench, effort):
    """The fullest rank's resident memory, less that of one that has only called MPI_Init; and how it grows."""
    rows, many = [], 1000000
    for ranks in RANKS:
        with job_of_ours(bench, ranks) as (job, client):
            client.ask("invoke", "empty", 256, 9999, 1)
            floor = Mpirun(bench, ranks, "bench/floor/init", "--stay", env=bench.floor_env(ranks),
                           stdout=subprocess.PIPE)
            floor.child.stdout.readline()  # up
            bare = max(map(resident_mb, floor.ranks()))
            floor.child.stdout.close()
            floor.end()
            before = [resident_mb(pid) for pid in job.ranks()]
            row = Row("memory-%d" % ranks, "resident over MPI_Init, 10,000 calls, %d ranks" % ranks, "MB", target=2)
            row.ours.add([max(before) - bare])
            rows.append(row)
            if ranks == RANKS[0]:
                for _ in range(20):
                    client.ask("invoke", "empty", 256, many // 20 - 1, 1)
                after = [resident_mb(pid) for pid in job.ranks()]
                row = Row("memory-growth-%d" % ranks, "growth over 1,000,000 calls, %d ranks" % ranks, "MB", target=0.1)
                row.ours.add([max(now - then for now, then in zip(after, before))])
                rows.append(row)
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

    for ranks in (1, 4, 16):
        text = "start to READY, %d rank%s" % (ranks, "s"[ranks == 1:])
        whole = Row("start-%d" % ranks, text, "ms", target=1.3,
                    floor="mpirun of MPI_Init and MPI_Finalize, to its end")
        until_up = Row("start-up-%d" % ranks, text, "ms", floor="the same, until rank 0 has left MPI_Init")
        in_turns(whole, lambda: run_ours(ranks), lambda: run_floor(ranks, until_up), 5, effort, limit_s=12)
        until_up.ours = whole.ours
        rows += [whole, until_up]
    driver.finish()
    return rows


def run_of_command(bench, *words):
    """The milliseconds that the command takes, as a whole."""
    begin = time.monotonic()
    done = subprocess.run([bench.program("rankcall"), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          env=bench.env, check=False)
    return 1e3 * (time.monotonic() - begin), done.returncode


def deadlines(bench, effort):
    """Calls end by their timeouts while every rank computes: how late at the client, by the runner and by the command."""
    rows, limit_ms, count = [], 50, 40 * effort
    for ranks in RANKS:
        with launched_job(bench, ranks) as (job, client):
            for key, text, streaming in (("timeout", "timeout", 0), ("silence", "streaming timeout", 1)):
                row = Row("late-%s-%d" % (key, ranks), "%s, %d ranks compute: late" % (text, ranks), "ms", target=10)
                row.ours.add([ns / 1e6 for ns in client.ask("late", "compute", limit_ms, streaming, count)["ns"]])
                rows.append(row)
                words = ["stream" if streaming else "invoke", "-j", job.path, "-H", "compute",
                         "--streaming-timeout" if streaming else "--timeout", str(limit_ms / 1e3)]
                row = Row("late-command-%s-%d" % (key, ranks), "the same, to the end of the command", "ms", target=10)
                for _ in range(count // 4):
                    client.ask("invoke", "empty", 0, 0, 1)  # the ranks are back from the last one
                    took, status = run_of_command(bench, *words)
                    if status == 7:
                        row.ours.add([took - limit_ms])
                rows.append(row)
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
        large = Row("death-large-%d" % ranks, "rank 0 with 1 GB %s, to the error" % text, "ms", target=10)
        for _ in range(5):
            ours.ask("grow", "-")
            large.ours.add([ours.ask("kill", "-", 0)["ns"][0] / 1e6])
        rows += [error, row, first, row_0, large]
        lost = Row("restart-error-%d" % ranks, "all %s, to the error" % text, "ms", target=10)
        whole = Row("restart-%d" % ranks, "all %s, to the next result" % text, "ms", target=1.2,
                    floor="mpirun of MPI_Init, until rank 0 has left it")
        in_turns(whole, lambda: killed(-1, lost), lambda: [start_of_floor(bench, ranks)[0]], 10, effort, limit_s=12)
        rows += [lost, whole]
    ours.finish()
    return rows
