#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Rounds of faults: clients call a job while it is hurt; a history is written and checked; a tally comes at the end.

    RANKCALL_COMMAND=PREFIX/bin/rankcall RANKCALL_TEST_PROGRAMS=BUILD python3 tests/faults/drive.py --seed 1 --rounds 100
"""

import argparse
import collections
import contextlib
import faulthandler
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import calls  # first: it knows where the tests' own client is
import checker
import faults
import harness
import plans
from history import History
from sandbox import Sandbox, listing, wait_until

DISK = {"ends": "24m", "restarts": "1g"}  # on which the job's socket, temporary files and log lie: a replacement takes some
BOUND = 15.0  # seconds in which a call must have ended, whatever happens
QUEUE = 64
ROOMS = 16  # that rank 0 may keep: RK_ROOMS
# What the log says when regrouping got stuck in Open MPI: for too long, or in a replacement's MPI_Init (src/mesh/stuck.c).
STUCK = ("cannot regroup: no replacement has come up in time", "An error occurred in MPI_Init_thread")
LIFE = 25  # rounds after which a job that still lives is stopped in order


class Sick(Exception):
    """The job does not do what it must; the text says what."""


def descriptors(pid):
    """But for those of the memory that rank 0 receives large payloads into, of which it keeps a few."""
    found, rooms = 0, 0
    for name in listing("/proc/%d/fd" % pid):
        with contextlib.suppress(OSError):
            room = os.readlink("/proc/%d/fd/%s" % (pid, name)).startswith("/memfd:rankcall-payload")
            found, rooms = found + (not room), rooms + room
    return found + max(0, rooms - ROOMS)


class Ward:
    """The job that is hurt, and the one after it, and so on."""

    def __init__(self, ranks, scratch, after_death):
        self.ranks, self.after_death = ranks, after_death
        self.runs, self.dawdle = os.path.join(scratch, "runs"), os.path.join(scratch, "dawdle")  # see worker.c
        self.sandbox = Sandbox()
        self.job, self.age, self.buried, self.read = None, 0, "", 0

    def start(self):
        restarts = "1000000" if self.after_death == "restarts" else "0"
        self.job = harness.Job(self.sandbox, ranks=self.ranks, worker="fault_worker",
                               setup=json.dumps({"log": self.runs, "dawdle": self.dawdle}),
                               options=("--queue", str(QUEUE), "--restarts", restarts))
        self.age = 0
        self.next_call()
        self.look()

    def next_call(self):
        """A call that must go well, from a client of its own."""
        history = History()
        call = plans.add_up(random.Random())
        caller = calls.Caller("next", self.job.path, history, [[call]], BOUND * harness.SLOW)
        caller.start()
        caller.join(2 * BOUND * harness.SLOW)
        found = checker.check([self.head(), *history.records])
        if caller.is_alive() or caller.hung.is_set() or found:
            raise Sick("; ".join(text for _, text in found) or "it does not end")

    def head(self, **fields):
        return {"what": "round", "t": time.monotonic(), "round": -1, "seed": 0, "ranks": self.ranks, "after_death": self.after_death,
                "slow": harness.SLOW, "queue": QUEUE, **fields}

    def look(self):
        """What a job at rest looks like: its processes, connections and rank 0's descriptors."""
        with self.job.connect() as client:
            status = client.status(wait=True)
        self.job.pids = [rank["pid"] for rank in status["ranks"]]
        self.pids, self.connections = list(self.job.pids), status["connections"]
        self.descriptors, self.frontend = descriptors(self.pids[0]), self.pids[0]
        self.launcher_descriptors = descriptors(self.job.process.pid)

    def await_wholeness(self, dead):
        """After deaths that the job should survive: until all its ranks are READY again, or it has ended all the same."""
        def ready():
            with contextlib.suppress(OSError, calls.wire.JobError), calls.wire.Client(self.job.path, BOUND) as client:
                status, mpirun = client.status(), faults.mpirun_of(self.job.process.pid)
                pids = {rank["pid"] for rank in status["ranks"]}
                return status["state"] == "ready" and not dead & pids and all(
                    faults.parent_of(pid) == mpirun not in dead for pid in pids)
            return not self.job.running()

        with contextlib.suppress(AssertionError):
            wait_until(ready, "the job to be whole again", 2 * BOUND * harness.SLOW)

    def restarts(self):
        """How often the launcher has started the job anew, and how often the living have given up regrouping."""
        text = self.job.output()
        stuck = sum(text.count(sign) for sign in STUCK)
        return text.count("starting the job again"), stuck

    def new_runs(self, tokens):
        """What handlers have written down since the last time, of these calls."""
        found = []
        with contextlib.suppress(FileNotFoundError), open(self.runs) as file:
            file.seek(self.read)
            for line in file:
                token, rank, number, pid, run = line.split()
                if token in tokens:
                    found.append({"what": "run", "t": int(run) / 1e6, "call": token, "rank": int(rank), "number": int(number),
                                  "pid": int(pid), "run": int(run)})
            self.read = file.tell()
        return found

    def look_again(self):
        """The same after a round, when what is to go has gone: (pids, connections, descriptors)."""
        end = time.monotonic() + 3 * harness.SLOW
        while True:
            with self.job.connect() as client:
                status = client.status()
            pids = [rank["pid"] for rank in status["ranks"]]
            if pids[0] != self.frontend:  # another process: its own measure
                self.frontend, self.descriptors = pids[0], descriptors(pids[0])
            seen = pids, status["connections"], descriptors(pids[0]), descriptors(self.job.process.pid)
            if (seen[1] <= self.connections and seen[2] <= self.descriptors + checker.FEW and
                    seen[3] <= self.launcher_descriptors + checker.FEW) or time.monotonic() > end:
                self.job.pids = pids
                return seen
            time.sleep(0.01)

    def strays(self, known):
        """What a job at rest must not have: processes beside launcher, watcher, mpirun and ranks; files in its folder; named
        memory and pipes of those ranks, which lose their names when all have opened them. `known`: ranks, dead ones too."""
        launcher, known = self.job.process.pid, known | set(self.job.pids)
        own = {"%s.sock" % self.job.name, *(".%d.%s" % (launcher, what) for what in ("launcher", "leftovers", "setup"))}
        expected = {launcher, *self.job.pids, *faults.children_of(launcher)}

        def look():
            found = ["process %d (%s)" % (pid, faults.process_name(pid))
                     for pid in self.sandbox.processes() if pid not in expected]
            found += ["file " + name for name in listing(self.sandbox.runtime) if name not in own]
            for folder, start in (("/dev/shm", "rankcall-"), ("/tmp", "rankcall-pipe-")):
                found += ["file %s/%s" % (folder, name) for name in listing(folder)
                          if any(name.startswith("%s%d-" % (start, pid)) for pid in known)]
            return found

        with contextlib.suppress(AssertionError):
            wait_until(lambda: not look(), "strays to go", 5 * harness.SLOW)
        return look()

    def gone(self):
        return not self.job.running() and not self.sandbox.processes()

    def left(self):
        """What a job that has ended has left behind; logs are ours."""
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self.sandbox.leftovers(), "leftovers to go", 5 * harness.SLOW)
        return self.sandbox.leftovers()

    def bury(self):
        """Away with what is left of a job, its log, and what it should have removed itself."""
        self.job.kill()
        self.buried = self.job.output()
        self.sandbox.kill_processes()
        for name in self.sandbox.leftover_shared_memory():
            with contextlib.suppress(OSError):
                os.unlink(name)
        for top in (self.sandbox.runtime, self.sandbox.temporary):
            for name in listing(top):
                path = os.path.join(top, name)
                shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else os.unlink(path)
        for path in (self.job.out_path, self.job.err_path):
            os.unlink(path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.runs)
        self.job, self.read = None, 0

    def stop(self):
        """In order; returns what is left behind, and how it went."""
        self.job.stop()
        left = self.left()
        self.bury()
        return left


