# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""The faults: what is done to a job and to its socket while clients call it."""

import contextlib
import ctypes
import heapq
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import calls  # first: it knows where the tests' own client is
import strangers_client as wire
from sandbox import is_alive, parent_of

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS = 0x20000
MPIRUNS = ("mpirun", "orterun", "prterun", "mpiexec")  # also as mpirun.openmpi


class Agenda(threading.Thread):
    """Does things at their time. One that returns False is tried again soon; one that fails is told in the history."""

    def __init__(self, history):
        super().__init__(name="agenda", daemon=True)
        self.history = history
        self.heap, self.count, self.closing = [], 0, False
        self.condition = threading.Condition()

    def after(self, seconds, function, *arguments, **fields):
        with self.condition:
            self.count += 1
            heapq.heappush(self.heap, (time.monotonic() + seconds, self.count, function, arguments, fields))
            self.condition.notify()

    def run(self):
        while True:
            with self.condition:
                while not self.heap or self.heap[0][0] > time.monotonic():
                    if not self.heap and self.closing:
                        return
                    self.condition.wait(self.heap[0][0] - time.monotonic() if self.heap else None)
                _, _, function, arguments, fields = heapq.heappop(self.heap)
            try:
                if function(*arguments, **fields) is False:
                    self.after(0.005, function, *arguments, **fields)
            except Exception as problem:  # what heals must still come
                self.history.write("driver", message="%s: %r" % (function.__name__, problem))

    def finish(self):
        """Returns when all is done."""
        with self.condition:
            self.closing = True
            self.condition.notify()
        self.join()


def process_name(pid):
    with contextlib.suppress(OSError), open("/proc/%d/comm" % pid) as file:
        return file.read().strip()
    return ""


def children_of(parent):
    """Those that live, the oldest first."""
    return sorted(int(name) for name in os.listdir("/proc")
                  if name.isdigit() and parent_of(int(name)) == parent and is_alive(int(name)))


def mpirun_of(launcher):
    """The launcher's child that is mpirun."""
    found = [pid for pid in children_of(launcher) if process_name(pid).startswith(MPIRUNS)]
    return found[-1] if found else None


def rank_of(pid):
    """As mpirun numbered it; None for a process that is hardly one yet."""
    with contextlib.suppress(OSError), open("/proc/%d/environ" % pid, "rb") as file:
        for one in file.read().split(b"\0"):
            if one.startswith(b"OMPI_COMM_WORLD_RANK="):
                return int(one.partition(b"=")[2])
    return None


def stacks(pids):
    """Of processes, where gdb is there."""
    if not shutil.which("gdb"):
        return "gdb is missing\n"
    found = []
    for pid in pids:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(["gdb", "-p", str(pid), "-batch", "-ex", "thread apply all bt"], capture_output=True,
                                  text=True, timeout=30, check=False, stdin=subprocess.DEVNULL)
            found.append("==== process %d (%s)\n%s" % (pid, process_name(pid), done.stdout))
    return "".join(found)


def private_disk(folder, size):
    """Mounts a small disk there that only this process and its children see, and that goes with them.
    Returns: why not, or None."""
    if os.geteuid() != 0:
        return "mounting needs root"
    if LIBC.unshare(CLONE_NEWNS) != 0:
        return "no mount namespace: " + os.strerror(ctypes.get_errno())
    for line in (["mount", "--make-rprivate", "/"], ["mount", "-t", "tmpfs", "-o", "mode=755,size=%s" % size, "none", folder]):
        done = subprocess.run(line, capture_output=True, check=False)
        if done.returncode != 0:
            return "mounting is not allowed: " + done.stderr.decode().strip()
    return None


