# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""How many instructions a call costs the client and rank 0, counted by callgrind: a busy machine does not change that.

Counted is what is done for a call, and not the waiting before it, whose length is a matter of luck: functions that run
once or a few times a call and not inside each other. A change that makes a call dearer than its budget by more than a
tenth fails here, and either gets cheaper or says in its commit why the budget is another one now.
"""

import glob
import os
import platform
import re
import shutil

import harness
from harness import Skip, case, check, main, program

TOLERANCE = 1.1
CALLS = (50, 250)  # the difference between two runs is the cost of so many calls less

# Instructions a call, gcc 12 -O2, x86-64. Rank 0: reading and admitting, announcing, running an empty handler,
# answering. The client: building the payload, sending, taking the result.
BUDGETS = {"rank 0": (("rk_call_run", "consume_all", "rk_call_returned", "rk_conn_flush"), {0: 3000, 256: 4700}),
           "client": (("rankcall_payload_from_json", "rankcall_submit", "consume_all", "rankcall_pending_free"),
                      {0: 1590, 256: 3850})}


def callgrind(t, who, run):
    if os.environ.get("RANKCALL_TEST_SANITIZE"):
        raise Skip("the libraries are built with sanitizers")
    if platform.machine() != "x86_64":
        raise Skip("the budgets are those of x86-64")
    if not shutil.which("valgrind"):
        raise Skip("valgrind is not installed")
    harness.SLOW = max(harness.SLOW, 10)
    files = os.path.join(t.sandbox.folder, "callgrind-%s-%s." % (who.replace(" ", ""), run))
    return files, ["valgrind", "--quiet", "--tool=callgrind", "--callgrind-out-file=" + files + "%p",
                   *("--toggle-collect=" + name for name in BUDGETS[who][0])]


def counted(files):
    """The instructions of all processes that wrote there."""
    found = []
    for path in glob.glob(files + "*"):
        with open(path) as file:
            found += re.findall(r"^(?:summary|totals): (\d+)", file.read(), re.MULTILINE)[:1]
    check(found, "callgrind has written nothing to " + files)
    return sum(map(int, found))


def hold_against(who, size, few, many):
    each, budget = (many - few) / (CALLS[1] - CALLS[0]), BUDGETS[who][1][size]
    print("%s: %.0f instructions for a call with %d bytes, budget %d" % (who, each, size, budget))
    check(each <= budget * TOLERANCE, "%s: %.0f instructions a call, %.0f %% over the budget of %d" %
          (who, each, 100 * (each / budget - 1), budget))
    check(each * 2 > budget, "%s: %.0f instructions a call: were all counted? The budget is %d" % (who, each, budget))


@case("a call costs rank 0 no more instructions than its budget", ranks=(1,), by=("mpirun",), own=True, timeout=180,
      labels=("valgrind",))
def rank_0(t):
    for size in (0, 256):
        found = []
        for calls in CALLS:
            files, line = callgrind(t, "rank 0", "%d-%d" % (size, calls))
            job = t.start(wrapper=line)
            run = t.run(program("calls"), job.path, str(size), str(calls), deadline=60)
            check(run.returncode == 0, run.stderr.decode())
            job.stop()
            found.append(counted(files))
        hold_against("rank 0", size, *found)


@case("a call costs the client no more instructions than its budget", ranks=(1,), own=True, timeout=120,
      labels=("valgrind",))
def client(t):
    job = t.start()
    for size in (0, 256):
        found = []
        for calls in CALLS:
            files, line = callgrind(t, "client", "%d-%d" % (size, calls))
            run = t.run(*line, program("calls"), job.path, str(size), str(calls), deadline=60)
            check(run.returncode == 0, run.stderr.decode())
            found.append(counted(files))
        hold_against("client", size, *found)


main("instructions")
