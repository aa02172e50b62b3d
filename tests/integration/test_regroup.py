# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Ranks that die are replaced: the others keep what they hold, and clients notice the call that failed and no other."""

import contextlib
import json
import os
import random
import signal
import threading
import time

from harness import FULL, Skip, case, check, equal, main, mpirun_line, raises, wait_until
from resuming_client import ResumingClient
from sandbox import parent_of
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


def children_of(parent):
    found = set()
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            if parent_of(pid) == parent:
                found.add(pid)
    return found


@case("a rank that dies in a call is replaced, and the error says who and why", ranks=(2, 4), by=("launcher", "mpirun"),
      own=True)
def one(t):
    job = start(t)
    with job.connect() as client:
        before = pids(client)
        for rank, number in ((t.ranks - 1, signal.SIGKILL), (1, signal.SIGABRT)):
            old = pids(client)[rank]
            error = killed(client, rank, number)
            equal((error.name, error.rank, error.body["host"]), ("rank_died", rank, job.status["ranks"][rank]["host"]), str(error))
            check("signal %d" % number in str(error) and str(old) in str(error), str(error))
            equal(client.invoke("sum", {"value": 1.0}).json, {"sum": t.ranks * (t.ranks + 1) / 2}, "the next call")
        expect_replaced(client, before, {1, t.ranks - 1})


@case("a rank is replaced alone where the loopback is the only network", ranks=(3,), own=True)
def no_network(t):
    alone = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "-")
    if t.run(*alone, "true").returncode:
        raise Skip("no network of its own can be made here")
    job = t.start(launcher_wrapper=alone)
    with job.connect() as client:
        before = pids(client)
        equal(killed(client, 2).name, "rank_died")
        equal(client.invoke("sum", {"value": 1.0}).json, {"sum": 6.0})
        expect_replaced(client, before, {2})


def waits_with_epoll(pid):
    folder = "/proc/%d/fd" % pid
    return any("eventpoll" in os.readlink(os.path.join(folder, fd)) for fd in os.listdir(folder))


@case("mpirun waits with poll, which forgives it deaths that it has overlooked, and ranks with epoll", ranks=(2,), own=True)
def waits(t):
    job = t.start()
    check(not waits_with_epoll(parent_of(job.pids[0])), "mpirun waits with epoll")
    check(waits_with_epoll(job.pids[0]), "rank 0 does not wait with epoll")


@case("an idle rank that dies costs no call", ranks=(3,), by=("launcher", "mpirun"), own=True)
def idle(t):
    job = start(t)
    with job.connect() as client, job.connect() as other:
        before = pids(client)
        os.kill(before[2], signal.SIGKILL)
        wait_until(lambda: client.status()["state"] != "ready" or pids(client) != before, "the death to be noticed", 10)
        equal(client.invoke("sum", {"value": 1.0}).json, {"sum": 6.0})
        expect_replaced(other, before, {2})


@case("a rank that exits in a call is replaced", ranks=(2,), own=True)
def exits(t):
    job = start(t)
    with job.connect() as client:
        error = killed(client, 1, 0)
        equal((error.name, error.rank), ("rank_died", 1), str(error))
        check("exit status" in str(error), str(error))
        equal(client.invoke("sum", {"value": 1.0}).json, {"sum": 3.0})


@case("queued calls run when the dead are replaced, and connections stay", ranks=(3,), own=True)
def queued(t):
    job = start(t)
    with job.connect() as client, job.connect() as other:
        calls = [client.submit("die", {"rank": 2, "signal": int(signal.SIGKILL)})]
        calls += [client.submit("echo", {"n": n}) for n in range(20)]
        theirs = [other.submit("echo", {"n": n}) for n in range(20)]
        with contextlib.suppress(JobError):
            client.outcome(calls[0])
            raise AssertionError("a result although rank 2 died")
        for n in range(20):
            equal(client.outcome(calls[1 + n]).json, {"n": n})
            equal(other.outcome(theirs[n]).json, {"n": n})


