#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Forged histories: the checker has to find each kind of violation, and nothing in a history that is sound."""

import os
import re
import sys

import checker
from forged import CASES, RANKS, Forged, case


# ---- Sound histories ----


@case("an older call whose client heard late of the new rank 0 need not begin first")
def heard_late():
    round = Forged("restarts").connect().connect("d").submit("a", client="d").submit("b", t=1.3)
    round.fault(rank=0, pid=10).lost_and_away("c").lost_and_away("d").back("c", ["b"]).back("d", ["a"])
    round.records[-1]["welcomed"] -= 1.0
    yield round.run("b").run("a").result("b").result("a").job(pids=(13, 11, 12))


@case("a round without faults is sound")
def quiet():
    yield Forged().submit().result().job().add("settled", ok=True, why="").add("left", things=[])
    yield Forged().burst().all_events().result(handler="burst", events=2)
    yield Forged().submit(handler="sum", asks={"value": 5}).result(handler="sum", value=30)
    yield Forged().submit(handler="fail", asks={"rank": 2}).error("worker_error", rank=2, message="told to fail: a")
    yield Forged().submit(handler="nobody", known=False).error("no_handler")
    yield Forged().submit(asks={"size": 7}).result(size=7)


@case("cancels, timeouts and a full queue are sound where there is a reason")
def reasons():
    yield Forged().submit().add("cancel", call="a").error("cancelled")
    yield Forged().submit().add("cancel", call="a").result()
    yield Forged().submit(timeout=0.01).error("timeout", t=1.1)
    full = Forged()
    for call in "abcde":
        full.submit(call)
    full.error("busy", "e")
    for call in "abcd":
        full.result(call)
    yield full


@case("a rank's death and what it brings are sound")
def death():
    end = "rankcall: job_died: rank 1 on h: killed by signal 9"
    yield Forged().submit().fault().error("rank_died", rank=1, host="h").add("closed", client="c", by="job").job(
        False, 15, end)
    yield Forged().submit().fault().lost().add("connect", client="d", ok=False, error="gone").job(False, 15, end)
    yield Forged().submit().fault("launcher-term", None).error("shutting_down").job(False, 0)
    yield Forged().submit().fault("launcher-kill", None).error("cancelled").job(False, -9)
    yield Forged().fault().job(False, 15, "rankcall: job_died: rank 0 is gone; what was left was killed")
    yield Forged().submit().fault("mpirun-kill", None).lost().job(False, 15)
    yield Forged().fault("launcher-term", None).submit().lost().job(False, 0)


DEAD = {"rank": 1, "host": "h", "message": "rank 1 (pid 11) on h was killed by signal 9"}
DEAD_0 = {"rank": 0, "host": "h", "message": "rank 0 (pid 10) on h was killed by signal 9"}


@case("a death is sound where the job goes on")
def goes_on():
    yield Forged("restarts").submit().submit("b").fault().error("rank_died", **DEAD).result("b").job(pids=(10, 13, 12))
    yield Forged("restarts").submit(idempotent=True).run().fault().run().result().job(pids=(10, 13, 12))
    yield Forged("restarts").submit().fault("launcher-term", None).error("shutting_down").job(False, 0)
    yield Forged("restarts").submit().fault("mpirun-kill", None).error("job_died").job(pids=(13, 14, 15), restarted=1)
    yield Forged("restarts").submit().all_die().error("rank_died", **DEAD_0).job(pids=(13, 14, 15), restarted=1)
    yield Forged("restarts").fault().job(pids=(13, 14, 15), restarted=1, stuck=1)
    yield Forged("restarts").submit(idempotent=True).run().fault().run().fault().run().fault().error("rank_died", **DEAD)


@case("a client that comes back after rank 0's death, and one that cannot, are sound")
def come_back():
    yield Forged("restarts").connect().submit().submit("b").run().fault(rank=0, pid=10).lost_and_away().error(
        "rank_died", **DEAD_0).back(again=["b"]).run("b").result("b").job(pids=(13, 11, 12))
    yield Forged("restarts").connect(resume=False).submit().fault(rank=0, pid=10).lost().add(
        "closed", client="c", by="job").job(pids=(13, 11, 12))
    yield Forged("restarts").connect("watcher", resume=False).fault(rank=0, pid=10).add(
        "closed", client="watcher", by="job").job(pids=(13, 11, 12))
    yield Forged("restarts").connect().fault("launcher-kill", None).add("lost", client="c").add(
        "closed", client="c", by="job").job(False, -9)
    yield Forged("restarts").connect().submit().submit("b").fault(rank=0, pid=10).lost_and_away().back(
        again=["a", "b"]).run().result().run("b").result("b").job(pids=(13, 11, 12))


