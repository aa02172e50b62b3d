# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""A short job and its client under valgrind: no invalid access, no definite leak."""

import os
import shutil
import signal

import harness
from harness import Skip, case, check, equal, main, program, raises
from strangers_client import STREAM, Attachment, Payload

SUPPRESSIONS = "/usr/share/openmpi/openmpi-valgrind.supp"
OPTIONS = ["--quiet", "--error-exitcode=99", "--leak-check=full", "--show-leak-kinds=definite",
           "--errors-for-leak-kinds=definite", "--num-callers=25", "--keep-debuginfo=yes"]


def valgrind():
    if os.environ.get("RANKCALL_TEST_SANITIZE"):
        raise Skip("the libraries are built with sanitizers")
    if not shutil.which("valgrind"):
        raise Skip("valgrind is not installed")
    harness.SLOW = max(harness.SLOW, 10)
    return ["valgrind", *OPTIONS]


@case("a job's ranks make no mistake under valgrind", by=("mpirun",), own=True, timeout=120, labels=("valgrind",))
def worker(t):
    if not os.path.exists(SUPPRESSIONS):
        raise Skip("%s is not there" % SUPPRESSIONS)
    own = os.path.join(os.path.dirname(os.path.abspath(__file__)), "valgrind.supp")
    job = t.start(wrapper=[*valgrind(), "--suppressions=" + SUPPRESSIONS, "--suppressions=" + own])
    with job.connect() as client:
        equal(client.invoke("sum", {"value": 1}).json, {"sum": 3})
        client.invoke("echo", Payload({"a": 1}, [Attachment("x", bytes(100000))]))
        equal(len(list(client.stream("burst", {"count": 300, "attach": 10}))), 601)
        with raises("worker_error", 1):
            client.invoke("fail", {"rank": 1})
        with raises("no_handler"):
            client.invoke("nosuch")
        with raises("bad_payload"):
            client.outcome(client.submit("echo", b"\2\0\0\0\0\0\0\0[]\0\0\0\0\0\0"))
        items = client.items(client.submit("wait", kind=STREAM))
        next(items)
        client.status()
    with job.connect() as client:  # the other has vanished in mid-call
        client.ping()
        equal(client.invoke("empty").text, b"{}")
        next(client.stream("wait"))
    job.stop()
    check("ERROR SUMMARY" not in job.output() and "== " not in job.stderr(), job.output())


@case("clients make no mistake under valgrind", own=True, timeout=120, labels=("valgrind",))
def clients(t):
    line = valgrind()
    t.job = t.start()
    for name in ("invoke_errors", "stream", "cancel", "free_runner_in_mid_call", "release"):
        result = t.run(*line, program("runner_api"), name, t.job.name, text=True, deadline=20)
        equal(result.returncode, 0, "%s\n%s" % (name, result.stderr))
    result = t.run(*line, harness.COMMAND, "status", "-j", t.job.name, text=True, deadline=20)
    equal(result.returncode, 0, "rankcall status\n" + result.stderr)


@case("the launcher makes no mistake under valgrind", own=True, timeout=120, labels=("valgrind",))
def launcher(t):
    valgrind()
    log = os.path.join(t.sandbox.folder, "valgrind.log")
    line = ["valgrind", *OPTIONS, "--log-file=" + log, "--trace-children=no"]
    job = t.start(launcher_wrapper=line)
    with job.connect() as client:
        equal(client.invoke("empty").text, b"{}")
    os.kill(job.process.pid, signal.SIGTERM)
    status = job.wait()
    with open(log) as file:  # "--": that valgrind does not know a system call (pidfd_open); mistakes begin with "=="
        told = "".join(line for line in file if not line.startswith("--"))
    equal((status, told), (0, ""), "exit status and valgrind's log")


main("valgrind")