def kill_two(t):
    """False: mpirun could not start the replacements, and the launcher has started the job again."""
    job = start(t)
    with job.connect() as client:
        before = pids(client)
        for rank in (1, 3):
            os.kill(before[rank], signal.SIGKILL)
        try:
            wait_until(lambda: client.status()["state"] != "ready" or pids(client) != before, "the deaths to be noticed", 10)
            equal(client.invoke("sum", {"value": 1.0}).json, {"sum": 10.0})
            expect_replaced(client, before, {1, 3})
            return True
        except ConnectionError:
            with job.connect() as another:
                after = pids(another)
                equal(another.invoke("sum", {"value": 1.0}).json, {"sum": 10.0})
            check(not set(before) & set(after) and "starting the job again" in job.output(), job.output())
            return False


@case("several ranks that die at once are replaced together", ranks=(4,), own=True, timeout=120)
def several(t):
    """mpirun 4.1.4 may fail in this, not three times in a row."""
    check(any(kill_two(t) for _ in range(3)), "the job was started again three times")


@case("of two replacements that were started together one dies, and the other lives on", ranks=(4,), own=True, timeout=120)
def of_two(t):
    if not any(kill_two(t) for _ in range(3)):
        raise Skip("mpirun starts no two replacements")
    with t.jobs[-1].connect() as client:
        before = pids(client)
        os.kill(before[3], signal.SIGKILL)
        wait_until(lambda: client.status()["state"] != "ready" or pids(client) != before, "the death to be noticed", 10)
        equal(client.invoke("sum", {"value": 1.0}).json, {"sum": 10.0})
        expect_replaced(client, before, {3})


@case("the same rank dies again and again", ranks=(2,), own=True, timeout=60)
def again(t):
    job = start(t)
    with job.connect() as client:
        for _ in range(6):
            equal(killed(client, 1).name, "rank_died")
            equal(client.invoke("sum", {"value": 1.0}).json, {"sum": 3.0})


@case("ranks die one after the other, in any order, and each is replaced alone", ranks=(3, 4), own=True, timeout=90)
def one_by_one(t):
    job = start(t, run_options=("--restarts", "100"))
    for rank in (0, 1, 0, 2, 1, 0, t.ranks - 1, 0):
        with job.connect() as client:
            before = pids(client)
        os.kill(before[rank], signal.SIGKILL)
        with job.connect() as client:
            wait_until(lambda: client.status()["state"] != "ready" or pids(client) != before, "the death to be noticed", 10)
            equal(client.invoke("sum", {"value": 1.0}).json, {"sum": t.ranks * (t.ranks + 1) / 2}, "after rank %d" % rank)
            expect_replaced(client, before, {rank})


@case("rank 0 that dies again and again is replaced alone each time", ranks=(3,), own=True, timeout=90)
def rank_0_again(t):
    job = start(t, run_options=("--restarts", "100"))
    for _ in range(6):
        with job.connect() as client:
            before = pids(client)
        os.kill(before[0], signal.SIGKILL)
        with ResumingClient(job.path) as client:
            client.invoke("sum", {"value": 1.0})
            expect_replaced(client, before, {0})


@case("a signal to rank 0 while a rank is replaced, as when mpirun ends the job, leaves the job its name", ranks=(3,), own=True, timeout=60)
def signalled(t):
    job = start(t)
    with job.connect() as client:
        before = pids(client)
        call = client.submit("slow", {"seconds": 7})
        wait_until(lambda: client.status()["running"] is not None, "the call to run", 10)
        os.kill(before[2], signal.SIGKILL)
        try:
            client.outcome(call)
            raise AssertionError("a result although a rank died")
        except JobError as error:
            equal(error.name, "rank_died")
        wait_until(lambda: client.status()["state"] == "starting", "rank 0 to step aside", 10)
        os.kill(before[0], signal.SIGTERM)
        wait_until(lambda: "left to who started the job" in job.output(), "rank 0 to say what it makes of it", 10)
        check(os.path.exists(job.path), "the job's socket is gone")
        expect_replaced(client, before, [2])


