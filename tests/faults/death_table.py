#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""The death table: a rank dies in every way at every moment of a job's life; what the client gets, and after how long.

    RANKCALL_COMMAND=PREFIX/bin/rankcall RANKCALL_TEST_PROGRAMS=BUILD python3 tests/faults/death_table.py [PART...]

Without a PART all rows; else those whose "moment way rank" contains one of them, as in "handler kill" or "idle".
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time

import calls  # first: it knows where the tests' own client is
import checker
import faults
import checker
import faults
import harness
import plans
from history import History
from sandbox import Sandbox, wait_until
from strangers_client import INVOKE, STREAM, JobError

MOMENTS = ("idle", "broadcast", "handler", "checkpoint", "collective", "events", "setup", "teardown")
WAYS = ("kill", "segv", "abort", "exit", "oom")
SIGNALS = {"kill": signal.SIGKILL, "segv": signal.SIGSEGV, "abort": signal.SIGABRT}
LIMIT = 20.0  # seconds in which the client must hear of it, and the job be gone or whole again
SOON = 5.0  # seconds in which the job should be gone

# What may come, by moment: what the client gets, and the launcher's exit status (None: the job goes on).
ENDS = {
    "idle": ({"closed"}, {15}),
    "broadcast": ({"rank_died", "closed"}, {15}),
    "handler": ({"rank_died", "closed"}, {15}),
    "checkpoint": ({"rank_died", "closed"}, {15}),
    "collective": ({"rank_died", "closed"}, {15}),
    "events": ({"rank_died", "closed"}, {15}),
    "setup": ({"rank_died", "closed"}, {16, 20}),
    "teardown": ({"closed"}, {15}),
}
REGROUPS = {
    "idle": ({"nothing"}, {None}),
    "broadcast": ({"rank_died"}, {None}),
    "handler": ({"rank_died"}, {None}),
    "checkpoint": ({"rank_died"}, {None}),
    "collective": ({"rank_died"}, {None}),
    "events": ({"rank_died"}, {None}),
    "setup": ({"rank_died", "closed"}, {16, 20}),
    "teardown": ({"closed"}, {15}),
}
POLICIES = {"ends": ENDS, "regroups": REGROUPS}
# A payload for which a rank has no memory: rank 0 refuses it and lives; another rank gives up, and its own word is in the
# log, not in the launcher's last line.
NO_MEMORY = ("broadcast", "oom")
REFUSED = ({"internal", "system_error"}, {None})


