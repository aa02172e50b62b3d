#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""The death table: a rank dies in every way at every moment of a job's life; what the client gets, and after how long.

    RANKCALL_COMMAND=PREFIX/bin/rankcall RANKCALL_TEST_PROGRAMS=BUILD python3 tests/faults/death_table.py [PART...]

Without a PART all rows; else those whose "moment way rank" contains one of them, as in "handler kill" or "idle". Where
the job goes on after a death, the rows share one, and the client is one that comes back.
"""

import argparse
import contextlib
import json
import os
import random
import re
import signal
import sys
import tempfile
import time

import calls  # first: it knows where the tests' own client is
import checker
import faults
import harness
import plans
from resuming_client import ResumingClient
from sandbox import Sandbox, wait_until
from strangers_client import ERROR, INVOKE, STREAM, JobError

# "mpi": in a collective of MPI's own, which can't be interrupted: the others are killed after a grace time.
MOMENTS = ("idle", "broadcast", "handler", "checkpoint", "collective", "events", "mpi", "setup", "teardown")
WAYS = ("kill", "segv", "abort", "exit", "quit", "oom")
QUICK = ("kill", "exit")
SIGNALS = {"kill": signal.SIGKILL, "segv": signal.SIGSEGV, "abort": signal.SIGABRT}
LIMIT = 30.0  # seconds in which the client must hear of it, and the job be gone or whole again
SOON = 5.0  # seconds in which the job should be gone

# What may come, by moment: what the client gets, and the launcher's exit status (None: the job goes on).
ENDS = {
    "idle": ({"closed"}, {15}),
    "broadcast": ({"rank_died", "closed"}, {15}),
    "handler": ({"rank_died", "closed"}, {15}),
    "checkpoint": ({"rank_died", "closed"}, {15}),
    "collective": ({"rank_died", "closed"}, {15}),
    "events": ({"rank_died", "closed"}, {15}),
    "mpi": ({"rank_died", "closed"}, {15}),
    "setup": ({"rank_died", "closed"}, {16, 20}),
    "teardown": ({"rank_died", "closed"}, {15}),
}
RESTARTS = {moment: ({"rank_died"}, {None}) for moment in MOMENTS[1:7]}
RESTARTS.update({"idle": ({"nothing"}, {None}), "setup": ({"rank_died"}, {16}), "teardown": ({"rank_died"}, {15})})
RANK_0 = {"idle": {"away"}, "broadcast": {"rank_died", "result"}}  # a call that rank 0 has not yet seen is sent again
POLICIES = {"ends": ENDS, "restarts": RESTARTS}
ALONE = ("setup", "teardown")  # moments after which no job is left
VERDICT = re.compile(r"rankcall: [a-z]+_[a-z]+( on rank \d+.*)?: ")  # the launcher's word; the rank's own last ones come below it
# A payload for which a rank has no memory: rank 0 refuses it and lives; another rank gives up, and its own word is in the
# log, not in the launcher's last line.
NO_MEMORY = ("broadcast", "oom")
REFUSED = ({"internal", "system_error"}, {None})


class Stage:
    """A job and what belongs to it."""

    def __init__(self, ranks, policy, moment="", rank=0, way=""):
        self.sandbox = Sandbox()
        self.orders = os.path.join(self.sandbox.folder, "orders")
        self.stamp = os.path.join(self.sandbox.folder, "stamp")
        os.mkdir(self.orders)
        self.go = os.path.join(self.sandbox.folder, "go")
        setup = {"orders": self.orders, "way": way, "stamp": self.stamp, "go": self.go}
        if moment in ALONE:
            setup[moment] = rank
        self.job = harness.Job(self.sandbox, ranks=ranks, worker="fault_worker", setup=json.dumps(setup),
                               options=("--restarts", "1000000" if policy == "restarts" else "0"), ready=moment != "setup")

    def clear(self, problems):
        """Away with it; adds what is left behind to the problems, where there are none yet."""
        if self.job.running() and not problems:
            with contextlib.suppress(AssertionError):
                self.job.stop()
        with contextlib.suppress(AssertionError):
            if not problems:
                wait_until(lambda: not self.sandbox.leftovers(), "leftovers to go", 3)
        if not problems:
            problems += ["left behind: " + thing for thing in self.sandbox.leftovers()]
        self.job.kill()
        self.sandbox.kill_processes()
        for path in self.sandbox.leftover_shared_memory():
            os.unlink(path)
        self.sandbox.remove()


class Row:
    """One death: lets it happen, looks at what came of it."""

    def __init__(self, moment, way, rank, ranks, policy):
        self.moment, self.way, self.rank, self.ranks, self.policy = moment, way, rank, ranks, policy
        self.died, self.got, self.heard, self.gone, self.served, self.message = None, "nothing", None, None, None, ""
        self.pid = 0  # of who died, where its own word is needed for that
        self.problems, self.known = [], False  # known: mpirun hung in its own end
        self.goes_on = None in POLICIES[policy][moment][1]

    def run(self, stage):
        """Returns the stage when the next row may use it."""
        try:
            self.stage = stage = stage if stage and self.goes_on else self.start()
            self.sandbox, self.orders, self.stamp, self.job = stage.sandbox, stage.orders, stage.stamp, stage.job
            if self.moment == "setup":
                wait_until(lambda: os.path.exists(self.job.path), "the job's socket", LIMIT * harness.SLOW)
                with self.client() as client:
                    id = client.submit(self.echo().handler, self.echo().payload())
                    with open(stage.go, "w"):
                        self.ask(client, lambda client: client.outcome(id))
            else:
                with self.client() as client:
                    getattr(self, "die_" + self.moment, self.die_in_call)(client)
                    if self.goes_on:
                        self.look_at_life(client)
            self.look()
        except (AssertionError, OSError, JobError) as problem:
            self.problems.append("%s: %s" % (type(problem).__name__, problem))
        except BaseException:
            self.problems.append("interrupted")
            raise
        finally:
            if self.problems or not self.goes_on or self.way == "oom":
                stage = stage and stage.clear(self.problems)
        return stage

    def start(self):
        return Stage(self.ranks, self.policy, self.moment, self.rank, self.way)

    def client(self):
        if self.policy == "ends":
            return self.job.connect()
        return ResumingClient(self.job.path, LIMIT * harness.SLOW, self.tell)

    def tell(self, what, **fields):
        if what == "lost" and self.heard is None:
            self.heard = time.monotonic()
        elif what == "away" and self.got == "nothing":
            self.got, self.message = "away", fields["reason"]["message"]

    @staticmethod
    def echo():
        return calls.Call(plans.token(random.Random(2)), "echo")

    # ---- The moments ----

    def order(self):
        """By the worker's own hand, whatever it does just now."""
        with open(os.path.join(self.orders, "order.%d" % self.rank), "w") as fifo:
            fifo.write(self.way)

    def die_idle(self, client):
        self.order()
        if not self.goes_on:
            self.ask(client, lambda client: client.receive())
            return
        wait_until(lambda: not faults.is_alive(self.job.pids[self.rank]), "the rank to die", 10)
        time.sleep(0.05)  # a call that begins before the death is noticed would fail with it

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
        self.ask(client, self.stop)

    @staticmethod
    def stop(client):
        for got in client.stop():
            if got.type == ERROR:
                raise JobError(got)
        raise ConnectionError("it has stopped")

    # ---- What comes of it ----

    def ask(self, client, question):
        client.socket.settimeout(LIMIT * harness.SLOW)
        try:
            try:
                question(client)
                self.got = "result"
            except ConnectionError:
                word = getattr(client, "last_word", None)
                if word is None:
                    raise
                raise JobError(word) from None
        except JobError as error:
            self.got = error.name
            self.message = str(error)
            if error.name == "rank_died" and error.rank != self.rank:
                self.problems.append("rank %d is blamed: %s" % (error.rank, error))
        except TimeoutError:
            self.got = "nothing"
        except ConnectionError as error:
            self.got, self.message = "closed", str(error)
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
        if self.goes_on and (self.rank == 0 or self.got == "away" and self.way == "quit") and not no_memory:
            outcomes = RANK_0.get(self.moment, outcomes)
        if os.path.exists(self.stamp):
            with open(self.stamp) as file:
                when, pid = file.read().split()[:2]
            self.died, self.pid = float(when), int(pid)
            os.unlink(self.stamp)
        if self.died is None:
            self.problems.append("the rank did not die")
        if self.got not in outcomes:
            self.problems.append("the client got %s instead of %s: %s" % (
                self.got, " or ".join(sorted(outcomes)), self.message))
        if self.policy == "restarts" and self.got in ("rank_died", "away"):
            self.look_at_message()
        if None not in statuses:
            self.look_at_death(statuses)
        elif self.goes_on:
            self.job.pids = self.pids_after

    def look_at_message(self):
        how = "signal %d" % SIGNALS[self.way] if self.way in SIGNALS else "exit status 3" if self.way in ("exit", "quit") else ""
        for text in ("rank %d" % self.rank, "pid %d)" % (self.pid or self.job.pids[self.rank]), how):
            if text not in self.message:
                self.problems.append("the client's message lacks %r: %s" % (text, self.message))

    def look_at_life(self, client):
        """The same client's next call is served, though it does nothing about it; only the dead rank is another process."""
        heard, got = self.heard, self.got
        call = self.echo()
        client.outcome(client.submit(call.handler, call.payload()))
        self.served, self.status = time.monotonic(), self.job.process.poll()
        if got != "nothing":
            self.heard, self.got = heard, got
        pids = [rank["pid"] for rank in client.status(wait=True)["ranks"]]
        changed = [rank for rank in range(self.ranks) if pids[rank] != self.job.pids[rank]]
        refused = (self.moment, self.way, self.rank) == (*NO_MEMORY, 0)
        whole = self.way == "quit" and len(changed) == self.ranks  # Open MPI 5 does not hear of that: all begin anew
        if self.moment != "mpi" and not whole and changed != ([] if refused else [self.rank]):
            self.problems.append("ranks %s are new" % changed)
        self.pids_after = pids

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
        last = lines if own else [line for line in lines if VERDICT.match(line)][-1:]
        if self.known and checker.HUNG_MPIRUN in "".join(last):
            return
        if "rank %d" % self.rank not in "".join(last):
            self.problems.append("the launcher does not blame rank %d: %s" % (self.rank, "".join(last) or "it says nothing"))

    def after(self, when):
        return "-" if when is None or self.died is None else "%.1f" % (1e3 * (when - self.died))

    def cells(self):
        return (self.moment, self.way, str(self.rank), self.got, self.after(self.heard), self.after(self.served or self.gone),
                str(getattr(self, "status", "-")), "FAILED" if self.problems else "ok, but mpirun hung" if self.known else "ok")


