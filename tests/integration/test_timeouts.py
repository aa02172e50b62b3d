# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""A call's timeout, and the timeout between two events."""

import json
import os
import shutil
import statistics
import time

from harness import COMMAND, FULL, SLOW, case, check, equal, main, program, raises, wait_until
from strangers_client import INVOKE, STREAM, Client


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


class Computing:
    """Files that end calls of spin, in which every rank computes without a checkpoint."""

    def __init__(self, t):
        self.folder, self.made = t.folder("until"), []

    def arguments(self):
        self.made.append(os.path.join(self.folder, str(len(self.made))))
        return json.dumps({"until": self.made[-1]})

    def end(self):
        for path in self.made:
            with open(path, "w"):
                pass


BUSY = 0.1  # seconds that the promptest of a few timeouts may come late on a busy machine; on an idle one it is less than 0.01


def lateness(t, client, timeout, streaming_timeout, queued, measure):
    """How many seconds after its deadline a client had its error while all ranks computed."""
    computing = Computing(t)
    handler, arguments = "spin", computing.arguments()
    if queued:
        busy = client.submit("spin", json.loads(arguments))
        wait_until(lambda: client.status()["running"], "the ranks to compute")
        handler, arguments = "empty", "{}"
    try:
        return measure(t, handler, arguments, timeout, streaming_timeout)
    finally:
        computing.end()
        if queued:
            client.outcome(busy)
        wait_until(lambda: client.status()["running"] is None, "the ranks to be back", 20)
        shutil.rmtree(computing.folder)


def protocol_late(t, handler, arguments, timeout, streaming_timeout):
    with t.connect() as client:
        deadline = time.monotonic() + timeout + streaming_timeout
        id = client.submit(handler, json.loads(arguments), kind=STREAM if streaming_timeout else INVOKE, timeout=timeout,
                           streaming_timeout=streaming_timeout)
        with raises("timeout"):
            client.outcome(id)
        late = time.monotonic() - deadline
        check(late >= 0, "it came %.6f s early" % -late)
        return late


def runner_late(t, handler, arguments, timeout, streaming_timeout):
    done = t.run(program("deadline"), t.job.name, handler, arguments, str(timeout), str(streaming_timeout), text=True)
    equal(done.returncode, 0, done.stderr)
    late = int(done.stdout) * 1e-6
    check(late >= 0, "it came %.6f s early" % -late)
    return late


def command_late(t, handler, arguments, timeout, streaming_timeout):
    """The command's whole time, less the timeout: its start and its end are in that."""
    option = ["--streaming-timeout", str(streaming_timeout)] if streaming_timeout else ["--timeout", str(timeout)]
    began = time.monotonic()
    done = t.run(COMMAND, "stream" if streaming_timeout else "invoke", *option, "-H", handler, arguments, text=True)
    whole = time.monotonic() - began
    equal(done.returncode, 7, done.stderr)
    check(whole > timeout + streaming_timeout, "it came after %.3f s" % whole)
    return whole - timeout - streaming_timeout


@case("timeouts come within 10 ms of their deadline while all ranks compute", ranks=(1, 2), own=True, timeout=120,
      labels=("serial",))
def on_time(t):
    t.job = t.start()
    kinds = (("running", 0.2, 0, False), ("queued", 0.2, 0, True), ("between events", 0, 0.2, False))
    ways = (("the protocol", protocol_late), ("a runner", runner_late), ("the command", command_late))
    with t.connect() as client:
        for way, measure in ways:
            for name, timeout, streaming_timeout, queued in kinds:
                late = [lateness(t, client, timeout, streaming_timeout, queued, measure) for _ in range(5)]
                print("       %s, %s: median %.2f ms late (%s)" % (way, name, 1e3 * statistics.median(late),
                                                                 " ".join("%.2f" % (1e3 * one) for one in late)))
                check(min(late) < BUSY * SLOW, "it came late: %s" % late)


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
