# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""A test's own folders and environment, and the search for what it left behind."""

import os
import shutil
import signal
import stat
import sys
import tempfile
import time
import uuid

SHARED_MEMORY = "/dev/shm"


def wait_until(condition, what, deadline=10.0):
    """Polls; an AssertionError at the deadline."""
    end = time.monotonic() + deadline
    pause = 0.0005
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited %g s in vain for %s" % (deadline, what))
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)


def listing(folder):
    try:
        return set(os.listdir(folder))
    except FileNotFoundError:
        return set()


def numbered_processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def read_quietly(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def status_of(pid):
    """Its state, as a letter, and its parent; None: there is no such process."""
    fields = read_quietly("/proc/%d/stat" % pid).rpartition(b")")[2].split()
    return (fields[0].decode(), int(fields[1])) if fields else None


def parent_of(pid):
    return (status_of(pid) or ("", 0))[1]


def is_alive(pid):
    """Not a zombie either, or one with threads that are still ending and hold what is the process's."""
    return (status_of(pid) or "Z")[0] != "Z" or len(listing("/proc/%d/task" % pid)) > 1


def shared_memory_of(pid):
    """The files there that a process has mapped."""
    found = set()
    for line in read_quietly("/proc/%d/maps" % pid).splitlines():
        if b"/dev/shm/" in line and not line.endswith(b"(deleted)"):
            found.add(os.fsdecode(line[line.index(b"/dev/shm/") + len(b"/dev/shm/"):]))
    return found


class Sandbox:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="rk-")
        self.runtime = os.path.join(self.folder, "run")
        self.temporary = os.path.join(self.folder, "tmp")
        os.mkdir(self.temporary)
        os.mkdir(self.runtime, 0o700)
        self.token = "RANKCALL_TEST_TOKEN=" + uuid.uuid4().hex
        self.shared_memory_before = listing(SHARED_MEMORY)
        self.shared_memory_seen = set()
        key, value = self.token.split("=")
        self.env = {**os.environ, key: value, "RANKCALL_RUNTIME_DIR": self.runtime, "TMPDIR": self.temporary,
                    "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                    "OMPI_MCA_rmaps_base_oversubscribe": "1",
                    # the same for Open MPI 5
                    "PRTE_ALLOW_RUN_AS_ROOT": "1", "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe"}
        self.env.pop("RANKCALL_JOB", None)

    def processes(self):
        """Living processes that this test started, directly or not: their environment has its token."""
        token = self.token.encode()
        return [pid for pid in numbered_processes()
                if pid != os.getpid() and token in read_quietly("/proc/%d/environ" % pid)]

    def describe_processes(self):
        lines = [read_quietly("/proc/%d/cmdline" % pid).replace(b"\0", b" ").decode(errors="replace")
                 for pid in self.processes()]
        return ["process " + line for line in lines if line]

    def leftover_files(self):
        found = []
        for top in (self.runtime, self.temporary):
            for folder, _, names in os.walk(top):
                found += [os.path.join(folder, name) for name in names]
            found += [os.path.join(top, name) for name in listing(top) if self.is_folder_of_ours(top, name)]
        return found

    @staticmethod
    def is_folder_of_ours(top, name):
        """Open MPI keeps its empty folder ompi.HOST.UID; every other folder must go."""
        path = os.path.join(top, name)
        try:
            return stat.S_ISDIR(os.lstat(path).st_mode) and not name.startswith("ompi.")
        except FileNotFoundError:
            return False

    def note_shared_memory(self):
        """Remembers what this test's processes have mapped: others may run beside it and use that folder too."""
        for pid in self.processes():
            self.shared_memory_seen |= shared_memory_of(pid)

    def leftover_shared_memory(self):
        now = listing(SHARED_MEMORY)
        ours = {name for name in now - self.shared_memory_before if name.startswith("rankcall")}
        return [os.path.join(SHARED_MEMORY, name) for name in ours | now & self.shared_memory_seen]

    def leftovers(self):
        return self.describe_processes() + self.leftover_files() + self.leftover_shared_memory()

    def remove_files_of_mpirun(self):
        for name in listing(self.temporary):
            if name.startswith("ompi."):
                shutil.rmtree(os.path.join(self.temporary, name), ignore_errors=True)
        for path in self.leftover_shared_memory():
            if os.path.basename(path).startswith("vader_segment"):
                os.unlink(path)

    def check_empty(self):
        try:
            wait_until(lambda: not self.leftovers(), "leftovers to go", 3)
        except AssertionError:
            left = self.leftovers()
            if left:
                raise AssertionError("left behind:\n  " + "\n  ".join(left)) from None

    def kill_processes(self):
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def remove(self):
        self.kill_processes()
        shutil.rmtree(self.folder, ignore_errors=True)
        if os.path.exists(self.folder):
            sys.stdout.write("can't remove %s\n" % self.folder)
