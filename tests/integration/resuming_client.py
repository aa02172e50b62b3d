# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""The stranger's client that knows the feature resume, from doc/protocol.md alone, too ("Coming back")."""

import contextlib
import socket
import struct
import threading
import time

from strangers_client import (AWAY, CALL, ERROR, EVENT, INVOKE, RESULT, RESUME, RESUMED, WELCOME, Client, Frame, JobError,
                              Payload, call_head, frame, hello, require)

BEGINNINGS = 3  # of an idempotent call, in all
CODES = {"timeout": 7, "cancelled": 8, "job_died": 15, "rank_died": 16}  # of ends that the client notices itself


class Sent:
    """A call of a client that comes back: all that is needed to make it again."""

    def __init__(self, handler, payload, kind, timeout, streaming_timeout, idempotent):
        self.handler, self.payload, self.kind, self.idempotent = handler, payload, kind, idempotent
        self.timeout, self.streaming_timeout, self.submitted = timeout, streaming_timeout, time.monotonic()
        self.begun, self.heard, self.written, self.cancelled = 0, False, False, False

    def frame(self, id):
        head = call_head(self.handler, self.kind, self.timeout, self.streaming_timeout, self.idempotent)
        return frame(CALL, id, head, self.payload)

    def frame_again(self, id, ahead):
        """`ahead`: of the job's clock, in seconds."""
        left = max(self.timeout - (time.monotonic() - self.submitted), 1e-6) if self.timeout else 0
        return frame(CALL, id, call_head(self.handler, self.kind, left, self.streaming_timeout, self.idempotent, self.begun,
                                         int((self.submitted + ahead) * 1e6)), self.payload)


