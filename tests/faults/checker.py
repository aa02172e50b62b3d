# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Reads the history of a round (history.py) and says what must not have happened. It knows nothing else of the round:
neither the driver's plans nor the job.

    python3 tests/faults/checker.py HISTORY...      prints the violations; exit status 1 when there are some
"""

import sys

import goes_on
import history
from rounds import LAUNCHER, Round

LATE = 3.0  # seconds that the end of a call may come after its timeout
FEW = 4  # descriptors of rank 0 that may come and go

# What a call that is under way, or submitted afterwards, may get when the whole job ends.
ENDS = {
    "rank": ("rank_died", "job_died", "shutting_down", "closed"),
    "mpirun-kill": ("cancelled", "job_died", "shutting_down", "closed"),
    "launcher-kill": ("cancelled", "job_died", "shutting_down", "closed"),
    "launcher-term": ("cancelled", "shutting_down", "closed"),
}
STATUS = {"rank": (15,), "mpirun-kill": None, "launcher-kill": (-9,), "launcher-term": (0,)}  # None: not 0
# What the launcher says when it had to kill an mpirun that hung in its own end, after all ranks had gone: a deadlock of
# Open MPI's in PMIx_server_finalize. Who died is lost then. Counted, and not taken for a violation.
HUNG_MPIRUN = "what was left was killed"


# ---- How a call may end ----


def allowed_by_death(round, call):
    """The ends that the deaths of the round explain."""
    found = set()
    for kind, fault in round.deaths:
        if fault["t"] > call.ended:
            continue
        if round.goes_on and kind not in LAUNCHER:
            found |= goes_on.ends(round, call, kind)
            continue
        ends = set(ENDS[kind])
        answered = kind == "launcher-term" and call.written is not None and call.written < fault["t"]
        # A job that stops in order answers every call that it has got; one submitted while it ends may find it gone.
        found |= ends - {"closed"} if answered else ends
    return found


def crowded(round, call):
    """Whether so many calls were under way when this one ended that the queue may have been full."""
    under_way = [one for one in round.calls.values() if one.began <= call.ended and one.ended >= call.began]
    return len(under_way) > round.head["queue"]


def allowed(round, call):
    """The names of the ends that the call may have."""
    ends = set()
    if not call.submit["known"]:
        ends.add("no_handler")
    elif call.handler == "fail":
        ends.add("worker_error")
    elif call.handler != "die":
        ends.add("result")
    if any(cancel["t"] <= call.ended for cancel in call.cancels):
        ends.add("cancelled")
    limits = [call.submit[name] for name in ("timeout", "streaming_timeout") if call.submit[name] > 0]
    if limits and call.ended - call.began >= 0.9 * min(limits):
        ends.add("timeout")
    if call.handler == "die" and call.asks.get("ranks"):  # it may run again
        ends.add("result")
    if crowded(round, call):
        ends.add("busy")
    if any(cut <= call.ended for cut in round.cut_of(call.client)):
        ends |= {"closed", "cancelled"}
    return ends | allowed_by_death(round, call)


def name_of(outcome):
    return outcome["code"] if outcome["how"] == "error" else outcome["how"]


# ---- The rules: each yields (kind, text) for what it finds ----


def rule_ended_once(round):
    for call in round.calls.values():
        if not call.outcomes:
            yield "no-end", "%s never ended" % call
        elif len(call.outcomes) > 1:
            yield "two-ends", "%s ended %d times: %s" % (call, len(call.outcomes), [name_of(o) for o in call.outcomes])
        if call.after:
            yield "event-after-end", "%s got %d events after its end" % (call, len(call.after))
    for record in round.doubled:
        yield "driver", "call %s was submitted twice" % record["call"]
    for record in round.of("driver"):
        yield "driver", record["message"]
    for record in round.unknown:
        yield "unknown-call", "%s of call %s, which nobody made" % (record["what"], record["call"])


def rule_in_time(round):
    for call in round.calls.values():
        took = call.ended - call.began
        if call.outcomes and took > call.submit["bound"]:
            yield "late", "%s took %.1f s, its bound is %.1f s" % (call, took, call.submit["bound"])
        timeout = call.submit["timeout"]
        if call.end and timeout > 0 and not round.deaths and not round.cut_of(call.client):
            if took > timeout + (LATE + round.stopped()) * round.slow:
                yield "late", "%s ended after %.1f s, its timeout is %.2f s" % (call, took, timeout)
            if call.end["how"] == "result" and call.shortest() > timeout + 0.1:
                yield "timeout-ignored", "%s takes %.2f s and was not ended by its timeout of %.2f s" % (
                    call, call.shortest(), timeout)
    for record in round.of("hung"):
        yield "hung", "calls %s hang; what the job did is in %s" % (", ".join(record["calls"]), record["folder"])


def rule_events(round):
    for call in round.calls.values():
        following = {}
        for event in call.events:
            rank, sequence = event["rank"], event["seq"]
            if event["token"] != call.token:
                yield "crossed", "%s got an event of call %s" % (call, event["token"])
            elif not event["good"]:
                yield "corrupt", "%s got a corrupt event: rank %s, number %s" % (call, rank, sequence)
            if not 0 <= rank < round.ranks:
                yield "no-such-rank", "%s got an event of rank %s" % (call, rank)
            wanted = following.get(rank, 0)
            if sequence < wanted:
                yield "doubled-or-reordered", "%s got number %d of rank %d after number %d" % (
                    call, sequence, rank, wanted - 1)
            elif sequence > wanted:
                yield "lost", "%s lost number %d of rank %d: %d came" % (call, wanted, rank, sequence)
            following[rank] = max(wanted, sequence + 1)
        if call.events and not call.submit["stream"]:
            yield "event-of-invoke", "%s is an invoke and got %d events" % (call, len(call.events))
        if call.end and call.end["how"] == "result":
            for rank in range(round.ranks):
                if following.get(rank, 0) < call.expected_events():
                    yield "incomplete", "%s succeeded with %d of %d events of rank %d" % (
                        call, following.get(rank, 0), call.expected_events(), rank)
            if any(count > call.expected_events() for count in following.values()):
                yield "too-many-events", "%s got %s" % (call, following)


def expected_answer(round, call):
    value = call.asks.get("value", 0) * round.ranks * (round.ranks + 1) // 2 if call.handler == "sum" else 0
    events = {"burst": call.asks.get("count", 1), "work": call.asks.get("steps", 1)}.get(call.handler, 0)
    return {"handler": call.handler, "events": events, "value": value, "size": call.asks.get("size", 0)}


def rule_results(round):
    for call in round.calls.values():
        for end in call.outcomes:
            if end["how"] != "result":
                continue
            if end["token"] != call.token:
                yield "crossed", "%s got the result of call %s" % (call, end["token"])
            elif not end["good"]:
                yield "corrupt", "%s got a corrupt result" % call
            elif end["answer"] != expected_answer(round, call):
                yield "wrong-result", "%s got %s, due was %s" % (call, end["answer"], expected_answer(round, call))


def rule_plausible(round):
    for call in round.calls.values():
        if not call.end:
            continue
        name, ends = name_of(call.end), allowed(round, call)
        if name not in ends:
            yield "implausible", "%s ended with %s (%s); only %s would make sense" % (
                call, name, call.end.get("message", ""), ", ".join(sorted(ends)) or "nothing")
        elif name == "worker_error" and (call.end["rank"] != call.asks.get("rank", 0) or
                                         not call.end["message"].endswith(call.token)):
            yield "wrong-blame", "%s failed on rank %s: rank %s is blamed: %s" % (
                call, call.asks.get("rank", 0), call.end["rank"], call.end["message"])
        elif name == "rank_died":
            yield from check_blame(round, call)


def check_blame(round, call):
    """A death's error names the rank that died, and its host; where the job goes on, its process and how it ended too."""
    if any(fault["rank"] is None for _, fault in round.deaths):
        return
    dead = [fault for kind, fault in round.deaths if kind == "rank" and fault["t"] <= call.ended]
    end = call.end
    theirs = [fault for fault in dead if fault["rank"] == end["rank"]]
    if not theirs and any(kind == "mpirun-kill" for kind, _ in round.deaths):
        return  # any rank may be the first to go
    if not theirs:
        yield "wrong-blame", "%s: rank %s is said to have died, but it was %s: %s" % (
            call, end["rank"], [fault["rank"] for fault in dead], end["message"])
    elif not end["host"]:
        yield "wrong-blame", "%s: no host is named: %s" % (call, end["message"])
    elif round.goes_on and not any(tells(end["message"], fault) for fault in theirs):
        yield "wrong-blame", "%s: the message does not tell of %s: %s" % (
            call, " or ".join("process %s, signal %s" % (fault["pid"], fault["signal"]) for fault in theirs), end["message"])


