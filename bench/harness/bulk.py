# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""Rows of events, and of payloads and results of all sizes."""

from .jobs import RANKS, floor_of_calls, job_of_ours, us
from .measure import Row, in_turns
from .process import Driver

EVENT_FRAME = 32 + 16 + 64  # header, head, payload
SIZES = ((64 << 10, "64 KB"), (1 << 20, "1 MB"), (64 << 20, "64 MB"), (1 << 30, "1 GB"))
RATIO = 1 / 0.9  # of times: 0.9 of the floor's throughput


def rate(answer):
    return [answer["events"] / (answer["ns"] / 1e9) / 1e3]


def events(bench, effort):
    """Bursts of events of 64 B to one client, from the first event to the result, against bare frames of that size."""
    ranks, burst, large = RANKS[-1], 40000, 1 << 20
    rows = []
    with job_of_ours(bench, ranks) as (_, ours):
        floor = Driver(bench, "bench/floor/events")
        for key, rank, text in (("0", 0, "rank 0"), ("1", 1, "rank 1"), ("all", -1, "%d ranks" % ranks)):
            row = Row("events-64-" + key, "events of 64 B from %s" % text, "1000/s", better="higher",
                      target=0.9, floor="raw socket, a write per frame")
            each = burst if rank >= 0 else burst // ranks
            rows.append(in_turns(row, lambda rank=rank, each=each: rate(ours.ask("stream", "burst", rank, each, 0)),
                                 lambda: rate(floor.ask("events", "-", EVENT_FRAME, burst, 1)), 7, effort, limit_s=5))
        for key, rank, text in (("0", 0, "rank 0"), ("1", 1, "rank 1"), ("all", -1, "%d ranks" % ranks)):
            row = Row("events-1M-" + key, "events of 1 MB from %s" % text, "1000/s", better="higher", target=0.9,
                      floor="raw socket, a write per frame")
            each = 200 if rank >= 0 else 200 // ranks
            rows.append(in_turns(row, lambda rank=rank, each=each: rate(ours.ask("stream", "burst", rank, each, large)),
                                 lambda: rate(floor.ask("events", "-", large, 200, 1)), 7, effort, limit_s=5))
        batched = Row("socket-batched", "raw socket, 500 frames a write", "1000/s", better="higher")
        rows.append(in_turns(batched, lambda: rate(floor.ask("events", "-", EVENT_FRAME, 10 * burst, 500)), None, 5, 1))
        floor.finish()
    return rows


def payloads(bench, effort):
    """Bytes from a client to all ranks, and a result of as many back."""
    rows = []
    for ranks in RANKS:
        with job_of_ours(bench, ranks) as (_, ours), floor_of_calls(bench, ranks) as (job, floor):
            for size, name in SIZES:
                calls = max(1, min(50, (64 << 20) // size))
                warm_up = max(1, calls // 5)

                def measure_floor(word, size=size, calls=calls, warm_up=warm_up, job=job, floor=floor):
                    job.hold(False)
                    answer = floor.ask(word, "-", size, warm_up, calls)
                    job.hold(True)
                    return us(answer)

                for word, handler, text, what in (
                        ("send", "empty", "payload of %s to %d ranks", "socket + MPI_Bcast + MPI_Reduce"),
                        ("fetch", "give", "result of %s from %d ranks", "MPI_Bcast + MPI_Reduce + socket")):
                    row = Row("%s-%d-%d" % (word, size, ranks), text % (name, ranks), "us", target=RATIO, floor=what)
                    rows.append(in_turns(
                        row, lambda word=word, handler=handler, size=size, warm_up=warm_up, calls=calls, ours=ours:
                        us(ours.ask(word, handler, size, warm_up, calls)),
                        lambda word=word: measure_floor(word), 8, effort, limit_s=8))
    return rows
