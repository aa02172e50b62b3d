# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""Measures what model.py asks for, on jobs of few ranks, and one job of many to compare with."""

import contextlib
import json
import statistics
import subprocess
import time

from harness.jobs import job_of_ours, us
from harness.life import resident_mb
from harness.measure import quiet_before
from harness.process import Driver

import model

SIZES = (2, 4, 8, 16, 24, 32, 40, 48)  # ranks of the jobs that constants are made of
CROWDED = 4  # ranks per CPU from which on a call's cost is taken: below, where the few processes sit decides
BLOCKS, CALLS, WARM_UP = 25, 100, 20
EVENTS = 40000
FEW = 10  # from every rank, which fill no queue
IDLE_S = 1.0
CLIENTS = 200
TCP = {"OMPI_MCA_btl": "self,tcp", "OMPI_MCA_pml": "ob1"}
MB = 1 << 20


def settled(measure, blocks=BLOCKS):
    """The median of blocks, each of which begins when nothing else wants a CPU, if such a moment comes."""
    values = []
    for _ in range(blocks):
        quiet_before()
        values.append(measure())
    return statistics.median(values)


def calls(client):
    return settled(lambda: statistics.median(us(client.ask("invoke", "empty", 256, WARM_UP, CALLS))))


def events(client, ranks):
    """Microseconds of an event, of all ranks together but rank 0 where there are more."""
    each = max(1, EVENTS // ranks)

    def one():
        answer = client.ask("stream", "burst", -1, each, 0)
        return answer["ns"] / 1e3 / answer["events"]
    return settled(one, 7)


def rank0(job):
    for pid in job.ranks():
        with open("/proc/%d/environ" % pid, "rb") as file:
            if b"OMPI_COMM_WORLD_RANK=0" in file.read().split(b"\0"):
                return pid
    return job.fail("no rank 0 among its processes")


def observe(bench, ranks):
    """A job of so many ranks: a call, an event, rank 0's memory after all ranks have sent some."""
    with job_of_ours(bench, ranks) as (job, client):
        found = {"ranks": ranks, "call_us": calls(client)}
        client.ask("stream", "burst", -1, FEW, 0)
        found["rank0_bytes"] = resident_mb(rank0(job)) * MB
        found["event_us"] = events(client, ranks)
    return found


def cold(bench):
    with job_of_ours(bench, 2) as (_, client):
        def once():
            time.sleep(IDLE_S)
            return us(client.ask("invoke", "empty", 256, 0, 1))[0]
        return statistics.median(once() for _ in range(10))


def wake(bench):
    waker = Driver(bench, "bench/floor/wake")
    values = []
    for _ in range(10):
        time.sleep(IDLE_S)
        values += us(waker.ask("wake", "-"))
    waker.finish()
    return statistics.median(values)


def hop(bench):
    """Over TCP, as there is no other way between two nodes here: a network of one's own should be measured itself."""
    under = [bench.mpirun, "--oversubscribe", "--bind-to", "none", "-n", "2"]
    driver = Driver(bench, "bench/floor/hop", under=under, env={**bench.floor_env(2), **TCP})
    value = settled(lambda: statistics.median(us(driver.ask("hop", "-", 200))), 7)
    driver.finish()
    return value


def own_call(bench):
    """One rank and its client: each has a CPU."""
    with job_of_ours(bench, 1) as (_, client):
        return calls(client)


def peer(bench):
    """What a rank that has sent events over TCP adds to rank 0, its place in the memory of the node included."""
    found = []
    for ranks in (4, 16):
        with environment(bench, TCP), job_of_ours(bench, ranks) as (job, client):
            client.ask("stream", "burst", -1, FEW, 0)
            found.append(resident_mb(rank0(job)) * MB)
    return (found[1] - found[0]) / 12


@contextlib.contextmanager
def environment(bench, more):
    before = bench.env
    bench.env = {**before, **more}
    yield
    bench.env = before


def connections(bench):
    """Microseconds of a connection, and the bytes that it takes at rank 0 while it is there."""
    with job_of_ours(bench, 2) as (job, client):
        before = resident_mb(rank0(job))
        many = Driver(bench, "bench/client", job.path)
        taken = us(many.ask("connect", "-", CLIENTS))
        held = (resident_mb(rank0(job)) - before) * MB / CLIENTS
        many.finish()
    return statistics.median(taken), max(0.0, held)


def sizes(bench):
    return json.loads(subprocess.run([bench.program("bench/model/sizes")], stdout=subprocess.PIPE, check=True).stdout)


def constants(bench, told=print):
    """Returns what was observed and the constants made of it."""
    seen = []
    for ranks in SIZES:
        told("%d ranks" % ranks)
        seen.append(observe(bench, ranks))
    told("single steps")
    tables = sizes(bench)
    connect, client = connections(bench)
    found = model.Constants(
        call=model.fit([(one["ranks"] / bench.cpus, one["call_us"]) for one in seen
                        if one["ranks"] >= CROWDED * bench.cpus], 2),
        event=model.fit([(one["ranks"] / bench.cpus, one["event_us"]) for one in seen], 0),
        resident=model.fit([(one["ranks"], one["rank0_bytes"]) for one in seen], 1),
        own_call=own_call(bench), cold=cold(bench), wake=wake(bench), hop=hop(bench), peer=peer(bench),
        connect=connect, client=client, table=tables["rank_info"], frontend=tables["rank_debt"] + tables["rank_row"],
        place=tables["rank_place"] + tables["rank_seat"] + tables["rank_boxes"], window_all=tables["window_all"],
        window_least=tables["window_least"])
    return seen, found

