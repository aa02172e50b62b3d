# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Cases, jobs and the sandbox they run in.

A test file decorates functions with @case and ends with main(). `FILE --list` tells CTest what to run; `FILE` runs every
case; `FILE --ranks 4 --by mpirun PART-OF-A-NAME` runs those whose name contains the part. Cases share one job for each
combination of ranks and way of starting, unless they are `own`: then they start what they need and are tests of their
own. After each the sandbox must be empty: no process, socket, shared-memory file or temporary folder may be left.
"""

import argparse
import contextlib
import ctypes
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
import traceback

import strangers_client
from sandbox import Sandbox, wait_until

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
SLOW = float(os.environ.get("RANKCALL_TEST_SLOW", "1"))  # sanitizers and valgrind take this much longer
ROOM = SLOW * (10 if os.environ.get("RANKCALL_TEST_SANITIZE") else 1)  # and so much more memory
FULL = os.environ.get("RANKCALL_TEST_FULL", "0") != "0"  # the long counts
COMMAND = os.environ.get("RANKCALL_COMMAND", "rankcall")
PROGRAMS = os.environ.get("RANKCALL_TEST_PROGRAMS", os.path.join(os.path.dirname(os.path.abspath(__file__)), "build"))
MPIRUN = os.environ.get("RANKCALL_TEST_MPIRUN", "mpirun")
HOSTS = os.environ.get("RANKCALL_TEST_HOSTS")  # as mpirun's --host takes them: jobs then have several nodes


def mpirun_line():
    """4 or 5: the line of Open MPI that the mpirun belongs to."""
    told = subprocess.run([MPIRUN, "--version"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout
    return 5 if re.search(r"PRRTE|\(Open MPI\) 5\.", told) else 4


class Skip(Exception):
    """Raised with the reason why a case can't run here."""


def program(name):
    return os.path.join(PROGRAMS, name)


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def equal(got, wanted, what=""):
    if got != wanted:
        raise AssertionError("%s: got %.2000r, wanted %.2000r" % (what or "values differ", got, wanted))


@contextlib.contextmanager
def raises(name, rank=None, text=""):
    """The body must end with a JobError of that code (and rank, and text in its message)."""
    try:
        yield
    except strangers_client.JobError as error:
        equal(error.name, name, "the error's code (%s)" % error)
        check(rank is None or error.rank == rank, "rank %s is blamed, not %s: %s" % (error.rank, rank, error))
        check(text in error.body["message"], "%r is not in the message %r" % (text, error.body["message"]))
        return
    raise AssertionError("no error, though %s was due" % name)


class Job:
    """A worker program under the launcher or bare mpirun. Output goes to files in the sandbox."""

    count = 0

    def __init__(self, sandbox, ranks=2, by="launcher", name=None, worker="test_worker", setup=None, options=(),
                 arguments=(), run_options=(), env=None, limits=(), path=None, ready=True, program_path=None,
                 wrapper=(), launcher_wrapper=()):
        Job.count += 1
        self.sandbox, self.by, self.ranks = sandbox, by, ranks
        self.name = "job%d" % Job.count if name is None else name
        self.path = path or os.path.join(sandbox.runtime, self.name + ".sock")
        where = ["--socket", path] if path else ["--name", self.name]
        given = list(options) + (["--setup", setup] if setup is not None else [])
        tail = [program_path or program(worker)]
        if by == "launcher":
            spread = ["--launcher-arg", "--host", "--launcher-arg", HOSTS] if HOSTS else []
            line = [*launcher_wrapper, COMMAND, "run", *spread, "-n", str(ranks), *where, *given, *run_options, "--", *tail, *arguments]
        else:
            own = ["--", *arguments] if arguments else []
            line = [MPIRUN, *(["--host", HOSTS] if HOSTS else []), "-n", str(ranks), *run_options, *wrapper, *tail, *where, *given, *own]
        self.line = line
        self.any_status = False  # the way of starting has an exit status of its own
        self.out_path, self.err_path = (os.path.join(sandbox.folder, "%s-%d.%s" % (self.name, Job.count, end))
                                        for end in ("out", "err"))
        self.process = self.spawn(line, {**sandbox.env, **(env or {})}, limits)
        if ready:
            self.wait_ready()

    def spawn(self, line, env, limits):
        def prepare():
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # should this test be killed at its deadline
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            for which, value in limits:
                resource.setrlimit(which, value)

        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            return subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env,
                                    start_new_session=True, preexec_fn=prepare)

    def connect(self):
        """A connection, as soon as the job listens."""
        found = []

        def attempt():
            try:
                found.append(strangers_client.Client(self.path))
                return True
            except (FileNotFoundError, ConnectionRefusedError):
                check(self.process.poll() is None, "the job ended: status %s\n%s" % (self.process.poll(), self.output()))
                return False

        wait_until(attempt, "the job to listen at " + self.path, 30 * SLOW)
        return found[0]

    def wait_ready(self):
        with self.connect() as client:
            self.status = client.status(wait=True)
        self.pids = [rank["pid"] for rank in self.status["ranks"]]
        equal(self.status["state"], "ready", "state")
        if self.by == "launcher":  # it hears of it when everybody else does, and has to say so
            wait_until(lambda: "READY" in self.output() or self.stdout().startswith("{"), "READY", 10 * SLOW)
        self.sandbox.note_shared_memory()

    def wait_alone(self, client):
        """Until there are no more connections than when the job was READY: this client's and the launcher's."""
        wait_until(lambda: client.status()["connections"] <= self.status["connections"], "connections to be gone", 10)

    def output(self):
        parts = []
        for path in (self.out_path, self.err_path):
            with open(path, errors="replace") as file:
                parts.append(file.read())
        return "".join(parts)

    def stdout(self):
        with open(self.out_path, errors="replace") as file:
            return file.read()

    def stderr(self):
        with open(self.err_path, errors="replace") as file:
            return file.read()

    def running(self):
        return self.process.poll() is None

    def wait(self, deadline=20):
        """The exit status of the launcher or mpirun."""
        try:
            return self.process.wait(deadline * SLOW)
        except subprocess.TimeoutExpired:
            raise AssertionError("the job still runs after %g s\n%s" % (deadline, self.output())) from None

    def stop(self):
        with self.connect() as client:
            client.stop()
        status = self.wait()
        if not self.any_status:
            equal(status, 0, "exit status after a stop\n" + self.output())

    def kill(self):
        if self.running():
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def memory(pid, field="VmRSS"):
    """Bytes."""
    with open("/proc/%d/status" % pid) as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    raise AssertionError("no %s of process %d" % (field, pid))


