# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""The end of an allocation, told by the environment: what can't fit is refused, and the job ends in order before."""

import re
import subprocess
import time

from harness import COMMAND, SLOW, Skip, case, check, equal, main, raises
from strangers_client import STREAM

SHORT_S = 14 * SLOW  # half of it for the end


def start(t, seconds, drain=None):
    """A job whose allocation ends in so many seconds."""
    options = () if drain is None else ("--walltime-drain", str(drain))
    return t.start(env={"RANKCALL_WALLTIME_END": "%.3f" % (time.time() + seconds)}, options=options)


def command(t, *words, status=0):
    done = t.run(COMMAND, *words)
    equal(done.returncode, status, "exit status of rankcall %s: %s" % (" ".join(words), done.stderr))
    return done.stdout.decode() + done.stderr.decode()


@case("a call that can't end before the allocation is refused with the seconds left", ranks=(2,), by=("launcher", "mpirun"), own=True)
def refused(t):
    job = start(t, 1000)
    with job.connect() as client:
        equal(client.outcome(client.submit("sum", {"value": 1.0}, timeout=900)).json, {"sum": 3}, "one that fits")
        with raises("walltime", text="s are left of the job's allocation"):
            client.outcome(client.submit("sum", {"value": 1.0}, timeout=1200))
        left = client.status()["walltime"]
        check(900 < left["left"] <= 1000 and left["drain"] == 60, left)
    out = command(t, "invoke", "-j", job.name, "-H", "empty", "--duration", "1200", status=21)
    check("may take 1200 s" in out, out)
    command(t, "invoke", "-j", job.name, "-H", "empty", "--duration", "800", "--timeout", "5000")
    shown = command(t, "status", "-j", job.name)
    check(re.search(r"^time left +1[56]m.* of the allocation; in the last ", shown, re.MULTILINE), shown)
    job.stop()


@case("the running call is cut off in time, those that wait are refused, and the job ends in order", ranks=(2,), by=("launcher", "mpirun"), own=True)
def cut(t):
    begun = time.monotonic()
    job = start(t, SHORT_S, SHORT_S / 2)
    if time.monotonic() - begun > SHORT_S / 3:
        raise Skip("the start took too long on this machine")
    with job.connect() as client:
        running = client.submit("wait", kind=STREAM)
        waiting = client.submit("empty")
        with raises("shutting_down", text="allocation ends in"):
            client.outcome(waiting)
        with raises("shutting_down", text="allocation ends in"):
            client.invoke("empty")
        with raises("walltime", text="the call was cut off"):
            list(client.items(running))
    equal(job.process.wait(60 * SLOW), 0, "exit status")
    check(time.monotonic() - begun < SHORT_S + 5 * SLOW, "it ended too late")
    check("the allocation is about to end" in job.output(), job.output())


@case("a client that waits by name finds the next job", ranks=(1,), own=True)
def waits(t):
    job = t.start()
    job.stop()
    client = subprocess.Popen([COMMAND, "invoke", "-j", job.name, "-H", "empty", "--wait", str(60 * SLOW)], env=t.sandbox.env,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    again = t.start(name=job.name)
    equal((client.communicate(timeout=60 * SLOW)[0], client.returncode), (b"{}\n", 0), "the call")
    again.stop()


main("walltime")
