# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Bytes that are not the protocol: each gets one clear error, and the job goes on as if nothing had been."""

import json
import random
import socket
import struct

import strangers_client as wire
from harness import ROOM, SLOW, case, check, descriptors, equal, main, memory, raises
from strangers_client import HEADER, MAGIC, Attachment, Client, JobError, Payload, call_head, frame, hello

PROTOCOL = ("protocol_error",)
BAD_PAYLOAD = ("bad_payload", "too_large")
HUGE = (1 << 64) - 1


def header(magic=MAGIC, version=1, type=wire.CALL, flags=0, id=5, head=0, reserved=0, payload=0):
    return HEADER.pack(magic, version, type, flags, id, head, reserved, payload)


def padded(text):
    return struct.pack("<II", len(text), 0) + text + bytes(8 - len(text) % 8)


# Sent after a good HELLO; each must be answered by an ERROR with one of these codes and the end of the connection.
BAD_FRAMES = {
    "bad magic": (header(magic=b"RKCM"), PROTOCOL),
    "no magic at all": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", PROTOCOL),
    "version 0": (header(version=0), PROTOCOL),
    "version 2": (header(version=2), PROTOCOL),
    "version 255": (header(version=255), PROTOCOL),
    "type 0": (header(type=0), PROTOCOL),
    "type 18": (header(type=18), PROTOCOL),
    "type 255": (header(type=255), PROTOCOL),
    "flags": (header(flags=1, head=24) + call_head(), PROTOCOL),
    "reserved header bytes": (header(reserved=1, head=24) + call_head(), PROTOCOL),
    "a head above its cap": (header(head=4097), PROTOCOL),
    "a huge head": (header(head=0xffffffff), PROTOCOL),
    "a head too short for its type": (header(head=23) + bytes(23), PROTOCOL),
    "a payload of one byte above the cap": (header(head=24, payload=(1 << 30) + 1), ("too_large",)),
    "a payload of 2 to the 64 minus 1": (header(head=24, payload=HUGE), ("too_large",)),
    "a payload on a PING": (header(type=wire.PING, payload=8) + bytes(8), PROTOCOL),
    "a payload on a CANCEL": (header(type=wire.CANCEL, payload=8) + bytes(8), PROTOCOL),
    "a huge payload on a STATUS": (header(type=wire.STATUS, head=8, payload=HUGE) + bytes(8), PROTOCOL + ("too_large",)),
    "a second HELLO": (hello(), PROTOCOL),
    "a WELCOME from a client": (frame(wire.WELCOME, 0, bytes(24)), PROTOCOL),
    "an EVENT from a client": (frame(wire.EVENT, 1, bytes(16)), PROTOCOL),
    "a RESULT from a client": (frame(wire.RESULT, 1), PROTOCOL),
    "an ERROR from a client": (frame(wire.ERROR, 1, bytes(8)), PROTOCOL),
    "a PONG from a client": (frame(wire.PONG, 1), PROTOCOL),
    "a CANCELLED from a client": (frame(wire.CANCELLED, 1, bytes(8)), PROTOCOL),
    "a CANCEL_CALL without a number": (frame(wire.CANCEL_CALL, 1), PROTOCOL),
    "a CALL with id 0": (frame(wire.CALL, 0, call_head("empty")), PROTOCOL + ("invalid_argument",)),
    "a CALL of unknown kind": (frame(wire.CALL, 5, b"\2" + call_head("empty")[1:]), PROTOCOL),
    "a handler's name longer than its head": (frame(wire.CALL, 5, struct.pack("<BBHIQQ", 0, 0, 200, 0, 0, 0)), PROTOCOL),
    "a handler's name of 256 bytes": (frame(wire.CALL, 5, call_head("n" * 256)), PROTOCOL),
    "a handler's name that is no UTF-8": (frame(wire.CALL, 5, call_head(b"\xff\xfe")), PROTOCOL),
    "a handler's name with a NUL": (frame(wire.CALL, 5, call_head(b"em\0ty")), PROTOCOL),
}