def tells(message, fault):
    how = "signal %s" % fault["signal"] if fault["signal"] else "exit status"
    return "pid %s)" % fault["pid"] in message and how in message


def rule_connections(round):
    for record in round.of("closed"):
        reasons = [fault for _, fault in round.ending()] if round.resumes(record["client"]) else round.closing()
        explained = round.cut_of(record["client"]) + [fault["t"] for fault in reasons]
        if record["by"] == "job" and not any(when <= record["t"] for when in explained):
            yield "connection-lost", "the job closed the connection of %s" % record["client"]
    for record in round.of("connect"):
        reasons = [fault for _, fault in round.ending()] if record.get("resume") else round.closing()
        if not record["ok"] and not any(fault["t"] <= record["t"] for fault in reasons):
            yield "not-served", "%s could not connect: %s" % (record["client"], record["error"])
    for record in round.of("stray"):
        own = record["id"] == 0 and any(cut <= record["t"] for cut in round.cut_of(record["client"]))
        if not own:
            yield "stray", "%s got a frame of type %s for id %s, which it has no call of: %s" % (
                record["client"], record["type"], record["id"], record.get("message", ""))
    for record in round.of("protocol"):
        yield "protocol", "%s: %s" % (record["client"], record["message"])


def rule_job(round):
    """Whether the job lives on when it must and ends when it must, and says why."""
    for job in round.of("job"):
        ending = round.ending()
        if job["alive"] and ending:
            yield "job-lives", "the job goes on after %s" % ", ".join(sorted({fault["kind"] for _, fault in ending}))
        elif not job["alive"] and not ending:
            yield "job-ended", "the job has ended without a reason, status %s: %s" % (job["status"], job["text"])
        elif not job["alive"]:
            yield from check_end(ending, job)
        else:
            yield from check_life(round, job)