@case("a client that leaves loses its own calls")
def left():
    yield Forged().submit().add("cut", client="c", how="cut").lost().add("closed", client="c", by="client")
    yield Forged().submit().add("cut", client="c", how="torn").add(
        "stray", client="c", type=7, id=0).add("outcome", call="a", how="closed").add("closed", client="c", by="job")


# ---- Ends ----


@case("a call without an end is found", "no-end")
def no_end():
    yield Forged().submit()


@case("a call that ends twice is found", "two-ends")
def two_ends():
    yield Forged().submit().result().result()


@case("an event after the end is found", "event-after-end")
def late_event():
    yield Forged().burst().all_events().result(handler="burst", events=2).event(0, 2)


@case("what nobody asked for is found", "unknown-call")
def unknown():
    yield Forged().event(0, 0, "z")
    yield Forged().result("z")


@case("a call that ends after its bound is found", "late")
def late():
    yield Forged().submit().result(t=12.0)
    yield Forged().submit(timeout=0.1).error("timeout", t=6.0)


@case("a timeout that does nothing is found", "timeout-ignored")
def ignored():
    yield Forged().submit(handler="work", asks={"steps": 100, "seconds": 0.01}, timeout=0.1).result(
        handler="work", events=100, t=2.02)


@case("a hang is found", "hung", "no-end")
def hung():
    yield Forged().submit().add("hung", calls=["a"], folder="f")


@case("a driver that is wrong is found", "driver")
def driver():
    yield Forged().add("driver", message="no such fault")
    yield Forged().submit().submit().result()


# ---- Events and results ----


@case("a lost event is found", "lost")
def lost():
    yield Forged().burst(count=3).all_events(count=1).event(0, 2).event(1, 1).event(1, 2).event(2, 1).event(2, 2).result(
        handler="burst", events=3)


@case("missing events at the end are found", "incomplete")
def incomplete():
    yield Forged().burst().all_events(count=1).result(handler="burst", events=2)
    yield Forged().burst().event(0, 0).event(0, 1).event(1, 0).event(1, 1).result(handler="burst", events=2)


@case("a doubled event is found", "doubled-or-reordered")
def doubled():
    yield Forged().burst().event(0, 0).all_events().result(handler="burst", events=2)


@case("reordered events are found", "doubled-or-reordered", "lost")
def reordered():
    yield Forged().burst().event(0, 1).event(0, 0).event(1, 0).event(1, 1).event(2, 0).event(2, 1).result(
        handler="burst", events=2)


@case("too many events are found", "too-many-events")
def too_many():
    yield Forged().burst().all_events(count=3).result(handler="burst", events=2)


@case("an event of an invoke is found", "event-of-invoke", "too-many-events")
def invoke_event():
    yield Forged().submit().event(0, 0).result()


@case("an event or result of another call is found", "crossed")
def crossed():
    yield Forged().burst(count=1).event(0, 0, token="b").event(1, 0).event(2, 0).result(handler="burst", events=1)
    yield Forged().submit().result(token="b")


@case("corrupt bytes are found", "corrupt")
def corrupt():
    yield Forged().burst(count=1).event(0, 0, good=False).event(1, 0).event(2, 0).result(handler="burst", events=1)
    yield Forged().submit().result(good=False)


@case("a rank that is not there is found", "no-such-rank", "too-many-events")
def no_such_rank():
    yield Forged().burst(count=0).event(3, 0).result(handler="burst", events=0)


@case("a wrong result is found", "wrong-result")
def wrong():
    yield Forged().submit(handler="sum", asks={"value": 5}).result(handler="sum", value=15)
    yield Forged().submit(asks={"size": 7}).result(size=6)
    yield Forged().submit().result(handler="burst")
    yield Forged().burst(count=0).result(handler="burst", events=1)


# ---- Outcomes and their reasons ----


