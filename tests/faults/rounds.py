# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""A round as the checker's rules look at it: its calls, each with all that is known of it, and its deaths."""

RANK_FAULTS = ("kill", "segv", "abort", "die")  # faults that end one rank
LAUNCHER = ("launcher-kill", "launcher-term")  # after these there is no job whatever the policy


class CallView:
    """All records of one call."""

    def __init__(self, submit):
        self.submit, self.token, self.asks, self.client = submit, submit["call"], submit["asks"], submit["client"]
        self.handler, self.began = submit["handler"], submit["t"]
        self.events, self.outcomes, self.cancels, self.after, self.runs, self.written = [], [], [], [], [], None
        self.idempotent = submit.get("idempotent", False)

    @property
    def end(self):
        return self.outcomes[0] if self.outcomes else None

    @property
    def ended(self):
        """When; a call without an end has lasted for ever."""
        return self.end["t"] if self.end else float("inf")

    def expected_events(self):
        """Of every rank, when the call succeeds."""
        if not self.submit["stream"]:
            return 0
        return {"burst": self.asks.get("count", 1), "work": self.asks.get("steps", 1)}.get(self.handler, 0)

    def shortest(self):
        """Seconds that the handler takes at least."""
        return self.asks.get("steps", 1) * self.asks.get("seconds", 0.01) if self.handler == "work" else 0.0

    def __str__(self):
        return "call %s (%s, %s)" % (self.token, self.handler, self.client)


class Round:
    def __init__(self, records):
        self.records = records
        self.head = records[0]
        self.ranks, self.slow = self.head["ranks"], self.head.get("slow", 1.0)
        self.goes_on = self.head["after_death"] == "restarts"
        self.restarted = any(job.get("restarted") for job in self.of("job"))  # as a whole
        self.resuming = {one["client"]: one.get("resume", False) for one in self.of("connect")}
        self.calls, self.unknown, self.doubled = {}, [], []
        for record in records:
            if record["what"] == "submit":
                if record["call"] in self.calls:
                    self.doubled.append(record)
                else:
                    self.calls[record["call"]] = CallView(record)
            elif record["what"] in ("event", "outcome", "cancel", "written", "run"):
                self.add(record)
        self.deaths = [(self.kind_of(fault), fault) for fault in self.of("fault") if fault["deadly"]]

    def add(self, record):
        call = self.calls.get(record["call"])
        if not call:
            self.unknown.append(record)
        elif record["what"] == "outcome":
            call.outcomes.append(record)
        elif record["what"] == "event":
            (call.after if call.outcomes else call.events).append(record)
        elif record["what"] == "cancel":
            call.cancels.append(record)
        elif record["what"] == "run":
            call.runs.append(record)
        else:
            call.written = record["t"]

    def of(self, what):
        return [record for record in self.records if record["what"] == what]

    @staticmethod
    def kind_of(fault):
        return "rank" if fault["kind"] in RANK_FAULTS else fault["kind"]

    def ending(self):
        """The deaths after which the whole job ends."""
        return [(kind, fault) for kind, fault in self.deaths if not self.goes_on or kind in LAUNCHER]

    def closing(self):
        """The deaths that end clients' connections: those of the job, and that of rank 0, where the frontend lives. A
        process whose rank is not known may have been rank 0."""
        return [fault for kind, fault in self.deaths
                if not self.goes_on or kind != "rank" or fault["rank"] in (0, None) or self.restarted]

    def moments(self, until):
        """How often there was a death; several in the same moment count once."""
        return len([fault for _, fault in self.deaths if fault["t"] <= until and not fault.get("together")])

    def resumes(self, client):
        return self.resuming.get(client, False)

    def stopped(self):
        """Seconds for which processes were stopped."""
        begun = {fault["t"] for fault in self.of("fault") if fault["kind"] == "stop"}
        healed = [heal["t"] for heal in self.of("heal") if heal["kind"] == "stop"]
        return max(healed) - min(begun) if begun and healed else 0.0

    def cut_of(self, client):
        return [cut["t"] for cut in self.of("cut") if cut["client"] == client]