class ResumingClient(Client):
    """Knows the feature resume: when its connection ends it comes back, and its calls go on as if nothing had happened,
    but for those that had begun. Calls are made by `submit` or `begin`; questions are not asked again.

    `tell(what, **fields)` hears of "lost", "away" and "back"."""

    features = RESUME

    def __init__(self, path, timeout=60.0, tell=lambda what, **fields: None):
        self.path, self.tell = path, tell
        self.calls, self.ends = {}, []  # calls without an outcome, by id; ends that the job has not told
        self.token, self.reason, self.returning, self.gone = 0, None, False, ""
        self.welcomed = 0.0  # when the job last greeted, by its clock
        self.last_word = None  # the ERROR with which the job has ended
        self.lock = threading.RLock()  # held while it comes back: whoever else sends waits for that
        for attempt in range(10):  # rank 0 may die just now
            super().__init__(path, timeout, greet=False)
            try:
                self.greet()
                self.receive_welcome()
                return
            except ConnectionError:
                if attempt == 9:
                    raise
                self.close()

    def greet(self):
        self.greeted = time.monotonic()
        self.send(hello(features=RESUME, payload=Payload({"client": "stranger"}), token=self.token))

    def receive_welcome(self):
        while True:
            first = super().receive()
            if first.type == ERROR:
                raise JobError(first)
            if first.type != AWAY:
                self.take_new_welcome(first)
                return
            self.take_away(first)

    def take_new_welcome(self, first):
        """Returns `begun` and `times`."""
        require(first.type == WELCOME and first.id == 0, "neither WELCOME nor AWAY")
        self.take_welcome(first)
        features, = struct.unpack_from("<Q", first.head, 8)
        self.token = begun = times = 0
        if features & RESUME:
            self.token, begun, clock, times = struct.unpack_from("<QQQI", first.head, 24)
            self.welcomed, now = clock / 1e6, time.monotonic()
            same = self.greeted <= self.welcomed <= now  # clock, if it is between HELLO and WELCOME
            self.ahead = 0 if same else self.welcomed - now
        return begun, times

    def take_away(self, got):
        begun, times = struct.unpack_from("<QI", got.head)
        self.reason = got.payload.json
        self.tell("away", begun=begun, reason=self.reason)
        if self.returning:
            self.settle(begun, times)

    # ---- Calls ----

    def submit(self, handler="", payload=Payload(), kind=INVOKE, id=None, timeout=0.0, streaming_timeout=0.0,
               idempotent=False):
        id = self.prepare(handler, payload, kind, timeout, streaming_timeout, idempotent)
        self.begin(id)
        return id

    def prepare(self, handler="", payload=Payload(), kind=INVOKE, timeout=0.0, streaming_timeout=0.0, idempotent=False):
        """A call that is yet to be written."""
        id = self.new_id()
        payload = payload if isinstance(payload, (Payload, bytes)) else Payload(payload)
        self.calls[id] = Sent(handler, payload, kind, timeout, streaming_timeout, idempotent)
        return id

    def begin(self, id):
        if self.returning:
            return  # sent when it is back
        self.calls[id].written = True
        with contextlib.suppress(ConnectionError):  # seen by who reads
            self.send(self.calls[id].frame(id))

    def cancel(self, id):
        if id in self.calls:
            self.calls[id].cancelled = True
        with contextlib.suppress(ConnectionError):
            super().cancel(id)

    def receive(self):
        """The next frame; ends that only the client knows of come as ERRORs as well."""
        while True:
            if self.ends:
                return self.note(self.ends.pop(0))
            if self.gone:
                raise ConnectionError(self.gone)
            try:
                got = super().receive()
            except TimeoutError:
                raise
            except OSError:
                with self.lock:
                    self.go_back()
                continue
            if self.returning:
                with self.lock:
                    self.take_on_the_way(got)
            elif got.type == ERROR and got.id == 0:
                self.job_ended(got)
            else:
                return self.note(got)

    def note(self, got):
        if got.type == EVENT and got.id in self.calls:
            self.calls[got.id].heard = True
        elif got.type in (RESULT, ERROR):
            self.calls.pop(got.id, None)
        return got

    # ---- Coming back ----

    def go_back(self):
        """The connection has ended: another one, until there is nobody any more."""
        if not self.gone and not self.returning:
            self.tell("lost")
            self.reason, self.returning = None, True
        while not self.gone:
            self.buffer.clear()
            timeout = self.socket.gettimeout()
            self.socket.close()
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.socket.settimeout(timeout)
            try:
                self.socket.connect(self.path)
                self.greet()
                return
            except BrokenPipeError:
                continue  # that one is gone, too
            except (ConnectionRefusedError, FileNotFoundError) as error:
                self.gone = "nobody listens any more: %s" % error

    def take_on_the_way(self, got):
        """What comes before the WELCOME, and that."""
        if got.type == AWAY:
            self.take_away(got)
        elif got.type == ERROR:
            self.job_ended(got)
        else:
            begun, times = self.take_new_welcome(got)
            self.settle(begun, times)
            self.returning = False
            self.tell("back", begun=begun, again=self.send_again(), welcomed=self.welcomed)

    def settle(self, begun, times):
        """Calls that had begun have failed, unless they may run again."""
        for id, call in sorted(self.calls.items()):
            if not call.written or id > begun:
                continue
            call.begun = max(call.begun + 1, times if id == begun else 0)
            if call.idempotent and not call.heard and call.begun < BEGINNINGS:
                call.written = False  # one death counts once
            else:
                self.end(id, self.reason or {"error": "rank_died", "message": "rank 0 is gone", "rank": 0, "host": ""})

    def send_again(self):
        """All that is open, in its order; returns the ids."""
        ids = []
        for id, call in sorted(self.calls.items()):
            late = call.timeout and time.monotonic() - call.submitted >= call.timeout
            if call.cancelled or late:
                self.end(id, {"error": "cancelled" if call.cancelled else "timeout", "message": "while the job was away",
                              "rank": -1, "host": ""})
                continue
            call.written = True
            ids.append(id)
        with contextlib.suppress(ConnectionError):
            for id in ids:
                self.send(self.calls[id].frame_again(id, self.ahead))
            self.send(frame(RESUMED))
        return ids

    def end(self, id, body):
        self.calls.pop(id, None)
        head = struct.pack("<Ii", CODES.get(body["error"], 1), body["rank"])
        self.ends.append(Frame(ERROR, id, head, Payload({"traceback": "", **body}).encode()))

    def job_ended(self, got):
        """The last word of a job that will not come back is that of all its calls."""
        self.gone, self.last_word = str(JobError(got)), got
        for id in sorted(self.calls):
            self.ends.append(Frame(ERROR, id, got.head, got.payload_bytes))
        self.calls.clear()