def chosen(arguments):
    for moment in MOMENTS:
        if moment == "mpi" and arguments.quick:
            continue
        for way in QUICK if arguments.quick else WAYS if moment != "mpi" else WAYS[:1]:
            for rank in sorted({0, arguments.ranks - 1}):
                text = "%s %s %d" % (moment, way, rank)
                if not arguments.part or any(part in text for part in arguments.part):
                    yield moment, way, rank


def main():
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit("signal %d" % number))
    parser = argparse.ArgumentParser(description="What comes of a rank's death, by moment, way and rank.")
    parser.add_argument("--ranks", type=int, default=3)
    parser.add_argument("--after-death", choices=sorted(POLICIES), default="restarts")
    parser.add_argument("--quick", action="store_true", help="only the ways %s, and not the moment mpi" % " and ".join(QUICK))
    parser.add_argument("part", nargs="*", help="only rows whose text contains one of these")
    arguments = parser.parse_args()
    form = "%-11s %-6s %4s  %-12s %9s %9s %7s  %s"
    print(form % ("moment", "way", "rank", "client got", "after ms", "served ms" if arguments.after_death == "restarts" else
                  "gone ms", "status", ""))
    bad, rows, stage, left = 0, 0, None, []
    for moment, way, rank in chosen(arguments):
        row = Row(moment, way, rank, arguments.ranks, arguments.after_death)
        stage = row.run(stage) if row.goes_on else row.run(None) or stage
        print(form % row.cells())
        for problem in row.problems:
            print("            > " + problem)
        sys.stdout.flush()
        rows += 1
        bad += bool(row.problems)
    if stage:
        stage.clear(left)
    for problem in left:
        print("            > " + problem)
    bad += bool(left)
    print("%s %d deaths, %d not as they should be" % ("FAILED" if bad else "pass  ", rows, bad))
    return 1 if bad or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
