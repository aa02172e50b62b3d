# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""The checker's rules for a job that goes on after deaths (policy `restarts`): what a death costs, what it does not, and in
which order calls run afterwards."""

BEGINNINGS = 3  # of an idempotent call
RETURN = 14.0  # seconds in which a client that comes back must be served again
PATIENCE = 0.1  # seconds that rank 0 waits for calls to be sent again before the first begins
MUCH = 50  # events of a call, which may wait in rank 0's memory
BULK = 200000  # bytes of them, or of a result
ASIDE = 0.05  # seconds by which a client may err when it says how long a call has waited


def ends(round, call, kind):
    """The ends of a call that a death explains."""
    found = {"rank_died"}
    if kind != "rank" or round.restarted:
        found.add("job_died")
    if not round.resumes(call.client) and any(fault["t"] <= call.ended for fault in round.closing()):
        found.add("closed")
    return found


def rule_runs(round):
    """Nothing runs twice that may not, and nothing more often than it may; what comes of a call is of one run."""
    for call in round.calls.values():
        times = {}
        for run in call.runs:
            times.setdefault(run["rank"], []).append(run["run"])
        most = max(map(len, times.values()), default=0)
        if most > 1 and not call.idempotent:
            yield "ran-twice", "%s began %d times on a rank and is not idempotent" % (call, most)
        elif most > BEGINNINGS:
            yield "ran-too-often", "%s began %d times on a rank" % (call, most)
        for rank, run in sorted({(event["rank"], event.get("run")) for event in call.events}):
            if times.get(rank) and run != times[rank][-1]:
                yield "mixed-runs", "%s got events of run %s of rank %d, of which %s was the last" % (
                    call, run, rank, times[rank][-1])
        for end in call.outcomes:
            if end["how"] == "result" and end.get("run") and times.get(0) and end["run"] != times[0][-1]:
                yield "mixed-runs", "%s got the result of run %s, of which %s was the last" % (call, end["run"], times[0][-1])


def over(round, call):
    """Whether the call had ended on the ranks, but its end was still in rank 0's memory: its client reads late, or has much
    to read."""
    prompt = all(one.get("manner", "reads") == "reads" for one in round.of("connect") if one["client"] == call.client)
    much = any(len(one.events) > MUCH or one.asks.get("attach", 0) * one.expected_events() + one.asks.get("size", 0) > BULK
               for one in round.calls.values() if one.client == call.client)
    later = [run for one in round.calls.values() for run in one.runs
             for own in call.runs if run["pid"] == own["pid"] and run["number"] > own["number"]]
    return bool(later) and (much or not prompt)


def rule_losses(round):
    """A death fails the call that runs, and no other; and not even that when it may run again."""
    if not round.goes_on:
        return
    died = [call for call in round.calls.values()
            if call.end and call.end["how"] == "error" and call.end["code"] in ("rank_died", "job_died")]
    died = [call for call in died if not over(round, call)]
    if len(died) > round.moments(float("inf")):
        yield "too-many-lost", "%d calls ended with a death, of which there were %d: %s" % (
            len(died), round.moments(float("inf")), ", ".join(str(call) for call in died))
    for call in died:
        if call.idempotent and not call.events and round.moments(call.ended) < BEGINNINGS:
            yield "given-up", "%s could have run again after %d deaths" % (call, round.moments(call.ended))


def rule_order(round):
    """On every rank the calls of a client begin in the order in which they were submitted; one that runs again does so
    before those that came after it."""
    by_rank = {}
    for number, call in enumerate(round.calls.values()):
        for run in call.runs:
            by_rank.setdefault((call.client, run["rank"]), []).append((run["run"], number, call))
    for (client, rank), runs in by_rank.items():
        runs.sort(key=lambda one: one[0])
        for (_, before, first), (_, after, second) in zip(runs, runs[1:]):
            if after < before and not (second.idempotent and over(round, second)):
                yield "out-of-order", "%s began after %s on rank %d" % (second, first, rank)


def outages(round):
    """(client, when it heard that rank 0 is away, when it was back) of those that waited for the next rank 0."""
    away, found = {}, []
    for record in round.records:
        if record["what"] == "away":
            away[record["client"]] = record["t"]
        elif record["what"] == "back" and record["client"] in away:
            found.append((record["client"], away.pop(record["client"]), record))
    return found


def rule_age(round):
    """Of calls that waited for the same rank 0, the older begin first, whoever their clients are."""
    waiting, greeted = {}, {}  # by token: when its client was back, and when rank 0 had greeted that
    for client, _, back in outages(round):
        for token in back["again"]:
            waiting[token], greeted[token] = back["t"], back.get("welcomed", back["t"])
    calls = [round.calls[token] for token in waiting if token in round.calls and round.calls[token].runs]
    for first in calls:
        for second in calls:
            same = abs(waiting[first.token] - waiting[second.token]) < ASIDE
            began = [min((run["run"] for run in call.runs if run["t"] > waiting[call.token] - ASIDE), default=None)
                     for call in (first, second)]
            if None in began or began[1] / 1e6 - min(greeted[first.token], waiting[second.token]) > 0.9 * PATIENCE:
                continue  # a client that hears late of the greeting is not waited for any longer
            if same and first.began + ASIDE * round.slow < second.began and began[0] > began[1]:
                yield "younger-first", "%s is younger than %s and began before it" % (second, first)


def rule_returns(round):
    """Clients that know how come back by themselves, soon; those that don't see their connections end with rank 0."""
    if not round.goes_on:
        return
    lost = {}
    for record in round.records:
        if record["what"] == "lost":
            lost.setdefault(record["client"], record["t"])
            if not any(fault["t"] <= record["t"] for fault in round.closing()):
                yield "connection-lost", "%s lost its connection without a reason" % record["client"]
        elif record["what"] == "back" and record["client"] in lost:
            took = record["t"] - lost.pop(record["client"])
            if took > (RETURN + round.stopped()) * round.slow:
                yield "late-return", "%s was back after %.1f s" % (record["client"], took)
    for record in round.of("closed"):
        if record["by"] == "client":
            lost.pop(record["client"], None)  # all its calls have ended
    for client in lost:
        if not round.ending() and not round.cut_of(client):
            yield "no-return", "%s never came back" % client
    ended = {record["client"] for record in round.of("closed") if record["by"] == "job"}
    if any(fault["rank"] == 0 for kind, fault in round.deaths if kind == "rank") and "watcher" in round.resuming:
        if "watcher" not in ended:
            yield "connection-kept", "rank 0 died, and the watcher's connection goes on"


def rule_restart(round):
    """One rank's death is no reason to start the whole job again, unless regrouping gets stuck within Open MPI, which is
    counted, and not taken for a violation."""
    deaths = [kind for kind, _ in round.deaths]
    stuck = any(job.get("stuck") for job in round.of("job"))
    if round.restarted and not stuck and deaths == ["rank"]:
        yield "restarted", "the whole job was started again, though a single rank died"


RULES = (rule_runs, rule_losses, rule_order, rule_age, rule_returns, rule_restart)
