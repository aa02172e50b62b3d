# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""What a job tells of its calls: where their time went, its log of calls."""

import json
import os
import re
import time

from harness import COMMAND, SLOW, case, check, equal, main, raises, wait_until
from strangers_client import STREAM


def log_path(t):
    return os.path.join(t.sandbox.folder, "calls.log")


def log_lines(t, count):
    """The lines of the job's log of calls as dictionaries, once there are so many."""
    def read():
        if not os.path.exists(log_path(t)):
            return []
        with open(log_path(t)) as file:
            return file.read().splitlines()

    wait_until(lambda: len(read()) >= count, "%d lines of the log" % count, 10)
    lines = [dict(word.split("=", 1) for word in line.split(" ")) for line in read()]
    equal(len(lines), count, "lines")
    return lines


def check_slow_rank(t, client, rank):
    began = time.monotonic()
    client.invoke("slow", {"seconds": 0.2, "rank": rank})
    whole = 1e6 * (time.monotonic() - began)
    timing = client.timing
    equal(timing["slowest_rank"], rank, "the slowest rank")
    check(200000 <= timing["handler_max"] <= whole, "the slowest handler took %d us of %d" % (timing["handler_max"], whole))
    if t.ranks > 1:
        check(timing["handler_min"] < 150000 * SLOW, "the fastest handler took %d us" % timing["handler_min"])
    parts = timing["queued"] + timing["broadcast"] + timing["reply"] + timing["handler_max"]
    twice = timing["broadcast"]  # until the last rank begins: the slowest may have begun before
    check(parts - twice <= whole * 1.01, "parts of %d us in a call of %d us" % (parts, whole))
    check(whole - parts < 100000 * SLOW, "%d us of %d are not accounted for" % (whole - parts, whole))


@case("a result tells where the call's time went, and which rank was slowest", ranks=(1, 2, 4), by=("launcher", "mpirun"))
def timings(t):
    with t.connect() as client:
        for rank in range(t.ranks):
            check_slow_rank(t, client, rank)
        first = client.submit("slow", {"seconds": 0.2})
        second = client.submit("empty")
        client.outcome(first)
        number = client.timing["call"]
        client.outcome(second)
        check(client.timing["queued"] >= 190000, "the second was queued for %d us" % client.timing["queued"])
        check(client.timing["handler_max"] < 100000 * SLOW, "it took %d us" % client.timing["handler_max"])
        equal(client.timing["call"], number + 1, "the job's number of the call")


@case("the same with several nodes", ranks=(4,), own=True)
def timings_of_nodes(t):
    t.job = t.start(env={"RANKCALL_TEST_NODES": "2"})
    with t.connect() as client:
        for rank in range(4):
            check_slow_rank(t, client, rank)


