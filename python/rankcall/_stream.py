# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Frames over a Unix socket in an event loop: reads and writes without copying what is large."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import Callable, Deque, List, Optional, Sequence, cast

from rankcall._attachment import Buffer
from rankcall._memory import Memory
from rankcall._protocol import HEADER_SIZE, Header, ProtocolError, parse_header

READ_SIZE = 1 << 18
LARGE = 1 << 16  # payloads from here on are read to where they stay
TURN = 8 << 20  # bytes that one turn of the loop reads
PIECES = 512  # of one system call
SOCKET_BUFFER = 1 << 20

Take = Callable[[Header, bytes, Buffer], None]


class FrameStream:
    """`take` gets each frame as it is complete, `lost` hears once of a connection's end: None for end of file."""

    def __init__(self, loop: asyncio.AbstractEventLoop, take: Take, lost: Callable[[Optional[Exception]], None]) -> None:
        self.loop = loop
        self.take = take
        self.lost = lost
        self.socket: Optional[socket.socket] = None
        self.outgoing: Deque[memoryview] = deque()
        self.writing = False  # the loop tells when the socket takes more
        self.paused = False
        self.memory = Memory()
        self.buffer = bytearray(READ_SIZE)
        self.view = memoryview(self.buffer)
        self.start = self.end = 0  # what of the buffer has been read and not been taken
        self.header: Optional[Header] = None  # of a frame whose payload is read to where it stays
        self.head = b""
        self.payload: Buffer = b""
        self.rest: memoryview = memoryview(b"")

    async def connect(self, path: str) -> None:
        """Raises OSError."""
        self.close()
        new = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        new.setblocking(False)
        try:
            while True:
                try:
                    new.connect(path)
                    break
                except BlockingIOError:  # its queue of connections is full
                    await asyncio.sleep(0.005)
            new.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
        except BaseException:
            new.close()
            raise
        self.socket = new
        self.start = self.end = 0
        self.header = None
        self.paused = False
        self.loop.add_reader(new, self.readable)

    def close(self) -> None:
        if self.socket is None:
            return
        if not self.loop.is_closed():
            self.loop.remove_reader(self.socket)
            if self.writing:
                self.loop.remove_writer(self.socket)
        self.writing = False
        self.socket.close()
        self.socket = None
        self.outgoing.clear()
        self.rest = memoryview(b"")
        self.payload = b""

    def pause(self) -> None:
        """Reads nothing until resume()."""
        if self.socket is not None and not self.paused:
            self.paused = True
            self.loop.remove_reader(self.socket)

    def resume(self) -> None:
        if self.paused and self.socket is not None:
            self.paused = False
            self.loop.add_reader(self.socket, self.readable)
            self.loop.call_soon(self.readable)

    # ---- Writing ----

    def write(self, pieces: Sequence[Buffer]) -> None:
        """Sends what the socket takes now, and the rest when it does. The pieces must not change until they are sent."""
        if self.socket is None:
            return
        if self.writing:
            self.outgoing.extend(map(memoryview, pieces))
            return
        try:
            sent = self.socket.sendmsg(pieces[:PIECES])
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # seen by who reads: an ERROR may be there
        if len(pieces) == 1 and sent == len(pieces[0]):
            return
        self.outgoing.extend(map(memoryview, pieces))
        self.drop(sent)
        self.writable()

    def drop(self, sent: int) -> None:
        """Forgets what was sent."""
        while self.outgoing and sent >= len(self.outgoing[0]):
            sent -= len(self.outgoing.popleft())
        if sent:
            self.outgoing[0] = self.outgoing[0][sent:]

    def writable(self) -> None:
        while self.outgoing and self.socket is not None:
            try:
                some: List[memoryview] = [self.outgoing[i] for i in range(min(len(self.outgoing), PIECES))]
                self.drop(self.socket.sendmsg(some))
            except BlockingIOError:
                if not self.writing:
                    self.writing = True
                    self.loop.add_writer(self.socket, self.writable)
                return
            except OSError:
                self.outgoing.clear()
        if self.writing and self.socket is not None:
            self.loop.remove_writer(self.socket)
        self.writing = False

    # ---- Reading ----

    def readable(self) -> None:
        """Reads what is there, but not for ever."""
        turn = 0
        while turn < TURN and self.socket is not None and not self.paused:
            try:
                got = self.read()
            except BlockingIOError:
                return
            except OSError as error:
                self.lost(error)
                return
            if got == 0:
                self.lost(None)
                return
            turn += got
            try:
                full = self.parse()
            except ProtocolError as error:
                self.lost(error)
                return
            if not full:
                return  # the socket is empty, most likely

    def read(self) -> int:
        connection = cast(socket.socket, self.socket)
        if self.header is not None:
            got = connection.recv_into(self.rest)
            self.rest = self.rest[got:]
            return got
        got = connection.recv_into(self.view[self.end :])
        self.end += got
        return got

    def parse(self) -> bool:
        """Hands on the frames that are complete. Returns whether there may be more to read."""
        if self.header is not None:
            if len(self.rest):
                return True
            header, payload, self.header, self.payload = self.header, self.payload, None, b""
            self.rest = memoryview(b"")
            self.take(header, self.head, payload)
            return True
        full = self.end == READ_SIZE
        while self.end - self.start >= HEADER_SIZE and self.socket is not None:
            header = parse_header(self.view[self.start : self.end])
            head_end = self.start + HEADER_SIZE + header.head_size
            if head_end > self.end:
                break
            if header.payload_size >= LARGE:
                self.begin_large(header, head_end)
                if self.header is not None:
                    return True
                continue
            frame_end = head_end + header.payload_size
            if frame_end > self.end:
                break
            head = bytes(self.view[self.start + HEADER_SIZE : head_end])
            self.start = frame_end
            self.take(header, head, self.buffer[head_end:frame_end])
        self.compact()
        return full

    def compact(self) -> None:
        if self.start == self.end:
            self.start = self.end = 0
        elif self.start and (READ_SIZE - self.end < LARGE + HEADER_SIZE + 4096 or self.start > READ_SIZE // 2):
            size = self.end - self.start
            self.view[:size] = bytes(self.view[self.start : self.end])
            self.start, self.end = 0, size

    def begin_large(self, header: Header, head_end: int) -> None:
        self.head = bytes(self.view[self.start + HEADER_SIZE : head_end])
        payload = self.memory.take(header.payload_size)
        view = memoryview(payload)
        have = min(self.end - head_end, header.payload_size)
        view[:have] = self.view[head_end : head_end + have]
        self.start = head_end + have
        if have == header.payload_size:
            self.take(header, self.head, payload)
            return
        self.header, self.payload, self.rest = header, payload, view[have:]
        self.compact()
