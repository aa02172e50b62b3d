# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""Rows of small calls."""

import statistics
import time

from .jobs import RANKS, ask_floor, floor_of_calls, job_of_ours, us
from .measure import Row, in_turns
from .process import Driver

FLOOR = "socket + MPI_Bcast + MPI_Reduce"
IDLE_S = 2
SCALE = (2, 4, 8, 16, 32, 64)
STARTS = 3  # jobs measured one after the other: how a call fares depends on where the kernel has put its processes


def calls_between(ours, job, floor, row, size, effort, warm_up=50, calls=250, blocks=20):
    """One row of calls: the floor's ranks are stopped while ours is measured, and ours sleep of themselves."""

    return in_turns(row, lambda: us(ours.ask("invoke", "empty", size, warm_up, calls)),
                    lambda: ask_floor(job, floor, "invoke", "-", size, warm_up, calls), blocks, effort)


def invoke(bench, effort):
    """One client, one call after the other; the first calls of each block warm up and are left out."""
    rows = []
    for ranks in RANKS:
        pair = [(size, Row("invoke-%d-%d" % (size, ranks), "invoke, %s, %d ranks" % (name, ranks), "us", target=1.25,
                           floor=FLOOR)) for size, name in ((0, "empty"), (256, "256 B"))]
        threaded = Row("invoke-io-%d" % ranks, "... beside a floor whose rank 0 has an IO thread, 256 B", "us",
                       floor=FLOOR + " + a thread for the socket")
        for _ in range(STARTS):
            with job_of_ours(bench, ranks) as (_, ours):
                with floor_of_calls(bench, ranks) as (job, floor):
                    for size, row in pair:
                        calls_between(ours, job, floor, row, size, effort, blocks=10)
                with floor_of_calls(bench, ranks, "io") as (job, floor):
                    calls_between(ours, job, floor, threaded, 256, effort, blocks=10)
        rows += [row for _, row in pair] + [threaded]
    return rows


def cold(bench, effort):
    """The first call after some idleness. The floor is two things, one after the other: a process that sleeps is woken,
    and a call of the floor of invoke. Beside it: the wake-ups of such a call alone, with no work in between."""
    rows = []
    for ranks in RANKS:
        with job_of_ours(bench, ranks) as (_, ours), floor_of_calls(bench, ranks) as (job, floor):
            waker = Driver(bench, "bench/floor/wake", str(ranks))
            row = Row("cold-256-%d" % ranks, "invoke after %d s, 256 B, %d ranks" % (IDLE_S, ranks), "us", target=2.0,
                      floor="a futex wake after as long + " + FLOOR)
            chain = Row("cold-chain-%d" % ranks, "... its wake-ups alone, of 1 and then %d processes" % ranks, "us")

            def measure_ours(ours=ours):
                time.sleep(IDLE_S)
                return us(ours.ask("invoke", "empty", 256, 0, 1))

            def measure_floor(job=job, floor=floor, waker=waker, chain=chain):
                time.sleep(IDLE_S)
                chain.ours.add(us(waker.ask("chain", "-")))
                time.sleep(IDLE_S)
                woken = us(waker.ask("wake", "-"))[0]
                return [woken + statistics.median(ask_floor(job, floor, "invoke", "-", 256, 50, 51))]

            rows += [in_turns(row, measure_ours, measure_floor, 10, effort, limit_s=90), chain]
            waker.finish()
    return rows


def scale(bench, effort):
    """Calls on up to many times more ranks than CPUs."""
    rows = []
    for ranks in SCALE:
        with job_of_ours(bench, ranks) as (_, ours), floor_of_calls(bench, ranks) as (job, floor):
            row = Row("scale-256-%d" % ranks, "invoke, 256 B, %d ranks" % ranks, "us", target=1.5, floor=FLOOR)
            rows.append(calls_between(ours, job, floor, row, 256, effort, warm_up=20, calls=100))
    return rows


def crowd(bench, effort):
    """Many clients with one call outstanding each, against one client with as many outstanding."""
    clients, calls, rows = 64, 20000, []
    for ranks in RANKS:
        with job_of_ours(bench, ranks) as (job, _):
            driver = Driver(bench, "bench/crowd", job.path)
            fair = Row("crowd-fair-%d" % ranks, "the least served of %d clients, %d ranks" % (clients, ranks),
                       "x mean", better="higher", target=0.8)

            def many(driver=driver, fair=fair):
                answer = driver.ask("calls", "empty", 256, clients, 1, calls)
                fair.ours.add([answer["least"] / (answer["calls"] / clients)])
                return [answer["calls"] / answer["ns"] * 1e6]

            def one(driver=driver):
                answer = driver.ask("calls", "empty", 256, 1, clients, calls)
                return [answer["calls"] / answer["ns"] * 1e6]

            row = Row("crowd-%d" % ranks, "%d clients, 256 B, %d ranks" % (clients, ranks), "1000 calls/s",
                      better="higher", target=1.0, floor="one client with as many calls outstanding")
            rows += [in_turns(row, many, one, 15, effort, limit_s=12), fair]
            driver.finish()
    return rows