def descriptors(pid):
    return len(os.listdir("/proc/%d/fd" % pid))


class Context:
    """What a case gets: the sandbox, the ranks and way of its configuration, and `job` where it is shared."""

    unfinished = []

    def __init__(self, ranks, by):
        self.ranks, self.by = ranks, by
        self.sandbox = Sandbox()
        self.jobs = []
        self.job = None
        Context.unfinished.append(self)

    def start(self, **options):
        options.setdefault("ranks", self.ranks)
        options.setdefault("by", self.by)
        self.jobs.append(Job(self.sandbox, **options))
        return self.jobs[-1]

    def start_held(self):
        """A job whose next setup waits for a file; the job, and that file's path."""
        go = os.path.join(self.sandbox.folder, "go")
        open(go, "w").close()
        job = self.start(setup=json.dumps({"go": go}))
        os.unlink(go)
        return job, go

    def connect(self):
        return self.job.connect()

    def folder(self, name):
        path = os.path.join(self.sandbox.folder, name)
        os.mkdir(path)
        return path

    def run(self, *line, deadline=60, **options):
        """Runs a program to its end in the sandbox's environment."""
        options = {"stdin": subprocess.DEVNULL, "capture_output": True, "env": self.sandbox.env, **options}
        try:
            return subprocess.run(line, timeout=deadline * SLOW, check=False, **options)
        except subprocess.TimeoutExpired as late:
            raise AssertionError("%s still runs after %g s\n%s\n%s" % (line, deadline, late.stdout, late.stderr)) from None

    def forgive_mpirun(self):
        """Open MPI 4.1's mpirun may itself crash when ranks die closely one after another. Of one that nobody of ours has
        started nobody removes what it leaves behind; processes must be gone all the same."""
        if any(job.by == "mpirun" and job.process.returncode == -signal.SIGSEGV for job in self.jobs):
            print("       mpirun itself has crashed; what it has left is removed here")
            self.sandbox.remove_files_of_mpirun()

    def finish(self, failed):
        """Stops the jobs in order unless the case failed, and looks for leftovers; True when all is well."""
        try:
            for job in self.jobs:
                if job.running() and not failed:
                    job.stop()
            if not failed:
                self.forgive_mpirun()
                self.sandbox.check_empty()
                for job in self.jobs:  # a rank's exit status does not always become the job's
                    check("WARNING: ThreadSanitizer" not in job.output(), "a race")
        except Exception:
            traceback.print_exc(file=sys.stdout)
            failed = True
        for job in self.jobs:
            if failed:
                sys.stdout.write("---- %s\n%s\n" % (" ".join(job.line), job.output()[-8000:]))
            job.kill()
        self.sandbox.remove()
        Context.unfinished.remove(self)
        return not failed