@case("rank 0's handler may read its arguments until it returns, though a rank has died", ranks=(2,), own=True)
def arguments(t):
    job = start(t)
    with job.connect() as client:
        before = pids(client)
        with raises("rank_died", rank=1):
            client.invoke("die_early", Payload({"rank": 1}, [Attachment("large", bytes(8 << 20))]))
        equal(client.invoke("sum", {"value": 1.0}).json, {"sum": 3.0})
        expect_replaced(client, before, {1})


def second_death(t, first, second, file, **options):
    """Kills the rank `first`; while it is being replaced, a process of rank `second`, or a replacement (None), finds the
    file and dies, too. False: mpirun could not start a replacement, and the launcher has started the job again."""
    job = start(t, **options)
    with job.connect() as client:
        before = pids(client)
    open(file, "w").close()
    limit = time.monotonic() + 30
    os.kill(before[first], signal.SIGKILL)
    wait_until(lambda: not os.path.exists(file), "the second death", 20)
    after = None
    while not after:
        try:
            with job.connect() as client:
                after = pids(client)
                for _ in range(2):
                    equal(client.invoke("sum", {"value": 1.0}).json, {"sum": t.ranks * (t.ranks + 1) / 2})
        except ConnectionError:  # the job is started again
            check(job.process.poll() is None and time.monotonic() < limit, job.output())
    if "starting the job again" in job.output():
        print(job.output())
        return False
    for rank, (old, new) in enumerate(zip(before, after)):
        check((old != new) == (rank in (first, second)), "rank %d: process %d, then %d" % (rank, old, new))
    return True


def expect_second_death(t, first, second, file, **options):
    check(any(second_death(t, first, second, file, **options) for _ in range(3)), "the job was started again three times")


def cpu_of(pid):
    """In seconds, so far."""
    with open("/proc/%d/stat" % pid) as file:
        return sum(map(int, file.read().rpartition(")")[2].split()[11:13])) / os.sysconf("SC_CLK_TCK")


def dies_while_regrouping(step, who):
    @case("a second death while a rank is replaced, %s: %s" % (step, who), ranks=(3,), own=True, timeout=120)
    def run(t):
        file = os.path.join(t.sandbox.folder, "moment")
        second = None if who == "new" else int(who)
        first, env = 1 if second == 2 else 2, {"RANKCALL_TEST_DIE": ",".join((step, who, file))}
        if mpirun_line() == 5 and step not in ("group", "spawn"):
            second_death(t, first, second, file, env=env)  # it may have to be started again
            return
        expect_second_death(t, first, second, file, env=env)
        with t.jobs[-1].connect() as client:
            ranks = pids(client)
        before, began = sum(map(cpu_of, ranks)), time.monotonic()
        time.sleep(0.5)
        used = (sum(map(cpu_of, ranks)) - before) / (time.monotonic() - began)
        check(used < 0.4, "the idle ranks use %.2f of a core" % used)


for moment, processes in {"group": "1", "spawn": "012", "merge": "01n", "split": "1n", "attach": "01n"}.items():
    for process in processes:
        dies_while_regrouping(moment, "new" if process == "n" else process)


@case("a replacement that dies in its setup is replaced, rank 0's too, and the others keep what they hold", ranks=(3,),
      by=("launcher", "mpirun"), own=True, timeout=120)
def in_setup(t):
    fall = os.path.join(t.sandbox.folder, "fall")
    for rank in (2, 0) if t.by == "launcher" else (2,):
        expect_second_death(t, rank, rank, "%s.setup.%d" % (fall, rank), setup=json.dumps({"fall": fall}))


