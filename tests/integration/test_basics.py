# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""What every job must do, with any number of ranks, however it was started."""

import json
import os
import zlib

from harness import HOSTS, case, check, equal, main, raises, wait_until
from strangers_client import NDARRAY, STREAM, Attachment, JobError, Payload

EVERYWHERE = {"ranks": (1, 2, 3, 4), "by": ("launcher", "mpirun")}
SETUP = '{"answer": 42, "text": "\\u00fc"}'
JOB = {"setup": SETUP, "arguments": ("first", "--second")}


@case("the welcome says what the job is", **EVERYWHERE, job=JOB)
def welcome(t):
    with t.connect() as client:
        equal(client.world_size, t.ranks, "world size")
        equal(client.payload_cap, 1 << 30, "payload cap")
        for key, wanted in (("job", t.job.name), ("worker", "test_worker"), ("socket", t.job.path)):
            equal(client.welcome[key], wanted, key)
        equal(client.welcome["handlers"][1], {"name": "echo", "help": "gives its arguments back"}, "the second handler")
        equal(client.welcome["pid"], t.job.pids[0], "rank 0's process")


@case("the status describes every rank", **EVERYWHERE)
def status(t):
    with t.connect() as client:
        status = client.status()
    for key, wanted in (("state", "ready"), ("job", t.job.name), ("worker", "test_worker"), ("world_size", t.ranks),
                        ("running", None), ("socket", t.job.path)):
        equal(status[key], wanted, key)
    equal([rank["rank"] for rank in status["ranks"]], list(range(t.ranks)), "ranks")
    for rank in status["ranks"]:
        if rank["host"] == status["ranks"][0]["host"]:
            check(os.path.exists("/proc/%d" % rank["pid"]), "rank %d lives" % rank["rank"])
        check(rank["device"] == "cpu" or rank["device"].startswith("gpu "), "device %s" % rank["device"])
        check(rank["cpus"] and rank["host"], "cpus and host")
    equal(status["handlers"][0], {"name": "empty", "help": "does nothing"}, "the first handler")
    equal(status["queue"]["length"], 0, "queue")
    check(status["uptime"] > 0 and status["connections"] >= 1, "uptime and connections")


@case("a call without a handler's name reaches the first one", **EVERYWHERE)
def default(t):
    with t.connect() as client:
        equal(client.invoke().text, b"{}")
        equal(client.invoke("").text, b"{}")


@case("JSON and attachments come back byte for byte", **EVERYWHERE)
def echo(t):
    text = b'{ "z":1.50,"a" : [true,null, "\\u00e9\xc3\xa9" ],\t"":{} }'
    attachments = [Attachment("raw", os.urandom(100000)), Attachment("nothing", b""),
                   Attachment("grid", bytes(range(48)), NDARRAY, 11, (3, 4))]
    with t.connect() as client:
        result = client.invoke("echo", Payload(text, attachments))
    equal(result.text, text)
    equal(len(result.attachments), 3)
    for got, wanted in zip(result.attachments, attachments):
        check(got == wanted, "attachment " + wanted.name)


@case("every rank sees the same bytes", **EVERYWHERE)
def checksum(t):
    text, data = b'{"k": [1, 2, 3]}', os.urandom(70001)
    crc = zlib.crc32(text)
    for part in (b"raw", bytes(12), data):
        crc = zlib.crc32(part, crc)
    with t.connect() as client:
        equal(client.invoke("checksum", Payload(text, [Attachment("raw", data)])).json, {"sums": [crc] * t.ranks})


@case("the ranks compute together on their own communicator", **EVERYWHERE)
def collective(t):
    with t.connect() as client:
        equal(client.invoke("sum", {"value": 2.5}).json, {"sum": 2.5 * t.ranks * (t.ranks + 1) / 2})


