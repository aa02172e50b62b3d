# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Starts a job as a child process: by the command `rankcall run`, or by mpirun itself where there is no such command."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections import deque
from typing import Any, BinaryIO, Deque, Dict, List, Optional, Sequence

from rankcall.errors import NUMBERS, RankcallError, make_error

TAIL = 60  # lines of output that an error may quote
KILL_AFTER = 5.0  # seconds, at the interpreter's end
_numbers = itertools.count(1)
_live: "weakref.WeakSet[Job]" = weakref.WeakSet()


def runtime_folder() -> str:
    """Where the sockets of named jobs are."""
    return os.environ.get("RANKCALL_RUNTIME_DIR") or "/tmp/rankcall-%d" % os.getuid()


def socket_path(job: str) -> str:
    """The socket of a job's name or path."""
    return os.path.abspath(job) if "/" in job else os.path.join(runtime_folder(), job + ".sock")


def find_command() -> Optional[str]:
    """The command `rankcall`: the one that the environment names, the package's own, or that on PATH."""
    named = os.environ.get("RANKCALL_COMMAND")
    if named:
        return named
    own = os.path.join(os.path.dirname(__file__), "_runtime", "bin", "rankcall")
    return own if os.access(own, os.X_OK) else shutil.which("rankcall")


def new_name(worker: str) -> str:
    """A job's name that no other job has."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", worker).strip("-")[:40] or "job"
    return "%s-%d-%d" % (stem, os.getpid(), next(_numbers))


def launch_line(
    *,
    command: Optional[str],
    ranks: int,
    name: str,
    socket: Optional[str],
    program: Sequence[str],
    setup: Optional[str],
    timeout: float,
    hosts: Optional[Sequence[str]],
    restarts: Optional[int],
    grace: Optional[float],
    payload_cap: str,
    launcher_args: Sequence[str],
    run_args: Sequence[str],
    variables: Sequence[str] = (),
) -> List[str]:
    """The command line that starts a job. `setup`: JSON for programs that are not Python's; `variables`: of the environment,
    for other hosts."""
    ours = ["--payload-cap", payload_cap]
    further = [*launcher_args, *(_host_arguments(hosts, ranks, variables) if hosts else [])]
    if command is None:
        return _mpirun_line(ranks, socket or socket_path(name), program, setup, ours, further)
    line = [command, "run", "-n", str(ranks), "-t", str(int(timeout) + 60), *ours]
    line += ["--socket", socket] if socket else ["--name", name]
    if setup:
        line += ["--setup", setup]
    if restarts is not None:
        line += ["--restarts", str(restarts)]
    if grace is not None:
        line += ["--grace", "%g" % grace]
    for argument in further:
        line += ["--launcher-arg", argument]
    return [*line, *run_args, "--", *program]


def _host_arguments(hosts: Sequence[str], ranks: int, variables: Sequence[str]) -> List[str]:
    """mpirun's, which starts as many ranks on a host as it has slots: ``"name:slots"``. Where none are said, an equal share."""
    share = -(-ranks // len(hosts))
    line = ["--host", ",".join(host if ":" in host else "%s:%d" % (host, share) for host in hosts)]
    for name in variables:
        line += ["-x", name]
    return line


def _mpirun_line(
    ranks: int, socket: str, program: Sequence[str], setup: Optional[str], ours: Sequence[str], further: Sequence[str]
) -> List[str]:
    mpirun = os.environ.get("RANKCALL_MPIRUN") or shutil.which("mpirun")
    if mpirun is None:
        raise make_error(
            "launch_failed",
            "there is neither the command rankcall nor mpirun on PATH: install rankcall and Open MPI, or set RANKCALL_COMMAND",
        )
    options = ["--socket", socket, *ours, *(["--setup", setup] if setup else [])]
    if "{}" in program:
        at = program.index("{}")
        program = [*program[:at], *options, "--", *program[at + 1 :]]
    else:
        program = [program[0], *options, *(["--", *program[1:]] if len(program) > 1 else [])]
    os.makedirs(os.path.dirname(socket), mode=0o700, exist_ok=True)
    line = [mpirun, "-n", str(ranks), "--oversubscribe", "--tag-output", *further]
    return [*line, *program]


class Job:
    """The processes of a job that was started here."""

    def __init__(self, line: Sequence[str], environment: Dict[str, str], folder: Optional[str], verbose: bool) -> None:
        self.folder = folder  # of our own, removed with the job
        self.tail: Deque[str] = deque(maxlen=TAIL)
        self.verbose = verbose
        self.lock = threading.Lock()
        try:
            self.process = subprocess.Popen(
                list(line),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # Ctrl-C is ours; we stop the job
            )
        except OSError as error:
            self.remove_folder()
            raise make_error("launch_failed", "%s: %s" % (line[0], error.strerror)) from error
        self.guard = _guard(self.process.pid, folder)
        self.pumps = [self.pump(self.process.stdout, False), self.pump(self.process.stderr, True)]
        _live.add(self)

    def alive(self) -> bool:
        return self.process.poll() is None

    # ---- Output ----

    def pump(self, pipe: Any, is_error: bool) -> threading.Thread:
        thread = threading.Thread(target=self.pass_on, args=(pipe, is_error), daemon=True, name="rankcall-output")
        thread.start()
        return thread

    def pass_on(self, pipe: BinaryIO, is_error: bool) -> None:
        """The ranks' output goes where this program's output goes now, in notebooks too."""
        table = False
        for raw in pipe:
            line = raw.decode("utf-8", "replace")
            if is_error:
                table = line.startswith("READY ") or (table and line.startswith("  "))
                if not self.verbose and (table or _is_noise(line)):
                    continue
                self.tail.append(line.rstrip("\n"))
            stream = sys.stderr if is_error else sys.stdout
            with contextlib.suppress(Exception):  # closed, or at the interpreter's end
                stream.write(line)
                stream.flush()
        pipe.close()

    def last_words(self) -> str:
        for pump in self.pumps:
            pump.join(1.0)
        return "\n".join(self.tail)

    # ---- The end ----

    def wait(self, timeout: float) -> bool:
        """Whether all of it has ended."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def terminate(self, timeout: float) -> None:
        """Stops it in order, or kills it when the time is over."""
        with self.lock:
            if self.process.poll() is None:
                self.signal(signal.SIGTERM)
                if not self.wait(timeout):
                    self.signal(signal.SIGTERM)  # a second one kills
                    if not self.wait(2.0):
                        self.kill()
            self.reap()

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def kill(self) -> None:
        """The launcher's watcher, or mpirun's daemons, clean up after it."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def reap(self) -> None:
        """Frees what is left when the process has ended."""
        for pump in self.pumps:
            if pump is not threading.current_thread():
                pump.join(2.0)
        if self.guard is not None:
            guard, self.guard = self.guard, None
            guard.kill()
            guard.wait()
            if guard.stdin is not None:
                guard.stdin.close()
        self.remove_folder()
        _live.discard(self)

    def remove_folder(self) -> None:
        if self.folder is not None:
            remove(self.folder)
            self.folder = None


_FAILURE = re.compile(r"rankcall: ([a-z_]+)(?: on rank (\d+)(?: \(([^)]*)\))?)?: (.*)")


def launch_failure(job: Job) -> RankcallError:
    """Why a job has not come up, from the launcher's last words."""
    words = job.last_words()
    lines = words.split("\n")
    for at, line in enumerate(lines):
        found = _FAILURE.fullmatch(line)
        if found and found.group(1) in NUMBERS and found.group(1) != "launch_failed":
            rest = [one[len("rankcall: ") :] if one.startswith("rankcall: ") else one for one in lines[at + 1 :]]
            return make_error(
                found.group(1),
                found.group(4),
                rank=int(found.group(2)) if found.group(2) else None,
                host=found.group(3) or "",
                traceback="\n".join(rest),
            )
    status = job.process.poll()
    how = "" if status is None else " (exit status %d)" % status
    return make_error("launch_failed", "Failed to start distributed processes%s.%s" % (how, "\n" + words if words else ""))


def _is_noise(line: str) -> bool:
    """What the launcher says of an orderly life."""
    return bool(re.match(r"rankcall: (\S+ has stopped$|still waiting for setup )", line))


_GUARD = """read -r nothing
kill -TERM "$1" 2>/dev/null
while kill -0 "$1" 2>/dev/null; do sleep 0.2; done
[ -z "$2" ] || rm -rf -- "$2"
"""


def _guard(pid: int, folder: Optional[str]) -> "Optional[subprocess.Popen[bytes]]":
    """A process that ends the job when this one dies without a word: its pipe is closed then."""
    try:
        return subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "rankcall-guard", str(pid), folder or ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return None


def remove(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def private_folder() -> str:
    return tempfile.mkdtemp(prefix="rankcall-python-")


@atexit.register
def _end_all() -> None:
    """Jobs that were not stopped."""
    jobs = [job for job in _live if job.process.poll() is None]
    for job in jobs:
        job.signal(signal.SIGTERM)
    deadline = time.monotonic() + KILL_AFTER
    for job in jobs:
        job.terminate(max(deadline - time.monotonic(), 0.1))
    for job in list(_live):
        job.reap()


def _after_fork() -> None:
    """A child process has no jobs: they are its parent's."""
    _live.clear()


os.register_at_fork(after_in_child=_after_fork)
