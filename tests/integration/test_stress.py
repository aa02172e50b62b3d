# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Eight clients that mix invokes and streams, every byte of every answer checked."""

from harness import FULL, ROOM, SLOW, case, check, equal, main, memory, program

CALLS = 100000 if FULL else int(1000 / SLOW) * 8


@case("eight clients' calls are all answered right", ranks=(4,), by=("launcher",), own=True,
      timeout=1500 if FULL else 100, labels=("serial", "long") if FULL else ("serial",))
def stress(t):
    t.job = t.start()
    before = [memory(pid) for pid in t.job.pids]
    result = t.run(program("stress"), t.job.path, "8", str(CALLS), deadline=1400, text=True)
    equal(result.returncode, 0, "the clients\n" + result.stdout + result.stderr)
    with t.job.connect() as client:
        calls = client.status()["calls"]
    equal(calls, {"completed": CALLS, "failed": 0, "cancelled": 0, "refused": 0}, "the job's counters")
    for pid, start in zip(t.job.pids, before):
        check(memory(pid) - start < ROOM * (48 << 20), "a rank grew by %d bytes" % (memory(pid) - start))


main("stress")