# As the payload of a CALL of "echo": each must be answered by bad_payload with the call's id, and the connection goes on.
BAD_JSON = {
    "empty text": b"", "a blank": b" ", "an array": b"[]", "a string": b'"a"', "a number": b"1", "null": b"null",
    "half an object": b'{"a": 1', "a trailing comma": b'{"a": 1,}', "two objects": b"{}{}", "text behind": b"{} x",
    "NaN": b'{"a": NaN}', "Infinity": b'{"a": Infinity}', "minus Infinity": b'{"a": -Infinity}', "nan": b'{"a": nan}',
    "a hex number": b'{"a": 0x10}', "a leading zero": b'{"a": 01}', "a plus": b'{"a": +1}', "a bare point": b'{"a": .5}',
    "a point at the end": b'{"a": 1.}', "half an exponent": b'{"a": 1e}', "a minus alone": b'{"a": -}',
    "True": b'{"a": True}', "a name without quotes": b"{a: 1}", "single quotes": b"{'a': 1}", "a comment": b"{/**/}",
    "duplicate keys": b'{"a": 1, "a": 2}', "duplicate keys inside": b'{"x": [{"a": 1, "b": 2, "a": 3}]}',
    "duplicate keys, one escaped": b'{"a": 1, "\\u0061": 2}', "duplicate empty keys": b'{"": 1, "": 2}',
    "invalid UTF-8": b'{"a": "\xff"}', "invalid UTF-8 in a key": b'{"\xc3\x28": 1}', "overlong UTF-8": b'{"a": "\xc0\x80"}',
    "a surrogate in UTF-8": b'{"a": "\xed\xa0\x80"}', "beyond Unicode": b'{"a": "\xf4\x90\x80\x80"}',
    "cut UTF-8": b'{"a": "\xe2\x82"}', "a byte order mark": b"\xef\xbb\xbf{}", "UTF-16": "{}".encode("utf-16-le"),
    "a lone surrogate escape": b'{"a": "\\ud800"}', "a lone low surrogate escape": b'{"a": "\\udc00"}',
    "a NUL": b'{"a": "\0"}', "a NUL behind": b"{}\0", "a control character": b'{"a": "\n"}', "a bad escape": b'{"a": "\\x"}',
    "half a \\u": b'{"a": "\\u12"}', "an open string": b'{"a": "',
    "65 levels": b'{"a":' * 65 + b"1" + b"}" * 65, "65 levels of arrays": b'{"a":' + b"[" * 64 + b"]" * 64 + b"}",
    "a million open brackets": b'{"a":' + b"[" * 1000000, "a million open braces": b'{"a":' * 200000,
}


def entry(data_size=0, name=b"a", type=0, dtype=0, shape=(), ndim=None, name_size=None, zeros=b"\0\0\0"):
    ndim = len(shape) if ndim is None else ndim
    out = struct.pack("<QHBBB", data_size, len(name) if name_size is None else name_size, type, dtype, ndim) + zeros
    out += struct.pack("<%dQ" % len(shape), *shape) + name
    return out + bytes(-len(out) % 8)


def table(entries, data=b"", count=None, text=b"{}"):
    out = struct.pack("<II", len(text), len(entries) if count is None else count) + text + bytes(8 - len(text) % 8)
    out += b"".join(entries)
    return out + bytes(-len(out) % 64) + data if data or entries else out


