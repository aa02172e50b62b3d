# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""A call's timeout, and the timeout between two events."""

import os
import time

from harness import FULL, SLOW, case, check, equal, main, raises, wait_until
from strangers_client import STREAM, Client


def expect_timeout(client, id, least, events=0):
    """The call must end by its timeout, not before and not long after."""
    began = time.monotonic()
    with raises("timeout"):
        items = client.items(id)
        for _ in range(events):
            next(items)
        next(items)
    seconds = time.monotonic() - began
    check(least * 0.9 <= seconds < least + 2 * SLOW, "it came after %.3f s" % seconds)


@case("a running call ends at its timeout, and its ranks leave together")
def running(t):
    with t.connect() as client:
        expect_timeout(client, client.submit("wait", timeout=0.2), 0.2)
        equal(len(set(client.invoke("last_wait").json["checkpoints"])), 1, "checkpoints differ")


@case("a call's timeout holds while it is queued")
def queued(t):
    until = os.path.join(t.sandbox.folder, "until")
    with t.connect() as client:
        busy = client.submit("spin", {"until": until})
        wait_until(lambda: client.status()["running"], "the ranks to be busy")
        expect_timeout(client, client.submit("empty", timeout=0.2), 0.2)
        with open(until, "w"):
            pass
        equal(client.outcome(busy).text, b"{}")


@case("silence between events ends a stream at its streaming timeout")
def silence(t):
    with t.connect() as client:
        expect_timeout(client, client.submit("wait", kind=STREAM, streaming_timeout=0.3), 0.3, events=1)


@case("a handler that never looks is left alone, and the client hears of its timeout in time")
def stubborn(t):
    with t.connect() as client:
        expect_timeout(client, client.submit("slow", {"seconds": 1}, timeout=0.2), 0.2)
        equal(client.invoke("empty").text, b"{}", "the next call waits for the ranks")


@case("timeouts that are not reached change nothing")
def not_reached(t):
    with t.connect() as client:
        for timeout in (30, 1e12):
            id = client.submit("burst", {"count": 50}, STREAM, timeout=timeout, streaming_timeout=timeout)
            equal(len(list(client.items(id))), 50 * t.ranks + 1, "items")


@case("a client that never greets is sent away", timeout=60)
def never_greets(t):
    if FULL:  # it takes as long as a client is given
        with Client(t.job.path, greet=False) as client:
            equal([one.payload.json["error"] for one in client.expect_close()], ["timeout"])


main("timeouts")
