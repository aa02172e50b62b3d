# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Rank 0 dies, or all ranks, or mpirun: clients come back by themselves, and calls that never began are run."""

import json
import os
import select
import signal
import subprocess
import threading
import time

from harness import COMMAND, SLOW, Skip, case, check, equal, main, program, wait_until
from resuming_client import ResumingClient
from sandbox import parent_of
from strangers_client import Client, JobError


def resume(t, job, pids, count=20, number=signal.SIGKILL):
    """What the client `resume` saw: it kills those processes while a call of its runs and others wait."""
    run = t.run(program("resume"), job.name, str(count), str(int(number)), *map(str, pids))
    equal(run.returncode, 0, "resume\n%s\n%s" % (run.stderr.decode(), job.output()))
    return json.loads(run.stdout)


def expect_served(found, count, code="rank_died"):
    equal(found["code"], code, found["message"])
    equal([call["turn"] for call in found["turns"]], list(range(count)), "the order in which they ran")
    print("error after %.1f ms, next call after %.0f ms" % (found["ms"], found["served_ms"]))


@case("rank 0 dies: the running call fails, those that wait run in their order, of both clients", ranks=(2, 4), own=True)
def rank_0(t):
    job = t.start()
    found = resume(t, job, job.pids[:1])
    expect_served(found, 20)
    equal(found["rank"], 0)
    check("pid %d" % job.pids[0] in found["message"] and "signal 9" in found["message"], found["message"])
    check(len({call["pid"] for call in found["turns"]}) == 1, "one new rank 0")
    with job.connect() as client:
        equal([rank["pid"] for rank in client.status(wait=True)["ranks"]][1:], job.pids[1:], "the others live on")

MUCH = 1 << 30  # bytes that rank 0 takes


def die_large(t, job, client):
    """Rank 0 takes much memory and is killed: the milliseconds until its client's error, and until the process is gone."""
    pid = client.status(wait=True)["ranks"][0]["pid"]
    client.invoke("grow", {"rank": 0, "bytes": MUCH})
    gone, process = [], os.pidfd_open(pid)
    watch = threading.Thread(target=lambda: (select.select([process], [], []), gone.append(1e3 * time.monotonic())))
    watch.start()
    found = resume(t, job, [pid], count=2)
    watch.join()
    os.close(process)
    equal((found["code"], found["rank"]), ("rank_died", 0), found["message"])
    check(found["host"] and "pid %d" % pid in found["message"] and "signal 9" in found["message"], found["message"])
    return found["ms"], found["ms"] + gone[0] - found["failed_at"]


@case("rank 0 with much memory dies: its clients hear of it before the kernel has taken that down", ranks=(1, 2), own=True,
      timeout=120)
def large(t):
    with open("/proc/meminfo") as file:
        free = next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable"))
    if free < 3 * MUCH:
        raise Skip("%d MB of memory are free, %d are needed" % (free >> 20, 3 * MUCH >> 20))
    job = t.start(run_options=("--restarts", "100"))
    times = []
    for _ in range(10):  # a busy machine may be late, not always
        with job.connect() as client:
            times.append(die_large(t, job, client))
        print("error after %.1f ms, rank 0 is gone after %.1f ms" % times[-1])
        if len(times) >= 3 and any(error < gone for error, gone in times):
            return
    raise AssertionError("no error came before rank 0 was gone: %s" % times)


@case("all ranks die: the job is started again, and calls that wait run", ranks=(1, 2, 4), own=True)
def all_ranks(t):
    job = t.start()
    expect_served(resume(t, job, job.pids), 20)
    check("starting the job again" in job.stderr(), job.stderr())
    wait_until(lambda: "READY again" in job.stderr(), "the launcher to say so", 10)


@case("mpirun is killed: the job is started again, and calls that wait run", ranks=(2,), own=True)
def mpirun(t):
    job = t.start()
    found = resume(t, job, [parent_of(job.pids[0])])
    equal(found["code"] in ("job_died", "rank_died"), True, found["code"])
    expect_served(found, 20, found["code"])


