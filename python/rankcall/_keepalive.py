# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""The part of a runner that calls the ranks when nobody else does."""

from __future__ import annotations

import contextlib
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any, Coroutine, Dict, Optional, Union

from rankcall._loops import LoopThread
from rankcall.errors import make_error

Seconds = Union[int, float]


class KeepAlive:
    """A timer that starts when a call has ended and none is under way."""

    keepalive_payload: Dict[str, Any]
    keepalive_interval: Optional[Seconds]
    keepalive_timer: Optional[threading.Timer]
    _keepalive_thread: LoopThread
    _lock: threading.RLock
    _stopped: bool

    if TYPE_CHECKING:

        def is_alive(self) -> bool: ...

        def invoke(self, payload: Dict[str, Any]) -> Coroutine[Any, Any, Any]: ...

    def keepalive(self, timeout: Optional[Seconds] = 60.0) -> None:
        """Calls the ranks with the keepalive payload. A plain function. Does nothing after the runner was stopped.

        Raises: RuntimeError: it failed.
        """
        if self._stopped:
            return
        self.maybe_cancel_keepalive()
        try:
            self._keepalive_thread.run(self.invoke(self.keepalive_payload), timeout)
        except Exception as error:
            print("[debug] Error during keepalive: %s\n%s" % (error, traceback.format_exc()), file=sys.stderr)
            raise make_error("internal", "Failed to run keepalive.") from error
        finally:
            self.maybe_start_keepalive()

    def _tick(self) -> None:
        with contextlib.suppress(RuntimeError):  # it was said
            if self.is_alive():
                self.keepalive()

    def maybe_start_keepalive(self) -> None:
        """Starts the timer if there is to be one and none runs."""
        with self._lock:
            if self.keepalive_interval is None or self.keepalive_timer is not None or not self.is_alive():
                return
            self.keepalive_timer = threading.Timer(self.keepalive_interval, self._tick)
            self.keepalive_timer.daemon = True
            self.keepalive_timer.start()

    def maybe_reset_keepalive(self) -> None:
        """Starts the timer anew if it runs."""
        with self._lock:
            if self.keepalive_timer is not None:
                self.maybe_cancel_keepalive()
                self.maybe_start_keepalive()

    def maybe_cancel_keepalive(self) -> None:
        """Ends the timer if it runs."""
        if self.keepalive_timer is not None:
            with self._lock:
                timer, self.keepalive_timer = self.keepalive_timer, None
                if timer is not None:
                    timer.cancel()

    def _end_keepalive(self) -> None:
        self.maybe_cancel_keepalive()
        self._keepalive_thread.stop()
