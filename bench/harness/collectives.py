# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""Rows of collectives: rankcall's and MPI's blocking ones, measured in turns by the same handler on the same memory."""

import json
import os
import subprocess
import time

from .measure import Row, in_turns
from .process import Failure, LIMIT_S, Mpirun

SIZES = ((8, "8 B"), (1 << 10, "1 KB"), (64 << 10, "64 KB"), (1 << 20, "1 MB"), (16 << 20, "16 MB"),
         (64 << 20, "64 MB"))
KINDS = ("broadcast", "gather", "all_gather", "all_reduce")
SMALL = 64 << 10  # below this some microseconds more are allowed instead of a ratio
SLACK_US = 10


class SmallRow(Row):
    """Met when ours is a few microseconds slower at most."""

    def verdict(self):
        if not self.ours.values or not self.floor.values:
            return ""
        return "ok" if self.ours.at(0.5) - self.floor.at(0.5) <= SLACK_US else "MISSED"


def ask(bench, path, kind, size, samples, each):
    """One call of the handler. Returns both sides' microseconds."""
    args = json.dumps({"kind": kind, "size": size, "samples": samples, "each": each})
    line = [bench.program("rankcall"), "invoke", "-j", path, args]
    done = subprocess.run(line, env=bench.env, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode:
        raise Failure("%s: %s" % (" ".join(line), done.stderr))
    answer = json.loads(done.stdout)
    return [[ns / 1e3 for ns in answer[side]] for side in ("ours", "floor")]


def await_socket(job, path):
    """Calls are queued as soon as the job listens."""
    end = time.monotonic() + LIMIT_S
    while not os.path.exists(path):
        if time.monotonic() > end:
            job.fail("does not listen")
        time.sleep(0.01)


def row_of(bench, path, effort, ranks, kind, size, name):
    floor = "MPI_Allreduce of one int" if kind == "checkpoint" else "the blocking MPI call"
    make = SmallRow if size < SMALL and kind != "checkpoint" else Row
    target = 1.2 if kind == "checkpoint" else None if make is SmallRow else 1 / (0.95 if size >= 1 << 20 else 0.9)
    text = "%s%s, %d ranks" % (kind.replace("_", "-"), ", " + name if name else "", ranks)
    row = make("%s-%d-%d" % (kind, size, ranks), text, "us", target=target, floor=floor)
    each = 64 if size <= SMALL else 4 if size <= 1 << 20 else 1
    samples = 60 if size == 1 << 20 else 30 if size < 1 << 20 else 5
    blocks = 10 if size == 1 << 20 else 4  # of some milliseconds, with two speeds of MPI's call
    floors = []

    def ours():
        times = ask(bench, path, kind, size, samples, each)
        floors.append(times[1])
        return times[0]

    return in_turns(row, ours, floors.pop, blocks, effort, limit_s=2)


def collectives(bench, effort):
    """A sample is a number of collectives, one after the other, and a barrier, by the number; taken at rank 0."""
    rows = []
    for ranks in (2, 4):
        path = bench.path(".sock")
        job = Mpirun(bench, ranks, "bench/collectives", "--socket", path)
        await_socket(job, path)
        for kind in ("barrier", "checkpoint"):
            rows.append(row_of(bench, path, effort, ranks, kind, 0, ""))
        for kind in KINDS:
            rows += [row_of(bench, path, effort, ranks, kind, size, name) for size, name in SIZES]
        subprocess.run([bench.program("rankcall"), "stop", "-j", path], env=bench.env, capture_output=True,
                       timeout=LIMIT_S, check=False)
        job.wait()
    return rows
