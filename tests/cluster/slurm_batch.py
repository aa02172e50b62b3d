# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Cases on a Slurm cluster, and the batch jobs that they make. For slurm_cases.py."""

import os
import pathlib
import re
import subprocess
import threading
import time

PREFIX = pathlib.Path(os.environ["RANKCALL_PREFIX"])
ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = pathlib.Path(os.environ["RANKCALL_CLUSTER"]) / "work"  # every node sees it
RANKCALL = str(PREFIX / "bin" / "rankcall")
LONG_S = 60  # for anything that is awaited: a loaded machine is no failure
CASES = []
NUMBERS = threading.Lock()
MINE = threading.local()  # the jobs of the case that this thread runs


class Skip(Exception):
    """Why a case can't run here."""


def case(name, slow=False, last=False):
    """Slow ones run beside the others, last ones when nothing else does."""
    def add(function):
        CASES.append((name, function, "slow" if slow else "last" if last else ""))
        return function
    return add


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def await_(condition, what, seconds=LONG_S):
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        check(time.monotonic() < deadline, f"waited {seconds} s for {what}")
        time.sleep(0.1)


def sh(*words, status=0, seconds=2 * LONG_S, env=None, **more):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=seconds, check=False,
                          stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})}, **more)
    check(status is None or done.returncode == status, f"{words} ended with {done.returncode}, not {status}:\n"
                                                       f"{done.stdout}{done.stderr}")
    return done


class Batch:
    """A batch job and what it prints."""

    count = 0

    def __init__(self, text, *options, file=None):
        with NUMBERS:
            Batch.count += 1
            number = Batch.count
        self.folder = WORK / f"job-{number}"
        self.folder.mkdir(parents=True)
        self.out = self.folder / "out"
        if not file:
            file = self.folder / "script"
            file.write_text(f"#!/bin/bash\nexport PATH={PREFIX}/bin:$PATH\n{text}\n")
        self.id = sh("sbatch", "--parsable", f"--output={self.out}", f"--chdir={self.folder}", "--open-mode=append",
                     *options, file).stdout.strip()
        MINE.jobs = [*getattr(MINE, "jobs", []), self.id]

    def text(self):
        files = [self.out] if self.out.exists() else []
        return "".join(file.read_text(errors="replace") for file in files)

    def state(self):
        shown = sh("scontrol", "show", "job", "-o", self.id, status=None).stdout
        return " ".join(sorted(set(re.findall(r"JobState=(\w+)", shown))))

    def lives(self):
        return bool({"PENDING", "RUNNING", "COMPLETING", "CONFIGURING"} & set(self.state().split()))

    def await_text(self, pattern, seconds=LONG_S):
        def found():
            lives = self.lives()  # asked before the last look at what it has printed
            match = re.search(pattern, self.text(), re.MULTILINE)
            check(match or lives, f"the job has ended ({self.state()}) without {pattern!r}:\n{self.text()}")
            return match
        return await_(found, f"{pattern!r} in the output of job {self.id}:\n{self.text()}", seconds)

    def await_end(self, state="COMPLETED", seconds=LONG_S):
        await_(lambda: not self.lives(), f"the end of job {self.id}, which has printed\n{self.text()}", seconds)
        check(self.state() == state, f"job {self.id} ended as {self.state()}, not {state}:\n{self.text()}")

    def rankcall(self, *words, **more):
        """From this host, which is none of the job's."""
        return sh(RANKCALL, words[0], "--via", f"srun:{self.id}", "--wait", LONG_S, *words[1:], **more)

    def cancel(self):
        sh("scancel", self.id, status=None)
        await_(lambda: not self.lives(), f"the end of job {self.id}")


def nodes():
    return len(sh("sinfo", "-h", "-N").stdout.splitlines())


def on_node(node, *words):
    return sh("srun", "--immediate=30", "--quiet", "--mpi=none", "--overlap", "-N1", "-n1", "-w", node, *words).stdout


def processes(text):
    """On all nodes, those with a text in their command lines; the ranks' parents are other daemons' children."""
    script = "grep -l -a -s -e '[%s]%s' /proc/[0-9]*/cmdline || true" % (text[0], text[1:])  # not itself
    return sh("srun", "--quiet", "--mpi=none", "--overcommit", f"-N{nodes()}", f"-n{nodes()}", "sh", "-c", script).stdout.split()


def ranks_on(status):
    return [rank["host"] for rank in status["ranks"]]