def check_end(ending, job):
    if len(ending) > 1:  # whichever came first
        return
    kind, fault = ending[0]
    wanted = STATUS[kind]
    if (job["status"] == 0) if wanted is None else (job["status"] not in wanted):
        yield "wrong-status", "the launcher's exit status is %s after %s: %s" % (
            job["status"], fault["kind"], job["text"])
    elif kind == "rank" and HUNG_MPIRUN not in job["text"] and "rank %d" % fault["rank"] not in job["text"]:
        yield "wrong-blame", "rank %d died, and the launcher says: %s" % (fault["rank"], job["text"])


def check_life(round, job):
    if not round.restarted:
        dead = {fault["rank"] for kind, fault in round.deaths if kind == "rank"}
        changed = {rank for rank, (old, new) in enumerate(zip(round.head.get("pids", []), job["pids"])) if old != new}
        if changed != dead and None not in dead:
            yield "wrong-ranks", "ranks %s were replaced, ranks %s died" % (sorted(changed), sorted(dead))
    if job["connections"] > round.head.get("connections", job["connections"]):
        yield "connections-left", "the job counts %d connections, %d at the beginning" % (
            job["connections"], round.head["connections"])
    if job.get("strays"):
        yield "strays", "the job at rest has left over: %s" % "; ".join(job["strays"])
    same = job["pids"][:1] == round.head.get("pids", job["pids"])[:1]  # a new rank 0 has its own measure
    if same and job["descriptors"] > round.head.get("descriptors", job["descriptors"]) + FEW:
        yield "descriptors-left", "rank 0 has %d descriptors, %d at the beginning" % (
            job["descriptors"], round.head["descriptors"])
    if job.get("launcher_descriptors", 0) > round.head.get("launcher_descriptors", 1 << 20) + FEW:
        yield "descriptors-left", "the launcher has %d descriptors, %d at the beginning" % (
            job["launcher_descriptors"], round.head["launcher_descriptors"])


def rule_afterwards(round):
    for record in round.of("settled"):
        if not record["ok"]:
            yield "next-call", "the job does not serve the next call: %s" % record["why"]
    for record in round.of("left"):
        if record["things"]:
            yield "left-behind", "left behind: %s" % "; ".join(record["things"])


RULES = (rule_ended_once, rule_in_time, rule_events, rule_results, rule_plausible, rule_connections, rule_job,
         rule_afterwards, *goes_on.RULES)


def check(records):
    """The violations of a round, each (kind, text)."""
    round = Round(records)
    return [found for rule in RULES for found in rule(round)]


def detection(records):
    """Seconds from each death of a rank until the first client heard of it."""
    round, found = Round(records), []
    signs = [record["t"] for record in records if record["what"] == "closed" and record["by"] == "job"]
    signs += [record["t"] for record in records if record["what"] == "lost"]
    signs += [record["t"] for record in records if record["what"] == "outcome" and
              (record["how"] == "closed" or record.get("code") in ("rank_died", "shutting_down", "job_died"))]
    for fault in round.of("fault"):
        if fault["deadly"] and Round.kind_of(fault) == "rank":
            after = [sign - fault["t"] for sign in signs if sign >= fault["t"]]
            found += [min(after)] if after else []
    return found


def returns(records):
    """Seconds from the end of a connection until its client was back."""
    lost, found = {}, []
    for record in records:
        if record["what"] == "lost":
            lost[record["client"]] = record["t"]
        elif record["what"] == "back":
            found.append(record["t"] - lost.pop(record["client"]))
    return found


def hung_mpiruns(records):
    return sum(HUNG_MPIRUN in job["text"] for job in Round(records).of("job"))


def main():
    bad = 0
    for path in sys.argv[1:]:
        for kind, text in check(history.read(path)):
            print("%s: %s: %s" % (path, kind, text))
            bad = 1
    return bad


if __name__ == "__main__":
    sys.exit(main())