@case("a rank that dies in the hook `regroup` is replaced, rank 0 too", ranks=(3,), own=True, timeout=120)
def in_hook(t):
    fall = os.path.join(t.sandbox.folder, "fall")
    for rank in (1, 0):
        expect_second_death(t, 2, rank, "%s.hook.%d" % (fall, rank), setup=json.dumps({"fall": fall}))


def dies_each_time(t, trap, **options):
    """Whoever takes rank 1's place finds the trap."""
    job = start(t, options=("--restarts", "3"), **options)
    over = threading.Event()

    def set_traps():
        while not over.wait(0.002):
            open(trap, "w").close()

    with job.connect() as client:
        first = pids(client)[1]
        running, queued = client.submit("wait"), client.submit("sum", {"value": 1.0})
        wait_until(lambda: client.status()["running"], "the call to run", 10)
        traps = threading.Thread(target=set_traps)
        traps.start()
        os.kill(first, signal.SIGKILL)
        with raises("rank_died", rank=1):
            client.outcome(running)
        with contextlib.suppress(JobError, ConnectionError):
            client.outcome(queued)
            raise AssertionError("a result although rank 1 died each time")
        equal(job.wait(40), 15, job.output())
        over.set()
        traps.join()
    check("rank 1" in job.stderr() and "--restarts" in job.output(), job.output())


@case("a replacement that dies in its setup each time: no more than --restarts, then the job ends", ranks=(2,), own=True, timeout=60)
def each_setup(t):
    fall = os.path.join(t.sandbox.folder, "fall")
    dies_each_time(t, fall + ".setup.1", setup=json.dumps({"fall": fall}))


@case("a replacement that dies each time before it is up: no more than --restarts, then the job ends", ranks=(2,), own=True, timeout=60)
def each_merge(t):
    trap = os.path.join(t.sandbox.folder, "trap")
    dies_each_time(t, trap, env={"RANKCALL_TEST_DIE": "merge,new," + trap})


@case("a replacement that dies before it is up is replaced, too", ranks=(3,), own=True, timeout=60)
def stillborn(t):
    job = start(t)
    with job.connect() as client:
        before = pids(client)
        parent = parent_of(before[0])
        os.kill(before[2], signal.SIGKILL)
        wait_until(lambda: children_of(parent) - set(before), "the replacement", 10)
        time.sleep(0.03)  # what lives shorter is not seen
        for pid in children_of(parent) - set(before):
            os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        equal(client.invoke("sum", {"value": 1.0}).json, {"sum": 6.0})
        expect_replaced(client, before, {2})
    check(time.monotonic() - began < 5, "after %.1f s" % (time.monotonic() - began))


@case("after so many deaths in an hour the job ends", ranks=(2,), own=True)
def too_often(t):
    job = start(t, options=("--restarts", "1"))
    with job.connect() as client:
        killed(client, 1)
        equal(client.invoke("sum", {"value": 1.0}).json, {"sum": 3.0})
        equal(killed(client, 1).name, "rank_died")
    equal(job.wait(), 15, "exit status")


@case("a rank that dies while its events flow takes no other call's with it", ranks=(4,), own=True, timeout=60)
def streaming(t):
    job = start(t)
    with job.connect() as client, job.connect() as other:
        victim = pids(other)[2]
        try:
            for number, _ in enumerate(client.stream("burst", {"count": 400000, "check": 100})):
                if number == 10000:
                    os.kill(victim, signal.SIGKILL)
            raise AssertionError("a result although rank 2 died")
        except JobError as error:
            equal((error.name, error.rank), ("rank_died", 2), str(error))
        equal(other.invoke("sum", {"value": 1.0}).json, {"sum": 10.0})
        equal(len(list(client.stream("burst", {"count": 10}))), 41)


