# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Ranks that die are replaced: the others keep what they hold, and clients notice the call that failed and no other."""

import contextlib
import os
import random
import signal
import threading
import time

from harness import FULL, Skip, case, check, equal, main, mpirun_line, raises, wait_until
from strangers_client import Attachment, JobError, Payload


def pids(client):
    return [rank["pid"] for rank in client.status(wait=True)["ranks"]]


def start(t, **options):
    """A job whose launch method lets the others live on; the launcher asks for that by itself."""
    if t.by != "mpirun":
        return t.start(**options)
    if mpirun_line() == 4:
        return t.start(run_options=("--enable-recovery",), **options)
    job = t.start(run_options=("--enable-recovery", "--with-ft", "ulfm"), **options)
    job.any_status = True  # mpirun 5 ends with that of the rank that was replaced
    return job


def killed(client, rank, number=signal.SIGKILL):
    """Has a handler kill its rank; the error that the call ends with."""
    try:
        client.invoke("die", {"rank": rank, "signal": number})
    except JobError as error:
        return error
    raise AssertionError("a result although rank %d died" % rank)


def expect_replaced(client, before, dead):
    after = pids(client)
    for rank, (old, new) in enumerate(zip(before, after)):
        check((old != new) == (rank in dead), "rank %d: process %d, then %d" % (rank, old, new))


def parent_of(pid):
    with open("/proc/%d/stat" % pid) as file:
        return int(file.read().rpartition(")")[2].split()[1])


def children_of(parent):
    found = set()
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            if parent_of(pid) == parent:
                found.add(pid)
    return found


def die_at(t, step, who):
    """While a dead rank is being replaced, another process dies, too: the rank `who`, or the replacement ("new"). A job
    with what it keeps; False: mpirun could not start a replacement, and the launcher has started the job again."""
    moment = os.path.join(t.sandbox.folder, "moment.%d" % len(t.jobs))
    job = start(t, options=("--restarts", "10"), env={"RANKCALL_TEST_DIE": "%s,%s,%s" % (step, who, moment)})
    first = 2 if who != "2" else 1
    with job.connect() as client:
        before = pids(client)
    open(moment, "w").close()
    os.kill(before[first], signal.SIGKILL)
    wait_until(lambda: not os.path.exists(moment), "the second death", 20)
    with job.connect() as client:
        after = pids(client)
        equal(client.invoke("sum", {"value": 1.0}).json, {"sum": t.ranks * (t.ranks + 1) / 2}, "%s of %s" % (step, who))
        equal(client.invoke("sum", {"value": 1.0}).json, {"sum": t.ranks * (t.ranks + 1) / 2}, "%s of %s" % (step, who))
    if "starting the job again" in job.output():
        return False
    for rank, (old, new) in enumerate(zip(before, after)):
        check((old != new) == (rank == first or str(rank) == who), "rank %d: process %d, then %d" % (rank, old, new))
    return True



def cpu(pid):
    out={}
    for tid in os.listdir("/proc/%d/task"%pid):
        f=open("/proc/%d/task/%s/stat"%(pid,tid)).read(); n=f[f.index("("):f.rindex(")")+1]; r=f.rpartition(")")[2].split()
        out[n+tid]=int(r[11])+int(r[12])
    return out
import collections
tally=collections.Counter()
@case("spin", ranks=(3,), own=True, timeout=600)
def spin(t):
    for step in ("group","spawn","merge","split","attach"):
        for who in ("1","new"):
            if who=="new" and step in("group","spawn"): continue
            began=time.monotonic()
            ok=die_at(t, step, who)
            job=t.jobs[-1]
            with job.connect() as c: p=pids(c)
            a={x:cpu(x) for x in p}; time.sleep(1); b={x:cpu(x) for x in p}
            busy=[(x,k,b[x][k]-a[x].get(k,0)) for x in p for k in b[x] if b[x][k]-a[x].get(k,0)>3]
            print(step,who,ok,"%.2f"%(time.monotonic()-began),busy, [l for l in job.output().splitlines() if "attempt" in l or "cannot regroup" in l])
            job.stop()
main("x")
