# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""A hostile machine: signals, deaths, sockets that are in the way, disks that are full, limits that are reached."""

import contextlib
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import time

from harness import COMMAND, SLOW, Skip, case, check, equal, main, raises, wait_until
from strangers_client import STREAM, Client, JobError

BOTH = ("launcher", "mpirun")
DEATHS = ("job_died", "rank_died", "connection_closed")


def expect_gone(job, seconds):
    wait_until(lambda: not any(os.path.exists("/proc/%d" % pid) for pid in job.pids), "the ranks to end", seconds * SLOW)


# ---- Sockets ----


@case("the socket is 0600 in a 0700 folder", by=BOTH, own=True)
def modes(t):
    os.rmdir(t.sandbox.runtime)
    t.job = t.start()
    equal(stat.S_IMODE(os.stat(t.job.path).st_mode), 0o600, "the socket's mode")
    equal(stat.S_IMODE(os.stat(t.sandbox.runtime).st_mode), 0o700, "the folder's mode")


@case("a folder that others may enter is refused", by=BOTH, own=True)
def open_folder(t):
    os.chmod(t.sandbox.runtime, 0o755)
    job = t.start(ready=False)
    check(job.wait() != 0, "it was accepted")
    check(t.sandbox.runtime in job.output(), "the output does not name it: " + job.output())


def leave_stale_socket(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()


@case("a stale socket is replaced", by=BOTH, own=True)
def stale(t):
    path = os.path.join(t.sandbox.runtime, "stale.sock")
    leave_stale_socket(path)
    t.job = t.start(name="stale")
    with t.job.connect() as client:
        equal(client.invoke("empty").text, b"{}")


@case("a live socket is not replaced", by=BOTH, own=True)
def live(t):
    t.job = t.start(name="live")
    second = t.start(name="live", ready=False)
    status = second.wait()
    check(status != 0 and "live" in second.output(), "status %d\n%s" % (status, second.output()))
    check(t.by == "mpirun" or status == 19, "exit status %d, not that of job_exists" % status)
    with t.job.connect() as client:
        equal(client.welcome["pid"], t.job.pids[0], "the first job's process")


@case("a file that is no socket is never replaced", by=BOTH, own=True)
def no_socket(t):
    path = os.path.join(t.sandbox.folder, "precious.sock")
    with open(path, "w") as file:
        file.write("precious")
    job = t.start(path=path, ready=False)
    check(job.wait() != 0 and path in job.output(), job.output())
    with open(path) as file:
        equal(file.read(), "precious")


@case("of two jobs started at once under one name exactly one lives", by=BOTH, own=True, timeout=60)
def race(t):
    for turn in range(3):
        jobs = [t.start(name="race%d" % turn, ready=False) for _ in range(2)]
        wait_until(lambda: sum(job.running() for job in jobs) < 2, "one to give up", 20 * SLOW)
        winner, = [job for job in jobs if job.running()]
        winner.wait_ready()
        loser, = [job for job in jobs if not job.running()]
        check(loser.wait() != 0, "the loser's exit status is 0")
        with winner.connect() as client:
            equal(client.invoke("sum", {"value": 1}).json, {"sum": 3})
        winner.stop()


@case("a socket's path of 108 bytes is refused by its length, one of 107 works", by=BOTH, own=True)
def long_path(t):
    room = 107 - len(t.sandbox.folder) - 1
    job = t.start(path=os.path.join(t.sandbox.folder, "x" * (room + 1)), ready=False)
    check(job.wait() != 0 and "108" in job.output(), job.output())
    t.job = t.start(path=os.path.join(t.sandbox.folder, "x" * room))
    with t.job.connect() as client:
        equal(client.invoke("empty").text, b"{}")


@case("a bad name is refused", by=BOTH, own=True)
def bad_name(t):
    for name in ("", ".hidden", "sp ace", "x" * 65):
        job = t.start(name=name, ready=False)
        check(job.wait() != 0 and "name" in job.output(), "%r was accepted\n%s" % (name, job.output()))


@contextlib.contextmanager
def tiny_disk(t, options):
    if os.geteuid() != 0:
        raise Skip("mounting needs root")
    folder = t.folder("disk")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True, check=False)
    if done.returncode != 0:
        raise Skip("mounting is not allowed: " + done.stderr.decode())
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@case("a full disk under the socket ends the start with a clear error", by=BOTH, own=True)
def full_disk(t):
    with tiny_disk(t, "size=4k,nr_inodes=2,mode=700") as folder:
        os.close(os.open(os.path.join(folder, "filler"), os.O_CREAT))
        job = t.start(path=os.path.join(folder, "s.sock"), ready=False)
        check(job.wait() != 0, "it started on a full disk")
        check("no space" in job.output().lower(), job.output())
        equal(os.listdir(folder), ["filler"], "what is on the disk")


