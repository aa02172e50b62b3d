# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors
"""Programs that are measured: jobs under mpirun, and drivers that take commands; and ending every one of them."""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time

LIMIT_S = 60  # for an answer, for an end
GRACE_S = 5  # for an end that was asked for


class Failure(Exception):
    """A program did not do what it should; the message says which, and the end of its output."""


class Bench:
    """Where programs lie, where they run, and which of them run."""

    def __init__(self, build, mpirun, cpus):
        self.build, self.mpirun, self.cpus = os.path.abspath(build), mpirun, cpus
        self.folder = tempfile.mkdtemp(prefix="rankcall-bench-")
        self.open = contextlib.ExitStack()
        self.count = 0
        self.sessions = False  # whether every program gets a session, and so a share of the CPUs, of its own
        self.env = dict(os.environ, RANKCALL_RUNTIME_DIR=self.folder, RANKCALL_COMMAND=self.program("rankcall"),
                        OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
        libraries = os.path.join(self.build, ".libs")
        self.env["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [libraries, os.environ.get("LD_LIBRARY_PATH")]))

    def close(self):
        """Ends what still runs and removes the folder."""
        self.open.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def program(self, name):
        """The program itself, not libtool's script in front of it, which takes its time at every start."""
        folder, base = os.path.split(os.path.join(self.build, name))
        real = os.path.join(folder, ".libs", base)
        return real if os.path.exists(real) else os.path.join(folder, base)

    def path(self, suffix):
        self.count += 1
        return os.path.join(self.folder, "%d%s" % (self.count, suffix))

    def yields(self, ranks):
        """Whether MPI's waiters must yield: the client wants a CPU too."""
        return ranks + 1 > self.cpus

    def mpirun_line(self, ranks, program, *arguments):
        """As `rankcall run` does it, for ours and for the floor."""
        return [self.mpirun, "--oversubscribe", "--bind-to", "none", "-n", str(ranks), self.program(program),
                *arguments]

    def floor_env(self, ranks):
        return {"OMPI_MCA_mpi_yield_when_idle": "1" if self.yields(ranks) else "0"}


class Process:
    """One child and what it starts, with its output in a file; killed when the bench ends."""

    def __init__(self, bench, line, env=None, **pipes):
        self.bench, self.line = bench, line
        self.log = bench.path(".log")
        with open(self.log, "wb") as log:
            pipes.setdefault("stdin", subprocess.DEVNULL)
            pipes.setdefault("stdout", log)
            self.child = subprocess.Popen(line, env={**bench.env, **(env or {})}, stderr=log, cwd=bench.folder,
                                          start_new_session=bench.sessions,
                                          preexec_fn=None if bench.sessions else os.setpgrp, **pipes)
        bench.open.callback(self.end)

    def fail(self, what):
        with open(self.log, errors="replace") as log:
            raise Failure("%s: %s\n%s" % (" ".join(self.line), what, log.read()[-2000:]))

    def wait(self):
        """Waits for an end of its own accord."""
        try:
            status = self.child.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            self.fail("did not end within %d s" % LIMIT_S)
        if status:
            self.fail("ended with status %d" % status)

    def end(self):
        """Asks it to end: mpirun then removes what its ranks left behind."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.terminate()
            self.child.wait(GRACE_S)
        self.kill()

    def kill(self):
        if self.child.poll() is None:
            for pid in descendants(self.child.pid) + [self.child.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.child.wait()


class Driver(Process):
    """A program that takes a command a line and answers with a line of JSON. `under`: what starts it."""

    def __init__(self, bench, program, *arguments, env=None, under=()):
        super().__init__(bench, [*under, bench.program(program), *arguments], env, stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE)

    def tell(self, *words):
        self.child.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self.child.stdin.flush()

    def ask(self, *words):
        self.tell(*words)
        answer, deadline = b"", time.monotonic() + LIMIT_S
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([self.child.stdout], [], [], max(0, deadline - time.monotonic()))
            piece = os.read(self.child.stdout.fileno(), 1 << 20) if ready else b""
            if not piece:
                self.fail("no answer to \"%s\"" % " ".join(map(str, words)))
            answer += piece
        return json.loads(answer)

    def finish(self):
        self.child.stdin.close()
        self.wait()


class Mpirun(Process):
    """A job under bare mpirun."""

    def __init__(self, bench, ranks, program, *arguments, env=None, **pipes):
        super().__init__(bench, bench.mpirun_line(ranks, program, *arguments), env, **pipes)

    def ranks(self):
        """The ranks' process ids, without mpirun's own."""
        return descendants(self.child.pid)

    def end(self):
        if self.child.poll() is None:
            self.hold(False)
        super().end()

    def hold(self, held):
        """Stops all ranks, or lets them go on: spinning ones would take the CPUs from what is measured beside them."""
        for pid in self.ranks():
            os.kill(pid, signal.SIGSTOP if held else signal.SIGCONT)


def parents():
    """Every process's parent."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open("/proc/%s/stat" % name) as stat:
                found[int(name)] = int(stat.read().rpartition(")")[2].split()[1])
    return found


def descendants(root):
    """Children, their children and so on."""
    found, parent_of = [root], parents()
    for pid in found:
        found.extend(child for child, parent in parent_of.items() if parent == pid)
    return found[1:]