@case("an mpirun that hangs when a rank dies is started again with the job", ranks=(2,), own=True, timeout=120)
def hanging_mpirun(t):
    for victim in (1, 0):
        job = t.start()
        mpirun = parent_of(job.pids[0])
        os.kill(mpirun, signal.SIGSTOP)
        found = resume(t, job, [job.pids[victim]])
        expect_served(found, 20, "rank_died")
        equal(found["rank"], victim)
        check(not os.path.exists("/proc/%d" % mpirun), "the mpirun that hung is still there")


@case("a rank dies on a host that mpirun was told: it is replaced there", ranks=(2,), own=True)
def named_host(t):
    job = t.start(run_options=("--launcher-arg=--host", "--launcher-arg=localhost:8"))
    found = resume(t, job, job.pids[1:])
    expect_served(found, 20)
    check("starting the job again" not in job.stderr(), job.stderr())


@case("a client that rests comes back, too, and asks what it likes", ranks=(2,), own=True)
def resting(t):
    job = t.start()
    for which in (job.pids, None):
        with job.connect() as client:
            pids = which or [rank["pid"] for rank in client.status(wait=True)["ranks"]]
        before = job.stderr().count("READY again")
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        run = t.run(COMMAND, "invoke", "-j", job.name, "-H", "sum", '{"value": 1.0}')
        equal(run.returncode, 0, run.stderr.decode())
        wait_until(lambda: job.stderr().count("READY again") > before, "READY again", 10)


@case("a client of the bare protocol sees the end of its connection, and can come again", ranks=(2,), own=True)
def bare(t):
    job = t.start()
    with job.connect() as client:
        os.kill(job.pids[0], signal.SIGKILL)
        client.expect_close()
    with job.connect() as client:
        equal(client.invoke("sum", {"value": 1.0}).json, {"sum": 3.0})


@case("a client written from the document alone comes back, too: its calls run in their order", ranks=(2,), own=True)
def stranger(t):
    job = t.start()
    told = []
    client = ResumingClient(job.path, tell=lambda what, **fields: told.append((what, fields)))
    with client, job.connect() as other:
        running = client.submit("wait")
        waiting = [client.submit("turn") for _ in range(5)]
        wait_until(lambda: other.status()["queue"]["length"] == 5, "the calls to wait", 10)
        os.kill(job.pids[0], signal.SIGKILL)
        try:
            raise AssertionError("a result: %s" % client.outcome(running).json)
        except JobError as error:
            equal((error.name, error.rank), ("rank_died", 0), str(error))
            check("pid %d" % job.pids[0] in str(error) and "signal 9" in str(error), str(error))
        equal([client.outcome(id).json["turn"] for id in waiting], list(range(5)), "their order")
        equal([what for what, _ in told], ["lost", "away", "back"])
        equal((told[1][1]["begun"], told[2][1]["begun"], told[2][1]["again"]), (running, running, waiting))
        equal(client.invoke("sum", {"value": 1.0}).json, {"sum": 3.0}, "a call afterwards")


def die_times(t, job, rank, times, *options):
    path = os.path.join(t.sandbox.folder, "deaths-%d-%d" % (rank, times))
    arguments = json.dumps({"path": path, "rank": rank, "times": times})
    run = t.run(COMMAND, "invoke", "-j", job.name, "-H", "die_times", *options, arguments)
    return run, os.path.getsize(path)


@case("an idempotent call runs again when a rank dies, three times at most", ranks=(2,), own=True,
      timeout=60)
def idempotent(t):
    job = t.start(run_options=("--restarts", "100"))
    for rank in (1, 0):
        run, begun = die_times(t, job, rank, 2, "--idempotent")
        equal((run.returncode, json.loads(run.stdout or b"null"), begun), (0, {"times": 2}, 3), run.stderr.decode())
        run, begun = die_times(t, job, rank, 9, "--idempotent")
        equal((run.returncode, begun), (16, 3), run.stderr.decode())
        check("rank_died" in run.stderr.decode(), run.stderr.decode())
    run, begun = die_times(t, job, 1, 1)
    equal((run.returncode, begun), (16, 1), "one that is not: " + run.stderr.decode())


