# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""One connection to a job, which belongs to one event loop and its thread.

It comes back when rank 0 dies and another one takes over, as the protocol's document says under "Coming back"."""

from __future__ import annotations

import asyncio
import json
import os
import struct
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, Optional

from rankcall import _protocol as protocol
from rankcall._attachment import Buffer
from rankcall._call import Call, Event
from rankcall._stream import FrameStream
from rankcall.errors import CODES, RankcallError, make_error

IN_FLIGHT = 128  # calls that are at the job at a time; further ones wait here
BEGINNINGS = 3  # of an idempotent call, in all
MAX_WAITING = 64 << 20  # bytes of events that nobody has taken yet
MAX_EVENTS = 4096
LATE = 2.0  # seconds after a deadline, until it is found here that the job has not kept it
GUARDED = 3600.0  # seconds: longer deadlines are the job's alone
ATTEMPTS = 10
SPIN = 60e-6  # seconds that a caller looks for the result of a short call itself, before it waits in the loop
SHORT = 300e-6  # ... when the call before took less than this
TURN = 1e-3  # ... and the loop has had a turn within this time


class Connection:
    """See the module. `path` is the job's socket."""

    def __init__(self, path: str, loop: asyncio.AbstractEventLoop, tell: Callable[[RankcallError], None]) -> None:
        self.path = path
        self.loop = loop
        self.tell = tell  # hears of deaths
        self.calls: Dict[int, Call] = {}
        self.backlog: Deque[Call] = deque()
        self.questions: Dict[int, "asyncio.Future[Any]"] = {}
        self.next_id = 0
        self.token = 0
        self.ahead, self.greeted_at = 0.0, 0.0  # of the job's clock; when the last HELLO was sent
        self.world_size = 0
        self.payload_cap = 0
        self.job: Dict[str, Any] = {}
        self.greeted = False
        self.returning = False  # the connection has ended, another one is being made
        self.usual = 0.0  # seconds that the call before took
        self.turned = 0.0  # when the loop had its last turn
        self.returns: Optional["asyncio.Task[None]"] = None
        self.tries = 0
        self.reason: Optional[RankcallError] = None
        self.gone: Optional[RankcallError] = None  # there is no job any more
        self.stopping = False
        self.welcomed: Optional["asyncio.Future[None]"] = None
        self.ended: "asyncio.Future[None]" = loop.create_future()
        self.stream = FrameStream(loop, self.take, self.lost)

    # ---- Greeting ----

    def greet(self) -> None:
        self.greeted_at = time.monotonic()
        self.stream.write([protocol.hello_frame(self.token)])

    async def open(self) -> None:
        """Connects and greets. Raises NotRunningError when nobody listens."""
        for attempt in range(ATTEMPTS):  # rank 0 may die just now
            try:
                await self.stream.connect(self.path)
            except OSError as error:
                raise make_error("no_job", "no job answers at %s: %s" % (self.path, error.strerror)) from error
            self.welcomed = self.loop.create_future()
            self.greet()
            try:
                await self.welcomed
                return
            except ConnectionError as error:
                if attempt == ATTEMPTS - 1:
                    raise make_error("connection_closed", "the job at %s closes connections" % self.path) from error
            finally:
                self.welcomed = None

    def close(self, error: Optional[RankcallError] = None) -> None:
        """Ends it, and all its calls with the error."""
        self.stream.close()
        if self.returns is not None and not self.loop.is_closed():
            self.returns.cancel()
        self.end_all(error or make_error("connection_closed", "the connection was closed"))

    def end_all(self, error: RankcallError) -> None:
        if self.gone is None:
            self.gone = error
        for call in [*self.calls.values(), *self.backlog]:
            self.end(call, None, error)
        self.backlog.clear()
        for question in self.questions.values():
            if not question.done():
                question.set_exception(error)
        self.questions.clear()
        if self.welcomed is not None and not self.welcomed.done():
            self.welcomed.set_exception(error)
        if not self.ended.done():
            self.ended.set_result(None)

    # ---- Calls and questions ----

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id

    def submit(self, call: Call) -> None:
        if self.gone is not None:
            raise self.gone
        if self.payload_cap and call.size() > self.payload_cap:
            raise make_error(
                "too_large", "a payload of %d bytes, and the job takes %d at most" % (call.size(), self.payload_cap)
            )
        if call.timeout is not None and call.timeout < GUARDED:
            call.guard = self.loop.call_later(call.timeout, self.overdue, call)
        if len(self.calls) >= IN_FLIGHT:
            self.backlog.append(call)
        else:
            self.begin(call)

    def begin(self, call: Call) -> None:
        call.id = self.new_id()
        self.calls[call.id] = call
        if not self.returning:
            call.written = True
            self.stream.write(call.frame())

    def spin(self, call: Call) -> None:
        """Waits a moment for the outcome of a call that is likely to be short: a sleeping core takes longer to wake than
        the ranks to answer. Not while other calls are under way, and not so often that the loop's other tasks starve."""
        now = time.perf_counter()
        if self.usual > SHORT or len(self.calls) != 1 or self.returning or self.stream.writing:
            return
        if now - self.turned > TURN:
            self.turned = now  # the caller waits in the loop now
            return
        end = now + SPIN
        while not call.done and not call.events:
            self.stream.readable()
            if time.perf_counter() > end:
                return
            os.sched_yield()

    def overdue(self, call: Call) -> None:
        """The job keeps deadlines itself; this is for calls that it has not, and for a job that is stopped."""
        call.guard = None
        if call.done:
            return
        if call.written and not self.returning and call.timeout is not None and call.left() is not None:
            left = call.left() or 0.0
            if left > -LATE:
                call.guard = self.loop.call_later(max(left + LATE, 0.001), self.overdue, call)
                return
        self.give_up(call)
        self.end(call, None, make_error("timeout", "the call's %g s are over" % (call.timeout or 0.0), call=call.id))

    def give_up(self, call: Call) -> None:
        """Nobody waits for the call any more."""
        if call.done or call.abandoned:
            return
        call.abandoned = call.cancelled = True
        call.events.clear()
        if not call.id:
            self.backlog.remove(call)
            self.end(call, None, make_error("cancelled", "the call was cancelled"))
        elif call.written and not self.returning:
            self.stream.write([protocol.frame_header(protocol.CANCEL, call.id)])
        self.stream.resume()

    def end(self, call: Call, result: Optional[Event], error: Optional[RankcallError]) -> None:
        self.calls.pop(call.id, None)
        if not call.done:
            call.finish(result, error)
        self.stream.resume()
        while self.backlog and len(self.calls) < IN_FLIGHT:
            self.begin(self.backlog.popleft())

    async def ask(self, type: int, head: bytes = b"") -> Event:
        """A question and the frame that answers it."""
        if self.gone is not None:
            raise self.gone
        if self.returning:
            raise self.reason or make_error("rank_died", "rank 0 is gone", rank=0)
        id = self.new_id()
        answer: "asyncio.Future[Event]" = self.loop.create_future()
        self.questions[id] = answer
        self.stream.write([protocol.frame_header(type, id, head)])
        try:
            return await answer
        finally:
            self.questions.pop(id, None)

    def taken(self, call: Call, event: Event) -> None:
        """Somebody has taken an event: there may be room for more."""
        call.events_size -= len(event.payload)
        if not call.events:
            self.stream.resume()

    # ---- What comes ----

    def take(self, header: protocol.Header, head: bytes, payload: Buffer) -> None:
        """One frame."""
        if header.type == protocol.EVENT:
            self.take_event(header, head, payload)
        elif header.type == protocol.RESULT:
            self.take_result(header, head, payload)
        elif header.type == protocol.ERROR:
            self.take_error(header, head, payload)
        elif header.type in (protocol.WELCOME, protocol.AWAY):
            self.take_greeting(header, head, payload)
        else:
            question = self.questions.get(header.id)
            if question is not None and not question.done():
                question.set_result(Event(None, 0, payload))

    def take_event(self, header: protocol.Header, head: bytes, payload: Buffer) -> None:
        call = self.calls.get(header.id)
        if call is None:
            return
        call.heard = True
        if call.abandoned:
            return
        rank, sequence = protocol.parse_event(head)
        call.events.append(Event(rank, sequence, payload))
        call.events_size += len(payload)
        call.wake()
        full = len(call.events) >= MAX_EVENTS or call.events_size >= MAX_WAITING
        if full and len(self.calls) == 1 and not self.questions:
            self.stream.pause()  # the job waits for us; others on this connection would have to wait as well

    def take_result(self, header: protocol.Header, head: bytes, payload: Buffer) -> None:
        call = self.calls.get(header.id)
        if call is not None:
            call.head = head
            self.usual = time.monotonic() - call.submitted
            self.end(call, Event(None, 0, payload), None)

    def take_error(self, header: protocol.Header, head: bytes, payload: Buffer) -> None:
        error = parse_failure(head, payload, header.id)
        if header.id == 0:  # the job's last word
            self.end_all(error)
            return
        question = self.questions.get(header.id)
        if question is not None and not question.done():
            question.set_exception(error)
        call = self.calls.get(header.id)
        if call is not None:
            if error.code in ("rank_died", "job_died", "wedged"):
                self.tell(error)
            self.end(call, None, error)

    def take_greeting(self, header: protocol.Header, head: bytes, payload: Buffer) -> None:
        if header.type == protocol.AWAY:
            self.reason = parse_failure(b"\x10\0\0\0\xff\xff\xff\xff", payload, None)
            if self.returning:
                self.tell(self.reason)
                self.settle(*protocol.parse_away(head))
            return
        welcome = protocol.parse_welcome(head)
        self.world_size, self.payload_cap, self.token = welcome.world_size, welcome.payload_cap, welcome.token
        now = time.monotonic()
        same = self.greeted_at <= welcome.clock <= now  # clock: it read a time between our HELLO and its WELCOME's arrival
        self.ahead = 0.0 if same else welcome.clock - now
        self.job = json.loads(protocol.decode_payload(payload)[0])
        self.greeted = True
        if self.returning:
            self.settle(welcome.begun, welcome.times)
            self.returning = False
            self.tries = 0
            self.send_again()
        if self.welcomed is not None and not self.welcomed.done():
            self.welcomed.set_result(None)

    # ---- Coming back ----

    def lost(self, error: Optional[Exception]) -> None:
        """The connection has ended, or the job's bytes are not the protocol."""
        self.stream.close()
        if isinstance(error, protocol.ProtocolError):
            self.end_all(make_error("protocol_error", "the job's bytes are not the protocol: %s" % error))
        elif self.stopping:
            self.end_all(make_error("shutting_down", "the job has stopped"))
        elif self.gone is not None:
            self.end_all(self.gone)
        elif not self.greeted:
            if self.welcomed is not None and not self.welcomed.done():
                self.welcomed.set_exception(ConnectionResetError("closed before the welcome"))
        elif not self.token:
            self.end_all(make_error("job_died", "the job has ended"))
        else:
            if not self.returning:
                self.reason = None
            self.returning = True
            for question in self.questions.values():
                if not question.done():
                    question.set_exception(make_error("rank_died", "rank 0 is gone", rank=0))
            self.returns = self.loop.create_task(self.come_back())

    async def come_back(self) -> None:
        if self.tries:  # that one is gone, too
            await asyncio.sleep(0.005)
        self.tries += 1
        try:
            await self.stream.connect(self.path)
        except OSError as error:
            reason = "nobody listens any more at %s: %s" % (self.path, error.strerror)
            self.end_all(self.reason or make_error("job_died", "the job has ended: " + reason))
            return
        if self.gone is None:
            self.greet()

    def settle(self, begun: int, times: int) -> None:
        """Calls that had begun have failed, unless they may run again."""
        for id, call in sorted(self.calls.items()):
            if not call.written or id > begun:
                continue
            call.begun = max(call.begun + 1, times if id == begun else 0)
            if call.idempotent and not call.heard and call.begun < BEGINNINGS:
                call.written = False  # one death counts once
            else:
                reason = self.reason or make_error("rank_died", "rank 0 is gone", rank=0)
                self.end(call, None, copy_error(reason, id))

    def send_again(self) -> None:
        """All that is open, in its order."""
        for id, call in sorted(self.calls.items()):
            left = call.left()
            if call.cancelled or (left is not None and left <= 0):
                code = "cancelled" if call.cancelled else "timeout"
                self.end(call, None, make_error(code, "while the job was away", call=id))
                continue
            call.written = True
            self.stream.write(call.frame_again(self.ahead))
        self.stream.write([protocol.frame_header(protocol.RESUMED)])


def parse_failure(head: bytes, payload: Buffer, id: Optional[int]) -> RankcallError:
    """The exception of an ERROR frame, or of an AWAY's payload."""
    number, rank = protocol.parse_error(head)
    try:
        body = json.loads(protocol.decode_payload(payload)[0])
    except ValueError:
        body = {}
    code = body.get("error") or CODES.get(number, "internal")
    rank = body.get("rank", rank)
    return make_error(
        code,
        body.get("message") or code,
        rank=rank if isinstance(rank, int) and rank >= 0 else None,
        host=body.get("host", ""),
        traceback=body.get("traceback", ""),
        call=id or None,
    )


def copy_error(error: RankcallError, id: int) -> RankcallError:
    """Each call has an exception of its own."""
    return make_error(error.code, error.message, rank=error.rank, host=error.host, traceback=error.traceback, call=id)


WAIT = b"\x01" + bytes(7)  # heads of a STATUS
NO_WAIT = bytes(8)


def stop_head(drain: float) -> bytes:
    return struct.pack("<Q", protocol.microseconds(drain))