def local_rank(rank, ranks):
    nodes = HOSTS.count(",") + 1 if HOSTS else int(os.environ.get("RANKCALL_TEST_NODES", "1"))
    return sum(other * nodes // ranks == rank * nodes // ranks for other in range(rank))


@case("the API tells each rank who it is", **EVERYWHERE, job=JOB)
def info(t):
    with t.connect() as client:
        first = client.invoke("info").json
        second = list(client.stream("info"))[-1][2].json
    equal(first["setup"], json.loads(SETUP), "setup's arguments")
    equal((first["last_argument"], first["argv_ends_with_null"]), ("--second", True), "the worker's own arguments")
    equal(first["handler"], "info", "handler")
    table = [first["ranks"][8 * rank:8 * rank + 8] for rank in range(t.ranks)]
    for rank, (number, world, local, pid, streams, _, argc, same) in enumerate(table):
        equal((number, world, local, pid), (rank, t.ranks, local_rank(rank, t.ranks), t.job.pids[rank]), "rank %d" % rank)
        equal((streams, argc, same), (0, 2, 1), "rank %d: streaming, argc, communicator" % rank)
    numbers = {row[5] for row in table}
    equal(len(numbers), 1, "the call's number differs between ranks")
    equal(set(second["ranks"][5::8]), {numbers.pop() + 1}, "the next call's number")
    equal(set(second["ranks"][4::8]), {1}, "streaming")


@case("only rank 0's result goes back", **EVERYWHERE)
def result_elsewhere(t):
    with t.connect() as client:
        equal(client.invoke("result_elsewhere").text, b"{}")


@case("the last of two results counts", **EVERYWHERE)
def result_twice(t):
    with t.connect() as client:
        equal(client.invoke("result_twice").json, {"which": "second"})


@case("a failure on one rank names rank, host and text, and the next call is well", **EVERYWHERE)
def fail_one(t):
    with t.connect() as client:
        for rank in range(t.ranks):
            with raises("worker_error", rank, "r\u00e9sum\u00e9 %d"):
                client.invoke("fail", {"rank": rank, "message": "r\u00e9sum\u00e9 %d"})
            equal(client.invoke("sum", {"value": 0}).json, {"sum": 0})
        try:
            client.invoke("fail", {"rank": 0})
        except JobError as error:
            equal(error.body["host"], t.job.status["ranks"][0]["host"], "host")


@case("a failure may have a traceback", **EVERYWHERE)
def fail_with_traceback(t):
    text = "Traceback:\n  r\u00e9sum\u00e9 %d\n" * 300
    with t.connect() as client:
        for rank in range(t.ranks):
            try:
                client.invoke("fail", {"rank": rank, "message": "no %s", "traceback": text})
                raise AssertionError("no error")
            except JobError as error:
                equal((error.name, error.rank, error.body["message"]), ("worker_error", rank, "no %s"))
                equal(error.body["traceback"], text, "traceback")


@case("ranks can ask whether their call is to be left", ranks=(2, 4))
def fail_watched(t):
    with t.connect() as client:
        for rank in range(t.ranks):
            number = client.invoke("last_interrupted", {}).json["number"]
            with raises("worker_error", rank, "the others watch"):
                client.invoke("fail_watched", {"rank": rank})
            told = [item.json for at, _, item in client.stream("last_interrupted", {}) if at is not None]
            equal(told, [{"last": number + 1, "replacement": False}] * t.ranks)


@case("a failure on all ranks is one error", **EVERYWHERE)
def fail_all(t):
    with t.connect() as client:
        with raises("worker_error", text="every one of them"):
            client.invoke("fail", {"message": "every one of them"})
        client.ping()
        equal(client.kept, {}, "further frames")


@case("the events before a failure arrive, then the error and no result", **EVERYWHERE)
def fail_in_stream(t):
    ranks = []
    with t.connect() as client:
        with raises("worker_error", t.ranks - 1):
            for rank, _, _ in client.stream("fail", {"rank": t.ranks - 1}):
                ranks.append(rank)
    # Every rank emits before it fails or ends, but an error does not wait for the events of the others.
    check(t.ranks - 1 in ranks, "the failing rank's event is missing: %s" % ranks)
    equal(len(ranks), len(set(ranks)), "an event came twice")


@case("a failure reaches the client while the others sit in a barrier", ranks=(2, 3, 4), by=("launcher", "mpirun"))
def fail_before_barrier(t):
    with t.connect() as client:
        for rank in range(t.ranks):
            go = os.path.join(t.sandbox.folder, "go%d" % rank)
            with raises("worker_error", rank, "the others are in a barrier"):
                client.invoke("fail_before_barrier", {"rank": rank, "go": go})
            queued = client.submit("sum", {"value": 1})  # must wait until all ranks are back
            with open(go, "w"):
                pass
            equal(client.outcome(queued).json, {"sum": t.ranks * (t.ranks + 1) / 2})


@case("a handler that fails without a word still fails", **EVERYWHERE)
def fail_silently(t):
    with t.connect() as client, raises("worker_error", t.ranks - 1):
        client.invoke("fail_silently", {"rank": t.ranks - 1})


@case("a failed look-up's message goes back by itself", **EVERYWHERE)
def look_up_fails(t):
    with t.connect() as client:
        equal(client.invoke("look_up_fails", {"grid": [{"nx": 7}]}).json, {"value": 7})
        with raises("worker_error", text="/grid/0/nx"):
            client.invoke("look_up_fails", {"grid": [{"nx": "wide"}]})
        with raises("worker_error", text="/grid/0/nx"):
            client.invoke("look_up_fails", {"grid": []})


@case("an unknown handler is refused by name", **EVERYWHERE)
def no_handler(t):
    with t.connect() as client:
        with raises("no_handler", text="nosuch"):
            client.invoke("nosuch", {"a": 1})
        with raises("no_handler"):
            client.invoke("\u00e9" * 127)
        equal(client.invoke("empty").text, b"{}")


@case("events of all ranks come in order before the result", **EVERYWHERE)
def events(t):
    with t.connect() as client:
        for attach in (0, 3000):
            counts = [0] * t.ranks
            items = list(client.stream("burst", {"count": 40, "seed": 9, "attach": attach, "size": 100}))
            for rank, sequence, payload in items[:-1]:
                body = payload.json
                equal((body["s"], body["r"], body["i"], sequence), (9, rank, counts[rank], counts[rank]), "an event")
                equal([len(one.data) for one in payload.attachments], [attach] * (attach > 0), "attachment")
                counts[rank] += 1
            equal(counts, [40] * t.ranks, "events of each rank")
            equal(items[-1][2].json, {"seed": 9, "count": 40}, "the result")


@case("threads of a rank may emit at once", **EVERYWHERE)
def threads(t):
    seen = {}
    with t.connect() as client:
        for rank, _, payload in client.stream("threads", {"threads": 4, "count": 50}):
            if rank is not None:
                body = payload.json
                equal(body["i"], seen.setdefault((rank, body["thread"]), 0), "order within a thread")
                seen[rank, body["thread"]] += 1
    equal(seen, {(rank, thread): 50 for rank in range(t.ranks) for thread in range(4)})


@case("events of a call that does not stream are dropped", **EVERYWHERE)
def not_streaming(t):
    with t.connect() as client:
        equal(client.invoke("burst", {"count": 1000}).json, {"seed": 0, "count": 1000})
        equal(client.kept, {}, "frames")


@case("a cancelled call ends at the same checkpoint on every rank", **EVERYWHERE)
def cancel(t):
    with t.connect() as client:
        for _ in range(5):
            id = client.submit("wait", kind=STREAM)
            items = client.items(id)
            next(items)
            client.cancel(id)
            with raises("cancelled"):
                next(items)
            checkpoints = client.invoke("last_wait").json["checkpoints"]
            equal(len(set(checkpoints)), 1, "checkpoints %s" % checkpoints)


@case("a vanished client's call is cancelled", **EVERYWHERE)
def vanish(t):
    for _ in range(5):
        with t.connect() as client:
            next(client.stream("wait"))
        with t.connect() as client:
            equal(client.invoke("sum", {"value": 1}).json, {"sum": t.ranks * (t.ranks + 1) / 2})
            equal(len(set(client.invoke("last_wait").json["checkpoints"])), 1, "checkpoints differ")


@case("prints carry the rank", **EVERYWHERE)
def prints(t):
    wanted = {"[rank %d] hello 100%% \u00fc" % rank for rank in range(t.ranks)}
    with t.connect() as client:
        client.invoke("print", {"text": "hello 100% \u00fc"})
    wait_until(lambda: wanted <= set(t.job.output().splitlines()), "the lines of every rank", 10)
    check("[debug]" not in t.job.output(), "debug lines appear though nobody asked")


@case("the counters count", **EVERYWHERE)
def counters(t):
    with t.connect() as client:
        before = client.status()["calls"]
        client.invoke("empty")
        with raises("worker_error"):
            client.invoke("fail", {"message": "counted"})
        id = client.submit("wait", kind=STREAM)
        items = client.items(id)
        next(items)
        client.cancel(id)
        with raises("cancelled"):
            next(items)
        wait_until(lambda: client.status()["running"] is None, "the ranks to be back")
        after = client.status()["calls"]
    equal({key: after[key] - before[key] for key in after},
          {"completed": 1, "failed": 1, "cancelled": 1, "refused": 0})


@case("pings are answered", **EVERYWHERE)
def ping(t):
    with t.connect() as client:
        for _ in range(10):
            client.ping()


main("basics")
