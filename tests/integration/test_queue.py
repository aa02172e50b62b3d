# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""The queue of calls and the status beside it: many clients, a full queue, order, busy ranks, idle ranks."""

import contextlib
import os
import resource
import statistics
import threading
import time
import zlib

from harness import ROOM, SLOW, Skip, case, check, equal, main, memory, raises, wait_until
from strangers_client import STATUS, STREAM, Client, JobError, frame


def need_descriptors(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count:
        raise Skip("the hard limit of open files is %d, %d are needed" % (hard, count))
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))


@contextlib.contextmanager
def busy(t):
    """While the body runs, every rank computes without a checkpoint."""
    until = os.path.join(t.sandbox.folder, "until-%d" % time.monotonic_ns())
    with t.connect() as client:
        id = client.submit("spin", {"until": until})
        wait_until(lambda: (client.status()["running"] or {}).get("handler") == "spin", "the ranks to be busy")
        try:
            yield client
        finally:
            with open(until, "w"):
                pass
        equal(client.outcome(id).text, b"{}")


def admitted(client):
    """Returns when the job has read what the client sent before."""
    client.ping()


@case("a thousand clients are served, 64 of them with calls in flight", timeout=60, job={"options": ("--queue", "64")})
def thousand(t):
    need_descriptors(2200)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(t.job.path)) for _ in range(1000)]
        equal(clients[0].status()["connections"], t.job.status["connections"] + 999, "connections")
        for group in range(0, 1000, 64):
            ids = [(client, client.submit("sum", {"value": 1})) for client in clients[group:group + 64]]
            for client, id in ids:
                equal(client.outcome(id).json, {"sum": t.ranks * (t.ranks + 1) / 2})
        for client in clients:
            client.ping()
    with t.connect() as client:
        t.job.wait_alone(client)


@case("calls run in the order in which they came")
def order(t):
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(t.job.path)) for _ in range(8)]
        with busy(t):
            sent = []
            for turn in range(40):
                client = clients[turn * 5 % 8]
                sent.append((client, client.submit("slow", {"seconds": 0})))
                admitted(client)
            equal(clients[0].status()["queue"]["length"], 40, "queued calls")
        numbers = [client.outcome(id).json["number"] for client, id in sent]
    equal(numbers, list(range(numbers[0], numbers[0] + 40)), "the calls' numbers")


@case("a full queue answers busy at once", own=True)
def full(t):
    t.job = t.start(options=("--queue", "4"))
    with t.connect() as client, t.connect() as other:
        with busy(t):
            queued = [client.submit("empty") for _ in range(4)]
            admitted(client)
            equal(client.status()["queue"], {"length": 4, "capacity": 4}, "queue")
            for one in (client, other):
                began = time.monotonic()
                with raises("busy"):
                    one.invoke("empty")
                check(time.monotonic() - began < 0.5 * SLOW, "busy came after %.3f s" % (time.monotonic() - began))
            equal(client.status()["calls"]["refused"], 2, "refused calls")
        for id in queued:
            equal(client.outcome(id).text, b"{}")
        equal(other.invoke("empty").text, b"{}")


@case("a queued call that is cancelled leaves its place", own=True)
def cancel_queued(t):
    t.job = t.start(options=("--queue", "2"))
    with t.connect() as client, t.connect() as leaver:
        with busy(t):
            first = client.submit("empty")
            leaver.submit("empty")
            admitted(leaver)
            with raises("busy"):
                client.invoke("empty")
            client.cancel(first)
            with raises("cancelled"):
                client.outcome(first)
            leaver.close()
            wait_until(lambda: client.status()["queue"]["length"] == 0, "the places to be free")
            again = client.submit("empty")
        equal(client.outcome(again).text, b"{}")


@case("the status is answered within 10 ms while every rank is busy in a handler", ranks=(1, 2, 4), own=True,
      labels=("serial",))
def busy_status(t):
    t.job = t.start()
    with t.connect() as other, busy(t):
        medians = []
        while len(medians) < 3 and (not medians or medians[-1] > 0.01):  # again where others use the machine
            medians.append(median_of_status(other))
    print("       median of 200: " + ", then ".join("%.2f ms" % (1e3 * median) for median in medians))
    check(min(medians) < 0.01 * SLOW, "the status takes %s s" % medians)


def median_of_status(client):
    times = []
    for _ in range(200):
        began = time.monotonic()
        status = client.status()
        times.append(time.monotonic() - began)
        equal(status["running"]["handler"], "spin", "what runs")
        check(status["running"]["age"] > 0, "its age")
    return statistics.median(times)


@case("idle ranks sleep", ranks=(4,), by=("launcher", "mpirun"), own=True, labels=("serial",))
def idle(t):
    t.job = t.start()
    with t.connect() as client:
        client.invoke("sum", {"value": 1})

        def used():
            return [tuple(map(sum, zip(*thread_times(pid)))) for pid in t.job.pids]

        wait_until(lambda: all(state == "S" for pid in t.job.pids for state in thread_states(pid)), "all threads to sleep")
        before, began = used(), time.monotonic()
        time.sleep(3)  # the time over which is measured
        seconds = time.monotonic() - began
        changes = [[(after - start) / seconds for start, after in zip(*pair)] for pair in zip(before, used())]
    print("       %s" % ", ".join("%.3f %% of a core in %.0f turns a second" % (100 * run, turns) for run, turns in changes))
    # What a turn takes is the machine's: `make bench` holds it against the target. How many there are is ours.
    check(max(turns for _, turns in changes) < 100, "idle ranks wake up too often: %s" % changes)
    check(max(run for run, _ in changes) < 0.01 * SLOW, "idle ranks use %s of a core" % changes)


