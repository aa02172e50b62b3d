# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""How a peer's program is driven by bench/run: a command a line on standard input, an answer of one line of JSON on
standard output, as the programs in C do it (bench/samples.h).

    start - WORKERS               -> {"ns": [t], "name": its name and version, "spinning": [process ids]}
    call - BYTES WARM-UP CALLS    -> {"ns": [...]}: each call's time; every worker gets the payload and answers
    burst - EVENTS                -> {"events": n, "ns": t}: from the first event of worker 0 to the last
"""

import json
import os
import signal
import sys
import time


class Peer:
    """What a peer's program says for itself. `spinning`: processes that take a CPU while they wait."""

    name = ""
    spinning = ()

    def start(self, workers):
        """Returns when every worker can be called."""
        raise NotImplementedError

    def call(self, payload):
        """Gives `payload` to every worker and waits for every answer."""
        raise NotImplementedError

    def burst(self, events):
        """Lets one worker send that many events of 64 B. Yields once for each that has come."""
        raise NotImplementedError

    def stop(self):
        """Ends the workers."""
        raise NotImplementedError


EVENT = b"x" * 64


def start(peer, workers):
    begin = time.monotonic_ns()
    peer.start(workers)
    peer.call(b"")
    return {"ns": [time.monotonic_ns() - begin], "name": peer.name, "spinning": list(peer.spinning)}


def call(peer, size, warm_up, calls):
    taken, payload = [], b"x" * size
    for _ in range(warm_up + calls):
        begin = time.monotonic_ns()
        peer.call(payload)
        taken.append(time.monotonic_ns() - begin)
    return {"ns": taken[warm_up:]}


def burst(peer, events):
    came, first = 0, 0
    for _ in peer.burst(events):
        if not came:
            first = time.monotonic_ns()
        came += 1
    return {"events": came, "ns": time.monotonic_ns() - first}


COMMANDS = {"start": start, "call": call, "burst": burst}


def serve(peer):
    """Does what standard input says, to its end. What peers print goes to standard error, and what they read is empty:
    Open MPI takes standard input to hand it on."""
    commands, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for line in commands:
            word, _, *numbers = line.split()
            print(json.dumps(COMMANDS[word](peer, *map(int, numbers))), file=answers, flush=True)
    finally:
        peer.stop()
