# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""A job and its client, ours or the floor's."""

import contextlib

from .process import Driver, Mpirun, Process

RANKS = (2, 4)


@contextlib.contextmanager
def job_of_ours(bench, ranks):
    """A job and a client of it."""
    path = bench.path(".sock")
    job = Mpirun(bench, ranks, "bench/worker", "--socket", path, "--payload-cap", "2G")
    client = Driver(bench, "bench/client", path)
    client.ask("invoke", "empty", 0, 0, 1)  # READY
    job.path = path
    yield job, client
    client.tell("stop")
    client.finish()
    job.wait()


@contextlib.contextmanager
def floor_of_calls(bench, ranks, *how):
    path = bench.path(".sock")
    job = Mpirun(bench, ranks, "bench/floor/invoke", path, *how, env=bench.floor_env(ranks))
    client = Driver(bench, "bench/floor/invoke_client", path)
    client.ask("invoke", "-", 0, 0, 1)
    job.hold(True)
    yield job, client
    job.hold(False)
    client.finish()
    job.wait()


@contextlib.contextmanager
def launched_job(bench, ranks):
    """A job under `rankcall run`, with a watcher and all, and a client of it."""
    path = bench.path(".sock")
    job = Process(bench, [bench.program("rankcall"), "run", "-n", str(ranks), "--socket", path, "--",
                          bench.program("bench/worker")])
    client = Driver(bench, "bench/client", path)
    client.ask("invoke", "empty", 0, 0, 1)  # READY
    job.path = path
    yield job, client
    client.tell("stop")
    client.finish()
    job.wait()


def ask_floor(job, client, *words):
    """One answer of the floor's client, whose job's ranks go on for that long; in microseconds."""
    job.hold(False)
    answer = client.ask(*words)
    job.hold(True)
    return us(answer)


def us(answer):
    return [ns / 1e3 for ns in answer["ns"]]
