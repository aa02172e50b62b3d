# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""The runner for scripts and notebooks: the same methods, without await.

>>> with SyncRunner(MyWorker, world_size=2) as runner:
...     runner.invoke({"prompt": "a cat"})
"""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import Any, AsyncIterator, Coroutine, Dict, Generator, Iterator, List, Optional, TypeVar, Union

from rankcall._call import Event
from rankcall._loops import LoopThread
from rankcall.runner import DistributedRunner

T = TypeVar("T")
Seconds = Union[int, float]
_END = object()


class SyncRunner:
    """A `DistributedRunner` whose methods block. Takes the same parameters.

    The object may be used from several threads. It works where an event loop runs already, as in notebooks.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.runner = DistributedRunner(*args, **kwargs)
        self._thread = LoopThread("rankcall-sync")
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._owner: Optional[int] = None  # the thread whose calls run in the loop above, without another thread

    @property
    def world_size(self) -> int:
        return self.runner.world_size

    def _run(self, coroutine: "Coroutine[Any, Any, T]") -> T:
        """In a loop of the thread that came first, which saves two changes of threads, or else in that of a thread."""
        me = threading.get_ident()
        if self._owner in (None, me) and asyncio._get_running_loop() is None:
            if self._loop is None:
                self._loop, self._owner = asyncio.new_event_loop(), me
            return self._loop.run_until_complete(coroutine)
        return self._thread.run(coroutine)

    def _run_short(self, coroutine: "Coroutine[Any, Any, T]") -> T:
        """As `_run`, for a coroutine that is likely to end without waiting: then the loop need not be started."""
        loop = self._loop
        if loop is None or self._owner != threading.get_ident() or asyncio._get_running_loop() is not None:
            return self._run(coroutine)
        asyncio._set_running_loop(loop)
        try:
            waits_for = coroutine.send(None)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            asyncio._set_running_loop(None)
        return loop.run_until_complete(_finish(coroutine, waits_for))

    def start(self, timeout: Seconds = 1800, **kwargs: Any) -> None:
        """See `DistributedRunner.start`."""
        self._run(self.runner.start(timeout, **kwargs))

    def stop(self, timeout: Seconds = 10) -> None:
        """See `DistributedRunner.stop`."""
        try:
            self._run(self.runner.stop(timeout))
        finally:
            self._drop_loops()

    def terminate(self, timeout: Seconds = 10) -> None:
        """See `DistributedRunner.terminate`."""
        self.runner.terminate(timeout)
        self._drop_loops()

    def _drop_loops(self) -> None:
        self._thread.stop()
        if self._loop is not None and self._owner == threading.get_ident() and not self._loop.is_running():
            self._loop.close()
            self._loop = self._owner = None

    def invoke(self, payload: Dict[str, Any] = {}, timeout: Optional[Seconds] = None, **options: Any) -> Any:  # noqa: B006
        """See `DistributedRunner.invoke`."""
        return self._run_short(self.runner.invoke(payload, timeout, **options))

    def stream(
        self,
        payload: Dict[str, Any] = {},  # noqa: B006
        timeout: Optional[Seconds] = None,
        streaming_timeout: Optional[Seconds] = None,
        as_text_events: bool = False,
        **options: Any,
    ) -> Iterator[Any]:
        """See `DistributedRunner.stream`. Closing the iterator cancels the call."""
        return self._iterate(self.runner.stream(payload, timeout, streaming_timeout, as_text_events, **options))

    def events(
        self,
        payload: Dict[str, Any] = {},  # noqa: B006
        timeout: Optional[Seconds] = None,
        streaming_timeout: Optional[Seconds] = None,
        **options: Any,
    ) -> Iterator[Event]:
        """See `DistributedRunner.events`."""
        return self._iterate(self.runner.events(payload, timeout, streaming_timeout, **options))

    def _iterate(self, items: "AsyncIterator[T]") -> "Iterator[T]":
        async def following() -> Any:
            return await anext_or(items, _END)

        try:
            while True:
                item = self._run(following())
                if item is _END:
                    return
                yield item
        finally:
            self._run(items.aclose())  # type: ignore[attr-defined]

    def status(self) -> Dict[str, Any]:
        """See `DistributedRunner.status`."""
        return self._run(self.runner.status())

    def is_alive(self) -> bool:
        """See `DistributedRunner.is_alive`."""
        return self.runner.is_alive()

    def ensure_alive(self) -> None:
        """See `DistributedRunner.ensure_alive`."""
        self.runner.ensure_alive()

    def gather_errors(self) -> List[Exception]:
        """See `DistributedRunner.gather_errors`."""
        return self.runner.gather_errors()

    def keepalive(self, timeout: Optional[Seconds] = 60.0) -> None:
        """See `DistributedRunner.keepalive`."""
        self.runner.keepalive(timeout)

    def __enter__(self) -> SyncRunner:
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.runner.attached:
            self.terminate()
        elif self.is_alive():
            self.stop()


class _Rest:
    """What is left of a coroutine that waits for a future already."""

    def __init__(self, coroutine: "Coroutine[Any, Any, Any]", waits_for: Any) -> None:
        self.coroutine = coroutine
        self.waits_for = waits_for

    def __await__(self) -> "Generator[Any, Any, Any]":
        waits_for = self.waits_for
        while True:
            try:
                sent = yield waits_for
            except BaseException as error:
                advance = functools.partial(self.coroutine.throw, error)
            else:
                advance = functools.partial(self.coroutine.send, sent)
            try:
                waits_for = advance()
            except StopIteration as stop:
                return stop.value


async def _finish(coroutine: "Coroutine[Any, Any, T]", waits_for: Any) -> T:
    result: T = await _Rest(coroutine, waits_for)
    return result


async def anext_or(items: "AsyncIterator[T]", default: Any) -> Any:
    """The builtin of Python 3.10."""
    try:
        return await items.__anext__()
    except StopAsyncIteration:
        return default