@case("a read-only folder under the socket ends the start with a clear error", by=BOTH, own=True)
def read_only(t):
    with tiny_disk(t, "size=1M,ro,mode=700") as folder:
        job = t.start(path=os.path.join(folder, "s.sock"), ready=False)
        check(job.wait() != 0, "it started on a read-only disk")
        check("read-only" in job.output().lower(), job.output())


@case("a missing folder under the socket ends the start with a clear error", by=BOTH, own=True)
def no_folder(t):
    job = t.start(path=os.path.join(t.sandbox.folder, "no", "such", "s.sock"), ready=False)
    check(job.wait() != 0 and "no/such" in job.output(), job.output())


@case("a client of another user is refused", own=True)
def other_user(t):
    if os.geteuid() != 0:
        raise Skip("changing the user needs root")
    t.job = t.start()
    os.chmod(t.sandbox.folder, 0o755)
    os.chmod(t.sandbox.runtime, 0o755)
    os.chmod(t.job.path, 0o666)  # as a careless administrator might
    child = os.fork()
    if child == 0:
        os.setgid(65534)
        os.setuid(65534)
        os._exit(ask_as_stranger(t.job.path))
    _, status = os.waitpid(child, 0)
    equal(os.waitstatus_to_exitcode(status), 0, "the other user's client")
    result = t.run(COMMAND, "status", "-j", t.job.path, text=True, user=65534, group=65534)
    equal(result.returncode, 13, "the other user's command\n" + result.stderr)
    with t.job.connect() as client:
        equal(client.invoke("empty").text, b"{}")


def ask_as_stranger(path):
    try:
        Client(path)
    except JobError as error:
        return 0 if error.name == "forbidden" else 2
    except OSError:
        return 3
    return 4


# ---- Limits ----


@case("the open-file limit refuses further clients, serves the others, and passes", by=BOTH, own=True, timeout=60)
def file_limit(t):
    t.job = t.start(limits=((resource.RLIMIT_NOFILE, (80, 80)),))
    pid = t.job.pids[0]
    with t.job.connect() as client:
        extra = []
        for _ in range(120):
            one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            one.setblocking(False)
            try:
                one.connect(t.job.path)
            except BlockingIOError:
                one.close()
                break
            extra.append(one)
        for _ in range(20):
            equal(client.invoke("sum", {"value": 1}).json, {"sum": 3}, "a call at the limit")
        began, used = time.monotonic(), process_time(pid)
        while time.monotonic() < began + 0.5:
            client.ping()
            time.sleep(0.05)  # the time over which is measured
        share = (process_time(pid) - used) / (time.monotonic() - began)
        check(share < 0.3 * SLOW, "rank 0 uses %.0f %% of a core at the limit" % (100 * share))
        for one in extra:
            one.close()
        wait_until(lambda: is_served(t.job), "new clients to be served again")


def is_served(job):
    try:
        with job.connect() as client:
            return client.invoke("empty").text == b"{}"
    except JobError as error:
        equal(error.name, "busy", "how a client is refused at the limit")
        return False


def process_time(pid):
    total = 0
    for thread in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/schedstat" % (pid, thread)) as file:
            total += int(file.read().split()[0])
    return total * 1e-9


# ---- Signals and deaths ----


@case("SIGTERM and SIGINT end the job in order, with teardown on every rank", ranks=(1, 3), by=BOTH, own=True)
def orderly_signals(t):
    for number in (signal.SIGTERM, signal.SIGINT):
        marks = t.folder("marks%d" % number)
        job = t.start(setup='{"marks": "%s"}' % marks)
        os.kill(job.pids[0] if t.by == "mpirun" else job.process.pid, number)
        equal(job.wait(), 0, "exit status after signal %d\n%s" % (number, job.output()))
        torn = sorted(name for name in os.listdir(marks) if name.startswith("teardown"))
        equal(torn, ["teardown.%d" % rank for rank in range(t.ranks)], "teardowns")


@case("a Ctrl-C of the whole foreground group ends the job in order", own=True)
def control_c(t):
    marks = t.folder("marks")
    job = t.start(setup='{"marks": "%s"}' % marks)
    os.killpg(job.process.pid, signal.SIGINT)
    status = job.wait()
    equal(status, 0, "exit status\n" + job.output())
    equal(len([name for name in os.listdir(marks) if name.startswith("teardown")]), t.ranks, "teardowns")


