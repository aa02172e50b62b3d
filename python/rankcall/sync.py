# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""The runner for scripts and notebooks: the same methods, without await.

>>> with SyncRunner(MyWorker, world_size=2) as runner:
...     runner.invoke({"prompt": "a cat"})
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any, AsyncIterator, Coroutine, Dict, Iterator, List, Optional, TypeVar, Union

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
        return self._run(self.runner.invoke(payload, timeout, **options))

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


async def anext_or(items: "AsyncIterator[T]", default: Any) -> Any:
    """The builtin of Python 3.10."""
    try:
        return await items.__anext__()
    except StopAsyncIteration:
        return default
