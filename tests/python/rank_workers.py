# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Workers for the tests of the ranks' side."""

import asyncio
import os
import threading

from rankcall import DistributedWorker


class Plain(DistributedWorker):
    """Takes neither `streaming` nor `**kwargs`, and no arguments in setup."""

    def setup(self):
        pass

    def __call__(self, a, b=2):
        return {"a": a, "b": b, "rank": self.rank, "size": self.world_size, "running": self.running}


class Flags(DistributedWorker):
    def __call__(self, streaming=False, picture=False):
        if picture:
            from PIL import Image

            return {"picture": Image.new("RGB", (8, 4), (255, 0, 0))}
        return {"streaming": streaming}


class Coroutines(DistributedWorker):
    """Everything is a coroutine, and a task goes on between calls."""

    async def setup(self, folder, **kwargs):
        self.folder = folder
        self.ticks = 0
        self.late = None
        self.ticker = asyncio.get_running_loop().create_task(self.tick())

    async def tick(self):
        while True:
            await asyncio.sleep(0.001)
            self.ticks += 1

    async def __call__(self, late=False, streaming=False):
        if late:
            self.later = asyncio.get_running_loop().create_task(self.emit_later())
        return {"ticks": self.ticks, "loop": asyncio.get_running_loop() is self.loop, "late": self.late}

    async def emit_later(self):
        await asyncio.sleep(0.2)
        self.add_streaming_result("of an earlier call")
        try:
            self.gather(1)
        except RuntimeError as error:
            self.late = [self.cancelled, str(error)]

    async def teardown(self):
        self.ticker.cancel()
        with open(os.path.join(self.folder, "down.%d" % self.rank), "w") as file:
            file.write(str(self.ticks))


class Events(DistributedWorker):
    def __call__(self, count, threads=1, error=None, streaming=False):
        if error is not None:
            self.add_streaming_error(ValueError(error))
        others = [threading.Thread(target=self.emit, args=(number, count)) for number in range(1, threads)]
        for other in others:
            other.start()
        self.emit(0, count)
        for other in others:
            other.join()
        return {"streaming": streaming}

    def emit(self, thread, count):
        for number in range(count):
            self.add_streaming_result([self.rank, thread, number])


class Failing(DistributedWorker):
    def __call__(self, how, on=None):
        if on is not None and self.rank != on:
            return {"fine": True}
        if how == "value":
            raise ValueError("two\nlines, \0 and \udc80")
        if how == "exit":
            raise SystemExit(3)
        if how == "interrupt":
            raise KeyboardInterrupt
        if how == "empty":
            raise RuntimeError
        if how == "collective":
            self.barrier()
        if how == "result":
            return {"a": [1, 2, 3, object()]}
        if how == "event":
            self.add_streaming_result({"b": object})
        return {"fine": True}


class Broken(DistributedWorker):
    def setup(self, on, how="value"):
        if on in (None, self.rank):
            if how == "exit":
                raise SystemExit("setup leaves")
            raise OSError("no weights on rank %d" % self.rank)


class NoInit(DistributedWorker):
    def __init__(self, rank, world_size):
        pass


class OwnInit(DistributedWorker):
    def __init__(self, rank, world_size):
        super().__init__(rank, world_size)
        self.made_for = [rank, world_size]

    def __call__(self):
        return self.made_for


class Names(DistributedWorker):
    """Uses names of the base class for things of its own."""

    def setup(self, **kwargs):
        self.comm = self.cancelled = self._runtime = "own"

    def gather(self):
        return "own"

    all_reduce = _job = _finish = gather

    def __call__(self):
        self.check_cancelled()
        return [self.comm, self.cancelled, self.gather(), self.all_reduce(), self.broadcast(self.rank)]


