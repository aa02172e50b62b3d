# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""A client written from doc/protocol.md alone: nothing of the libraries is used. See resuming_client.py for one that
comes back when rank 0 has died.

It checks every byte that the job sends."""

import contextlib
import json
import math
import socket
import struct
import time

MAGIC = b"RKCL"
VERSION = 1
HELLO, WELCOME, CALL, CANCEL, EVENT, RESULT, ERROR, STATUS, STATUS_REPLY, PING, PONG, STOP, STOPPING = range(1, 14)
CANCEL_CALL, AWAY, RESUMED, CANCELLED = 14, 15, 16, 17
INVOKE, STREAM = 0, 1
RESUME = 1  # the feature
IDEMPOTENT, WAITED = 1, 2  # flags of a CALL
HEADER = struct.Struct("<4sBBHQIIQ")
BYTES, IMAGE_PNG, IMAGE_JPEG, NDARRAY = range(4)
ITEM_SIZES = [0, 1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 4, 8, 8, 16, 2]  # by dtype
KNOWN_HEADS = {WELCOME: 24, EVENT: 16, RESULT: 0, ERROR: 8, STATUS_REPLY: 0, PONG: 0, STOPPING: 0, AWAY: 16, CANCELLED: 8}


class JobError(Exception):
    """An ERROR frame: how a call or question ended."""

    def __init__(self, frame):
        self.number, self.rank = struct.unpack_from("<Ii", frame.head)
        self.frame_id, self.frame = frame.id, frame
        self.body = frame.payload.json
        self.name = self.body["error"]
        super().__init__("%s (rank %d of %s): %s" % (self.name, self.rank, self.body["host"], self.body["message"]))


class Attachment:
    def __init__(self, name, data, type=BYTES, dtype=0, shape=()):
        self.name, self.data, self.type, self.dtype, self.shape = name, data, type, dtype, tuple(shape)

    def __eq__(self, other):
        return (self.name, self.type, self.dtype, self.shape) == (
            other.name, other.type, other.dtype, other.shape) and memoryview(self.data) == memoryview(other.data)


class Payload:
    def __init__(self, text=b"{}", attachments=()):
        self.text = text if isinstance(text, bytes) else json.dumps(text).encode()
        self.attachments = list(attachments)

    @property
    def json(self):
        return json.loads(self.text)

    def encode(self):
        if self.text == b"{}" and not self.attachments:
            return b""
        out = bytearray(struct.pack("<II", len(self.text), len(self.attachments)))
        out += self.text + bytes(8 - len(self.text) % 8)
        for one in self.attachments:
            name = one.name.encode()
            out += struct.pack("<QHBBB3x", len(one.data), len(name), one.type, one.dtype, len(one.shape))
            out += struct.pack("<%dQ" % len(one.shape), *one.shape) + name
            out += bytes(-len(out) % 8)
        for one in self.attachments:
            out += bytes(-len(out) % 64)
            out += one.data
        return bytes(out)

    @staticmethod
    def decode(data):
        """Strict: every byte must be where the tables put it."""
        if len(data) == 0:
            return Payload()
        view = memoryview(data)
        size, count = struct.unpack_from("<II", view)
        text, at = bytes(view[8:8 + size]), 8 + size
        at = skip_zeros(view, at, at + 8 - at % 8)
        result = Payload(text)
        sizes = []
        for _ in range(count):
            data_size, name_size, kind, dtype, ndim, a, b, c = struct.unpack_from("<QHBBBBBB", view, at)
            require((a, b, c) == (0, 0, 0) and name_size >= 1, "an attachment's entry")
            shape = struct.unpack_from("<%dQ" % ndim, view, at + 16)
            at += 16 + 8 * ndim
            name = bytes(view[at:at + name_size]).decode()
            at = skip_zeros(view, at + name_size, at + name_size + -(at + name_size) % 8)
            if kind == NDARRAY:
                require(math.prod(shape) * ITEM_SIZES[dtype] == data_size, "an ndarray's size")
            sizes.append(data_size)
            result.attachments.append(Attachment(name, b"", kind, dtype, shape))
        for one, data_size in zip(result.attachments, sizes):
            at = skip_zeros(view, at, at + -at % 64)
            one.data = view[at:at + data_size]
            require(len(one.data) == data_size, "an attachment's data")
            at += data_size
        require(at == len(view), "the payload's end")
        return result


def require(condition, what):
    if not condition:
        raise AssertionError("the job's bytes are not the protocol: " + what)


def skip_zeros(view, start, end):
    require(end <= len(view) and not any(view[start:end]), "padding")
    return end


class Frame:
    def __init__(self, type, id, head, payload_bytes):
        self.type, self.id, self.head, self.payload_bytes = type, id, head, payload_bytes

    @property
    def payload(self):
        return Payload.decode(self.payload_bytes)

    @property
    def timing(self):
        if not self.head:
            return None
        names = ("queued", "broadcast", "handler_min", "handler_max", "reply", "call", "slowest_rank")
        *values, zero = struct.unpack_from("<QQQQQQiI", self.head)
        require(zero == 0, "a result's reserved bytes")
        return dict(zip(names, values))

    @property
    def rank_and_sequence(self):
        rank, zero, sequence = struct.unpack_from("<IIQ", self.head)
        require(zero == 0, "an event's reserved bytes")
        return rank, sequence


def frame(type, id=0, head=b"", payload=b""):
    if isinstance(payload, Payload):
        payload = payload.encode()
    return HEADER.pack(MAGIC, VERSION, type, 0, id, len(head), 0, len(payload)) + head + payload


def hello(low=1, high=1, features=0, payload=b"", token=0):
    """With the feature resume the head is longer by a token."""
    head = struct.pack("<HHIQ", low, high, 0, features) + (struct.pack("<Q", token) if features & RESUME else b"")
    return frame(HELLO, 0, head, payload)


def call_head(handler="", kind=INVOKE, timeout=0.0, streaming_timeout=0.0, idempotent=False, begun=0, submitted=None):
    """`submitted`: microseconds of the job's clock, for a call that is sent again."""
    name = handler if isinstance(handler, bytes) else handler.encode()
    flags = (IDEMPOTENT if idempotent else 0) | (WAITED if submitted is not None else 0)
    head = struct.pack("<BBHIQQ", kind, flags, len(name), begun, int(timeout * 1e6), int(streaming_timeout * 1e6)) + name
    return head if submitted is None else head + struct.pack("<Q", submitted)


