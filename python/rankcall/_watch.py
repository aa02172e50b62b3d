# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""A thread that looks whether this rank stays in a call that is to be left: it says where the rank stands, and makes torch's
collectives fail, before the job kills the rank."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING

from rankcall.errors import CODES, NUMBERS

if TYPE_CHECKING:
    from rankcall._rank import Rank

LOOK_S = 0.25  # how often it looks
IDLE_LOOKS = 4  # without a call, before it sleeps
PATIENCE_S = 1.0  # for a rank to come back by itself from a call that has failed elsewhere
GRACE_S = 30.0  # the job's, unless --grace says otherwise; who is cancelled or late may use most of it
OWN_FOLDER = os.path.dirname(os.path.abspath(__file__))


class Watch:
    """The watch over one rank's calls. It sleeps when no calls come."""

    def __init__(self, rank: "Rank") -> None:
        self.rank = rank
        self.number = 0  # of the call that is to be left
        self.since = 0.0
        self.told = 0  # the call whose stack was printed
        self.broken = 0  # the call whose group was broken
        self.asleep = False
        self.bell = threading.Event()
        native = rank.options.native
        self.grace = float(native[native.index("--grace") + 1]) if "--grace" in native else GRACE_S
        threading.Thread(target=self._run, name="rankcall-watch", daemon=True).start()

    def call_begins(self) -> None:
        """Wakes it."""
        if self.asleep:
            self.bell.set()

    def _run(self) -> None:
        idle = 0
        while True:
            time.sleep(LOOK_S)
            idle = 0 if self.rank.call else idle + 1
            if idle > IDLE_LOOKS:
                self.asleep = True
                if not self.rank.call:
                    self.bell.wait()
                self.asleep = False
                self.bell.clear()
                idle = 0
            self._look()

    def _look(self) -> None:
        code = self.rank.interrupted()
        if not code:
            return
        if self.number != self.rank.number:
            self.number, self.since = self.rank.number, time.monotonic()
        stayed = time.monotonic() - self.since
        late = code == NUMBERS["wedged"] or (self.grace > 0 and stayed >= self.grace * 0.8)
        if late and self.told != self.number:
            self.told = self.number
            self._say(code)
        failed_elsewhere = code == NUMBERS["worker_error"] and stayed >= PATIENCE_S
        if (late or failed_elsewhere) and self.broken != self.number:
            self.broken = self.number
            self.rank.group.break_off()

    def _say(self, code: int) -> None:
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        frames = [one for one in traceback.extract_stack(frame) if not one.filename.startswith((OWN_FOLDER, "<frozen"))]
        reason = CODES.get(code, "interrupted")
        place = "".join(traceback.format_list(frames))
        text = "[rank %d] is still in call %d, which is to be left (%s):\n%s"
        sys.stderr.write(text % (self.rank.rank, self.number, reason, place))
        sys.stderr.flush()