class Case:
    def __init__(self, function, name, ranks, by, own, labels, timeout, job):
        self.function, self.name, self.ranks, self.by = function, name, ranks, by
        self.own, self.labels, self.timeout, self.job = own, labels, timeout, job


CASES = []


def case(name, ranks=(2,), by=("launcher",), own=False, labels=(), timeout=30, job=None):
    def register(function):
        CASES.append(Case(function, name, ranks, by, own, labels, timeout, job or {}))
        return function
    return register


def way(ranks, by):
    return "%d rank%s by %s" % (ranks, "s" * (ranks > 1), by)


def list_tests(title):
    """One line a test: name, timeout, labels, arguments; separated by tabs."""
    shared = {}
    for one in CASES:
        for ranks in one.ranks:
            for by in one.by:
                arguments = "--ranks\t%d\t--by\t%s" % (ranks, by)
                if one.own:
                    print("%s (%s)\t%g\t%s\t%s\t--exactly\t%s" % (
                        one.name, way(ranks, by), one.timeout * SLOW, ",".join(one.labels), arguments, one.name))
                else:
                    shared[ranks, by] = shared.get((ranks, by), 0) + one.timeout
    for (ranks, by), timeout in shared.items():
        print("%s (%s)\t%g\t\t--ranks\t%d\t--by\t%s\t--shared" % (
            title, way(ranks, by), min(timeout, 120) * SLOW, ranks, by))


def settle(context):
    """After a case that shares its job: the job answers, and nothing is queued or running."""
    with context.connect() as client:
        equal(client.invoke("empty").text, b"{}", "the next call")
        wait_until(lambda: client.status()["running"] is None, "the job to be idle", 10)
        equal(client.status()["queue"]["length"], 0, "queued calls")


def attempt(context, one):
    """True: passed; None: skipped; False: failed."""
    began = time.monotonic()
    try:
        one.function(context)
        if not one.own:
            settle(context)
        verdict = True
    except Skip as skip:
        print("skip   %s: %s" % (one.name, skip))
        return None
    except Exception:  # a case may fail in any way
        traceback.print_exc(file=sys.stdout)
        verdict = False
    print("%s %s, %.2f s" % ("pass  " if verdict else "FAILED", one.name, time.monotonic() - began), flush=True)
    return verdict


def run_own(one, ranks, by):
    context = Context(ranks, by)
    verdict = attempt(context, one)
    if not context.finish(verdict is False):
        verdict = False
    return [verdict]


def run_shared(cases, ranks, by):
    verdicts = []
    context = Context(ranks, by)
    try:
        options = {}
        for one in cases:
            options.update(one.job)
        context.job = context.start(**options)
        for one in cases:
            verdicts.append(attempt(context, one))
    except Exception:
        traceback.print_exc(file=sys.stdout)
        verdicts.append(False)
    if not context.finish(False in verdicts):
        verdicts.append(False)
    return verdicts


def chosen(arguments):
    """(ranks, way, cases) of every configuration that the arguments choose."""
    found = {}
    for one in CASES:
        if (arguments.exactly or one.name) != one.name or arguments.part not in one.name or arguments.shared and one.own:
            continue
        for ranks in one.ranks:
            for by in one.by:
                if arguments.ranks in (None, ranks) and arguments.by in (None, by):
                    found.setdefault((ranks, by), []).append(one)
    return [(ranks, by, cases) for (ranks, by), cases in found.items()]


def on_signal(number, _):
    raise KeyboardInterrupt("signal %d" % number)  # what was started is ended on the way out


def main(title):
    signal.signal(signal.SIGTERM, on_signal)
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--ranks", type=int)
    parser.add_argument("--by", choices=("launcher", "mpirun"))
    parser.add_argument("--shared", action="store_true", help="only the cases that share a job")
    parser.add_argument("--exactly", help="only the case of this name")
    parser.add_argument("part", nargs="?", default="", help="only the cases whose name contains this")
    arguments = parser.parse_args()
    if arguments.list:
        list_tests(title)
        return
    verdicts = []
    try:
        for ranks, by, cases in chosen(arguments):
            print("-- " + way(ranks, by), flush=True)
            shared = [one for one in cases if not one.own]
            if shared:
                verdicts += run_shared(shared, ranks, by)
            for one in cases:
                if one.own:
                    verdicts += run_own(one, ranks, by)
    finally:
        for context in Context.unfinished[:]:
            context.finish(True)
    if not verdicts:
        sys.exit("no such case")
    sys.exit(1 if False in verdicts else 0 if True in verdicts else 77)
