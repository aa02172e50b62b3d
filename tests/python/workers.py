# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Workers of the tests."""

import os
import signal
import time

from rankcall import DistributedWorker


class General(DistributedWorker):
    """Does what the payload says."""

    def setup(self, base=0, **kwargs):
        self.base = base
        self.options = kwargs
        self.calls = 0
        if kwargs.get("fail_on") == self.rank:
            raise ValueError("no model on %d" % self.rank)
        time.sleep(kwargs.get("sleep", 0))

    def __call__(self, do="echo", streaming=False, **payload):
        self.calls += 1
        return getattr(self, do)(streaming=streaming, **payload)

    def echo(self, streaming, **payload):
        return payload

    def value(self, streaming, value=None):
        return value

    def about(self, streaming, **payload):
        return {
            "rank": self.rank,
            "world_size": self.world_size,
            "base": self.base,
            "options": self.options,
            "pid": os.getpid(),
            "cwd": os.getcwd(),
            "calls": self.calls,
            "streaming": streaming,
        }

    def fail(self, streaming, on=None):
        if on is None or on == self.rank:
            raise ValueError("rank %d says no" % self.rank)
        return {}

    def burst(self, streaming, count=10, ranks=None, size=0):
        if ranks is None or self.rank in ranks:
            for number in range(count):
                self.add_streaming_result({"rank": self.rank, "number": number, "text": "x" * size})
        return {"count": count}

    def say(self, streaming, items=()):
        for item in items:
            if self.rank == 0:
                self.add_streaming_result(item, as_text_event=True)
        return {"done": True}

    def sleep(self, streaming, seconds=60.0, tell=None):
        if tell and self.rank == 0:
            with open(tell, "a") as file:
                file.write("began\n")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.005)
            self.check_cancelled()
        return {"slept": seconds}

    def silent(self, streaming, seconds=60.0):
        if self.rank == 0:
            self.add_streaming_result({"here": True})
        return self.sleep(streaming, seconds)

    def die(self, streaming, rank=1, number=signal.SIGKILL):
        if self.rank == rank:
            os.kill(os.getpid(), number)
        return self.sleep(streaming, 60.0)

    def note(self, streaming, file, text):
        if self.rank == 0:
            with open(file, "a") as opened:
                opened.write(text + "\n")
        return {}

    def output(self, streaming, text="hello"):
        self.rank_print(text)
        return {}

    def unsendable(self, streaming):
        return {"me": [self]}
