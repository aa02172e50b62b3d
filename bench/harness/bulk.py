# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""Rows of events, and of payloads and results of all sizes."""

from .jobs import RANKS, ask_floor, floor_of_calls, job_of_ours, us
from .measure import Row, in_turns
from .process import Driver

EVENT_FRAME = 32 + 16 + 64  # header, head, payload
SIZES = ((64 << 10, "64 KB"), (1 << 20, "1 MB"), (64 << 20, "64 MB"), (1 << 30, "1 GB"))
BURST = 40000
RATIO = 1 / 0.9  # of times: 0.9 of the floor's throughput


def rate(answer):
    return [answer["events"] / (answer["ns"] / 1e9) / 1e3]


def events(bench, effort):
    """Bursts of events of 64 B to one client, from the first event to the result, against bare frames of that size."""
    ranks, large = RANKS[-1], 1 << 20
    rows = []
    with job_of_ours(bench, ranks) as (_, ours):
        floor = Driver(bench, "bench/floor/events")
        for name, label, size, frame, burst in (("64", "64 B", 0, EVENT_FRAME, BURST), ("1M", "1 MB", large, large, 200)):
            for key, rank, text in (("0", 0, "rank 0"), ("1", 1, "rank 1"), ("all", -1, "%d ranks" % ranks)):
                row = Row("events-%s-%s" % (name, key), "events of %s from %s" % (label, text), "1000/s",
                          better="higher", target=0.9, floor="raw socket, a write per frame")
                each = burst if rank >= 0 else burst // ranks
                rows.append(in_turns(
                    row, lambda rank=rank, each=each, size=size: rate(ours.ask("stream", "burst", rank, each, size)),
                    lambda frame=frame, burst=burst: rate(floor.ask("events", "-", frame, burst, 1)), 7, effort,
                    limit_s=5))
        batched = Row("socket-batched", "raw socket, 500 frames a write", "1000/s", better="higher")
        rows.append(in_turns(batched, lambda: rate(floor.ask("events", "-", EVENT_FRAME, 10 * BURST, 500)), None, 5, 1))
        floor.finish()
    return rows


def payloads(bench, effort):
    """Bytes from a client to all ranks, and a result of as many back."""
    rows = []
    for ranks in RANKS:
        with job_of_ours(bench, ranks) as (_, ours), floor_of_calls(bench, ranks) as (job, floor):
            for size, name in SIZES:
                calls = max(3, min(50, (64 << 20) // size))
                warm_up = max(1, calls // 5)  # memory that a call takes anew is there then, on both sides

                for word, handler, text, what in (
                        ("send", "empty", "payload of %s to %d ranks", "socket + MPI_Bcast + MPI_Reduce"),
                        ("fetch", "give", "result of %s from %d ranks", "MPI_Bcast + MPI_Reduce + socket")):
                    row = Row("%s-%d-%d" % (word, size, ranks), text % (name, ranks), "us", target=RATIO, floor=what)
                    rows.append(in_turns(
                        row, lambda word=word, handler=handler, size=size, warm_up=warm_up, calls=calls, ours=ours:
                        us(ours.ask(word, handler, size, warm_up, calls)),
                        lambda word=word, size=size, warm_up=warm_up, calls=calls, job=job, floor=floor:
                        ask_floor(job, floor, word, "-", size, warm_up, calls), 8, effort, limit_s=8 if size < 1 << 30 else 16))
        rows.append(small_results(bench, effort, ranks))
    return rows


def small_results(bench, effort, ranks, size=64 << 10):
    """Results so small that the turn of the thread that sends them counts."""
    row = Row("fetch-io-%d-%d" % (size, ranks), "... beside a floor whose rank 0 has an IO thread, 64 KB from %d ranks" % ranks, "us",
              floor="the same, with a thread for the socket")
    with job_of_ours(bench, ranks) as (_, ours), floor_of_calls(bench, ranks, "io") as (job, floor):
        return in_turns(row, lambda: us(ours.ask("fetch", "give", size, 10, 50)),
                        lambda: ask_floor(job, floor, "fetch", "-", size, 10, 50), 8, effort)