class Row:
    """One death: starts a job, lets it happen, looks at what came of it."""

    def __init__(self, moment, way, rank, ranks, policy):
        self.moment, self.way, self.rank, self.ranks, self.policy = moment, way, rank, ranks, policy
        self.sandbox = Sandbox()
        self.orders = os.path.join(self.sandbox.folder, "orders")
        self.stamp = os.path.join(self.sandbox.folder, "stamp")
        os.mkdir(self.orders)
        self.job, self.died, self.got, self.heard, self.gone = None, None, "nothing", None, None
        self.problems, self.known = [], False  # known: mpirun hung in its own end

    def run(self):
        try:
            self.start()
            if self.moment == "setup":
                self.ask(self.job.connect(), lambda client: client.status(wait=True))
            else:
                with self.job.connect() as client:
                    getattr(self, "die_" + self.moment, self.die_in_call)(client)
            self.look()
        except (AssertionError, OSError, JobError) as problem:
            self.problems.append(str(problem))
        except BaseException:
            self.problems.append("interrupted")
            raise
        finally:
            self.finish()

    def start(self):
        setup = {"orders": self.orders, "way": self.way, "stamp": self.stamp}
        if self.moment in ("setup", "teardown"):
            setup[self.moment] = self.rank
        self.job = harness.Job(self.sandbox, ranks=self.ranks, worker="fault_worker", setup=json.dumps(setup),
                               options=("--restarts", "10" if self.policy == "regroups" else "0"), ready=self.moment != "setup")

    # ---- The moments ----

    def order(self):
        """By the worker's own hand, whatever it does just now."""
        with open(os.path.join(self.orders, "order.%d" % self.rank), "w") as fifo:
            fifo.write(self.way)

    def die_idle(self, client):
        self.order()
        self.ask(client, lambda client: client.receive())

    def die_broadcast(self, client):
        """The rank is stopped while the call is announced, and never takes part."""
        large = bytes(4 << 20) if self.rank else b""  # rank 0 must take it in before it is stopped
        call = calls.Call("work", "work", {"seconds": 0.3}, data=large)  # longer than it takes to die when the process goes on
        if self.way == "oom":
            limit = calls.Call("limit", "limit", {"rank": self.rank, "room": 16 << 20})
            client.outcome(client.submit(limit.handler, limit.payload()))
            call = calls.Call("large", "echo", data=bytes(64 << 20))
            self.died = time.monotonic()
            self.ask(client, lambda client: client.outcome(client.submit(call.handler, call.payload())))
            return
        pid = self.job.pids[self.rank]
        os.kill(pid, signal.SIGSTOP)
        id = client.submit(call.handler, call.payload())
        if self.rank != 0:
            client.ping()  # comes back when the call has been announced
        if self.way in SIGNALS:
            self.died = time.monotonic()
            os.kill(pid, SIGNALS[self.way])
        else:
            self.order()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        self.ask(client, lambda client: client.outcome(id))

    def die_in_call(self, client):
        asks = {"rank": self.rank, "way": self.way, "moment": self.moment, "stamp": self.stamp}
        call = calls.Call("death", "die", asks, stream=self.moment == "events")
        id = client.submit(call.handler, call.payload(), STREAM if call.stream else INVOKE)
        self.ask(client, lambda client: list(client.items(id)))

    def die_teardown(self, client):
        self.ask(client, lambda client: client.stop())
        if self.got == "result":
            self.got = "closed"  # that is how a stop ends

    # ---- What comes of it ----

    def ask(self, client, question):
        client.socket.settimeout(LIMIT * harness.SLOW if self.policy == "ends" or self.moment != "idle" else 1)
        try:
            question(client)
            self.got = "result"
        except JobError as error:
            self.got = error.name
            self.message = str(error)
            if error.name == "rank_died" and error.rank != self.rank:
                self.problems.append("rank %d is blamed: %s" % (error.rank, error))
        except TimeoutError:
            self.got = "nothing"
        except ConnectionError:
            self.got = "closed"
        self.heard = time.monotonic()

    def is_gone(self):
        return not self.job.running() and not self.sandbox.processes()

    def is_gone_soon(self):
        with contextlib.suppress(AssertionError):
            wait_until(self.is_gone, "the job to be gone", SOON * harness.SLOW)
        return self.is_gone()

    def look_at_rest(self):
        """Why the job is not gone: an mpirun that hangs after its ranks have gone is known, all else is a problem."""
        if not any(os.path.exists("/proc/%d" % pid) for pid in getattr(self.job, "pids", [])):
            self.known = True
            return
        path = os.path.join(tempfile.gettempdir(), "rankcall-death-%s-%s-%d" % (self.moment, self.way, self.rank))
        with open(path, "w") as file:
            file.write(faults.stacks(self.sandbox.processes()) + self.job.output())
        self.problems.append("the job still runs after %g s; see %s" % (SOON, path))

    def look(self):
        no_memory = (self.moment, self.way) == NO_MEMORY
        outcomes, statuses = REFUSED if no_memory and self.rank == 0 else POLICIES[self.policy][self.moment]
        if os.path.exists(self.stamp):
            with open(self.stamp) as file:
                self.died = float(file.read())
        if self.died is None:
            self.problems.append("the rank did not die")
        if self.got not in outcomes:
            self.problems.append("the client got %s instead of %s: %s" % (
                self.got, " or ".join(sorted(outcomes)), getattr(self, "message", "")))
        if None in statuses:
            self.look_at_life()
        else:
            self.look_at_death(statuses)

    def look_at_life(self):
        history = History()
        small = calls.Call(plans.token(random.Random(2)), "echo")
        caller = calls.Caller("next", self.job.path, history, [[small]], LIMIT)
        caller.run()
        if not any(record["what"] == "outcome" and record["how"] == "result" for record in history.records):
            self.problems.append("the job does not serve the next call")
        self.status = self.job.process.poll()

    def look_at_death(self, statuses):
        try:
            if not self.is_gone_soon():
                self.look_at_rest()
            wait_until(self.is_gone, "the job to be gone", LIMIT * harness.SLOW)
        except AssertionError as problem:
            self.problems.append("%s: %s" % (problem, "; ".join(self.sandbox.describe_processes())))
            return
        self.gone = time.monotonic()
        self.status = self.job.wait()
        if self.status not in statuses:
            self.problems.append("the launcher's exit status is %s, not %s" % (self.status, sorted(statuses)))
        lines = self.job.output().splitlines()
        own = (self.moment, self.way) == NO_MEMORY
        last = lines if own else [line for line in lines if line.startswith("rankcall:")][-1:]
        if self.known and checker.HUNG_MPIRUN in "".join(last):
            return
        if "rank %d" % self.rank not in "".join(last):
            self.problems.append("the launcher does not blame rank %d: %s" % (self.rank, "".join(last) or "it says nothing"))

    def finish(self):
        if self.job and self.job.running() and not self.problems:
            self.job.stop()
        with contextlib.suppress(AssertionError):
            if not self.problems:
                wait_until(lambda: not self.sandbox.leftovers(), "leftovers to go", 3)
        if not self.problems:
            self.problems += ["left behind: " + thing for thing in self.sandbox.leftovers()]
        if self.job:
            self.job.kill()
        self.sandbox.kill_processes()
        for path in self.sandbox.leftover_shared_memory():
            os.unlink(path)
        self.sandbox.remove()

    def after(self, when):
        return "-" if when is None or self.died is None else "%.1f" % (1e3 * (when - self.died))

    def cells(self):
        return (self.moment, self.way, str(self.rank), self.got, self.after(self.heard), self.after(self.gone),
                str(getattr(self, "status", "-")), "FAILED" if self.problems else "ok, but mpirun hung" if self.known else "ok")


def main():
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit("signal %d" % number))
    parser = argparse.ArgumentParser(description="What comes of a rank's death, by moment, way and rank.")
    parser.add_argument("--ranks", type=int, default=3)
    parser.add_argument("--after-death", choices=("ends", "regroups"), default="ends")
    parser.add_argument("part", nargs="*", help="only rows whose text contains one of these")
    arguments = parser.parse_args()
    form = "%-11s %-6s %4s  %-12s %9s %9s %7s  %s"
    print(form % ("moment", "way", "rank", "client got", "after ms", "gone ms", "status", ""))
    bad = rows = 0
    for moment in MOMENTS:
        for way in WAYS:
            for rank in sorted({0, arguments.ranks - 1}):
                text = "%s %s %d" % (moment, way, rank)
                if arguments.part and not any(part in text for part in arguments.part):
                    continue
                row = Row(moment, way, rank, arguments.ranks, arguments.after_death)
                row.run()
                print(form % row.cells())
                for problem in row.problems:
                    print("            > " + problem)
                sys.stdout.flush()
                rows += 1
                bad += bool(row.problems)
    print("%s %d deaths, %d not as they should be" % ("FAILED" if bad else "pass  ", rows, bad))
    return 1 if bad or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
