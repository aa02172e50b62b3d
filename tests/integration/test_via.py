# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Clients on other hosts (--via) come back as those on the job's own host do. A script stands in for ssh."""

import contextlib
import json
import os
import signal
import subprocess

from harness import COMMAND, case, check, equal, main, wait_until
from strangers_client import JobError

SSH = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do [ "$1" = -o ] && shift; shift; done
shift
echo $$ >>"$RANKCALL_TEST_SSH_PIDS"
exec sh -c "$*"
"""


class Far:
    """Clients behind that ssh."""

    def __init__(self, t, job):
        folder = t.folder("ssh")
        script = os.path.join(folder, "ssh")
        with open(script, "w") as file:
            file.write(SSH)
        os.chmod(script, 0o755)
        self.job = job
        self.pids_path = os.path.join(folder, "pids")
        self.env = dict(t.sandbox.env, RANKCALL_SSH=script, RANKCALL_TEST_SSH_PIDS=self.pids_path)
        self.calls = []

    def call(self, handler, arguments="{}", *options):
        self.calls.append(subprocess.Popen([COMMAND, "invoke", "--json", "--via", "ssh:far", "-j", self.job.name, "-H", handler,
                                            *options, arguments], env=self.env, text=True, stdin=subprocess.DEVNULL,
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return self.calls[-1]

    def pids(self):
        """Of what has carried the connections, in order."""
        with open(self.pids_path) as file:
            return [int(line) for line in file]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for call in self.calls:
            call.kill()
            call.communicate()


def finished(call):
    out, err = call.communicate(timeout=60)
    return call.returncode, json.loads(out) if out else None, err


def queued(job, running, length):
    """Until a call runs and others wait."""
    def are():
        with job.connect() as client:
            status = client.status()
        return (status["running"] is not None) == running and status["queue"]["length"] == length
    wait_until(are, "the calls to be there", 20)


@case("rank 0 dies: who is on another host comes back, and its call that waited runs", ranks=(2,), own=True, timeout=60)
def dies(t):
    job = t.start()
    with Far(t, job) as far:
        running = far.call("wait")
        queued(job, True, 0)
        waiting = far.call("sum", '{"value": 1.0}')
        queued(job, True, 1)
        os.kill(job.pids[0], signal.SIGKILL)
        status, error, text = finished(running)
        equal((status != 0, error["error"]["error"], error["error"]["rank"]), (True, "rank_died", 0), text)
        equal(finished(waiting)[:2], (0, {"sum": 3.0}))
        check(len(far.pids()) >= 3, "nobody came back by another connection")


@case("the way to a job breaks: a call that waited is asked for anew, one that ran has failed", ranks=(2,), own=True, timeout=60)
def breaks(t):
    job = t.start()
    with Far(t, job) as far, job.connect() as holder:
        held = holder.submit("wait")
        queued(job, True, 0)
        waiting = far.call("sum", '{"value": 1.0}')
        queued(job, True, 1)
        os.kill(far.pids()[0], signal.SIGKILL)
        wait_until(lambda: len(far.pids()) == 2, "another connection", 20)
        queued(job, True, 1)
        holder.cancel(held)
        with contextlib.suppress(JobError):
            holder.outcome(held)
        equal(finished(waiting)[:2], (0, {"sum": 3.0}))

        running = far.call("wait")
        queued(job, True, 0)
        os.kill(far.pids()[-1], signal.SIGKILL)
        status, error, text = finished(running)
        check(status != 0 and "the connection was lost; the call had begun" in error["error"]["message"], "%s %s" % (error, text))
        equal(finished(far.call("sum", '{"value": 1.0}'))[:2], (0, {"sum": 3.0}))


@case("a job that has ended is not looked for without end from another host", ranks=(1,), own=True, timeout=60)
def ends(t):
    job = t.start()
    with Far(t, job) as far:
        running = far.call("wait")
        queued(job, True, 0)
        job.stop()
        check(finished(running)[0] != 0, "a result of a job that has ended")
        check(len(far.pids()) <= 2, "so many connections: %s" % far.pids())


main("via")
