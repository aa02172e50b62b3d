# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Setup and teardown: once on every rank, and what the world sees when setup fails."""

import json
import os

import strangers_client as wire
from harness import case, check, equal, main, mpirun_line, program, raises
from strangers_client import JobError

BOTH = ("launcher", "mpirun")


def marks(folder, what):
    return sorted(int(name.split(".")[1]) for name in os.listdir(folder) if name.startswith(what))


@case("setup and teardown run once on every rank", ranks=(1, 2, 3, 4), by=BOTH, own=True)
def once(t):
    folder = t.folder("marks")
    t.job = t.start(setup=json.dumps({"marks": folder}))
    equal(marks(folder, "setup"), list(range(t.ranks)), "setups")
    equal(marks(folder, "teardown"), [], "teardowns before the end")
    t.job.stop()
    equal(marks(folder, "teardown"), list(range(t.ranks)), "teardowns")


@case("setup's arguments may come from a file", by=BOTH, own=True)
def from_file(t):
    path = os.path.join(t.sandbox.folder, "setup.json")
    with open(path, "w") as file:
        file.write('{"from": "file"}\n')
    t.job = t.start(setup="@" + path)
    with t.job.connect() as client:
        equal(client.invoke("info").json["setup"], {"from": "file"})


@case("setup's arguments that are no JSON object are refused", by=BOTH, own=True)
def bad_arguments(t):
    for setup in ("[1]", '{"a": NaN}', "@/no/such/file"):
        job = t.start(setup=setup, ready=False)
        check(job.wait() != 0, "%s was accepted" % setup)
        check("setup" in job.output(), "the output does not say why: " + job.output())


@case("a setup that fails on one rank ends the job and names it", ranks=(1, 2, 4), by=BOTH, own=True)
def fails(t):
    for rank in sorted({0, t.ranks - 1}):
        folder = t.folder("marks%d" % rank)
        setup = {"fail": rank, "message": "no weights", "marks": folder}
        job = t.start(setup=json.dumps(setup), ready=False)
        status = job.wait()
        check(status != 0, "exit status 0 after a failed setup")
        check(t.by == "mpirun" or status == 5, "exit status %d, not that of worker_error" % status)
        check("no weights" in job.output() and "rank %d" % rank in job.output(), job.output())
        equal(marks(folder, "setup"), list(range(t.ranks)), "setups")
        equal(marks(folder, "teardown"), [one for one in range(t.ranks) if one != rank], "teardowns")


@case("a setup that fails may have a traceback", by=BOTH, own=True)
def fails_with_traceback(t):
    job, go = start_held(t, fail=1, message="no weights", traceback="line 1\n  line 2 %s\n")
    with job.connect() as client:
        client.send(wire.frame(wire.STATUS, 5, b"\1" + bytes(7)))
        client.ping()
        open(go, "w").close()
        try:
            client.outcome(5)
            raise AssertionError("no error")
        except JobError as error:
            equal((error.name, error.rank, error.body["message"]), ("worker_error", 1, "no weights"), "error")
            equal(error.body["traceback"], "line 1\n  line 2 %s\n", "traceback")
    check(job.wait() != 0, "exit status 0")


@case("a setup that fails on every rank is told once or more, and ends the job", by=BOTH, own=True)
def fails_everywhere(t):
    job = t.start(setup='{"fail": -1, "message": "no weights"}', ready=False)
    check(job.wait() != 0 and "no weights" in job.output(), job.output())


@case("a setup that fails without a word ends the job", by=BOTH, own=True)
def fails_mutely(t):
    job = t.start(setup='{"fail_mute": 1}', ready=False)
    check(job.wait() != 0 and "rank 1" in job.output(), job.output())


def start_held(t, **more):
    """A job whose setup goes on when the returned file appears."""
    go = os.path.join(t.sandbox.folder, "go")
    return t.start(setup=json.dumps({"go": go, **more}), ready=False), go


