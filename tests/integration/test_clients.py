# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Clients that are too slow, too many or too eager: each harms itself alone."""

import contextlib
import glob
import resource
import selectors
import socket
import time

import strangers_client as wire
from harness import FULL, ROOM, SLOW, Skip, case, check, descriptors, equal, main, memory, raises, wait_until
from strangers_client import HEADER, STREAM, call_head, frame, hello

CROWD = 10000


def need_descriptors(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count:
        raise Skip("the hard limit of open files is %d, %d are needed" % (hard, count))
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))


# ---- Clients that do not read ----


def stalling_job(t, limit):
    t.job = t.start(options=("--client-stall", str(limit)))


def stall(t, client):
    """Begins a stream that waits for its client."""
    id = client.submit("burst", {"count": 100000, "check": 10}, STREAM)
    with t.connect() as other:
        wait_until(lambda: (other.status()["running"] or {}).get("handler") == "burst", "the stream to run", 10)
    return id


@case("a client that stops reading loses its call, and those of others go on", own=True)
def stops_reading(t):
    stalling_job(t, 1)
    with t.connect() as lazy, t.connect() as other:
        id = stall(t, lazy)
        began = time.monotonic()
        equal(other.invoke("sum", {"value": 1}).json, {"sum": 3}, "another client's call")
        seconds = time.monotonic() - began
        check(0.9 <= seconds < 1 + 2 * SLOW, "it ran after %.3f s" % seconds)
        with raises("timeout", text="--client-stall"):
            for _ in lazy.items(id):
                pass
        equal(lazy.invoke("echo", {"n": 1}).json, {"n": 1}, "the same client's next call")
        equal(other.status()["calls"]["failed"], 1, "failed calls")


@case("a client that does not read even then is sent away, and its memory freed", own=True)
def never_reads(t):
    stalling_job(t, 0.5)
    with t.connect() as lazy, t.connect() as other:
        before = descriptors(t.job.pids[0])
        stall(t, lazy)
        wait_until(lambda: other.status()["connections"] == t.job.status["connections"], "it to be gone", 10)
        equal(descriptors(t.job.pids[0]), before - 1, "descriptors")
        equal(other.invoke("empty").text, b"{}", "another client's call")


@case("--client-stall 0 waits for ever", own=True)
def waits_for_ever(t):
    stalling_job(t, 0)
    with t.connect() as lazy, t.connect() as other:
        id = stall(t, lazy)
        time.sleep(1)  # it is the absence of an end that counts
        equal(other.status()["running"]["handler"], "burst", "what runs")
        lazy.cancel(id)
        with raises("cancelled"):
            list(lazy.items(id))


@case("a client that reads slowly, but reads, loses nothing", own=True)
def reads_slowly(t):
    stalling_job(t, 1)
    with t.connect() as slow:
        id = stall(t, slow)
        until = time.monotonic() + 3 * SLOW
        while time.monotonic() < until:
            slow.buffer += slow.socket.recv(1 << 15)  # the kernel tells what is read in pieces of that size or so
            time.sleep(0.3)
        equal(len(list(slow.items(id))), 100000 * t.ranks + 1, "items")


@case("results that nobody reads are no stall: nobody waits for them", own=True)
def unread_results(t):
    stalling_job(t, 0.5)
    with t.connect() as lazy, t.connect() as other:
        ids = [lazy.submit("make", {"size": 3 << 20}) for _ in range(2)]
        wait_until(lambda: other.status()["calls"]["completed"] == 2, "the results", 10)
        time.sleep(3)  # longer than a stalled client is given
        for id in ids:
            equal(len(lazy.outcome(id).attachments[0].data), 3 << 20, "a result")


@case("queued calls of a client that does not read leave the queue", own=True)
def queued_stall(t):
    stalling_job(t, 0.5)
    with t.connect() as lazy, t.connect() as other:
        ids = [lazy.submit("make", {"size": 3 << 20}) for _ in range(10)]
        wait_until(lambda: 0 < other.status()["calls"]["completed"] < 10, "some results", 10)
        wait_until(lambda: other.status()["queue"]["length"] == 0, "the queue to be empty", 10)
        ends = []
        for id in ids:
            try:
                lazy.outcome(id)
                ends.append("ok")
            except wire.JobError as error:
                ends.append(error.name)
        equal(set(ends), {"ok", "timeout"}, "how they ended")


@case("a client that stops within a frame is sent away, and its place in the queue is free", own=True, timeout=90)
def half_frame(t):
    if not FULL:
        raise Skip("it takes as long as a client is given: RANKCALL_TEST_FULL=1")
    t.job = t.start(options=("--queue", "1"))
    with t.connect() as other, t.connect() as half:
        half.send(frame(wire.CALL, 1, call_head("echo"), wire.Payload({"a": "b" * 1000}))[:-500])
        wait_until(lambda: busy(other), "the place to be taken", 10)
        began = time.monotonic()
        equal([one.payload.json["error"] for one in half.expect_close()], ["timeout"], "its end")
        print("       after %.1f s" % (time.monotonic() - began))
        equal(other.invoke("empty").text, b"{}", "another client's call")


def busy(client):
    try:
        client.invoke("empty")
    except wire.JobError as error:
        return error.name == "busy"
    return False


# ---- Crowds ----


def crowd_of(path, count):
    """So many connections at once, each with its HELLO on the way."""
    crowd = []
    for _ in range(count):
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        crowd.append(one)
        one.connect(path)
        with contextlib.suppress(BrokenPipeError):  # told and closed already
            one.send(hello())
        one.setblocking(False)
    return crowd


