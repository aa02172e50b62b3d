# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""The class that workers are made of."""

from __future__ import annotations

import asyncio
import functools
import inspect
import queue
import sys
import threading
import traceback
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Callable, Coroutine, Optional, Tuple

from rankcall._collectives import Collectives
from rankcall.errors import CallCancelledError

if TYPE_CHECKING:
    from rankcall._rank import Rank


class Device(str):
    """Where a rank computes, where torch is not there to tell: ``"cpu"``, with the members of a torch.device."""

    @property
    def type(self) -> str:
        """``"cpu"`` or ``"cuda"``."""
        return self.split(":")[0]

    @property
    def index(self) -> Optional[int]:  # type: ignore[override]
        """The number of the device, or None."""
        return int(self.split(":")[1]) if ":" in self else None


class _Asked:
    """A read-only attribute whose name a worker may use for something of its own."""

    def __init__(self, ask: "Callable[[DistributedWorker], Any]") -> None:
        self.ask = ask
        self.__doc__ = ask.__doc__

    def __get__(self, worker: "Optional[DistributedWorker]", kind: Any = None) -> Any:
        return self if worker is None else self.ask(worker)


class DistributedWorker(Collectives):
    """One rank of a job. Override ``setup`` and ``__call__``, and where needed ``teardown`` and ``regroup``.

    Each may be a function or a coroutine. Functions run on the rank's main thread, coroutines on the event loop, which has a
    thread of its own and runs as long as the worker, so that background tasks go on between calls.

    Attributes:
        rank: this rank's number, 0 to ``world_size`` - 1.
        world_size: how many ranks the job has.
        loop: the event loop.
    """

    #: False: torch.distributed is not initialised before ``setup``, even if torch is installed.
    torch_distributed: bool = True
    #: True: torch tensors in payloads come to ``device`` instead of the CPU.
    tensors_to_device: bool = False

    _rankcall_rank: "Optional[Rank]" = None

    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        self.rank = rank
        self.world_size = world_size
        self.queue: "queue.Queue[Any]" = queue.Queue()  # of events, where there is no job
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._rankcall_run_loop, name="rankcall-loop", daemon=True)
        self.thread.start()

    def _rankcall_run_loop(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    # ---- What this rank is ----

    @property
    def device(self) -> Any:
        """Where this rank computes: a ``torch.device``, of its own GPU or the CPU; without torch a ``Device("cpu")``."""
        if not _torch_installed():
            return Device("cpu")
        import torch

        if not torch.cuda.is_available():
            return torch.device("cpu")
        if self._rankcall_rank:
            return torch.device("cuda", self._rankcall_rank.torch_index())
        return torch.device("cuda", self.rank % torch.cuda.device_count())

    @property
    def running(self) -> bool:
        """Whether the event loop runs: from the beginning until after ``teardown``."""
        return self.thread.is_alive()

    @_Asked
    def comm(self) -> Any:
        """An mpi4py communicator of all ranks, for the worker's own use. After a regroup it is another one.

        A rank that blocks in it can't be interrupted; ``barrier``, ``gather`` and the others of this class can.

        Raises:
            ImportError: mpi4py is not installed.
            RuntimeError: the worker is not in a job.
        """
        return self._rankcall_job().communicator()

    # ---- To be overridden ----

    def setup(self, **kwargs: Any) -> Any:
        """Called once before the first call, with what ``runner.start()`` was given."""

    def __call__(self, streaming: bool = False, **kwargs: Any) -> Any:
        """Called on every rank for each call. Rank 0's result goes to the client.

        Parameters:
            streaming: True when the client streams. A ``__call__`` without it (and without ``**kwargs``) is called
                without.
            kwargs: the payload.
        """
        return {}

    def teardown(self) -> Any:
        """Called once after the last call."""

    def regroup(self) -> Any:
        """Called on the ranks that lived on when another has died, while its replacement runs ``setup``.

        torch's process group and ``comm`` are new by then: what was bound to the old ones (a
        DistributedDataParallel, say) is to be made anew.
        """

    # ---- Events ----

    def add_streaming_result(self, result: Any, image_format: str = "jpeg", as_text_event: bool = False) -> None:
        """Sends an intermediate result to the client, from any rank and any thread. Without a streaming client it is dropped.

        Parameters:
            result: any value that can be sent.
            image_format: of pictures in it, ``"jpeg"`` (quality 60) or ``"png"``.
            as_text_event: kept for those who give it: the client's side makes text events where they are wanted.

        Raises:
            TypeError: something in it can't be sent; the message has its path.
        """
        if self._rankcall_rank is not None:
            self._rankcall_rank.emit(result, image_format)
        elif as_text_event:
            from rankcall._sse import text_event
            from rankcall._values import flatten

            self.queue.put_nowait(text_event(*flatten(result, image_format=image_format, quality=60, what="event")))
        else:
            self.queue.put_nowait(result)

    def add_streaming_error(self, error: BaseException) -> None:
        """Sends ``{"error": str(error)}`` as an intermediate result."""
        self.add_streaming_result({"error": str(error)})

    def rank_print(self, message: str, debug: bool = False) -> None:
        """Prints a line with the rank's number in front: ``[rank 0] message``, or ``[debug] [rank 0] message``."""
        line = "%s[rank %d] %s\n" % ("[debug] " if debug else "", self.rank, message)
        sys.stdout.write(line)  # at once, so that lines of several threads don't mix
        sys.stdout.flush()

    # ---- The end of a call before its time ----

    @_Asked
    def cancelled(self) -> bool:
        """Whether the running call was cancelled, has timed out, failed elsewhere or lost its client.

        Collective: all ranks ask equally often and get the same answer, so that all can leave together. False outside calls.
        """
        return self._rankcall_rank is not None and self._rankcall_rank.cancelled()

    def check_cancelled(self) -> None:
        """Leaves a call that was cancelled; see ``cancelled``.

        Raises:
            CallCancelledError: on all ranks, when the call was cancelled.
        """
        if self._rankcall_rank is not None and self._rankcall_rank.cancelled():
            raise CallCancelledError("the call was cancelled")

    # ---- The event loop ----

    def submit(self, coro: "Coroutine[Any, Any, Any]") -> "Future[Any]":
        """Runs a coroutine on the event loop. Returns a future of its result."""
        if not self.running:
            coro.close()
            raise RuntimeError("Event loop is not running.")
        return asyncio.run_coroutine_threadsafe(coro, self.loop)

    def run_in_worker(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> "Future[Any]":
        """Runs a coroutine function on the event loop, or another function on one of its threads."""
        if inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(type(func).__call__):
            return self.submit(func(*args, **kwargs))
        return self.submit(self._rankcall_run_in_thread(functools.partial(func, *args, **kwargs)))

    async def _rankcall_run_in_thread(self, func: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, func)

    def _rankcall_finish(self, value: Any, begin: Callable[[], None] = lambda: None) -> Any:
        """The value itself, or what the awaitable comes to on the event loop. Not from the event loop's thread.

        Parameters:
            begin: called in the awaitable's context first.
        """
        if not inspect.isawaitable(value):
            return value
        result, error = self.submit(_outcome(value, begin)).result()
        if error is not None:
            raise error
        return result

    # ---- The life of a worker ----

    def initialize(self, **kwargs: Any) -> None:
        """Runs ``setup``, and waits for it."""
        self._rankcall_finish(self.setup(**kwargs))

    def shutdown(self, timeout: Optional[float] = None) -> None:
        """Runs ``teardown`` and ends the event loop."""
        if not self.running:
            return
        try:
            self._rankcall_finish(self.teardown())
        except Exception as error:
            self.rank_print("Error during teardown: %s\n%s" % (error, traceback.format_exc()))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(timeout)

    def _rankcall_job(self) -> "Rank":
        if self._rankcall_rank is None:
            raise RuntimeError("this worker is not in a job")
        return self._rankcall_rank


async def _outcome(awaitable: Any, begin: Callable[[], None]) -> Tuple[Any, Optional[BaseException]]:
    """What an awaitable comes to. A SystemExit that left it would end the event loop."""
    begin()
    try:
        return await awaitable, None
    except BaseException as error:
        return None, error


@functools.cache
def _torch_installed() -> bool:
    import importlib.util

    return importlib.util.find_spec("torch") is not None