@case("an end without a reason is found", "implausible")
def implausible():
    for code in ("rank_died", "job_died", "shutting_down", "cancelled", "timeout", "busy", "worker_error", "internal",
                 "no_handler", "bad_payload", "wedged"):
        yield Forged().submit().error(code)
    yield Forged().submit().lost()
    yield Forged().submit(handler="fail").result(handler="fail")
    yield Forged().submit(handler="nobody", known=False).result(handler="nobody")
    yield Forged().submit(handler="die").result(handler="die")


@case("an end before its reason is found", "implausible")
def too_early():
    yield Forged().submit().error("cancelled").add("cancel", call="a")
    yield Forged().submit(timeout=5.0).error("timeout")
    yield Forged().submit().error("shutting_down").fault("launcher-term", None)
    yield Forged().submit().lost().fault()
    yield Forged().submit().lost().add("cut", client="c", how="cut")
    yield Forged().submit().add("cut", client="d", how="cut").lost()


@case("an orderly stop that does not answer a call is found", "implausible")
def unanswered():
    yield Forged().submit().fault("launcher-term", None).lost()


@case("a gentle fault explains no loss", "implausible")
def gentle():
    for kind in ("stop", "disk", "garbage", "flips", "connections"):
        yield Forged().submit().fault(kind, None, deadly=False).lost()


@case("a wrong blame is found", "wrong-blame")
def blame():
    yield Forged().submit(handler="fail", asks={"rank": 2}).error("worker_error", rank=1, message="told to fail: a")
    yield Forged().submit(handler="fail", asks={"rank": 2}).error("worker_error", rank=2, message="told to fail: b")
    yield Forged().submit().fault().error("rank_died", rank=2, host="h")
    yield Forged().submit().fault().error("rank_died", rank=1, host="")
    yield Forged().fault().job(False, 15, "rank 2 on h: killed by signal 9")
    for message in ("rank 1 was killed by signal 9", "rank 1 (pid 11) is dead", ""):
        yield Forged("restarts").submit().fault().error("rank_died", rank=1, host="h", message=message)
    yield Forged("restarts").submit().fault("die", signal=None).error("rank_died", **DEAD)


# ---- Connections and the job ----


@case("a connection that the job closes without a reason is found", "connection-lost")
def connection_lost():
    yield Forged().add("closed", client="c", by="job")
    yield Forged().add("closed", client="c", by="job").fault()
    yield Forged("restarts").fault().add("closed", client="c", by="job")
    yield Forged("restarts").connect().fault(rank=0, pid=10).add("closed", client="c", by="job")
    yield Forged("restarts").connect().add("lost", client="c").back()
    yield Forged("restarts").connect().fault().add("lost", client="c").back()


@case("a client that is not served is found", "not-served")
def not_served():
    yield Forged().add("connect", client="c", ok=False, error="refused")
    yield Forged("restarts").fault().add("connect", client="c", ok=False, error="refused")


@case("a frame that belongs to nothing is found", "stray")
def stray():
    yield Forged().add("stray", client="c", type=5, id=9)
    yield Forged().add("stray", client="c", type=7, id=0)


@case("bytes that are not the protocol are found", "protocol")
def protocol():
    yield Forged().add("protocol", client="c", message="padding")


@case("a job that ends or lives on against the rule is found", "job-ended")
def job_ended():
    yield Forged().job(False, 15, "rank 1")
    yield Forged().fault("stop", None, deadly=False).job(False, 15)
    yield Forged("restarts").fault().job(False, 15, "rank 1")


@case("a job that should have ended is found", "job-lives")
def job_lives():
    yield Forged().fault().job()
    yield Forged("restarts").fault("launcher-term", None).job()


@case("a wrong exit status is found", "wrong-status")
def wrong_status():
    yield Forged().fault().job(False, 0, "rank 1")
    yield Forged().fault("launcher-term", None).job(False, 15)
    yield Forged().fault("mpirun-kill", None).job(False, 0)


@case("ranks that were replaced without need, or not at all, are found", "wrong-ranks")
def wrong_ranks():
    yield Forged().job(pids=(10, 13, 12))
    yield Forged("restarts").fault().job(pids=(10, 11, 12))
    yield Forged("restarts").fault().job(pids=(10, 13, 14))


@case("connections and descriptors that stay are found", "connections-left", "descriptors-left")
def stay():
    yield Forged().job(connections=2, descriptors=30)
    yield Forged("restarts").fault(rank=0, pid=10).job(connections=2, launcher_descriptors=30, pids=(13, 11, 12))


# ---- A job that goes on ----