def first_answers(crowd, deadline):
    """The type of each one's first frame; None: it got none."""
    types = {}
    with selectors.DefaultSelector() as selector:
        for one in crowd:
            selector.register(one, selectors.EVENT_READ)
        while len(types) < len(crowd) and time.monotonic() < deadline:
            for key, _ in selector.select(1):
                try:
                    data = key.fileobj.recv(1 << 16)
                except ConnectionResetError:
                    data = b""
                types[key.fileobj] = HEADER.unpack_from(data)[2] if data else None
                selector.unregister(key.fileobj)
    return [types.get(one) for one in crowd]


def admitted(t):
    """A new client, once it is let in."""
    found = []

    def attempt():
        try:
            found.append(t.connect())
        except wire.JobError as error:
            equal(error.name, "busy", "why it is not let in")
        return found

    wait_until(attempt, "a new client to be let in", 10)
    return found[0]


def copies(job):
    """How many of rank 0's connections the launcher has, too: what its epoll descriptor watches beside the socket that they
    come by and rank 0's death."""
    count = -2
    for path in glob.glob("/proc/%d/fdinfo/*" % job.process.pid):
        with contextlib.suppress(FileNotFoundError), open(path) as file:
            count += file.read().count("tfd:")
    return count


def survive_crowd(t, served_at_most, others=0):
    before = memory(t.job.pids[0])
    began = time.monotonic()
    wait_until(lambda: copies(t.job) == others, "the launcher to have its copies", 10 * SLOW)
    crowd = crowd_of(t.job.path, CROWD)
    answers = first_answers(crowd, began + 30 * SLOW)
    seconds = time.monotonic() - began
    welcome, refused = answers.count(wire.WELCOME), answers.count(wire.ERROR)
    grown = memory(t.job.pids[0]) - before
    print("       %d served, %d refused, after %.2f s; %d KiB a connection" % (welcome, refused, seconds, grown / 1024 / max(welcome, 1)))
    equal(welcome + refused, CROWD, "clients that were answered")
    check(welcome <= served_at_most, "%d are served" % welcome)
    check(grown < ROOM * CROWD * 16384, "rank 0 grew by %d bytes" % grown)
    for one in crowd:
        one.close()
    with admitted(t) as client:
        alone = t.job.status["connections"] + others
        wait_until(lambda: client.status()["connections"] == alone, "the crowd to be gone", 10 * SLOW)
        wait_until(lambda: copies(t.job) == others + 1, "the launcher to let go of it", 10 * SLOW)
        equal(client.invoke("sum", {"value": 1}).json, {"sum": 3}, "a call afterwards")
    return welcome


@case("ten thousand connections in a burst are all served where descriptors suffice", own=True, timeout=120)
def crowd_served(t):
    need_descriptors(CROWD + 100)
    t.job = t.start(limits=[(resource.RLIMIT_NOFILE, (CROWD + 200, CROWD + 200))])
    equal(survive_crowd(t, CROWD), CROWD, "clients served")


@case("ten thousand connections in a burst: those beyond the descriptors are told busy, the others served", own=True, timeout=120)
def crowd_refused(t):
    need_descriptors(CROWD + 100)
    t.job = t.start(limits=[(resource.RLIMIT_NOFILE, (600, 600))])
    with t.connect() as old:
        check(survive_crowd(t, 600, others=1) > 400, "too few are served")
        equal(old.invoke("empty").text, b"{}", "a client that was there before")


@case("ten thousand calls at once on one connection: the queue's bound is served, the others are told busy, each once",
      own=True, timeout=60)
def pipelined(t):
    t.job = t.start()
    with t.connect() as client:
        calls = b"".join(frame(wire.CALL, id, call_head("echo"), wire.Payload({"n": id})) for id in range(1, CROWD + 1))
        began = time.monotonic()
        answers = converse(client, calls)
        seconds = time.monotonic() - began
        equal(sorted(answers), list(range(1, CROWD + 1)), "calls that were answered")
        results = sum(one.type == wire.RESULT for one in answers.values())
        for id, one in answers.items():
            if one.type == wire.RESULT:
                equal(one.payload.json, {"n": id}, "a result")
            else:
                equal(wire.JobError(one).name, "busy", "an error")
        print("       %d results, %d busy, after %.2f s" % (results, CROWD - results, seconds))
        check(results >= 256, "only %d results" % results)
        told = client.status()["calls"]
        equal((told["completed"], told["refused"]), (results, CROWD - results), "the job's own count")


def converse(client, data):
    """Sends while it reads; the answers by id, each of which must come once."""
    answers = {}
    client.socket.setblocking(False)
    view = memoryview(data)
    with selectors.DefaultSelector() as selector:
        selector.register(client.socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while len(answers) < CROWD:
            ready = selector.select(20 * SLOW)
            check(ready, "nothing more comes after %d answers" % len(answers))
            if ready[0][1] & selectors.EVENT_WRITE:
                view = view[client.socket.send(view):]
                if not view:
                    selector.modify(client.socket, selectors.EVENT_READ)
            if ready[0][1] & selectors.EVENT_READ:
                client.buffer += client.socket.recv(1 << 18)
                for one in whole_frames(client.buffer):
                    check(one.id not in answers, "call %d was answered twice" % one.id)
                    answers[one.id] = one
    client.socket.setblocking(True)
    client.socket.settimeout(20 * SLOW)
    return answers


def whole_frames(buffer):
    while len(buffer) >= HEADER.size:
        _, _, type, _, id, head, _, size = HEADER.unpack_from(buffer)
        end = HEADER.size + head + size
        if len(buffer) < end:
            return
        yield wire.Frame(type, id, bytes(buffer[HEADER.size:HEADER.size + head]), bytes(buffer[HEADER.size + head:end]))
        del buffer[:end]


main("clients")