@case("a handler that waits at a checkpoint leaves when a rank has died", ranks=(3,), own=True)
def waiting(t):
    job = start(t)
    with job.connect() as client:
        victim = pids(client)[1]
        call = client.submit("wait")
        wait_until(lambda: client.status()["running"], "the call to run", 10)
        os.kill(victim, signal.SIGKILL)
        try:
            client.outcome(call)
            raise AssertionError("a result although rank 1 died")
        except JobError as error:
            equal((error.name, error.rank), ("rank_died", 1), str(error))
        equal(client.invoke("sum", {"value": 1.0}).json, {"sum": 6.0})


@case("a cancelled call that may run again ends as cancelled when a rank dies, and does not run again", ranks=(2,), own=True)
def cancelled(t):
    begun, go = (os.path.join(t.sandbox.folder, name) for name in ("begun", "go"))
    job = start(t)
    with ResumingClient(job.path) as client, job.connect() as other:
        victim = pids(other)[1]
        call = client.submit("linger", {"path": begun, "go": go}, idempotent=True)
        wait_until(lambda: os.path.exists(begun) and os.path.getsize(begun) == 2, "both ranks to begin", 10)
        client.cancel(call)
        client.ping()  # so it has been heard
        os.kill(victim, signal.SIGKILL)
        with raises("cancelled"):
            client.outcome(call)
        open(go, "w").close()
        equal(other.invoke("sum", {"value": 1.0}).json, {"sum": 3.0})
    equal(os.path.getsize(begun), 2, "beginnings on both ranks")


def dies(client, id):
    """Whether that is how the call ends; else it has a result."""
    try:
        client.outcome(id)
        return False
    except JobError as error:
        equal(error.name, "rank_died", str(error))
        return True


def kill_in_spread(client, other, large, victim, after):
    """Kills a rank so long after the large call began to be sent; whether it came to be the end of that call. One call ends
    with it at most: if the kill was late, one of those behind (which must not sit in MPI's own calls then)."""
    killer = threading.Timer(after, os.kill, (victim, signal.SIGKILL))
    killer.start()
    calls = [(client, client.submit("empty", large))] + [(other, other.submit("echo", {"n": n})) for n in range(2)]
    killer.join()
    ends = [dies(*call) for call in calls]
    check(sum(ends) <= 1, "ended by one death: %s" % ends)
    if not any(ends):
        wait_until(lambda: victim not in pids(other), "the death to be noticed", 10)
    equal(other.invoke("sum", {"value": 1.0}).json, {"sum": 6.0}, "a call afterwards")
    return ends[0]


def die_in_spread(t, **env):
    rounds, large = 40 if FULL else 6, Payload(b"{}", [Attachment("x", bytes(256 << 20))])
    job = start(t, options=("--restarts", "1000"), env=env)
    with job.connect() as client, job.connect() as other:
        client.invoke("empty", large)
        began = time.monotonic()
        call = client.submit("empty", large)
        sent = time.monotonic()
        client.outcome(call)
        end = time.monotonic()
        span = end - sent
        # What lies where all ranks look is spread as it comes; else that takes as long again, and most deaths are in time.
        first = 0 if span < 0.05 else sent - began
        died = sum(kill_in_spread(client, other, large, pids(other)[random.choice((1, 2))], random.uniform(first, end - began))
                   for _ in range(rounds))
        check(died or span < 0.05, "no death was in time: %.3f s to send, %.3f s until the result" % (sent - began, span))
        print("  %.3f s to send, %.3f s until the result: %d of %d deaths ended the call" % (sent - began, span, died, rounds))


@case("a rank that dies while a large payload is spread costs that call alone", ranks=(3,), own=True, timeout=120,
      by=("launcher", "mpirun"))
def large(t):
    die_in_spread(t)


@case("the same where ranks may not read each other's memory", ranks=(3,), own=True, timeout=120)
def large_in_pieces(t):
    die_in_spread(t, RANKCALL_TEST_NO_DIRECT="1")


main("regroup")