@case("an idempotent call begins three times at most whoever dies: another rank, another, then rank 0", ranks=(3,), own=True)
def idempotent_mixed(t):
    job = t.start(run_options=("--restarts", "100"))
    path = os.path.join(t.sandbox.folder, "deaths")
    call = subprocess.Popen([COMMAND, "invoke", "-j", job.name, "-H", "die_mixed", "--idempotent", json.dumps({"path": path})],
                            env=t.sandbox.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    text = call.communicate(timeout=30)[1].decode()
    equal((call.returncode, os.path.getsize(path)), (16, 3), text)


@case("an idempotent stream of which an event has come does not run again", ranks=(2,), own=True)
def heard(t):
    job = t.start()
    path = os.path.join(t.sandbox.folder, "deaths")
    arguments = json.dumps({"path": path, "rank": 1, "times": 1, "emit": True})
    run = t.run(COMMAND, "stream", "-j", job.name, "-H", "die_times", "--idempotent", arguments)
    equal((run.returncode, os.path.getsize(path)), (16, 1), run.stderr.decode())


@case("a timeout counts while the job is being restarted", ranks=(1,), own=True)
def timeout(t):
    job, go = t.start_held()
    os.kill(job.pids[0], signal.SIGKILL)
    began = time.monotonic()
    run = t.run(COMMAND, "invoke", "-j", job.name, "-H", "turn", "--timeout", "2")
    equal(run.returncode, 7, run.stderr.decode())
    check(1.9 < time.monotonic() - began < 4, "after %g s" % (time.monotonic() - began))
    open(go, "w").close()
    with job.connect() as client:
        equal(client.invoke("turn").json["turn"], 0)


@case("a rank that dies again and again: a pause, then no more than --restarts in an hour", ranks=(2,), own=True,
      timeout=60)
def again(t):
    job = t.start(run_options=("--restarts", "4"))
    path = os.path.join(t.sandbox.folder, "deaths")
    calls = []
    arguments = json.dumps({"path": path, "rank": 1, "times": 99})
    for _ in range(8):
        calls.append(subprocess.Popen([COMMAND, "invoke", "-j", job.name, "-H", "die_times", arguments],
                                      env=t.sandbox.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    ends = [(call.communicate(timeout=50)[1].decode(), call.returncode) for call in calls]
    equal(job.wait(), 15, job.output())
    equal(os.path.getsize(path), 5, "so many calls have begun")
    for text, status in ends:
        check(status in (15, 16) and "rank 1" in text, "%d %s" % (status, text))
    check("die again and again" in job.output(), job.output())
    check("--restarts" in job.stderr(), job.stderr())


@case("setup that fails when the job is restarted is tried again, then given up", ranks=(2,), own=True, timeout=60)
def setup_fails(t):
    marks = t.folder("marks")
    job = t.start(run_options=("--restarts", "3"), setup=json.dumps({"marks": marks}))
    for pid in job.pids:
        os.kill(pid, signal.SIGKILL)
    run = t.run(COMMAND, "invoke", "-j", job.name, "-H", "turn")
    check(run.returncode in (15, 16), "%d %s" % (run.returncode, run.stderr.decode()))
    equal(job.wait(30), 15, job.output())
    equal(job.stderr().count("starting the job again"), 3, job.stderr())


@case("calls that are submitted while there is no rank 0 wait for it", ranks=(1,), own=True)
def meanwhile(t):
    job, go = t.start_held()
    os.kill(job.pids[0], signal.SIGKILL)
    calls = []
    for _ in range(5):
        calls.append(subprocess.Popen([COMMAND, "invoke", "-j", job.name, "-H", "turn"], env=t.sandbox.env,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        time.sleep(0.1)
    open(go, "w").close()
    ends = [call.communicate(timeout=20) for call in calls]
    equal(sorted(json.loads(out)["turn"] for out, _ in ends), list(range(5)), str(ends))


def is_back(job, deaths):
    """After so many: a call that comes early may end a rank 0 before the launcher has said that it is ready."""
    after = job.stderr().partition("(%d of 100 times" % deaths)[2]
    return "READY again" in after


@case("ps tells of a job that is being restarted", ranks=(1,), own=True)
def listed(t):
    job = t.start(run_options=("--restarts", "100"))
    path = os.path.join(t.sandbox.folder, "deaths")
    arguments = json.dumps({"path": path, "rank": 0, "times": 5})
    for _ in range(5):  # in a row: then there is a pause
        t.run(COMMAND, "invoke", "-j", job.name, "-H", "die_times", arguments)
    rows = json.loads(t.run(COMMAND, "ps", "--json").stdout)
    equal([(row["job"], row["state"]) for row in rows], [(job.name, "restarting")])
    wait_until(lambda: is_back(job, 5), "the job to be back", 20)


def paused(t, deaths=6):
    """A job that dies again and again, so that it pauses for a few seconds before the next start."""
    job = t.start(run_options=("--restarts", "100"))
    path = os.path.join(t.sandbox.folder, "deaths")
    arguments = json.dumps({"path": path, "rank": 0, "times": deaths})
    for _ in range(deaths):
        t.run(COMMAND, "invoke", "-j", job.name, "-H", "die_times", arguments)
    return job


def until_away(t, job):
    """The first status that the launcher gives."""
    found = []

    def asked():
        run = t.run(COMMAND, "status", "--json", job.name)
        equal(run.returncode, 0, run.stderr.decode())
        found.append(json.loads(run.stdout))
        return found[-1]["state"] == "restarting"

    wait_until(asked, "the job to be restarting", 10)
    return found[-1]


@case("status tells of a job that is being restarted: who died, since when, how often", ranks=(1,), own=True)
def told(t):
    job = paused(t)
    status = until_away(t, job)
    restart = status["restart"]
    equal((status["job"], status["world_size"], restart["rank"], restart["deaths"], restart["allowed"]),
          (job.name, 1, 0, 6, 100), str(status))
    check("rank 0" in restart["reason"] and "signal 9" in restart["reason"], str(status))
    check(0 <= restart["since"] < 60, str(status))
    text = t.run(COMMAND, "status", job.name).stdout.decode()
    check("restarting" in text and "rank 0 (pid" in text or "ready" in text or "starting" in text, text)
    wait_until(lambda: is_back(job, 6), "the job to be back", 20)


@case("stop ends a job that is being restarted, soon", ranks=(1,), own=True)
def stopped_away(t):
    job = paused(t)
    until_away(t, job)
    began = time.monotonic()
    run = t.run(COMMAND, "stop", job.name)
    equal(run.returncode, 0, run.stderr.decode())
    check(time.monotonic() - began < 5 * SLOW, "after %.1f s" % (time.monotonic() - began))
    job.wait(10)
    wait_until(lambda: not t.sandbox.leftovers(), "leftovers to go", 5)


@case("stop ends a job whose ranks regroup, or whose rank 0 is in setup again", ranks=(3,), own=True, timeout=120)
def stopped_regrouping(t):
    for victims in ((1,), (0,), (0, 1, 2)):
        job, _ = t.start_held()
        for victim in victims:
            os.kill(job.pids[victim], signal.SIGKILL)
        time.sleep(0.1 * len(victims))  # whatever it is doing then
        began = time.monotonic()
        run = t.run(COMMAND, "stop", "--now", job.name)
        equal(run.returncode, 0, "%s: %s\n%s" % (victims, run.stderr.decode(), job.output()))
        check(time.monotonic() - began < 12 * SLOW, "%s: after %.1f s" % (victims, time.monotonic() - began))
        job.wait(15)
        wait_until(lambda: not t.sandbox.leftovers(), "leftovers to go", 5)


@case("invoke waits for a job that is being restarted for as long as its timeout says, and names the restart", ranks=(1,),
      own=True)
def waits(t):
    job = paused(t)
    until_away(t, job)
    run = t.run(COMMAND, "invoke", "-j", job.name, "-H", "turn", "--timeout", "0.3")
    text = run.stderr.decode()
    if run.returncode:  # else it was back sooner
        check("restarted" in text or "timeout" in text, "%d %s" % (run.returncode, text))
    run = t.run(COMMAND, "invoke", "-j", job.name, "-H", "turn")
    equal(run.returncode, 0, run.stderr.decode())


@case("Ctrl-C while the job is being restarted ends it, and those who wait hear of it", ranks=(1,), own=True)
def interrupted(t):
    job, _ = t.start_held()
    os.kill(job.pids[0], signal.SIGKILL)
    call = subprocess.Popen([COMMAND, "invoke", "-j", job.name, "-H", "turn"], env=t.sandbox.env,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: "starting the job again" in job.stderr(), "the restart", 10)
    time.sleep(0.3)
    job.process.send_signal(signal.SIGTERM)
    job.wait()
    text = call.communicate(timeout=10)[1].decode()
    check(call.returncode in (9, 15), "%d %s" % (call.returncode, text))


@case("deaths one after the other, of rank 0 and of all, lose no call that waits", ranks=(2,), own=True, timeout=120)
def many(t):
    job = t.start(run_options=("--restarts", "100"))
    for round in range(12):
        with job.connect() as client:
            pids = [rank["pid"] for rank in client.status(wait=True)["ranks"]]
        found = resume(t, job, pids[:1] if round % 3 else pids, count=10)
        expect_served(found, 10)


def last_word(t, job, rank, lines):
    """A rank prints and dies. The lines that come with the error have no gap; returns the number of the last one."""
    with job.connect() as client:
        pid = client.status(wait=True)["ranks"][rank]["pid"]
    run = t.run(COMMAND, "invoke", "-j", job.name, "--json", "-H", "last_words",
                json.dumps({"rank": rank, "lines": lines}))
    equal(run.returncode, 16, run.stderr.decode())
    error = json.loads(run.stdout)["error"]
    equal(error["rank"], rank, error["message"])
    said = [line for line in error["traceback"].splitlines() if line.startswith("word ")]
    last = int(said[-1].split()[1]) if said else -1
    equal(said, ["word %d of process %d" % (i, pid) for i in range(last + 1 - len(said), last + 1)])
    check(len(said) >= min(last + 1, 10), error["traceback"])
    check(not said or "[rank %d] word 0 of process %d" % (rank, pid) in job.output(), job.output())
    return last


@case("the last lines of a rank's output come with its death's error, under the right number", ranks=(2,), own=True,
      timeout=60)
def last_words(t):
    job = t.start(run_options=("--restarts", "100"))
    for rank, lines in ((1, 3), (1, 200), (0, 3), (0, 200), (1, 1)):
        # A busy machine may hold the very last ones back for longer than the error can wait, but not every time.
        check(any(last_word(t, job, rank, lines) == lines - 1 for _ in range(4)), "the last line never came")


@case("hundreds of clients wait for the next rank 0", ranks=(2,), own=True, timeout=60)
def crowd(t):
    job = t.start()
    outcomes = []

    def call():
        run = t.run(COMMAND, "invoke", "-j", job.name, "-H", "turn")
        outcomes.append((run.returncode, run.stderr.decode()))

    with job.connect() as client:
        running = client.submit("wait")
        threads = [threading.Thread(target=call) for _ in range(100)]
        for thread in threads:
            thread.start()
        wait_until(lambda: client.status()["queue"]["length"] >= 100, "all to wait", 20)
        idle = [Client(job.path) for _ in range(300)]
        for pid in job.pids:
            os.kill(pid, signal.SIGKILL)
        try:
            client.outcome(running)
            raise AssertionError("a result although all ranks died")
        except (ConnectionError, JobError):
            pass
    for thread in threads:
        thread.join()
    equal([one for one in outcomes if one[0]], [], "calls that were lost")
    for client in idle:
        client.close()


main("restart")