NDARRAY = {"type": wire.NDARRAY, "dtype": 11}
BAD_TABLES = {
    "one byte": b"\0", "seven bytes": bytes(7), "JSON longer than the payload": struct.pack("<II", 100, 0) + b"{}" + bytes(6),
    "JSON of 4 GiB": struct.pack("<II", 0xffffffff, 0) + b"{}" + bytes(6),
    "JSON without its zero byte": struct.pack("<II", 8, 0) + b'{"a": 1}',
    "padding that is not zero": struct.pack("<II", 2, 0) + b"{}\0\0\0\0\0\1", "padding too long": padded(b"{}") + bytes(8),
    "bytes behind": padded(b"{}") + b"x", "attachments that are not there": table([], count=1),
    "1,025 attachments": table([], count=1025) + bytes(100000), "4 billion attachments": table([], count=0xffffffff),
    "data longer than the payload": table([entry(1000)], bytes(999)), "data of 2 to the 64 minus 1": table([entry(HUGE)]),
    "data of 2 to the 63": table([entry(1 << 63)], bytes(64)),
    "two that overflow together": table([entry(1 << 63), entry(1 << 63, b"b")], bytes(64)),
    "data shorter than the payload": table([entry(64)], bytes(65)), "a name of no bytes": table([entry(1, b"")], b"x"),
    "a name longer than the payload": table([entry(1, name_size=255)], b"x"),
    "a name of 256 bytes": table([entry(1, b"n" * 256)], b"x"), "a name of 65,535 bytes": table([entry(1, name_size=65535)], b"x"),
    "a name that is no UTF-8": table([entry(1, b"\xff")], b"x"), "a name with a NUL": table([entry(1, b"a\0b")], b"x"),
    "the same name twice": table([entry(1), entry(1)], b"x" + bytes(63) + b"y"), "an unknown type": table([entry(1, type=4)], b"x"),
    "type 255": table([entry(1, type=255)], b"x"), "bytes with a dtype": table([entry(1, dtype=1)], b"x"),
    "bytes with a shape": table([entry(1, shape=(1,))], b"x"), "an image with a shape": table([entry(1, type=1, shape=(1,))], b"x"),
    "an ndarray without a dtype": table([entry(4, type=3, shape=(1,))], bytes(4)),
    "an unknown dtype": table([entry(4, type=3, dtype=16, shape=(1,))], bytes(4)),
    "dtype 255": table([entry(4, type=3, dtype=255, shape=(1,))], bytes(4)),
    "a shape too small": table([entry(8, **NDARRAY, shape=(1,))], bytes(8)),
    "a shape too large": table([entry(4, **NDARRAY, shape=(2,))], bytes(4)),
    "a shape that overflows": table([entry(4, **NDARRAY, shape=(1 << 62, 1 << 62))], bytes(4)),
    "a shape that overflows to its size": table([entry(4, **NDARRAY, shape=(1 << 32, 1 << 32, 1))], bytes(4)),
    "a shape that wraps to a right size": table([entry(4, **NDARRAY, shape=((1 << 62) + 1,))], bytes(4)),
    "33 dimensions": table([entry(4, **NDARRAY, shape=(1,) * 33)], bytes(4)),
    "255 dimensions that are not there": table([entry(4, **NDARRAY, ndim=255)], bytes(4)),
    "reserved bytes in an entry": table([entry(1, zeros=b"\0\0\1")], b"x"),
    "padding before data that is not zero": table([entry(1)])[:-1] + b"\1x",
    "padding after a name that is not zero": table([entry(1, b"a")[:-1] + b"\1"], b"x"),
}


def answer_of(job, data, greet=True):
    """Sends; returns the frames up to the connection's end."""
    with Client(job.path, 20 * SLOW, greet) as client:
        client.send(data)
        client.socket.shutdown(socket.SHUT_WR)
        return client.expect_close()


