# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""doc/protocol.md held against the stranger's client and a job."""

import os
import re
import struct

import strangers_client as wire
from harness import Skip, case, check, equal, main
from strangers_client import HEADER, NDARRAY, Attachment, Payload

DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "doc", "protocol.md")


def text_of_document():
    if not os.path.exists(DOCUMENT):
        raise Skip("doc/protocol.md is not beside the tests")
    with open(DOCUMENT, encoding="utf-8") as file:
        return file.read()


def hex_frames():
    """The frames of the conversation in hex; the offsets before the bytes must be right."""
    frames = []
    for block in re.findall(r"```hex\n(.*?)```", text_of_document(), re.DOTALL):
        data = bytearray()
        for line in block.splitlines():
            offset, _, rest = line.partition("  ")
            equal(int(offset, 16), len(data), "offset in: " + line)
            data += bytes.fromhex(rest.partition(";")[0])
        frames.append(bytes(data))
    return frames


def parse(data):
    magic, version, type, flags, id, head_size, reserved, size = HEADER.unpack_from(data)
    equal((magic, version, flags, reserved), (wire.MAGIC, 1, 0, 0), "a header")
    equal(len(data), HEADER.size + head_size + size, "a frame's size")
    head = data[HEADER.size:HEADER.size + head_size]
    return wire.Frame(type, id, head, data[HEADER.size + head_size:])


@case("the document's frames are those that a client makes and reads")
def conversation(t):
    frames = hex_frames()
    parsed = [parse(data) for data in frames]
    equal([one.type for one in parsed],
          [wire.HELLO, wire.WELCOME, wire.CALL, wire.EVENT, wire.RESULT, wire.CALL, wire.ERROR], "types")
    equal(frames[0], wire.hello(payload=Payload({"client": "example"})), "HELLO")
    image = Attachment("image", bytes(range(1, 7)), NDARRAY, 6, (2, 3))
    call = wire.frame(wire.CALL, 1, wire.call_head("brighten", wire.STREAM, timeout=30), Payload({"brightness": 2}, [image]))
    equal(frames[2], call, "CALL")
    equal(parsed[3].rank_and_sequence, (1, 0), "EVENT")
    equal((parsed[3].payload.json, parsed[4].payload.json), ({"progress": 0.5}, {"mean": 5.5}), "payloads")
    equal(frames[5], wire.frame(wire.CALL, 2, wire.call_head("dark")), "the second CALL")
    error = wire.JobError(parsed[6])
    equal((error.number, error.rank, error.name), (10, -1, "no_handler"), "ERROR")
    equal(parsed[1].payload.json["world_size"], struct.unpack_from("<I", parsed[1].head, 4)[0], "WELCOME")


@case("the document's client frames are answered by a job as it says")
def played(t):
    frames = hex_frames()
    with wire.Client(t.job.path, greet=False) as client:
        client.send(frames[0])
        client.greeting()
        for number in (2, 5):
            client.send(frames[number])
            answer = client.receive()
            equal((answer.type, answer.id), (wire.ERROR, parse(frames[number]).id), "the answer")
            equal(wire.JobError(answer).name, "no_handler", "the answer")


@case("the keys of WELCOME and STATUS_REPLY are the document's")
def keys(t):
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", text_of_document().split("\n## Status\n")[1], re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"\w+", row)}
    with t.connect() as client:
        equal(set(client.status()), documented - {"restart"}, "keys of the status")  # that one: when there is no rank 0
        equal(set(client.welcome), {"job", "worker", "version", "pid", "host", "socket", "world_size", "handlers", "bell"}, "WELCOME")


@case("the codes are the document's")
def codes(t):
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (\d+) \|", text_of_document(), re.MULTILINE)
    equal([int(row[0]) for row in rows], list(range(25)), "the table's codes")
    with t.connect() as client:
        for handler, payload, name in (("nosuch", b"", "no_handler"), ("fail", b"", "worker_error"), ("echo", b"x", "bad_payload")):
            answer = client.receive_for(client.submit(handler, payload))
            error = wire.JobError(answer)
            equal(error.name, name, handler)
            check((str(error.number), name) in [row[:2] for row in rows], "%d is not %s's code" % (error.number, name))


main("protocol")