@case("the log of calls has one line a call, however it ended", own=True)
def call_log(t):
    t.job = t.start(options=("--call-log", log_path(t)))
    with t.connect() as client:
        client.invoke("slow", {"seconds": 0.05, "rank": 1})
        list(client.stream("burst", {"count": 5}))
        for handler, payload, name in (("fail", {"rank": 1}, "worker_error"), ("echo", b"x", "bad_payload")):
            with raises(name):
                client.invoke(handler, payload)
        with raises("timeout"):
            client.outcome(client.submit("slow", {"seconds": 0.3}, timeout=0.1))
        with raises("cancelled"):
            queued = client.submit("empty")
            client.cancel(queued)
            client.outcome(queued)
        with t.connect() as leaver:
            next(leaver.items(leaver.submit("wait", kind=STREAM)))
        client.invoke("empty")
        lines = log_lines(t, 8)
    by_call = {int(line["call"]): line for line in lines}
    equal(sorted(by_call), list(range(1, 9)), "the calls' numbers")
    equal([(by_call[n]["handler"], by_call[n]["kind"], by_call[n]["outcome"]) for n in range(1, 9)],
          [("slow", "invoke", "ok"), ("burst", "stream", "ok"), ("fail", "invoke", "worker_error"),
           ("echo", "invoke", "bad_payload"), ("slow", "invoke", "timeout"), ("empty", "invoke", "cancelled"),
           ("wait", "stream", "disconnected"), ("empty", "invoke", "ok")], "what they say")
    slow = by_call[1]
    equal((slow["slowest_rank"], slow["number"], slow["client"]), ("1", "1", str(os.getpid())), "the first line")
    check(int(slow["handler_max_us"]) >= 50000 > int(slow["handler_min_us"]), "times: %s" % slow)
    check(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", slow["time"]), "time: " + slow["time"])
    check(int(by_call[5]["leaving_us"]) >= 150000, "the ranks came back after the timeout: %s" % by_call[5])
    check("number" not in by_call[6] and "handler_max_us" not in by_call[6], "it never ran: %s" % by_call[6])


@case("many calls in a row all get their line", own=True)
def many_logged(t):
    t.job = t.start(options=("--call-log", log_path(t)))
    with t.connect() as client:
        for _ in range(500):
            client.invoke("empty")
    equal([int(line["call"]) for line in log_lines(t, 500)], list(range(1, 501)), "calls")


@case("a log of calls that cannot be written keeps the job from starting", own=True)
def bad_log(t):
    job = t.start(options=("--call-log", "/no/such/folder/log"), ready=False)
    check(job.wait() != 0, "the job started")
    check("--call-log: cannot write /no/such/folder/log" in job.output(), job.output())


@case("the status lists the calls that run and wait, a hundred of the latter at most", job={"options": ("--queue", "200")})
def calls_of_status(t):
    with t.connect() as client, t.connect() as other:
        equal(client.status()["current"], [], "calls of an idle job")
        items = client.items(client.submit("wait", kind=STREAM, id=77))
        next(items)
        queued = [other.submit("echo", {"n": 1}) for _ in range(120)]
        wait_until(lambda: client.status()["queue"]["length"] == 120, "the queue")
        told = client.status()
        first, second = told["current"][:2]
        equal((first["state"], first["handler"], first["kind"], first["id"], first["client"]),
              ("running", "wait", "stream", 77, {"pid": os.getpid(), "name": "stranger"}), "the running call")
        equal((second["state"], second["handler"], second["kind"], second["id"]), ("queued", "echo", "invoke", queued[0]), "the next")
        check(0 < first["running"] <= first["age"] < 30 * SLOW and "running" not in second, "ages")
        check(second["bytes"] > 0, "bytes")
        equal(told["running"]["call"], first["call"], "the running call's number")
        equal([one["call"] for one in told["current"]], list(range(first["call"], first["call"] + 101)), "numbers")
        client.cancel(77)
        for id in queued:
            other.outcome(id)
        equal(other.timing["call"], first["call"] + 120, "the last one's number")


def states(client):
    return [rank["state"] for rank in client.status()["ranks"]]


@case("a call whose ranks are not back is leaving, and ranks that are say so", ranks=(3,))
def leaving(t):
    with t.connect() as client:
        with raises("timeout"):
            client.outcome(client.submit("slow", {"seconds": 1, "rank": 1}, timeout=0.1))
        told = client.status()
        equal([one["state"] for one in told["current"]], ["leaving"], "the call")
        equal([rank["state"] for rank in told["ranks"]], ["reported", "handler", "reported"], "ranks")
        check(0 < told["ranks"][1]["since"] < 1, "how long: %s" % told["ranks"][1])
        wait_until(lambda: states(client) == ["idle"] * 3, "the ranks to be idle", 10)


@case("the status tells which ranks sit in which collective, and their last marker", ranks=(3,))
def whereabouts(t):
    with t.connect() as client:
        id = client.submit("interrupted", {"kind": "all_gather", "absent": 1, "absent_us": 1500000, "turns": 1})
        wait_until(lambda: states(client) == ["collective", "handler", "collective"], "the ranks to be there", 10)
        ranks = client.status()["ranks"]
        equal([rank.get("collective") for rank in ranks], [{"name": "all_gather", "number": 1}, None,
                                                           {"name": "all_gather", "number": 1}], "collectives")
        equal([rank["mark"] for rank in ranks], ["turn 0"] * 3, "markers")
        text = t.run(COMMAND, "status", text=True).stdout
        check("collective all_gather 1 for" in text and 'at "turn 0"' in text, text)
        check(re.search(r"running +interrupted for \d+s, call \d+", text), text)
        check(re.search(r"running  interrupted  invoke +\ds +\d+ +%d +stranger" % os.getpid(), text), text)
        check(re.search(r"interrupted for \d+s, call \d+", t.run(COMMAND, "ps", text=True).stdout), "ps")
        client.outcome(id)


def through_a_call(t, env, others):
    """A job of four ranks from setup to a call's end; `others`: what is known of ranks 1 to 3 in setup and in the handler."""
    t.job = t.start(env=env, setup=json.dumps({"go": log_path(t)}), ready=False)
    with t.job.connect() as client:
        wait_until(lambda: states(client) == ["setup"] + (others or ["setup"] * 3), "setup to be told", 10)
        with open(log_path(t), "w"):
            pass
        client.status(wait=True)
        wait_until(lambda: states(client) == ["idle"] * 4, "the ranks to be idle", 10)
        items = client.items(client.submit("wait", kind=STREAM))
        next(items)
        wait_until(lambda: states(client) == ["handler"] + (others or ["handler"] * 3), "the ranks to run", 10)


@case("ranks in setup say so, also those of other nodes", ranks=(4,), own=True)
def elsewhere(t):
    through_a_call(t, {"RANKCALL_TEST_NODES": "2"}, None)


@case("ranks of four nodes, some of which pass on what others say", ranks=(4,), own=True)
def passed_on(t):
    through_a_call(t, {"RANKCALL_TEST_NODES": "4"}, None)


@case("ranks of other nodes that cannot be asked are unknown", ranks=(4,), own=True)
def unlinked(t):
    through_a_call(t, {"RANKCALL_TEST_NODES": "4", "RANKCALL_TEST_NO_LINKS": "1"}, ["unknown"] * 3)


@case("while a dead rank is replaced the status says so", ranks=(3,), own=True)
def regrouping(t):
    t.job = t.start()
    with t.connect() as client:
        with raises("rank_died"):
            client.invoke("die", {"rank": 1})
        wait_until(lambda: states(client) == ["regrouping"] * 3, "the ranks to regroup", 10)
        client.status(wait=True)
        equal(states(client), ["idle"] * 3, "afterwards")


# ---- cancel ----


def cancel(t, *arguments, status=0):
    done = t.run(COMMAND, "cancel", *arguments, text=True)
    equal((done.returncode, done.stdout), (status, ""), "rankcall cancel %s: %s" % (" ".join(arguments), done.stderr))
    return done.stderr


@case("an operator cancels running and queued calls of other clients")
def cancel_others(t):
    with t.connect() as client, t.connect() as other:
        items = client.items(client.submit("wait", kind=STREAM))
        next(items)
        queued = [other.submit("echo", {"n": n}) for n in range(3)]
        wait_until(lambda: len(client.status()["current"]) == 4, "the queue")
        running, first, second, third = (one["call"] for one in client.status()["current"])
        cancel(t, "-j", t.job.name, str(second))
        with raises("cancelled", text="an operator cancelled the call (process"):
            other.outcome(queued[1])
        equal(other.cancel_call(first), 1, "calls cancelled")
        with raises("cancelled", text="(process %d, stranger)" % os.getpid()):
            other.outcome(queued[0])
        check("cancelled call %d" % running in cancel(t, t.job.name, str(running)), "what it says")
        with raises("cancelled", text="operator"):
            next(items)
        equal(other.outcome(queued[2]).json, {"n": 2}, "the one that was left alone")
        equal(other.timing["call"], third, "its number")


@case("an operator cancels all calls at once")
def cancel_all(t):
    check("cancelled 0 calls" in cancel(t, "--all"), "nothing to cancel")
    with t.connect() as client, t.connect() as other:
        items = client.items(client.submit("wait", kind=STREAM))
        next(items)
        queued = [other.submit("echo") for _ in range(30)]
        wait_until(lambda: client.status()["queue"]["length"] == 30, "the queue")
        check("cancelled 31 calls" in cancel(t, "--all", t.job.name), "how many")
        for id in queued:
            with raises("cancelled", text="operator"):
                other.outcome(id)
        with raises("cancelled", text="operator"):
            next(items)
        equal(client.invoke("empty").text, b"{}", "the next call")


@case("cancelling a call that is not there, or has ended, is an error and harms nobody")
def cancel_nothing(t):
    with t.connect() as client:
        client.invoke("empty")
        done = client.timing["call"]
        for call in (done, done + 1000, (1 << 64) - 1):
            check("no call %d runs or waits" % call in cancel(t, str(call), status=2), "what it says")
            with raises("invalid_argument"):
                client.cancel_call(call)
        id = client.submit("slow", {"seconds": 0.5}, timeout=0.1)
        with raises("timeout"):
            client.outcome(id)
        check("has ended already" in cancel(t, str(done + 1), status=2), "of one whose ranks are not back")
        equal(client.invoke("echo", {"n": 1}).json, {"n": 1}, "the next call")


@case("invoke and stream --timing print it")
def printed(t):
    done = t.run(COMMAND, "invoke", "--timing", "-j", t.job.name, text=True)
    equal((done.returncode, done.stdout), (0, "{}\n"), "invoke")
    check(re.search(r"queued \d+ us, broadcast \d+ us, handler \d+ to \d+ us \(slowest: rank \d\), reply \d+ us", done.stderr),
          done.stderr)
    done = t.run(COMMAND, "invoke", "--timing", "--json", "-H", "slow", '{"seconds": 0.05, "rank": 1}', text=True)
    timing = json.loads(done.stderr)["timing"]
    check(timing["slowest_rank"] == 1 and timing["handler_max_us"] >= 50000, done.stderr)
    done = t.run(COMMAND, "stream", "--timing", "-H", "steps", '{"steps": 1}', text=True)
    equal(set(json.loads(done.stdout.splitlines()[-1])["timing"]), set(timing), "stream")


main("state")