def expect_refusal(job, name, data, codes, greet=True):
    with Client(job.path, 20 * SLOW, greet) as client:
        try:
            client.send(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before the last byte
        frames = client.expect_close()
    check(frames and frames[-1].type == wire.ERROR, "%s: no error but %s" % (name, [one.type for one in frames]))
    equal(len(frames), 1, name + ": frames")
    body = frames[0].payload.json
    check(body["error"] in codes and body["message"], "%s: answered by %s" % (name, body))


def good_call(job):
    with job.connect() as client:
        equal(client.invoke("sum", {"value": 1}).json, {"sum": job.ranks * (job.ranks + 1) / 2}, "a good call after it")


@case("bad frames end their connection with one clear error")
def bad_frames(t):
    for name, (data, codes) in BAD_FRAMES.items():
        expect_refusal(t.job, name, data, codes)
        good_call(t.job)


@case("nothing is served before the HELLO")
def before_hello(t):
    for name, data in {"CALL": frame(wire.CALL, 1, call_head("empty")), "STATUS": frame(wire.STATUS, 1, bytes(8)),
                       "PING": frame(wire.PING, 1), "STOP": frame(wire.STOP, 1, bytes(8)),
                       "CANCEL": frame(wire.CANCEL, 1), "bytes": b"\0" * 64,
                       "a large CALL": header(head=24, payload=1 << 29) + call_head()}.items():
        expect_refusal(t.job, name + " before HELLO", data, PROTOCOL, greet=False)
    good_call(t.job)


@case("a HELLO without a common version is refused by name")
def versions(t):
    for low, high in ((2, 3), (2, 65535), (0, 0)):
        expect_refusal(t.job, "versions %d to %d" % (low, high), hello(low, high), PROTOCOL, greet=False)
    expect_refusal(t.job, "a range upside down", hello(2, 1), PROTOCOL, greet=False)


@case("a HELLO of the future is welcome: newer versions too, unknown features, a longer head")
def future(t):
    longer = struct.pack("<HHIQ", 1, 9, 0, HUGE) + b"more to come"
    for data in (hello(1, 9), hello(features=HUGE), frame(wire.HELLO, 0, longer), hello(payload=Payload({"client": "x"}))):
        with Client(t.job.path, greet=False) as client:
            client.features = HUGE  # what the job knows of them
            client.send(data)
            client.greeting()
            equal(client.invoke("empty").text, b"{}")


@case("bad JSON is refused with the byte, and the connection goes on")
def bad_json(t):
    with t.connect() as client:
        for name, text in BAD_JSON.items():
            id = client.submit("echo", padded(text))
            try:
                client.outcome(id)
            except JobError as error:
                equal(error.name, "bad_payload", name)
                check(error.body["message"], name + ": no message")
                continue
            raise AssertionError("%s was accepted" % name)
        with raises("bad_payload", text="17"):
            client.outcome(client.submit("echo", padded(b'{"a": 1, "b": 2, x}')))
        equal(client.invoke("echo", {"fine": 1}).json, {"fine": 1})


@case("attachment tables that lie are refused, and the connection goes on")
def bad_tables(t):
    with t.connect() as client:
        for name, data in BAD_TABLES.items():
            id = client.submit("echo", data)
            try:
                client.outcome(id)
            except JobError as error:
                check(error.name in BAD_PAYLOAD and error.body["message"], "%s: %s" % (name, error))
                continue
            raise AssertionError("%s was accepted" % name)
        equal(client.invoke("echo", {"fine": 1}).json, {"fine": 1})


@case("JSON at the limits is accepted")
def good_json(t):
    with t.connect() as client:
        for text in (b'{"a":' * 64 + b"1" + b"}" * 64, b'{"a":' + b"[" * 63 + b"]" * 63 + b"}", b" \t\r\n{ } \n",
                     b'{"a": -0, "b": 1E+400, "c": 1e-999, "d": 123456789012345678901234567890}',
                     b'{"\\ud83d\\ude00": "\\u0000", "\xf0\x9f\x98\x80x": "\xef\xbf\xbf"}', b'{"a/b": 1, "~": "\x7f"}'):
            equal(client.invoke("echo", Payload(text)).text, text)


@case("a duplicate call id ends the connection")
def duplicate(t):
    with t.connect() as client:
        items = client.items(client.submit("wait", kind=wire.STREAM, id=7))
        next(items)
        client.submit("empty", id=7)
        frames = client.expect_close()
        errors = [one.payload.json["error"] for one in frames if one.type == wire.ERROR and one.id in (0, 7)]
        check("invalid_argument" in errors or "protocol_error" in errors, "answered by %s" % errors)
    good_call(t.job)


@case("an id may be used again when its call has ended")
def id_again(t):
    with t.connect() as client:
        for _ in range(3):
            equal(client.outcome(client.submit("echo", {"n": 1}, id=HUGE)).json, {"n": 1})


@case("cancelling what never was is harmless")
def cancel_nothing(t):
    with t.connect() as client:
        client.cancel(99)
        equal(client.invoke("empty").text, b"{}")


@case("frames cut at every byte leave nothing behind")
def truncated(t):
    whole = hello() + frame(wire.CALL, 1, call_head("echo"), Payload({"a": 1}, [Attachment("x", b"1234")]))
    for size in range(len(whole)):
        answer_of(t.job, whole[:size], greet=False)
    good_call(t.job)


@case("a frame sent byte by byte is a frame")
def byte_by_byte(t):
    with Client(t.job.path, greet=False) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        for data in (hello(), frame(wire.CALL, 3, call_head("echo"), Payload({"a": 1}, [Attachment("x", b"1234" * 50)]))):
            for at in range(len(data)):
                client.send(data[at:at + 1])
        client.greeting()
        equal(client.outcome(3).json, {"a": 1})


@case("a client that stops within a frame disturbs nobody")
def stuck(t):
    whole = frame(wire.CALL, 1, call_head("echo"), Payload({"a": 1}, [Attachment("x", bytes(100000))]))
    stuck_ones = []
    for size in (1, 31, 32, 40, 60, 100, 5000, len(whole) - 1):
        stuck_ones.append(Client(t.job.path))
        stuck_ones[-1].send(whole[:size])
        good_call(t.job)
    for client in stuck_ones:
        client.close()


@case("flipped bits never harm the job", timeout=60)
def flipped(t):
    whole = frame(wire.CALL, 1, call_head("echo"), Payload({"a": [1, "two"]}, [Attachment("x", bytes(16), wire.NDARRAY, 11, (2, 2))]))
    positions = range(8 * len(whole)) if SLOW == 1 else range(0, 8 * len(whole), 7)
    for bit in positions:
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        frames = answer_of(t.job, bytes(data))
        kinds = [one.type for one in frames]
        check(set(kinds) <= {wire.RESULT, wire.ERROR, wire.STOPPING, wire.EVENT}, "bit %d: frames %s" % (bit, kinds))
    good_call(t.job)


@case("random bytes are refused")
def random_bytes(t):
    generator = random.Random(1)
    for _ in range(200):
        noise = generator.randbytes(generator.randrange(1, 300))
        answer_of(t.job, noise, greet=False)
        answer_of(t.job, MAGIC + b"\1" + noise)
    good_call(t.job)


@case("one connection may make many mistakes in a row, and each has its answer")
def many_mistakes(t):
    with t.connect() as client:
        ids = [client.submit("echo", padded(b'{"a": NaN}')) for _ in range(500)]
        good = client.submit("echo", {"good": 1})
        for id in ids:
            with raises("bad_payload"):
                client.outcome(id)
        equal(client.outcome(good).json, {"good": 1})


def abuse(job):
    """A round of everything above that is quick."""
    for name, (data, codes) in BAD_FRAMES.items():
        expect_refusal(job, name, data, codes)
    with job.connect() as client:
        for data in [padded(text) for text in BAD_JSON.values()] + list(BAD_TABLES.values()):
            equal(client.receive_for(client.submit("echo", data)).type, wire.ERROR)
    for _ in range(20):  # promises of much that never comes
        with Client(job.path) as client:
            client.send(header(head=24, payload=1 << 29) + call_head("")[:24] + bytes(5000))
        with Client(job.path) as client:
            client.send(frame(wire.CALL, 1, call_head("empty"))[:-3])


def open_descriptors(job):
    """Rank 0's, with one client that asks and no other."""
    with job.connect() as client:
        job.wait_alone(client)
        return descriptors(job.pids[0])


@case("rank 0's memory and descriptors do not grow under abuse", own=True, timeout=60)
def growth(t):
    t.job = t.start()
    pid = t.job.pids[0]
    abuse(t.job)
    good_call(t.job)
    before, open_before = memory(pid), open_descriptors(t.job)
    for _ in range(5):
        abuse(t.job)
    equal(open_descriptors(t.job), open_before, "open descriptors")
    grown = memory(pid) - before
    check(grown < ROOM * (4 << 20), "rank 0 grew by %d bytes" % grown)


@case("promised bytes take no memory before they come", own=True)
def promises(t):
    t.job = t.start()
    pid = t.job.pids[0]
    good_call(t.job)
    before = memory(pid)
    clients = []
    for _ in range(50):
        clients.append(Client(t.job.path))
        clients[-1].send(header(head=28, payload=1 << 30) + call_head("echo"))
    good_call(t.job)
    check(memory(pid) - before < ROOM * (64 << 20), "rank 0 took %d bytes for promises" % (memory(pid) - before))
    for client in clients:
        client.close()
    good_call(t.job)


@case("JSON made to be slow is checked in no time", timeout=60)
def slow_json(t):
    keys = json.dumps({"k%d" % i: i for i in range(200000)}).encode()
    long = b'{"a":"' + b"\\u00e9" * 500000 + b'"}'
    with t.connect() as client, t.connect() as other:
        for text in (keys, long, b'{"a":[' + b"{}," * 1000000 + b"1]}"):
            id = client.submit("checksum", Payload(text))
            other.ping()  # answered while the text is read
            equal(len(client.outcome(id).json["sums"]), t.ranks)


main("hostile bytes")
