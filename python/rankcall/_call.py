# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""One call of a client, from its submission to its outcome."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Deque, List, NamedTuple, Optional, Sequence

from rankcall._attachment import Attachment, Buffer
from rankcall._protocol import (
    CALL,
    Timing,
    call_head,
    decode_payload,
    encode_payload,
    frame_header,
    microseconds,
    parse_timing,
    payload_size,
)
from rankcall._unflatten import unflatten
from rankcall.errors import RankcallError

if TYPE_CHECKING:
    from rankcall._connection import Connection


class Event(NamedTuple):
    """What a rank has sent while a call ran, or the call's result.

    Attributes:
        rank: who sent it; None for the result.
        sequence: 0, 1, 2, … within the call and rank.
        payload: the value as the protocol has it.
    """

    rank: Optional[int]
    sequence: int
    payload: Buffer

    def value(self) -> Any:
        """What was sent."""
        return unflatten(*self.parts())

    def parts(self) -> "tuple[bytes, list[Attachment]]":
        return decode_payload(self.payload)


class Call:
    """What is known of a call; all of it belongs to the connection's event loop."""

    __slots__ = (
        "abandoned",
        "begun",
        "cancelled",
        "connection",
        "done",
        "error",
        "events",
        "events_size",
        "guard",
        "handler",
        "head",
        "heard",
        "id",
        "idempotent",
        "patient",
        "kind",
        "loop",
        "pieces",
        "result",
        "streaming_timeout_us",
        "submitted",
        "timeout",
        "waiter",
        "written",
    )

    def __init__(
        self,
        connection: Connection,
        kind: int,
        handler: bytes,
        json: bytes,
        attachments: Sequence[Attachment],
        timeout: Optional[float],
        streaming_timeout: Optional[float],
        idempotent: bool,
    ) -> None:
        self.connection = connection
        self.loop = connection.loop
        self.id = 0
        self.kind = kind
        self.handler = handler
        self.pieces: List[Buffer] = encode_payload(json, attachments) if attachments or json != b"{}" else []
        self.timeout = timeout
        self.streaming_timeout_us = 0 if streaming_timeout is None else microseconds(streaming_timeout)
        self.idempotent = idempotent
        self.patient = False  # the timeout is nobody's statement of how long the call takes
        self.submitted = time.monotonic()
        self.begun = 0  # how often the job has begun with it
        self.written = False
        self.heard = False  # an event has come
        self.cancelled = False
        self.abandoned = False  # nobody waits for it any more
        self.done = False
        self.error: Optional[RankcallError] = None
        self.result: Optional[Event] = None
        self.head = b""  # of the result
        self.events: Deque[Event] = deque()
        self.events_size = 0
        self.waiter: Optional["asyncio.Future[None]"] = None
        self.guard: Optional[asyncio.TimerHandle] = None

    @property
    def timing(self) -> Optional[Timing]:
        return parse_timing(self.head)

    def size(self) -> int:
        return payload_size(self.pieces)

    def left(self) -> Optional[float]:
        """Seconds of its timeout that are left; None: no limit."""
        return None if self.timeout is None else self.timeout - (time.monotonic() - self.submitted)

    def frame(self) -> List[Buffer]:
        timeout_us = 0 if self.timeout is None else microseconds(self.timeout)
        head = call_head(self.handler, self.kind, timeout_us, self.streaming_timeout_us, self.idempotent, patient=self.patient)
        return [frame_header(CALL, self.id, head, self.size()), *self.pieces]

    def frame_again(self, ahead: float) -> List[Buffer]:
        """For another rank 0, whose clock is that much ahead of ours."""
        left = self.left()
        head = call_head(
            self.handler,
            self.kind,
            0 if left is None else microseconds(left),
            self.streaming_timeout_us,
            self.idempotent,
            self.begun,
            int((self.submitted + ahead) * 1e6),
            self.patient,
        )
        return [frame_header(CALL, self.id, head, self.size()), *self.pieces]

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def finish(self, result: Optional[Event], error: Optional[RankcallError]) -> None:
        self.result, self.error, self.done = result, error, True
        self.pieces = []
        if self.guard is not None:
            self.guard.cancel()
            self.guard = None
        self.wake()

    async def more(self) -> None:
        """Waits until there is an event or the outcome."""
        if not self.events and not self.done:
            self.waiter = self.loop.create_future()
            try:
                await self.waiter
            finally:
                self.waiter = None