class Client:
    """One connection. Frames that nobody asked for yet are kept by id."""

    features = 0

    def __init__(self, path, timeout=60.0, greet=True):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.buffer = bytearray()
        self.kept = {}
        self.next_id = 0
        self.timing = None  # of the result that came last
        if greet:
            with contextlib.suppress(BrokenPipeError):  # then an ERROR says why
                self.send(hello(payload=Payload({"client": "stranger"})))
            self.greeting()

    def greeting(self):
        first = self.receive()
        if first.type == ERROR:
            raise JobError(first)
        require(first.type == WELCOME and first.id == 0, "the first frame is no WELCOME")
        self.take_welcome(first)

    def take_welcome(self, first):
        self.version, zero, self.world_size, features, self.payload_cap = struct.unpack_from("<HHIQQ", first.head)
        require(self.version == VERSION and zero == 0 and features & ~self.features == 0, "WELCOME")
        self.welcome = first.payload.json

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.socket.sendall(data)

    def read(self, size):
        if size > 1 << 20:
            return self.read_large(size)
        while len(self.buffer) < size:
            data = self.socket.recv(1 << 18)
            if not data:
                raise ConnectionError("the job closed the connection" + (" within a frame" if self.buffer else ""))
            self.buffer += data
        result = bytes(self.buffer[:size])
        del self.buffer[:size]
        return result

    def read_large(self, size):
        result = bytearray(size)
        have = min(size, len(self.buffer))
        result[:have] = self.buffer[:have]
        del self.buffer[:have]
        view = memoryview(result)
        while have < size:
            got = self.socket.recv_into(view[have:])
            if got == 0:
                raise ConnectionError("the job closed the connection within a frame")
            have += got
        return result

    def receive(self):
        """The next frame, whatever it is about."""
        magic, version, type, flags, id, head_size, reserved, payload_size = HEADER.unpack(self.read(HEADER.size))
        require(magic == MAGIC and version == VERSION and flags == 0 and reserved == 0, "a frame's header")
        require(type in KNOWN_HEADS and KNOWN_HEADS[type] <= head_size <= 4096, "a frame's type or head")
        return Frame(type, id, self.read(head_size), self.read(payload_size))

    def receive_for(self, id):
        """The next frame of a call or question."""
        if self.kept.get(id):
            return self.kept[id].pop(0)
        while True:
            got = self.receive()
            if got.id == id:
                return got
            if got.type == ERROR and got.id == 0:
                raise JobError(got)
            self.kept.setdefault(got.id, []).append(got)

    def new_id(self):
        self.next_id += 1
        return self.next_id

    def submit(self, handler="", payload=Payload(), kind=INVOKE, id=None, timeout=0.0, streaming_timeout=0.0):
        id = id or self.new_id()
        payload = payload if isinstance(payload, (Payload, bytes)) else Payload(payload)
        self.send(frame(CALL, id, call_head(handler, kind, timeout, streaming_timeout), payload))
        return id

    def outcome(self, id):
        """The result's payload; events are not expected."""
        got = self.receive_for(id)
        if got.type == ERROR:
            raise JobError(got)
        require(got.type == RESULT, "frame type %d instead of a result" % got.type)
        self.timing = got.timing
        return got.payload

    def invoke(self, handler="", payload=Payload()):
        return self.outcome(self.submit(handler, payload))

    def stream(self, handler="", payload=Payload()):
        """Yields (rank, sequence, payload) of each event, then (None, None, result)."""
        yield from self.items(self.submit(handler, payload, STREAM))

    def items(self, id):
        while True:
            got = self.receive_for(id)
            if got.type == EVENT:
                rank, sequence = got.rank_and_sequence
                yield rank, sequence, got.payload
                continue
            if got.type == ERROR:
                raise JobError(got)
            require(got.type == RESULT, "a frame of a call")
            self.timing = got.timing
            yield None, None, got.payload
            return

    def cancel(self, id):
        self.send(frame(CANCEL, id))

    def cancel_call(self, call):
        """By the job's number, 0 for all; returns how many were cancelled."""
        return struct.unpack("<Q", self.answer(CANCEL_CALL, CANCELLED, struct.pack("<Q", call)).head)[0]

    def ask(self, type, answer, head=b""):
        return self.answer(type, answer, head).payload

    def answer(self, type, answer, head=b""):
        id = self.new_id()
        self.send(frame(type, id, head))
        got = self.receive_for(id)
        if got.type == ERROR:
            raise JobError(got)
        require(got.type == answer, "frame type %d answers type %d" % (got.type, type))
        return got

    def status(self, wait=False):
        return self.ask(STATUS, STATUS_REPLY, struct.pack("<B7x", wait)).json

    def ping(self):
        self.ask(PING, PONG)

    def stop(self, drain=0.0):
        """Asks the job to stop and returns when it has closed the connection, which it does when it is gone; what
        it said before that."""
        self.ask(STOP, STOPPING, struct.pack("<Q", int(drain * 1e6)))
        return self.expect_close()

    def expect_close(self):
        """Reads frames until the job closes; returns them."""
        frames = []
        try:
            while True:
                frames.append(self.receive())
        except ConnectionError:
            return frames


def connect(path, deadline=30.0):
    """Connects as soon as somebody listens at `path`."""
    end = time.monotonic() + deadline
    while True:
        try:
            return Client(path)
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > end:
                raise
            time.sleep(0.005)