class Arrays(DistributedWorker):
    """Keeps what it gets, and what it gives."""

    def setup(self, **kwargs):
        self.kept = []
        self.buffer = None

    def __call__(self, do, **payload):
        payload.pop("streaming")
        return getattr(self, do)(**payload)

    def keep(self, array, raw=b""):
        array += self.rank  # may be written to
        self.kept.append(array)
        return [int(one.sum()) for one in self.gather(array)] if self.rank == 0 else self.gather(array)

    def sums(self):
        return self.gather([int(array.sum()) for array in self.kept])

    def reuse(self, size):
        import numpy

        if self.buffer is None:
            self.buffer = numpy.zeros(size, numpy.uint8)
        self.buffer += 1
        return {"array": self.buffer}

    def fresh(self, size, value):
        import numpy

        return {"array": numpy.full(size, value, numpy.uint8)}

    def lent(self):
        import gc

        gc.collect()
        return len(self._rankcall_rank.lent.lots)


class Together(DistributedWorker):
    def __call__(self, what, root=0, device=False):
        return getattr(self, what)(root)

    def numbers(self, root):
        import numpy

        array = numpy.arange(6, dtype=numpy.float32).reshape(2, 3) + self.rank
        return {
            "sum": self.all_reduce(array),
            "max": self.all_reduce(self.rank * 1.5, "max"),
            "int": self.all_reduce(self.rank + 1, "product"),
            "min": self.all_reduce(numpy.int16(self.rank), "min"),
            "big": self.all_reduce(array.astype(">f4")),
            "root": self.gather(self.reduce(array, root=root) is not None),
        }

    def values(self, root):
        import numpy

        value = {"from": self.rank, "array": numpy.full((self.rank, 2), self.rank), "raw": b"\0\1" * self.rank}
        gathered = self.gather(value, root)
        return {
            "broadcast": self.broadcast(value if self.rank == root else None, root),
            "gathered": self.broadcast(gathered, root),
            "everywhere": self.gather(self.all_gather(value)),
            "scattered": self.gather(
                self.scatter(["part %d" % rank * rank for rank in range(self.world_size)], root)
                if self.rank == root
                else self.scatter(root=root)
            ),
        }

    def errors(self, root):
        found = []
        for function, arguments in (
            (self.all_reduce, ("text",)),
            (self.all_reduce, (1, "mean")),
            (self.all_reduce, (1j,)),
            (self.reduce, (1, "sum", 99)),
        ):
            try:
                function(*arguments)
            except Exception as error:
                found.append("%s: %s" % (type(error).__name__, error))
        self.barrier()
        return found

    def uneven(self, root):
        import numpy

        return self.all_reduce(numpy.zeros(1 + self.rank))

    def mpi(self, root):
        from mpi4py import MPI

        return {"sum": self.comm.allreduce(self.rank + 1, MPI.SUM), "rank": self.comm.rank, "size": self.comm.size}

    def fail(self, root):
        if self.rank == root:
            raise ValueError("not here")
        self.barrier()

    def wait(self, root):
        if self.rank != root:
            self.barrier()
        while True:
            self.check_cancelled()


class Threads(DistributedWorker):
    """Leaves a thread behind that is no daemon."""

    def setup(self):
        threading.Thread(target=threading.Event().wait).start()

    def __call__(self):
        return self.gather(any(not thread.daemon for thread in threading.enumerate()))


class Lives(DistributedWorker):
    """Notes in a folder what happens to it."""

    def setup(self, folder):
        self.folder = folder
        self.count = 0
        self.note("setup")

    def note(self, what):
        with open(os.path.join(self.folder, "%s.%d.%d" % (what, self.rank, os.getpid())), "w"):
            pass

    def regroup(self):
        self.note("regroup")

    def __call__(self, die=None):
        if self.rank == die:
            os._exit(9)
        self.count += 1
        return self.gather([os.getpid(), self.count])

    def teardown(self):
        self.note("teardown")


class Stuck(DistributedWorker):
    def __call__(self, rank=None):
        while self.rank == rank:
            self.linger()
        return {"fine": True}

    def linger(self):
        threading.Event().wait(0.01)
