# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Histories written by hand, and what the checker must find in them."""

RANKS = 3
CASES = []


def case(name, *kinds):
    """The function gives a history (or several) in which these kinds must be found, and no others."""
    def register(function):
        CASES.append((name, set(kinds), function))
        return function
    return register


class Forged:
    """A history written by hand; time goes on by 0.01 s a record unless `t` is given."""

    def __init__(self, after_death="ends", **head):
        self.now = 1.0
        self.records = []
        self.add("round", round=0, seed=0, ranks=RANKS, after_death=after_death, slow=1.0, queue=4, pids=[10, 11, 12],
                 connections=1, descriptors=20, launcher_descriptors=9, **head)

    def add(self, what, t=None, **fields):
        self.now = self.now + 0.01 if t is None else t
        self.records.append({"what": what, "t": self.now, **fields})
        return self

    def submit(self, call="a", handler="echo", stream=False, asks=None, timeout=0.0, client="c", known=True, **fields):
        return self.add("submit", client=client, call=call, handler=handler, stream=stream, asks=asks or {}, known=known,
                        timeout=timeout, streaming_timeout=0.0, bound=10.0, **fields).add("written", call=call)

    def burst(self, call="a", count=2):
        return self.submit(call, "burst", True, {"count": count})

    def event(self, rank, seq, call="a", token=None, good=True):
        return self.add("event", call=call, rank=rank, seq=seq, good=good, token=token or call)

    def all_events(self, call="a", count=2):
        for rank in range(RANKS):
            for seq in range(count):
                self.event(rank, seq, call)
        return self

    def result(self, call="a", handler="echo", events=0, value=0, size=0, token=None, good=True, **fields):
        return self.add("outcome", call=call, how="result", good=good, token=token or call, answer={
            "handler": handler, "events": events, "value": value, "size": size}, **fields)

    def error(self, code, call="a", rank=-1, host="", message="", **fields):
        return self.add("outcome", call=call, how="error", code=code, rank=rank, host=host, message=message, **fields)

    def lost(self, call="a"):
        return self.add("outcome", call=call, how="closed")

    def fault(self, kind="kill", rank=1, pid=11, signal=9, deadly=True, together=False):
        return self.add("fault", kind=kind, deadly=deadly, rank=rank, pid=pid, signal=signal, together=together)

    def all_die(self):
        for rank in range(RANKS):
            self.fault(rank=rank, pid=10 + rank, together=rank > 0)
        return self

    def job(self, alive=True, status=None, text="", pids=(10, 11, 12), connections=1, descriptors=20,
            launcher_descriptors=9, restarted=0, stuck=0, strays=()):
        return self.add("job", alive=alive, status=status, text=text, launcher=1, pids=list(pids), connections=connections,
                        descriptors=descriptors, launcher_descriptors=launcher_descriptors, restarted=restarted, stuck=stuck,
                        strays=list(strays))

    # ---- Clients that come back ----

    def connect(self, client="c", resume=True):
        return self.add("connect", client=client, ok=True, error="", resume=resume)

    def lost_and_away(self, client="c", t=None):
        return self.add("lost", t, client=client).add("away", client=client, begun=0)

    def back(self, client="c", again=(), t=None, welcomed=None):
        self.add("back", t, client=client, begun=0, again=list(again))
        self.records[-1]["welcomed"] = self.records[-1]["t"] if welcomed is None else welcomed
        return self

    def run(self, call="a", rank=0, t=None):
        self.add("run", t, call=call, rank=rank, number=1, pid=10 + rank)
        self.records[-1]["run"] = int(self.now * 1e6)
        return self