@case("a client that waits for READY hears that setup failed", by=BOTH, own=True)
def waiting_client(t):
    job, go = start_held(t, fail=1, message="no weights")
    with job.connect() as client:
        equal(client.status()["state"], "starting", "state")
        client.send(wire.frame(wire.STATUS, 5, b"\1" + bytes(7)))
        client.ping()
        open(go, "w").close()
        try:
            client.outcome(5)
            raise AssertionError("no error")
        except JobError as error:
            equal((error.name, error.rank), ("worker_error", 1), "error")
            check("no weights" in error.body["message"] and error.body["host"], str(error))
        client.expect_close()
    check(job.wait() != 0, "exit status 0")


@case("64 questions of one client may wait for READY, one more is refused", own=True)
def many_wait(t):
    _, go = start_held(t)
    with t.jobs[0].connect() as client:
        for id in range(1, 66):
            client.send(wire.frame(wire.STATUS, id, b"\1" + bytes(7)))
        equal(wire.JobError(client.receive_for(65)).name, "busy", "the 65th")
        open(go, "w").close()
        for id in range(1, 65):
            equal(client.receive_for(id).payload.json["state"], "ready", "answer %d" % id)


@case("a stop during setup ends the job, and calls that waited hear of it", own=True, by=BOTH)
def stop_in_setup(t):
    job, go = start_held(t)
    with job.connect() as client, job.connect() as other:
        id = other.submit("sum", {"value": 1})
        other.ping()
        client.ask(wire.STOP, wire.STOPPING, bytes(8))
        with raises("shutting_down"):
            other.outcome(id)
        open(go, "w").close()
        client.expect_close()
    equal(job.wait(), 0, job.output())
    check(t.by == "mpirun" or "has stopped" in job.stderr(), job.stderr())


@case("an endless drain time ends an idle job at once", own=True)
def endless_drain(t):
    job = t.start()
    with job.connect() as client:
        client.ask(wire.STOP, wire.STOPPING, b"\xff" * 8)
        client.expect_close()
    equal(job.wait(), 0, job.output())


@case("a call that comes before READY runs then", by=BOTH, own=True)
def early_call(t):
    job, go = start_held(t)
    with job.connect() as client:
        id = client.submit("sum", {"value": 1})
        client.ping()
        equal(client.status()["state"], "starting", "state")
        open(go, "w").close()
        equal(client.outcome(id).json, {"sum": 3})
        equal(client.status(wait=True)["state"], "ready", "state")


@case("a call that waits for READY hears that setup failed", by=BOTH, own=True)
def early_call_fails(t):
    job, go = start_held(t, fail=0)
    with job.connect() as client:
        id = client.submit("sum", {"value": 1})
        client.ping()
        open(go, "w").close()
        try:
            client.outcome(id)
            raise AssertionError("a result from a job whose setup failed")
        except JobError as error:
            check(error.name in ("worker_error", "shutting_down"), str(error))
    check(job.wait() != 0, "exit status 0")


@case("a rank that dies in setup ends the job", by=BOTH, own=True)
def dies(t):
    job = t.start(setup='{"die": 1}', ready=False)
    check(job.wait() not in (0, None), "exit status 0")


@case("the only rank dies in setup: the launcher says of what", ranks=(1,), own=True)
def dies_alone(t):
    job = t.start(setup='{"die": 0}', ready=False)
    equal(job.wait(), 16, job.output())
    check("rank 0 (pid" in job.stderr() and "signal 9" in job.stderr(), job.stderr())


@case("the C++ worker and the C++ client understand each other", ranks=(1, 3), by=BOTH, own=True)
def cpp(t):
    t.job = t.start(worker="cpp_worker", setup='{"size": 7}')
    result = t.run(program("cpp_client"), t.job.path, text=True)
    equal(result.returncode, 0, result.stderr)
    with t.job.connect() as client, raises("worker_error", text="complains"):
        client.invoke("complain")


@case("an mpirun of the other line of Open MPI is told from one's own", by=("mpirun",), own=True)
def other_line(t):
    pretend = {4: ("-u", "OMPI_MCA_orte_launch", "PRTE_LAUNCHED=1"), 5: ("-u", "PRTE_LAUNCHED", "OMPI_MCA_orte_launch=1")}
    job = t.start(wrapper=("env", *pretend[mpirun_line()]), ready=False)
    check(job.wait() != 0, "the job ended as if all were well")
    check("RANKCALL_MPIRUN" in job.output(), "the output does not say what to do: " + job.output())


main("setup")