class Faults:
    """Those of one round, against one job. `dawdle`: the file that makes setup take its time."""

    def __init__(self, rng, job, history, agenda, folder, dawdle):
        self.rng, self.job, self.history, self.agenda, self.folder = rng, job, history, agenda, folder
        self.dawdle, self.threads = dawdle, []
        self.mpirun = mpirun_of(job.process.pid)

    def inject(self, name):
        """Draws what is open about a fault and does it."""
        getattr(self, name.replace("-", "_"))()

    def note(self, kind, deadly=False, rank=None, pid=None, signal=None, together=False):
        self.history.write("fault", kind=kind, deadly=deadly, rank=rank, pid=pid, signal=signal, together=together)

    def strike(self, kind, pid, number, **fields):
        self.note(kind, pid=pid, signal=int(number), **fields)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def strike_rank(self, kind, number):
        rank = self.rng.choice((0, self.rng.randrange(self.job.ranks)))
        self.strike(kind, self.job.pids[rank], number, deadly=True, rank=rank)

    def kill(self):
        self.strike_rank("kill", signal.SIGKILL)

    def strike_together(self, ranks):
        """What kills one rank often kills others in the same moment."""
        for number, rank in enumerate(ranks):
            self.note("kill", deadly=True, rank=rank, pid=self.job.pids[rank], signal=int(signal.SIGKILL), together=number > 0)
        for rank in ranks:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.job.pids[rank], signal.SIGKILL)

    def two(self):
        self.strike_together(self.rng.sample(range(self.job.ranks), 2))

    def all(self):
        self.strike_together(range(self.job.ranks))

    def segv(self):
        self.strike_rank("segv", signal.SIGSEGV)

    def abort(self):
        self.strike_rank("abort", signal.SIGABRT)

    def launcher_kill(self):
        self.strike("launcher-kill", self.job.process.pid, signal.SIGKILL, deadly=True)

    def launcher_term(self):
        self.strike("launcher-term", self.job.process.pid, signal.SIGTERM, deadly=True)

    def mpirun_kill(self):
        self.strike("mpirun-kill", self.mpirun, signal.SIGKILL, deadly=True)

    # ---- Deaths while another one is being made good ----

    def when(self, find, function, seconds=10.0):
        """Does it with what `find` returns, as soon as that is something."""
        end = time.monotonic() + seconds

        def attempt():
            found = find()
            if found:
                function(found)
            return bool(found) or time.monotonic() > end

        self.agenda.after(0, attempt)

    def newcomer(self):
        """A rank's process that was not there when the round began."""
        mpirun = mpirun_of(self.job.process.pid)
        known = set(self.job.pids)
        pids = [pid for pid in children_of(mpirun) if pid not in known] if mpirun else []
        return pids[-1] if pids else None

    def strike_newcomer(self, pid, rank=None):
        self.strike("kill", pid, signal.SIGKILL, deadly=True, rank=rank_of(pid) if rank is None else rank)

    def again(self):
        """Rank 0 dies while another rank, or itself, is being replaced."""
        rank = self.rng.randrange(self.job.ranks)
        self.strike("kill", self.job.pids[rank], signal.SIGKILL, deadly=True, rank=rank)
        find = self.newcomer if rank == 0 else lambda: self.job.pids[0]
        self.agenda.after(self.rng.uniform(0.005, 0.5), self.when, find, lambda pid: self.strike_newcomer(pid, 0))

    def replacement(self):
        """The new process dies in its setup."""
        open(self.dawdle, "w").close()
        rank = self.rng.randrange(self.job.ranks)
        self.strike("kill", self.job.pids[rank], signal.SIGKILL, deadly=True, rank=rank)
        self.when(self.who_dawdles, self.strike_dawdler)

    def who_dawdles(self):
        with contextlib.suppress(OSError), open(self.dawdle) as file:
            return file.readline().split()
        return ["gone"]

    def strike_dawdler(self, found):
        if found != ["gone"]:
            os.unlink(self.dawdle)
            self.strike_newcomer(int(found[1]), int(found[0]))

    def restart_kill(self):
        """All ranks die, and then a rank or mpirun of the next try."""
        before = self.mpirun
        self.all()

        def next_mpirun():
            pid = mpirun_of(self.job.process.pid)
            return pid if pid != before else None

        if self.rng.random() < 0.4:
            self.when(next_mpirun, lambda pid: self.agenda.after(
                self.rng.uniform(0, 0.5), self.strike, "mpirun-kill", pid, signal.SIGKILL, deadly=True))
        else:
            self.when(lambda: next_mpirun() and self.newcomer(), lambda _: self.agenda.after(
                self.rng.uniform(0, 0.5), lambda: self.newcomer() and self.strike_newcomer(self.newcomer())))

    # ---- What does not kill ----

    def stop_long(self):
        self.stop(self.rng.choice(self.job.pids), self.rng.uniform(1, 2.5))

    def stop(self, pid=None, seconds=None):
        pid = pid or self.rng.choice([*self.job.pids, *self.job.pids, self.mpirun, self.job.process.pid])
        self.strike("stop", pid, signal.SIGSTOP)
        self.start_thread(self.go_on, pid, seconds or self.rng.uniform(0.02, 0.3))

    def go_on(self, pid, seconds):
        """In a thread of its own: the agenda may wait for a client whose job is stopped."""
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        self.history.write("heal", kind="stop")

    def disk(self):
        """No room where the job's socket, its temporary files and its log are, for a while."""
        path = os.path.join(self.folder, "filler")
        self.note("disk")
        with contextlib.suppress(OSError), open(path, "wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))
        self.agenda.after(self.rng.uniform(0.05, 0.3), self.make_room, path)

    def make_room(self, path):
        os.unlink(path)
        self.history.write("heal", kind="disk")

    # ---- Clients that are none ----

    def start_thread(self, function, *arguments):
        self.threads.append(threading.Thread(target=function, args=arguments, daemon=True))
        self.threads[-1].start()

    def join(self, seconds):
        """True when all that was begun has ended."""
        end = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self.threads)

    def garbage(self):
        self.note("garbage")
        data = self.rng.randbytes(self.rng.choice((1, 31, 32, 5000)))
        self.start_thread(self.send_and_leave, data if self.rng.random() < 0.5 else wire.hello() + data)

    def flips(self):
        """Good frames with a bit turned over. None that one bit away are a STOP."""
        self.note("flips")
        for _ in range(self.rng.choice((1, 5))):
            call = calls.Call("flip", "echo", {"size": 10}, data=b"data")
            call.id = 1
            greeting, frame = bytearray(wire.hello()), bytearray(call.frame())
            flipped = self.rng.choice((greeting, frame, frame, frame))
            bit = self.rng.randrange(8 * len(flipped))
            flipped[bit // 8] ^= 1 << bit % 8
            self.start_thread(self.send_and_leave, bytes(greeting + frame))

    def connections(self):
        """Many at once, some of which greet."""
        self.note("connections")
        self.start_thread(self.crowd, self.rng.choice((10, 60)))

    def crowd(self, count):
        with contextlib.ExitStack() as stack:
            for number in range(count):
                with contextlib.suppress(OSError):
                    one = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                    one.settimeout(5)
                    one.connect(self.job.path)
                    if number % 3 == 0:
                        one.sendall(wire.hello())

    def send_and_leave(self, data):
        """Reads what comes for a moment: the job may wait for more, answer, or close."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
            one.settimeout(0.1)
            one.connect(self.job.path)
            one.sendall(data)
            while one.recv(1 << 16):
                pass