class Driver:
    def __init__(self, arguments, ward, scratch, disk):
        self.seed, self.after_death, self.verbose = arguments.seed, arguments.after_death, arguments.verbose
        self.keep_all = arguments.keep_all
        self.ways = {}  # how handlers die that write into that file
        self.kept_top, self.ward, self.scratch, self.disk = arguments.keep, ward, scratch, disk
        self.outcomes, self.kinds = collections.Counter(), collections.Counter()
        self.violations, self.detections, self.kept = [], [], []
        self.rounds, self.hung_mpiruns, self.restarts, self.stuck, self.returns = 0, 0, 0, 0, []

    def keep(self, number, history, processes=()):
        """A folder with all that is known of a round; named in the output."""
        folder = os.path.join(self.kept_top, "rankcall-faults-%d-%d" % (self.seed, number))
        if not os.path.isdir(folder):
            os.makedirs(folder)
            self.kept.append(folder)
        with open(os.path.join(folder, "history.jsonl"), "w") as file:
            file.write(history.lines())
        if self.ward.job:
            with contextlib.suppress(OSError), open(os.path.join(folder, "log"), "w") as file:
                file.write(self.ward.job.output())
        with open(os.path.join(folder, "log-of-the-job-before"), "w") as file:
            file.write(self.ward.buried)
        if processes:
            with open(os.path.join(folder, "stacks"), "w") as file:
                file.write(faults.stacks(processes))
            with open(os.path.join(folder, "clients"), "w") as file:  # where they wait, and what their sockets hold
                faulthandler.dump_traceback(file)
                file.flush()
                with contextlib.suppress(FileNotFoundError):
                    subprocess.run(["ss", "-xmp"], stdout=file, stderr=subprocess.DEVNULL, check=False)
        return folder

    def round(self, number):
        rng = random.Random("%d/%d" % (self.seed, number))
        stamp = os.path.join(self.scratch, "stamp-%d" % number)
        plan = plans.Plan(rng, self.ward.ranks, self.after_death, stamp, self.disk is not None)
        self.ways.update({stamp: call.asks["way"] for client in plan.clients for batch in client["batches"]
                          for call in batch if call.handler == "die"})
        if not self.ward.job:
            self.ward.start()
        history, ward, job = History(), self.ward, self.ward.job
        history.records.append(ward.head(
            round=number, seed=self.seed, pids=ward.pids, connections=ward.connections, descriptors=ward.descriptors,
            launcher_descriptors=ward.launcher_descriptors))
        before = ward.restarts()
        watchers = self.act(rng, plan, history, number)
        history.records += ward.new_runs({record["call"] for record in history.records if record["what"] == "submit"})
        self.note_deaths(history)
        self.examine(history, number, watchers, before)
        found = checker.check(history.records)
        self.count(history)
        if self.keep_all:
            self.keep(number, history)
        if found:
            folder = self.keep(number, history)
            self.tell(number, found)
            print("       kept in %s" % folder)
            if job is self.ward.job:  # the next round begins with a sound one
                self.ward.bury()
        if self.verbose:
            print("round %d: %s, %.2f s" % (number, ", ".join(plan.names) or "no fault",
                                            time.monotonic() - history.records[0]["t"]))
        sys.stdout.flush()

    def tell(self, number, found):
        """A few of each kind: one defect can have thousands of witnesses."""
        told = collections.Counter()
        for kind, text in found:
            self.violations.append(kind)
            told[kind] += 1
            if told[kind] <= 3:
                print("FAILED round %d: %s: %s" % (number, kind, text))
        for kind, count in told.items():
            if count > 3:
                print("FAILED round %d: %s: %d more" % (number, kind, count - 3))

    def act(self, rng, plan, history, number):
        job = self.ward.job
        agenda = faults.Agenda(history)
        agenda.start()
        harm = faults.Faults(rng, job, history, agenda, self.disk, self.ward.dawdle)
        watchers = [calls.Watcher(job.path, history, resume) for resume in (False, True)]
        for watcher in watchers:
            watcher.start()
        callers = [calls.Caller(path=job.path, history=history, bound=BOUND * harness.SLOW, agenda=agenda, **client)
                   for client in plan.clients]
        for caller in callers:
            caller.start()
        for when, name in plan.faults:
            agenda.after(when, harm.inject, name)
        end = time.monotonic() + 4 * BOUND * harness.SLOW  # batches follow each other
        while any(caller.is_alive() for caller in callers) and time.monotonic() < end:
            for caller in callers:
                caller.join(0.05)
            if any(caller.hung.is_set() for caller in callers):
                break
        agenda.finish()
        late = [caller for caller in callers if caller.is_alive() or caller.hung.is_set()]
        if late or not harm.join(BOUND * harness.SLOW):
            self.hung(late, history, number)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.ward.dawdle)
        return watchers

    def hung(self, late, history, number):
        names = [call.token for caller in late for call in list(caller.open.values())]
        folder = self.keep(number, history, self.ward.sandbox.processes())
        history.write("hung", calls=names or ["(of a hostile client)"], folder=folder)
        for caller in late:
            caller.cut_now()
            caller.join(5)

    def note_deaths(self, history):
        """The moments of deaths by handler, from the files that they wrote: a line each, when and who. One of a call whose
        client has left may be of the round before."""
        ranks = {pid: rank for rank, pid in enumerate(self.ward.pids)}
        ranks.update({run["pid"]: run["rank"] for run in history.records if run["what"] == "run"})
        for stamp, way in list(self.ways.items()):
            if not os.path.exists(stamp):
                continue
            number = {"kill": signal.SIGKILL, "segv": signal.SIGSEGV, "abort": signal.SIGABRT}.get(way)
            with open(stamp) as file:
                deaths = [line.split() for line in file]
            os.unlink(stamp)
            for when, pid in deaths:
                record = history.write("fault", kind="die", deadly=True, rank=ranks.get(int(pid)), pid=int(pid),
                                       signal=number and int(number), together=False)
                record["t"] = float(when)
        for stamp in list(self.ways)[:-8]:
            del self.ways[stamp]

    def examine(self, history, number, watchers, before):
        """After the round: the job is as it should be, or gone without a trace; the next call goes well."""
        ward = self.ward
        deaths = [fault for fault in history.records if fault["what"] == "fault" and fault["deadly"]]
        deadly = {fault["kind"] for fault in deaths}
        ends = deadly and (self.after_death == "ends" or deadly & {"launcher-kill", "launcher-term"})
        if ends:
            with contextlib.suppress(AssertionError):
                wait_until(ward.gone, "the job to end", 30 * harness.SLOW)
            if not ward.gone():
                self.keep(number, history, ward.sandbox.processes())
        try:
            if deadly and not ends:
                ward.await_wholeness({fault["pid"] for fault in deaths})
                with contextlib.suppress(AssertionError):
                    wait_until(lambda: not watchers[1].away.is_set(), "the watcher to be back", BOUND * harness.SLOW)
            for watcher in watchers:
                watcher.leave()
            if ward.job.running():
                self.examine_living(history, ends, before)
            if not ward.job.running():
                self.examine_dead(history)
                ward.start()
            ward.age += 1
            history.write("settled", ok=True, why="")
        except (Sick, AssertionError, OSError, calls.wire.JobError) as problem:
            folder = self.keep(number, history, ward.sandbox.processes())
            history.write("settled", ok=False, why="%s (see %s)" % (problem, folder))
            if ward.job:
                ward.bury()

    def examine_living(self, history, ends, before):
        ward = self.ward
        job = {"alive": True, "status": None, "text": "", "launcher": ward.job.process.pid, "pids": ward.pids,
               "connections": 0, "descriptors": 0, "launcher_descriptors": 0, "strays": []}
        if not ends:
            ward.next_call()
            job["pids"], job["connections"], job["descriptors"], job["launcher_descriptors"] = ward.look_again()
            job["strays"] = ward.strays({*ward.pids, *(one["pid"] for one in history.records
                                                       if one["what"] == "fault" and one["deadly"] and one["pid"])})
        job["restarted"], job["stuck"] = (now - then for now, then in zip(ward.restarts(), before))
        history.write("job", **job)
        self.restarts += job["restarted"]
        self.stuck += job["restarted"] and job["stuck"] > 0
        if ends:
            raise Sick("the job should have ended")
        if ward.age >= LIFE:
            history.write("left", things=ward.stop())
            ward.start()
        else:
            ward.pids = list(ward.job.pids)

    def examine_dead(self, history):
        ward = self.ward
        text = ward.job.output()
        lines = [line for line in text.splitlines() if line.startswith("rankcall")] or text.splitlines()[-5:]
        history.write("job", alive=False, status=ward.job.wait(), text=" | ".join(lines[-5:]), launcher=0, pids=[],
                      connections=0, descriptors=0, launcher_descriptors=0, restarted=0, stuck=0)
        history.write("left", things=ward.left())
        ward.bury()

    def count(self, history):
        self.rounds += 1
        for record in history.records:
            if record["what"] == "outcome":
                self.outcomes[checker.name_of(record)] += 1
            elif record["what"] == "fault":
                self.kinds[record["kind"]] += 1
            elif record["what"] == "cut":
                self.kinds["client: " + record["how"]] += 1
        self.detections += checker.detection(history.records)
        self.returns += checker.returns(history.records)
        self.hung_mpiruns += checker.hung_mpiruns(history.records)

    def tally(self, seconds):
        def row(counter):
            return ", ".join("%s %d" % pair for pair in sorted(counter.items(), key=lambda pair: -pair[1])) or "none"

        print("rounds      %d with seed %d, %d ranks, %.1f s" % (self.rounds, self.seed, self.ward.ranks, seconds))
        print("calls       %d: %s" % (sum(self.outcomes.values()), row(self.outcomes)))
        print("faults      %d: %s" % (sum(self.kinds.values()), row(self.kinds)))
        for name, what, found in (("deaths", "noticed by a client", self.detections), ("returns", "of clients", self.returns)):
            if found:
                times = sorted(found)
                print("%-11s %d %s after ms: median %.1f, p99 %.1f, max %.1f" % (
                    name, len(times), what, 1e3 * times[len(times) // 2], 1e3 * times[math.ceil(0.99 * len(times)) - 1],
                    1e3 * times[-1]))
        if self.restarts:
            print("restarts    %d of the whole job" % self.restarts)
        if self.stuck:
            print("known       %d times regrouping got stuck in MPI, and the whole job was started again" % self.stuck)
        if self.hung_mpiruns:
            print("known       %d times mpirun hung after its ranks had gone, and the launcher killed it" % self.hung_mpiruns)
        print("violations  %d: %s" % (len(self.violations), row(collections.Counter(self.violations))))
        for folder in self.kept:
            print("kept        %s" % folder)


def run(arguments, scratch):
    top = os.path.join(scratch, "disk")
    os.mkdir(top)
    why_no_disk = faults.private_disk(top, DISK[arguments.after_death])
    if why_no_disk:
        print("skip   full disks: %s" % why_no_disk)
    tempfile.tempdir = top
    ward = Ward(arguments.ranks, scratch, arguments.after_death)
    driver = Driver(arguments, ward, scratch, None if why_no_disk else top)
    began = time.monotonic()
    numbers = [arguments.round] if arguments.round is not None else range(arguments.rounds)
    try:
        for number in numbers:
            driver.round(number)
            if driver.rounds % 500 == 0:
                print("%d rounds, %d violations, %.0f s" % (driver.rounds, len(driver.violations), time.monotonic() - began))
        if ward.job:
            left = ward.stop()
            if left:
                driver.violations.append("left-behind")
                print("FAILED the last stop: left behind: %s" % "; ".join(left))
    finally:
        if ward.job:
            ward.bury()
        ward.sandbox.remove()
        if not why_no_disk:
            subprocess.run(["umount", "-l", top], check=False)
        driver.tally(time.monotonic() - began)
    print("%s %d rounds of faults, seed %d" % ("FAILED" if driver.violations else "pass  ", driver.rounds, arguments.seed))
    return 1 if driver.violations else 0


def main():
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit("signal %d" % number))
    parser = argparse.ArgumentParser(description="Rounds of faults against a job, and their check.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--round", type=int, help="only this round")
    parser.add_argument("--ranks", type=int, default=3)
    parser.add_argument("--after-death", choices=("ends", "restarts"), default="restarts",
                        help="what the job must do when a rank has died")
    parser.add_argument("--keep", default=tempfile.gettempdir(), help="where the folders of bad rounds go")
    parser.add_argument("--keep-all", action="store_true", help="keeps the histories of good rounds too")
    parser.add_argument("--verbose", action="store_true", help="a line a round")
    arguments = parser.parse_args()
    scratch = tempfile.mkdtemp(prefix="rk-faults-")
    try:
        return run(arguments, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
