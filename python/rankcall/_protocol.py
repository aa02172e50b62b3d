# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""The bytes on the socket: frames, heads and payloads, as the protocol's document has them."""

from __future__ import annotations

import struct
from typing import List, NamedTuple, Sequence, Tuple

from rankcall._attachment import ITEM_SIZES, NDARRAY, Attachment, Buffer

MAGIC = b"RKCL"
VERSION = 1
HELLO, WELCOME, CALL, CANCEL, EVENT, RESULT, ERROR, STATUS, STATUS_REPLY, PING, PONG, STOP, STOPPING = range(1, 14)
CANCEL_CALL, AWAY, RESUMED, CANCELLED = 14, 15, 16, 17
SMALLEST_HEADS = {
    WELCOME: 24,
    EVENT: 16,
    RESULT: 0,
    ERROR: 8,
    STATUS_REPLY: 0,
    PONG: 0,
    STOPPING: 0,
    AWAY: 16,
    CANCELLED: 8,
}
INVOKE, STREAM = 0, 1
RESUME = 1  # the feature
IDEMPOTENT, SUBMITTED, PATIENT = 1, 2, 8  # flags of a CALL
MAX_HEAD = 4096
MAX_ATTACHMENTS = 1024
MAX_MICROSECONDS = (1 << 63) - 1

HEADER = struct.Struct("<4sBBHQIIQ")
HEADER_SIZE = HEADER.size
_CALL = struct.Struct("<BBHIQQ")
_ENTRY = struct.Struct("<QHBBB3x")
_COUNTS = struct.Struct("<II")
_WELCOME = struct.Struct("<HHIQQ")
_RESUMED = struct.Struct("<QQQI")
_TIMING = struct.Struct("<QQQQQQi")


class ProtocolError(Exception):
    """The job sent bytes that are not the protocol."""


class Header(NamedTuple):
    type: int
    id: int
    head_size: int
    payload_size: int


class Welcome(NamedTuple):
    world_size: int
    features: int
    payload_cap: int
    token: int = 0
    begun: int = 0
    clock: float = 0.0  # seconds of the job's clock
    times: int = 0


class Timing(NamedTuple):
    """Where a call's time went, in seconds, as the job measured it."""

    queued: float
    broadcast: float
    handler_min: float
    handler_max: float
    reply: float
    call: int
    slowest_rank: int


def frame_header(type: int, id: int = 0, head: bytes = b"", payload_size: int = 0) -> bytes:
    return HEADER.pack(MAGIC, VERSION, type, 0, id, len(head), 0, payload_size) + head


def parse_header(data: Buffer) -> Header:
    magic, version, type, flags, id, head_size, reserved, payload_size = HEADER.unpack_from(data)
    if magic != MAGIC or version != VERSION or flags or reserved:
        raise ProtocolError("a frame's header is not the protocol's")
    if not SMALLEST_HEADS.get(type, MAX_HEAD + 1) <= head_size <= MAX_HEAD:
        raise ProtocolError("a frame of type %d with a head of %d bytes" % (type, head_size))
    return Header(type, id, head_size, payload_size)


def hello_frame(token: int) -> bytes:
    json = b'{"client":"rankcall for Python"}'
    payload = b"".join(encode_payload(json, ()))
    return frame_header(HELLO, 0, struct.pack("<HHIQQ", 1, VERSION, 0, RESUME, token), len(payload)) + payload


def microseconds(seconds: float) -> int:
    """At least one: 0 means no limit on the wire."""
    return max(1, min(int(seconds * 1e6), MAX_MICROSECONDS))


def call_head(
    handler: bytes,
    kind: int,
    timeout_us: int,
    streaming_timeout_us: int,
    idempotent: bool = False,
    begun: int = 0,
    submitted_us: int = -1,
    patient: bool = False,
) -> bytes:
    flags = (IDEMPOTENT if idempotent else 0) | (SUBMITTED if submitted_us >= 0 else 0) | (PATIENT if patient else 0)
    head = _CALL.pack(kind, flags, len(handler), begun, timeout_us, streaming_timeout_us) + handler
    return head + struct.pack("<Q", submitted_us) if submitted_us >= 0 else head


