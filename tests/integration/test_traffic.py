# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""What the runtime sends for a call, counted: it grows as the logarithm of the number of nodes, or not at all."""

import os
import time

from harness import Skip, case, check, equal, main

CALLS = 20
BEATS = 4  # words a second that a link sends of itself


def counted(t, client, handler, args, calls):
    """The counts of every rank of so many calls, and of one more; and how long they took."""
    began = time.monotonic()
    client.invoke("begin")
    for _ in range(calls):
        client.invoke(handler, args)
    ranks = client.invoke("end").json["ranks"]
    equal(len(ranks), t.job.ranks, "ranks that count")
    return ranks, time.monotonic() - began


def start(t, ranks, nodes=1):
    if os.environ.get("RANKCALL_TEST_SANITIZE"):
        raise Skip("sanitizers stand before the functions that are counted, too")
    t.job = t.start(worker="traffic", ranks=ranks, env={"RANKCALL_TEST_NODES": str(nodes)} if nodes > 1 else {})
    return t.job.connect()


def depth(ranks, rank=0):
    """Messages one after the other, from a rank down to the last that hears of a call."""
    return max([1 + depth(ranks, other) for other in ranks[rank]["to"] if other > rank], default=0)


def across(nodes):
    def run(t):
        levels = nodes.bit_length() - 1
        with start(t, t.ranks, nodes) as client:
            ranks, seconds = counted(t, client, "empty", {}, CALLS)
        sent = [rank["messages"] for rank in ranks]
        equal(sent[0], levels * (CALLS + 1), "messages of rank 0")
        check(max(sent) <= levels * (CALLS + 1), "messages of some rank: %s" % sent)
        equal(sum(sent), 2 * (nodes - 1) * (CALLS + 1), "messages")
        equal(depth(ranks), levels, "messages one after the other")
        words = ranks[0]["words"] / levels
        check(words <= 2 * (CALLS + 1) + BEATS * seconds + 4, "%g words on a link of rank 0 in %g s" % (words, seconds))
    return run


for count in (2, 4, 8):
    case("a call takes as many messages as a tree of %d nodes" % count, ranks=(8,), own=True, labels=("nodes",),
         timeout=60)(across(count))


@case("on one node a call takes no message, and rank 0 makes few system calls", ranks=(2, 8, 16), own=True, timeout=60)
def together(t):
    with start(t, t.ranks) as client:
        ranks, _ = counted(t, client, "empty", {}, CALLS)
    equal([rank["messages"] + rank["words"] for rank in ranks], [0] * t.ranks, "messages")
    wakes = [rank["wakes"] / (CALLS + 1) for rank in ranks]
    check(max(wakes) <= 3, "system calls that wake others, for a call: %s" % wakes)


@case("at a checkpoint rank 0 wakes all by one system call", ranks=(2, 8), own=True, timeout=60)
def checkpoints(t):
    points = 100
    with start(t, t.ranks) as client:
        ranks, _ = counted(t, client, "check", {"checkpoints": points, "pause_us": 2000}, 1)
    wakes = ranks[0]["wakes"]
    check(wakes <= 2 * points, "%d system calls that wake others at %d checkpoints" % (wakes, points))


main("traffic")
