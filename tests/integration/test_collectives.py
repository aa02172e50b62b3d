# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""rankcall's collectives: their results, and how ranks come back from them when a call is cut short."""

import random
import time

from harness import FULL, SLOW, case, check, equal, main, raises
from strangers_client import STREAM

KINDS = ("barrier", "broadcast", "gather", "all_gather", "scatter", "reduce", "all_reduce")
TIMES = 300 if FULL else 60  # interruptions of a kind of ending
CODES = {"timeout": 7, "cancelled": 8, "worker_error": 5}
WAYS = {"through shared memory alone": {"RANKCALL_TEST_NO_DIRECT": "1"},
        "over two nodes": {"RANKCALL_TEST_NODES": "2"}, "over three nodes": {"RANKCALL_TEST_NODES": "3"}}


def expect_results(client, seeds, turns):
    for seed in seeds:
        equal(client.invoke("collectives", {"seed": seed, "turns": turns}).json, {}, "seed %d" % seed)


@case("collectives give what they should, at every size, root and in place", ranks=(1, 2, 3, 4), timeout=60)
def results(t):
    with t.connect() as client:
        expect_results(client, range(1, 40 if FULL else 4), 40)


def interruption(random_source, ranks):
    """Arguments of a call that sits in a collective, or is in the middle of a large one."""
    args = {"kind": random_source.choice(KINDS), "size": random_source.choice((8, 8, 5000, 100000, 16 << 20))}
    if random_source.random() < 0.5:  # one rank comes late: the others wait for it
        args.update(absent=random_source.randrange(ranks), absent_us=random_source.choice((1000, 20000)))
    return args


def expect_codes(client, wanted, what):
    codes = client.invoke("last_codes").json["codes"]
    check(all(code == CODES[wanted] for code in codes), "%s left their collectives with %s" % (what, codes))


def interrupt(t, client, source, how):
    """One call that is cut short; every rank must say why, and the next calls must be right."""
    args = interruption(source, t.ranks)
    if how == "looking":
        args["looks"] = True
    began = time.monotonic()
    if how == "gone":
        with t.connect() as other:
            next(other.items(other.submit("interrupted", args, kind=STREAM)))
    else:
        id = client.submit("interrupted", args, kind=STREAM, timeout=0.02 if how == "timeout" else 0)
        with raises("timeout" if how == "timeout" else "cancelled"):
            for _ in client.items(id):
                time.sleep(source.random() * 0.01)  # somewhere in the middle
                if how in ("cancelled", "looking"):
                    client.cancel(id)
    expect_codes(client, "timeout" if how == "timeout" else "cancelled", "the ranks of %s" % args)
    check(time.monotonic() - began < 5 * SLOW, "it took %.1f s: %s" % (time.monotonic() - began, args))


def interrupt_many(t, how, times):
    source = random.Random(how + str(t.ranks))
    with t.connect() as client:
        for turn in range(times):
            interrupt(t, client, source, how)
            if turn % 10 == 0:
                expect_results(client, [turn], 5)


@case("cancelled calls leave their collectives", ranks=(1, 2, 4), timeout=120)
def cancelled(t):
    interrupt_many(t, "cancelled", TIMES)


@case("checkpoints between collectives keep nobody waiting for ranks that were interrupted", ranks=(2, 4), timeout=120)
def looking(t):
    interrupt_many(t, "looking", TIMES)


@case("calls whose time is over leave their collectives", ranks=(2, 3), timeout=120)
def timed_out(t):
    interrupt_many(t, "timeout", TIMES)


@case("calls whose client is gone leave their collectives", ranks=(2, 4), timeout=120)
def client_gone(t):
    interrupt_many(t, "gone", TIMES)


def fail_many(t, times):
    source = random.Random(t.ranks)
    with t.connect() as client:
        for turn in range(times):
            rank = source.randrange(t.ranks)
            args = {**interruption(source, t.ranks), "absent": rank, "absent_us": source.choice((0, 500, 5000)),
                    "fails": True}
            with raises("worker_error", rank=rank, text="told to fail"):
                client.invoke("interrupted", args)
            codes = client.invoke("last_codes").json["codes"]
            codes[rank] = CODES["worker_error"]  # its own is that of rankcall_fail
            check(all(code == CODES["worker_error"] for code in codes), "codes %s: %s" % (codes, args))
            if turn % 10 == 0:
                expect_results(client, [turn], 5)


@case("a rank that fails releases those that wait for it in a collective", ranks=(2, 4), timeout=120)
def failed(t):
    fail_many(t, TIMES)


@case("wrong arguments are refused on the rank, and ranks in different collectives are told apart", ranks=(2,))
def refused(t):
    texts = ("root 2 is none of the 2 ranks", "root -1", "is NULL", "no operation", "no operation", "no sizes",
             "too many", "must call the same collectives")
    with t.connect() as client:
        for which, text in enumerate(texts):
            with raises("worker_error", text=text):
                client.invoke("collectives_refused", {"which": which})
            expect_results(client, [which], 2)


@case("a handler that ends its collectives by itself leaves no trace in the next call", ranks=(2, 4))
def many_short(t):
    with t.connect() as client:
        for turn in range(50):
            client.invoke("interrupted", {"kind": KINDS[turn % len(KINDS)], "size": 5000, "turns": turn % 12})
            expect_results(client, [turn], 2)


def other_way(t, env):
    t.job = t.start(env=env)
    with t.connect() as client:
        expect_results(client, range(1, 5), 40)
    for how in ("cancelled", "looking", "timeout", "gone"):
        interrupt_many(t, how, TIMES // 4)
    fail_many(t, TIMES // 4)


for text, variables in WAYS.items():
    @case("collectives " + text, ranks=(2, 3, 4), own=True, timeout=120)
    def way(t, env=variables):
        other_way(t, env)


main("collectives")
