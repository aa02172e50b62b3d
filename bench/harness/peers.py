# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""Rows of other systems that call a group of workers, in turns with ours. Only those are measured that bench/peers/setup
has installed into the build folder."""

import os
import signal
import sys
import time
from collections import namedtuple

from .bulk import rate
from .jobs import RANKS, job_of_ours, us
from .measure import Row, in_turns
from .process import Driver, Failure

PROGRAMS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "peers")
IDLE_S, SIZE = 2, 256

# `calls` and `events` of a block: about a third of a second. No events: it does not stream. A graph starts Ray and more.
Peer = namedtuple("Peer", "key venv program arguments starts calls events")
PEERS = (Peer("zmq", "zmq", "peer_zmq.py", (), 3, 1000, 100000),
         Peer("mpi4py", "mpi4py", "peer_mpi4py.py", (), 3, 300, 0),
         Peer("ray", "ray", "peer_ray.py", ("actors",), 2, 150, 3000),
         Peer("ray-graph", "ray", "peer_ray.py", ("graph",), 1, 500, 0),
         Peer("fal", "fal", "peer_fal.py", (), 2, 4, 20000))


class Theirs:
    """A peer's program with its workers. Those that take a CPU while they wait are stopped while ours is measured."""

    def __init__(self, bench, peer, workers):
        python = os.path.join(bench.build, "bench/venvs", peer.venv, "bin/python")
        env = dict(bench.floor_env(workers), OMPI_MCA_rmaps_base_oversubscribe="1",
                   OMPI_MCA_hwloc_base_binding_policy="none", PYTHONDONTWRITEBYTECODE="1",
                   RAY_USAGE_STATS_ENABLED="0", HOME=bench.folder)  # Ray leaves a file at home
        self.driver = Driver(bench, os.path.join(PROGRAMS, peer.program), *peer.arguments, env=env, under=[python])
        answer = self.driver.ask("start", "-", workers)
        self.name, self.start_ms, self.spinning = answer["name"], answer["ns"][0] / 1e6, answer["spinning"]
        self.hold(True)

    def hold(self, held):
        for pid in self.spinning:
            os.kill(pid, signal.SIGSTOP if held else signal.SIGCONT)

    def ask(self, *words, after_s=0):
        """As the driver does, with all its workers awake, and so for that many seconds before."""
        self.hold(False)
        time.sleep(after_s)
        answer = self.driver.ask(*words)
        self.hold(True)
        return answer

    def finish(self):
        self.hold(False)
        self.driver.finish()


def hot(peer, theirs, ours, workers, effort):
    row = Row("hot-%d-%s" % (workers, peer.key), "%s, %d workers: call" % (peer.key, workers), "us", floor=theirs.name)
    return in_turns(row, lambda: us(ours.ask("invoke", "empty", SIZE, 50, 250)),
                    lambda: us(theirs.ask("call", "-", SIZE, peer.calls // 5, peer.calls)), 8, effort)


def cold(peer, theirs, ours, workers, effort):
    """Each has IDLE_S between two calls of its own, and the machine half of that since the other's."""
    row = Row("cold-%d-%s" % (workers, peer.key), "%s, %d workers: after %d s" % (peer.key, workers, IDLE_S), "us",
              floor=theirs.name)

    def measure_ours():
        time.sleep(IDLE_S / 2)
        return us(ours.ask("invoke", "empty", SIZE, 0, 1))

    after_s = IDLE_S if theirs.spinning else IDLE_S / 2
    return in_turns(row, measure_ours, lambda: us(theirs.ask("call", "-", SIZE, 0, 1, after_s=after_s)), 5, effort,
                    limit_s=11)


def events(peer, theirs, ours, workers, effort):
    """Of worker 0, which is the best that fal does; of ours rank 1's, which take the longer way."""
    row = Row("events-%d-%s" % (workers, peer.key), "%s, %d workers: events" % (peer.key, workers), "1000/s",
              better="higher", floor=theirs.name)
    return in_turns(row, lambda: rate(ours.ask("stream", "burst", 1, 40000, 0)),
                    lambda: rate(theirs.ask("burst", "-", peer.events)), 6, effort)


def start(bench, peer, workers, starter):
    """Returns the row, and what was started last."""
    row = Row("start-%d-%s" % (workers, peer.key), "%s, %d workers: start" % (peer.key, workers), "ms")
    for left in reversed(range(peer.starts)):
        row.ours.add([ns / 1e6 for ns in starter.ask("start", bench.program("bench/worker"), workers)["ns"]])
        theirs = Theirs(bench, peer, workers)
        row.floor.add([theirs.start_ms])
        if left:
            theirs.finish()
    row.floor_text, row.blocks = theirs.name, peer.starts
    return row, theirs


def against(bench, peer, effort):
    rows, starter = [], Driver(bench, "bench/start")
    for workers in RANKS:
        row, theirs = start(bench, peer, workers, starter)
        with job_of_ours(bench, workers) as (_, ours):
            rows += [row, hot(peer, theirs, ours, workers, effort), cold(peer, theirs, ours, workers, effort)]
            if peer.events and workers == RANKS[0]:
                rows.append(events(peer, theirs, ours, workers, effort))
            theirs.finish()
    starter.finish()
    return rows


def peers(bench, effort):
    """One peer after the other: what some of them do while they are idle would disturb the others."""
    rows = []
    for peer in PEERS:
        if not os.path.exists(os.path.join(bench.build, "bench/venvs", peer.venv, "installed")):
            print("\n%s is left out: not installed" % peer.key, file=sys.stderr)
            continue
        print(" %s" % peer.key, end="", file=sys.stderr, flush=True)
        try:
            rows += against(bench, peer, effort)
        except Failure as failure:
            print("\n%s is left out: %s" % (peer.key, failure), file=sys.stderr)
            bench.open.close()  # whatever of it still runs
    return sorted(rows, key=lambda row: row.key.split("-")[:2])
