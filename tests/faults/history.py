# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""What happened in a round, as JSON lines: the only thing that the checker sees.

Every record has `what` and `t`, seconds of the monotonic clock. The others by `what`:

| what | fields | meaning |
|---|---|---|
| round | round, seed, ranks, after_death, slow, queue | the first record |
| connect | client, ok, error | a client has connected, or has tried to |
| submit | client, call, handler, stream, asks, bound | a call is about to be written; `call` is its token |
| written | call | its last byte is written |
| cancel | call | its CANCEL is about to be written |
| event | call, rank, seq, good, token | an event came under that call; `token`: whose it says it is; `good`: its checksum |
| outcome | call, how, code, rank, host, message, good, token, answer | result, error or closed; `good`: the result's checksum |
| stray | client, type, id | a frame that belongs to no call under way on that connection |
| protocol | client, message | bytes that are not the protocol |
| cut | client, how | the client closes, half-closes, or sends what must end its connection |
| closed | client, by | the connection has ended: by "client" or "job" |
| fault | kind, rank, pid, signal, deadly | a fault is injected, now |
| heal | kind | a fault that lasts has ended |
| driver | message | the driver itself is wrong |
| hung | calls, folder | calls that had not ended at their bound |
| settled | ok, why | a fresh client's call after the round (on a new job if that one has ended) |
| job | alive, status, text, launcher, pids, connections, descriptors, strays | the job after the round; `strays`: processes and files that a job at rest has not |
| left | what is left behind, a list: `things` |
"""

import json
import threading
import time


class History:
    """Records of one round; any thread may write."""

    def __init__(self):
        self.records = []
        self.lock = threading.Lock()

    def write(self, what, **fields):
        record = {"what": what, "t": time.monotonic(), **fields}
        with self.lock:
            self.records.append(record)
        return record

    def lines(self):
        return "".join(json.dumps(record) + "\n" for record in self.records)


def read(path):
    with open(path) as file:
        return [json.loads(line) for line in file]
