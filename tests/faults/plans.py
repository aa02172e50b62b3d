# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""What clients do in a round, drawn from its seed."""

from calls import Call

SPAN = 0.25  # seconds over which the faults of a round are spread
# The deadly ones and their weights, by what a job does after a death.
DEADLY = {
    "ends": {"kill": 4, "segv": 1, "abort": 1, "die": 3, "launcher-kill": 2, "launcher-term": 2, "mpirun-kill": 1},
    "restarts": {"kill": 4, "segv": 1, "abort": 1, "die": 4, "two": 2, "all": 3, "again": 3, "replacement": 2, "mpirun-kill": 2,
                 "restart-kill": 2, "launcher-kill": 1, "launcher-term": 2},
}


def token(rng):
    return "%016x" % rng.getrandbits(64)


def echo(rng):
    return Call(token(rng), "echo", {"size": rng.choice((0, 100, 40000))}, data=rng.randbytes(rng.choice((0, 10, 70000))))


def large_payload(rng):
    return Call(token(rng), "echo", data=rng.randbytes(rng.choice((300000, 1 << 20, 3 << 20))))


def large_result(rng):
    return Call(token(rng), "echo", {"size": rng.choice((300000, 1 << 20, 6 << 20))})


def add_up(rng):
    return Call(token(rng), "sum", {"value": rng.randrange(1000)})


def burst(rng):
    asks = {"count": rng.choice((1, 20, 100, 300)), "pad": rng.choice((1, 50, 500)), "check": rng.choice((0, 0, 16))}
    return Call(token(rng), "burst", asks, stream=rng.random() < 0.9)


def bulk(rng):
    asks = {"count": rng.randrange(1, 8), "pad": 8, "attach": rng.choice((33000, 100000, 400000)),
            "check": rng.choice((0, 2))}
    return Call(token(rng), "burst", asks, stream=True)


def work(rng):
    asks = {"steps": rng.randrange(1, 6), "seconds": rng.choice((0.002, 0.01)), "check": rng.random() < 0.6,
            "spin": rng.random() < 0.3, "rank": rng.choice((-1, -1, 0, 1))}
    return Call(token(rng), "work", asks, stream=rng.random() < 0.7)


def fail(rng, ranks):
    return Call(token(rng), "fail", {"rank": rng.randrange(ranks)}, stream=rng.random() < 0.5)


def say(rng):
    return Call(token(rng), "print", {"bytes": rng.choice((64, 5000))})


def unknown(rng):
    return Call(token(rng), "nobody", known=False)


def cancelled(rng):
    call = Call(token(rng), "work", {"steps": 60, "seconds": 0.003, "check": True}, stream=True)
    call.cancel_after = rng.uniform(0, 0.1)
    return call


def timed_out(rng):
    call = Call(token(rng), "work", {"steps": 60, "seconds": 0.004, "check": True}, stream=rng.random() < 0.5)
    call.timeout = rng.choice((0.001, 0.02, 0.08))
    return call


def silent(rng):
    asks = {"steps": 2, "seconds": 0.12, "check": False}
    return Call(token(rng), "work", asks, stream=True, streaming_timeout=rng.choice((0.03, 0.06)))


def die_often(rng, ranks, stamp):
    """May run again: twice it survives its ranks' deaths, the third is the end."""
    asks = {"ranks": "".join(str(rng.randrange(ranks)) for _ in range(rng.choice((1, 2, 2, 3)))), "stamp": stamp,
            "way": rng.choice(("kill", "exit")), "moment": rng.choice(("handler", "checkpoint"))}
    return Call(token(rng), "die", asks, stream=rng.random() < 0.5, idempotent=True)


def die(rng, ranks, stamp):
    asks = {"rank": rng.randrange(ranks), "way": rng.choice(("kill", "exit", "abort", "segv")), "stamp": stamp,
            "moment": rng.choice(("handler", "checkpoint", "events"))}
    return Call(token(rng), "die", asks, stream=True)


def one_call(rng, ranks, goes_on):
    makers = [(echo, 5), (large_payload, 1), (large_result, 1), (burst, 5), (bulk, 2), (work, 3),
              (lambda random: fail(random, ranks), 2), (say, 1), (unknown, 0.5), (cancelled, 1), (timed_out, 1), (silent, 0.4)]
    if not goes_on:  # MPI itself cannot be interrupted, so where a job goes on after a death it is left out
        makers.append((add_up, 3))
    call = rng.choices([maker for maker, _ in makers], [weight for _, weight in makers])[0](rng)
    call.idempotent = goes_on and rng.random() < 0.3
    return call


def answer(call):
    """About how many bytes come back."""
    return call.asks.get("size", 0) + call.asks.get("count", 0) * call.asks.get("attach", 0)


def batches(rng, ranks, goes_on):
    """Calls made in one go have small payloads: a client must read while it writes. Who has more than 4 MiB to read is not read
    from (doc/protocol.md), so what is written meanwhile must fit into the socket."""
    found = []
    for _ in range(rng.randrange(1, 4)):
        batch = [one_call(rng, ranks, goes_on) for _ in range(rng.choice((1, 1, 2, 4)))]
        if len(batch) > 1:
            most = 100 if sum(map(answer, batch)) > 3 << 20 else 100000
            batch = [call for call in batch if len(call.data) < most] or batch[:1]
        found.append(batch)
    return found


class Plan:
    """`clients`: the arguments of each Caller; `faults`: (seconds after the round's begin, name)."""

    def __init__(self, rng, ranks, after_death, stamp, disk):
        self.clients = []
        goes_on = after_death == "restarts"
        for number in range(rng.randrange(2, 5)):
            self.clients.append({
                "name": "client%d" % number, "batches": batches(rng, ranks, goes_on),
                "manner": rng.choices(("reads", "slowly", "late"), (8, 1, 1))[0],
                "ending": rng.choices(("close", "cut", "half", "torn", "mute"), (8, 1, 1, 1, 1))[0],
                "lag": rng.choice((0, 0, rng.uniform(0, 0.1))), "resume": goes_on and rng.random() < 0.6})
        gentle = ["stop", "garbage", "flips", "connections"]
        if disk and not goes_on:
            gentle.append("disk")
        names = rng.sample(gentle, rng.choice((0, 1, 1, 2, 3)))
        if goes_on and rng.random() < 0.07:
            names.append("stop-long")
        if rng.random() < 0.3:
            names.append(rng.choices(list(DEADLY[after_death]), DEADLY[after_death].values())[0])
        self.faults = [(rng.uniform(0, SPAN), name) for name in names if name != "die"]
        if "die" in names:
            often = goes_on and rng.random() < 0.4
            rng.choice(rng.choice(self.clients)["batches"]).append((die_often if often else die)(rng, ranks, stamp))
        self.names = names