@case("SIGTERM or SIGINT to bare mpirun runs teardown and leaves nothing", ranks=(1, 3), by=("mpirun",), own=True)
def mpirun_signals(t):
    marks = t.folder("marks")
    job = t.start(setup='{"marks": "%s"}' % marks)
    with job.connect() as client:
        next(client.items(client.submit("wait", kind=STREAM)))
        os.kill(job.process.pid, signal.SIGTERM if t.ranks == 1 else signal.SIGINT)
        check(job.wait() != 0, "mpirun says that all is well")
    equal(len([name for name in os.listdir(marks) if name.startswith("teardown")]), t.ranks, "teardowns")
    expect_gone(job, 5)


@case("a signal in mid-call refuses what is queued and ends the job with what runs", by=BOTH, own=True)
def signal_in_call(t):
    job = t.start()
    with job.connect() as client:
        items = client.items(client.submit("wait", kind=STREAM))
        next(items)
        queued = client.submit("empty")
        client.ping()
        os.kill(job.pids[0] if t.by == "mpirun" else job.process.pid, signal.SIGTERM)
        with raises("shutting_down"):
            client.outcome(queued)
        if t.by == "launcher":  # it gives the running call time to finish
            client.cancel(1)
        with raises("cancelled"):
            next(items)
    equal(job.wait(), 0, job.output())


@case("a second signal ends a job whose handler does not listen", own=True)
def second_signal(t):
    job = t.start()
    with job.connect() as client:
        client.submit("slow", {"seconds": 100})
        wait_until(lambda: client.status()["running"], "the handler to run")
        os.kill(job.process.pid, signal.SIGINT)
        wait_until(lambda: client.status()["state"] != "ready", "the job to stop")
        os.kill(job.process.pid, signal.SIGINT)
        check(job.wait(10) != 0, "exit status 0 after a forced end")
    expect_gone(job, 5)


def expect_end_without_launcher(t, job):
    """Ranks and mpirun end, and nothing is left."""
    os.kill(job.process.pid, signal.SIGKILL)
    job.process.wait()
    expect_gone(job, 5)
    wait_until(lambda: not t.sandbox.processes(), "mpirun to end", 5 * SLOW)


@case("SIGKILL of the launcher ends the ranks by themselves", ranks=(1, 4), own=True)
def launcher_killed(t):
    expect_end_without_launcher(t, t.start())


@case("SIGKILL of the launcher in mid-call ends the ranks by themselves", own=True)
def launcher_killed_in_call(t):
    job = t.start()
    with job.connect() as client:
        next(client.stream("wait"))
        expect_end_without_launcher(t, job)


@case("a rank's death ends the call with an error and the job with a status", ranks=(1, 2, 4), by=BOTH, own=True)
def rank_dies(t):
    for rank in sorted({0, t.ranks - 1}):
        job = t.start(options=("--restarts", "0"))
        with job.connect() as client:
            try:
                client.invoke("die", {"rank": rank})
                raise AssertionError("a result from a dead job")
            except JobError as error:
                check(error.name in DEATHS, str(error))
            except ConnectionError:
                pass  # rank 0 is gone
        check(job.wait() != 0, "exit status 0 after a death")
        expect_gone(job, 3)
        if t.by == "mpirun" and rank == 0:  # nobody was left to remove it; the next job of that name does
            t.start(name=job.name).stop()


@case("a handler that calls exit ends the job", by=BOTH, own=True)
def rank_exits(t):
    job = t.start(options=("--restarts", "0"))
    with job.connect() as client:
        with contextlib.suppress(ConnectionError, JobError):
            client.invoke("die", {"rank": 1, "signal": 0})
            raise AssertionError("a result from a dead job")
    check(job.wait() != 0, "exit status 0 after an exit in mid-call")
    expect_gone(job, 3)


@case("a missing worker program is told by its name", by=BOTH, own=True)
def no_program(t):
    job = t.start(program_path="/no/such/worker", ready=False)
    status = job.wait()
    check(status != 0 and "/no/such/worker" in job.output(), job.output())
    check(t.by == "mpirun" or status == 20, "exit status %d, not that of launch_failed" % status)


@case("a program that is no worker ends the start", own=True)
def no_worker(t):
    job = t.start(program_path=shutil.which("true"), ready=False)
    status = job.wait()
    check(status == 20, "exit status %d, not that of launch_failed\n%s" % (status, job.output()))


@case("jobs started and stopped one after the other leave nothing", by=BOTH, own=True, timeout=60)
def again_and_again(t):
    for _ in range(3):
        job = t.start(name="again")
        with job.connect() as client:
            client.invoke("empty")
        job.stop()
        t.sandbox.check_empty()


main("faults")