@case("where the job goes on, a second lost call is found", "too-many-lost")
def too_many_lost():
    yield Forged("restarts").submit().submit("b").fault().error("rank_died", **DEAD).error("rank_died", "b", **DEAD)
    yield Forged("restarts").submit().submit("b").all_die().error("rank_died", **DEAD).error(
        "rank_died", "b", **DEAD).job(pids=(13, 14, 15), restarted=1)


@case("where the job goes on, a queued call that does not run is found", "implausible")
def queued():
    yield Forged("restarts").submit().fault().error("shutting_down")
    yield Forged("restarts").submit().fault().error("job_died")
    yield Forged("restarts").submit().fault().lost()
    yield Forged("restarts").connect().submit().fault(rank=0, pid=10).lost()


@case("a call that runs twice is found", "ran-twice")
def ran_twice():
    yield Forged("restarts").submit().run().fault().run().result()


@case("a call that runs too often is found", "ran-too-often")
def ran_too_often():
    yield Forged("restarts").submit(idempotent=True).run().run().run().run().result()


@case("what comes of an earlier run is found", "mixed-runs")
def mixed():
    first = Forged("restarts").burst(count=1).run()
    first.records[1]["idempotent"] = True
    old = first.records[-1]["run"]
    for rank in range(RANKS):
        first.add("event", call="a", rank=rank, seq=0, good=True, token="a", run=old if rank == 0 else None)
    yield first.run().result(handler="burst", events=1)
    second = Forged("restarts").submit(idempotent=True).run()
    yield second.run().result(run=second.records[-2]["run"])


@case("an idempotent call that is given up is found", "given-up")
def given_up():
    yield Forged("restarts").submit(idempotent=True).run().fault().error("rank_died", **DEAD)
    yield Forged("restarts").connect().submit(idempotent=True).fault(rank=0, pid=10).lost_and_away().error(
        "rank_died", **DEAD_0).back()


@case("calls of a client that change places are found", "out-of-order")
def out_of_order():
    yield Forged("restarts").submit().submit("b").run("b").run("a").result("b").result("a")
    again = Forged("restarts").submit(idempotent=True).submit("b").run().fault().run("b").run()
    yield again.result("b").result()


@case("calls of several clients that change places while rank 0 is away are found", "younger-first")
def younger_first():
    round = Forged("restarts").connect().connect("d").submit("a", client="d").submit("b", t=1.3)
    round.fault(rank=0, pid=10).lost_and_away("c").lost_and_away("d").back("c", ["b"]).back("d", ["a"])
    yield round.run("b").run("a").result("b").result("a")


@case("a client that comes back late, or never, is found", "late-return", "no-return")
def late_return():
    yield Forged("restarts").connect().connect("d").fault(rank=0, pid=10).add("lost", client="d").add(
        "lost", client="c").back(t=40.0)


@case("a connection that outlives rank 0 is found", "connection-kept")
def connection_kept():
    yield Forged("restarts").connect("watcher", resume=False).fault(rank=0, pid=10).job(pids=(13, 11, 12))


@case("a restart of the whole job without need is found", "restarted")
def restarted():
    yield Forged("restarts").fault().job(pids=(13, 14, 15), restarted=1)


@case("a next call that fails is found", "next-call")
def next_call():
    yield Forged().add("settled", ok=False, why="it hangs")


@case("what a job that goes on leaves behind is found", "strays")
def strays():
    yield Forged("restarts").fault().job(pids=(10, 13, 12), strays=["process 11 (fault_worker)"])


@case("what is left behind is found", "left-behind")
def left_behind():
    yield Forged().add("left", things=["process x"])


def all_kinds():
    kinds = set()
    for name in ("checker.py", "goes_on.py"):
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), name)) as file:
            kinds |= set(re.findall(r'yield "([a-z-]+)"', file.read()))
    return kinds


def main():
    failed, seen = 0, set()
    for name, kinds, function in CASES:
        seen |= kinds
        found = [{kind for kind, _ in checker.check(forged.records)} for forged in function()]
        good = all(one == kinds for one in found) and found
        print("%s %s%s" % ("pass  " if good else "FAILED", name, "" if good else ": found %s" % found))
        failed += not good
    lacking = all_kinds() - seen
    print("%s every kind of violation is forged%s" % ("FAILED" if lacking else "pass  ", ": not %s" % lacking if lacking else ""))
    return 1 if failed or lacking else 0


if __name__ == "__main__":
    sys.exit(main())