def thread_times(pid):
    """Of each thread the seconds that it has run, and how often it got a CPU."""
    for thread in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/schedstat" % (pid, thread)) as file:
            run, _, turns = file.read().split()
            yield int(run) * 1e-9, int(turns)


def thread_states(pid):
    for thread in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/stat" % (pid, thread)) as file:
            yield file.read().rpartition(")")[2].split()[0]


@case("a hundred calls outstanding on one connection all end", job={"options": ("--queue", "128")})
def outstanding(t):
    with t.connect() as client:
        ids = [client.submit("echo", {"n": number}) for number in range(100)]
        for number, id in reversed(list(enumerate(ids))):
            equal(client.outcome(id).json, {"n": number})


@case("streams and invokes of many clients may take turns")
def turns(t):
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(t.job.path)) for _ in range(10)]
        waiting = []
        for number, client in enumerate(clients):
            kind = STREAM if number % 2 else 0
            waiting.append((client, client.submit("burst", {"seed": number, "count": 10}, kind)))
        for number, (client, id) in enumerate(waiting):
            items = list(client.items(id))
            equal(len(items), 10 * t.ranks + 1 if number % 2 else 1, "items")
            equal(items[-1][2].json["seed"], number, "whose result")


@case("results that nobody reads take bounded memory, and hinder only their own client", own=True)
def unread(t):
    t.job = t.start()
    size, calls = 8 << 20, 20
    before = memory(t.job.pids[0])
    with t.connect() as lazy, t.connect() as other:
        ids = [lazy.submit("make", {"size": size, "seed": number}) for number in range(calls)]
        last = [-1]

        def settled():  # nothing runs, and nothing has for a while
            time.sleep(0.2)
            status = other.status()
            now, last[0] = last[0], status["calls"]["completed"]
            return now == last[0] and status["running"] is None

        wait_until(settled, "the job to wait for its reader", 30 * SLOW)
        grown = memory(t.job.pids[0]) - before
        check(grown < ROOM * 6 * size, "rank 0 holds %.1f results" % (grown / size))
        equal(other.invoke("sum", {"value": 1}).json, {"sum": 3}, "another client's call")
        for number, id in enumerate(ids):
            result = lazy.outcome(id)
            equal(zlib.crc32(result.attachments[0].data), result.json["crc"], "result %d" % number)


@case("questions that nobody reads the answers of take bounded memory", own=True)
def unread_answers(t):
    t.job = t.start()
    before = memory(t.job.pids[0])
    with t.connect() as lazy, t.connect() as other:
        lazy.socket.setblocking(False)
        question = b"".join(frame(STATUS, id, bytes(8)) for id in range(1, 1001))
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < 1 << 26:
                sent += lazy.socket.send(question[sent % len(question):])
        check(sent < 1 << 26, "the job reads on though nobody reads its answers")
        grown = memory(t.job.pids[0]) - before
        check(grown < ROOM * (24 << 20), "rank 0 grew by %d bytes" % grown)
        equal(other.invoke("sum", {"value": 1}).json, {"sum": 3}, "another client's call")


@case("a client that never stops asking, and reads all answers, leaves others their turns", own=True)
def incessant(t):
    t.job = t.start()
    done = threading.Event()
    with t.connect() as busy, t.connect() as other:
        busy.socket.settimeout(0.1)
        question = b"".join(frame(STATUS, id, bytes(8)) for id in range(1, 1001))

        def ask():
            sent = 0
            while not done.is_set():
                with contextlib.suppress(TimeoutError):
                    sent += busy.socket.send(question[sent % len(question):])

        def read():
            while not done.is_set():
                with contextlib.suppress(TimeoutError):
                    busy.socket.recv(1 << 20)

        threads = [threading.Thread(target=one) for one in (ask, read)]
        for thread in threads:
            thread.start()
        try:
            time.sleep(0.5)
            began = time.monotonic()
            for _ in range(10):
                equal(other.invoke("sum", {"value": 1}).json["sum"], t.ranks * (t.ranks + 1) / 2)
            print("  %.1f ms a call" % (100 * (time.monotonic() - began)))
        finally:
            done.set()
            for thread in threads:
                thread.join()


@case("a call that fails in the queue of one client leaves the others alone")
def failing_neighbour(t):
    with t.connect() as good, t.connect() as bad:
        for _ in range(20):
            ids = [(bad.submit("fail", {"message": "mine"}), good.submit("sum", {"value": 1}))]
            for failing, summing in ids:
                equal(good.outcome(summing).json["sum"], t.ranks * (t.ranks + 1) / 2)
                try:
                    bad.outcome(failing)
                except JobError as error:
                    equal(error.name, "worker_error")


main("queue")