def parse_welcome(head: Buffer) -> Welcome:
    version, _, world_size, features, cap = _WELCOME.unpack_from(head)
    if version != VERSION or world_size == 0:
        raise ProtocolError("a welcome of version %d for %d ranks" % (version, world_size))
    if not features & RESUME or len(head) < 24 + _RESUMED.size:
        return Welcome(world_size, features, cap)
    token, begun, clock, times = _RESUMED.unpack_from(head, 24)
    return Welcome(world_size, features, cap, token, begun, clock / 1e6, times)


def parse_away(head: Buffer) -> Tuple[int, int]:
    """How many calls had begun (the highest id), and how often that one."""
    begun, times = struct.unpack_from("<QI", head)
    return begun, times


def parse_error(head: Buffer) -> Tuple[int, int]:
    """Code and rank."""
    code, rank = struct.unpack_from("<Ii", head)
    return code, rank


def parse_event(head: Buffer) -> Tuple[int, int]:
    """Rank and sequence number."""
    rank, _, sequence = struct.unpack_from("<IIQ", head)
    return rank, sequence


def parse_timing(head: Buffer) -> "Timing | None":
    if len(head) < _TIMING.size:
        return None
    queued, broadcast, fastest, longest, reply, call, slowest = _TIMING.unpack_from(head)
    return Timing(queued / 1e6, broadcast / 1e6, fastest / 1e6, longest / 1e6, reply / 1e6, call, slowest)


# ---- Payloads ----


def encode_payload(json: bytes, attachments: Sequence[Attachment]) -> List[Buffer]:
    """The pieces of a payload, in their order; attachments' data is not copied."""
    start = _COUNTS.pack(len(json), len(attachments)) + json + bytes(8 - len(json) % 8)
    if not attachments:
        return [start]
    table = bytearray(start)
    for one in attachments:
        name = one.name.encode()
        table += _ENTRY.pack(len(one.data), len(name), one.type, one.dtype, len(one.shape))
        if one.shape:
            table += struct.pack("<%dQ" % len(one.shape), *one.shape)
        table += name
        table += bytes(-len(table) % 8)
    pieces: List[Buffer] = [table]
    size = len(table)
    for one in attachments:
        padding = -size % 64
        if padding:
            pieces.append(bytes(padding))
        if len(one.data):
            pieces.append(one.data)
        size += padding + len(one.data)
    return pieces


def payload_size(pieces: Sequence[Buffer]) -> int:
    return sum(map(len, pieces))


def decode_payload(data: Buffer) -> Tuple[bytes, List[Attachment]]:
    """The JSON text and the attachments, whose data are views of the payload."""
    view = memoryview(data)
    if not len(view):
        return b"{}", []
    try:
        return _decode(view)
    except (struct.error, UnicodeDecodeError, IndexError) as error:
        raise ProtocolError("a payload is not the protocol's: %s" % error) from error


def _decode(view: memoryview) -> Tuple[bytes, List[Attachment]]:
    json_size, count = _COUNTS.unpack_from(view)
    at = 8 + json_size
    if at >= len(view) or count > MAX_ATTACHMENTS:
        raise ProtocolError("a payload's JSON or table is larger than the payload")
    json = bytes(view[8:at])
    if not count:
        return json, []
    at += 8 - at % 8
    sizes = []
    attachments = []
    for _ in range(count):
        size, name_size, kind, dtype, ndim = _ENTRY.unpack_from(view, at)
        shape = struct.unpack_from("<%dQ" % ndim, view, at + 16) if ndim else ()
        at += 16 + 8 * ndim
        name = str(view[at : at + name_size], "utf-8")
        at += name_size
        at += -at % 8
        if kind > NDARRAY or (kind == NDARRAY) != (0 < dtype < len(ITEM_SIZES)):
            raise ProtocolError('the attachment "%s" has an unknown type' % name)
        if kind == NDARRAY and _product(shape) * ITEM_SIZES[dtype] != size:
            raise ProtocolError('the array "%s" has another size than its shape' % name)
        sizes.append(size)
        attachments.append(Attachment(name, kind, dtype, shape, b""))
    for one, size in zip(attachments, sizes):
        at += -at % 64
        one.data = view[at : at + size]
        at += size
    if at != len(view):
        raise ProtocolError("a payload of %d bytes whose parts have %d" % (len(view), at))
    return json, attachments


def _product(shape: Sequence[int]) -> int:
    result = 1
    for size in shape:
        result *= size
    return result
