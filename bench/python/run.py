#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""What a call from Python costs: ours, the C client and a bare socket on the same job, and other libraries if installed.

    python3 bench/python/run.py [--ranks 2] [--calls 2000] [--only invoke,bulk,mpi4py,fal]

RANKCALL_COMMAND and PYTHONPATH say what is measured. Medians, in microseconds; groups take turns in blocks."""

import argparse
import asyncio
import ctypes
import os
import socket
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(os.path.dirname(HERE)), "python")]

from rankcall import DistributedRunner, SyncRunner, _launch  # noqa: E402
from rankcall import _protocol as protocol  # noqa: E402
from rankcall._values import flatten  # noqa: E402

PAYLOAD = {"prompt": "a cat", "steps": 20, "scale": 7.5}
BLOCK = 250
BULK = 64 << 20


def row(name, times, floor=None):
    median = statistics.median(times) * 1e6
    p10, p90 = (sorted(times)[int(len(times) * part)] * 1e6 for part in (0.1, 0.9))
    ratio = "" if floor is None else "  x%.2f of %s" % (median / (statistics.median(floor[1]) * 1e6), floor[0])
    print("%-34s %10.1f us   p10 %10.1f   p90 %10.1f%s" % (name, median, p10, p90, ratio), flush=True)


class Bare:
    """The protocol with sendall and recv, and a payload made once."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.socket.sendall(protocol.hello_frame(0))
        self.socket.recv(65536)
        self.payload = b"".join(protocol.encode_payload(*flatten(PAYLOAD)))
        self.id = 0

    def __call__(self):
        self.id += 1
        head = protocol.call_head(b"", protocol.INVOKE, 0, 0)
        self.socket.sendall(protocol.frame_header(protocol.CALL, self.id, head, len(self.payload)) + self.payload)
        self.socket.recv(65536)


class InC:
    """The C library's client by ctypes."""

    def __init__(self, path):
        prefix = os.path.dirname(os.path.dirname(os.path.realpath(_launch.find_command())))
        self.library = ctypes.CDLL(os.path.join(prefix, "lib", "librankcall.so.0"))
        self.library.rankcall_payload_new.restype = ctypes.c_void_p
        self.runner = ctypes.c_void_p()
        self.library.rankcall_connect(path.encode(), ctypes.byref(self.runner))

    def __call__(self):
        result, payload = ctypes.c_void_p(), ctypes.c_void_p(self.library.rankcall_payload_new())
        self.library.rankcall_set_string(payload, b"prompt", b"a cat")
        if self.library.rankcall_invoke(self.runner, None, payload, ctypes.byref(result)):
            raise RuntimeError("the C client's call has failed")
        self.library.rankcall_payload_free(result)


def timed(call, count):
    times = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


async def timed_async(call, count):
    times = []
    for _ in range(count):
        start = time.perf_counter()
        await call()
        times.append(time.perf_counter() - start)
    return times


def invoke(options):
    """Small calls."""
    with SyncRunner("workers:Echo", options.ranks, cwd=HERE, torch_distributed=False) as runner:
        path = runner.status()["socket"]
        waiting = DistributedRunner(job=path)
        loop = asyncio.new_event_loop()
        ways = {
            "bare socket": Bare(path),
            "C client": InC(path),
            "SyncRunner.invoke": lambda: runner.invoke(PAYLOAD),
        }
        found = {name: [] for name in [*ways, "await DistributedRunner.invoke"]}
        for _ in range(max(options.calls // BLOCK, 1)):
            for name, way in ways.items():
                timed(way, 50)
                found[name] += timed(way, BLOCK)
            for count in (50, BLOCK):
                times = loop.run_until_complete(timed_async(lambda: waiting.invoke(PAYLOAD), count))
            found["await DistributedRunner.invoke"] += times
        for name, times in found.items():
            row(name, times, None if name == "C client" else ("the C client", found["C client"]))
        waiting.terminate()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


class BareBulk:
    """64 MB through a Unix socket into memory that is there, and an answer."""

    def __init__(self):
        self.socket, other = socket.socketpair()
        self.child = os.fork()
        if self.child == 0:
            self.socket.close()
            self.read(other)
        other.close()
        self.data = bytearray(BULK)

    @staticmethod
    def read(other):
        buffer = memoryview(bytearray(BULK))
        while True:
            have = 0
            while have < BULK:
                got = other.recv_into(buffer[have:])
                if got == 0:
                    os._exit(0)
                have += got
            other.send(b"x")

    def __call__(self):
        self.socket.sendall(self.data)
        self.socket.recv(1)

    def end(self):
        self.socket.close()
        os.waitpid(self.child, 0)


def bulk(options):
    """64 MB to the ranks and back. What the result is made of is there before the call."""
    import numpy

    array = numpy.ones(BULK, numpy.uint8)
    floor = BareBulk()
    for ranks in (1, options.ranks):
        found = {}
        with SyncRunner("workers:Echo", ranks, cwd=HERE, torch_distributed=False) as runner:
            ways = {
                "64 MB over a bare socket": floor,
                "64 MB to %d ranks" % ranks: lambda: runner.invoke({"data": array}),  # noqa: B023
                "64 MB from rank 0 of %d" % ranks: lambda: runner.invoke({"give": "made"}),  # noqa: B023
                "64 MB that rank 0 of %d keeps" % ranks: lambda: runner.invoke({"give": "kept"}),  # noqa: B023
            }
            for turn in range(14):
                for name, way in ways.items():
                    runner.invoke({"make": BULK})
                    times = timed(way, 1)
                    found[name] = found.get(name, []) + (times if turn >= 2 else [])
        for name, times in found.items():
            row(name, times, None if ways[name] is floor else ("the socket", found["64 MB over a bare socket"]))
    floor.end()


def mpi4py(options):
    """mpi4py.futures: a task on every worker, gathered."""
    text = """
import statistics, time
from mpi4py.futures import MPIPoolExecutor
def work(payload): return payload
if __name__ == "__main__":
    with MPIPoolExecutor(%d) as pool:
        pool.bootup(wait=True)
        times = []
        for _ in range(500):
            start = time.perf_counter()
            list(pool.map(work, [%r] * %d))
            times.append(time.perf_counter() - start)
    print(statistics.median(times))
"""
    text %= (options.ranks, PAYLOAD, options.ranks)
    path = os.path.join(HERE, "mpi4py_task.py")
    with open(path, "w") as file:
        file.write(text)
    try:
        line = ["mpirun", "--oversubscribe", "-n", str(options.ranks + 1), sys.executable, "-m", "mpi4py.futures", path]
        done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True, timeout=120)
    finally:
        os.remove(path)
    row("mpi4py.futures, all workers", [float(done.stdout.split()[-1])])


def fal(options):
    """fal.distributed on CPU ranks: its process group is made with gloo, and no GPU is chosen."""
    import fal_peer

    row("fal.distributed invoke", fal_peer.measure(options.ranks, PAYLOAD, 20))


def main():
    groups = {"invoke": invoke, "bulk": bulk, "mpi4py": mpi4py, "fal": fal}
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--only", default=",".join(groups))
    options = parser.parse_args()
    for name in options.only.split(","):
        try:
            groups[name](options)
        except (ImportError, OSError, subprocess.CalledProcessError) as error:
            print("%-34s skipped: %s" % (name, error))


if __name__ == "__main__":
    main()
