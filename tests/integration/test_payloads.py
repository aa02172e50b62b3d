# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Payloads of every size and type, and the typed look-ups."""

import json
import math
import os
import random
import time
import zlib

import strangers_client as wire
from harness import FULL, ROOM, SLOW, Skip, case, check, equal, main, memory, raises, wait_until
from strangers_client import Attachment, Payload

MEBI, GIBI = 1 << 20, 1 << 30
SIZES = [0, 1, 7, 8, 63, 64, 65, 255, 4095, 4096, 4097, 65535, 65536, 65537, MEBI - 1, MEBI, MEBI + 1, 5 * MEBI + 3]


@case("attachments of every size come back whole", ranks=(1, 2, 4), by=("launcher", "mpirun"), timeout=60)
def sizes(t):
    with t.connect() as client:
        for size in SIZES + ([64 * MEBI] if SLOW == 1 else []):
            data = os.urandom(size)
            result = client.invoke("echo", Payload({"size": size}, [Attachment("data", data)]))
            equal(result.json, {"size": size})
            check(result.attachments[0] == Attachment("data", data), "%d bytes differ" % size)


def check_made(result):
    equal(zlib.crc32(result.attachments[0].data), result.json["crc"], "checksum")


@case("a result of 64 MiB comes back whole")
def made(t):
    with t.connect() as client:
        check_made(client.invoke("make", {"size": 64 * MEBI, "seed": 3}))


@case("results that are read late are whole, though memory is used again meanwhile", ranks=(1, 2), own=True)
def read_late(t):
    t.job = t.start()
    with t.connect() as late, t.connect() as other:
        calls = [late.submit("make", {"size": 300000 + seed, "seed": seed}) for seed in range(4)]
        wait_until(lambda: other.status()["calls"]["completed"] == 4, "four results")
        for seed in range(30):
            check_made(other.invoke("make", {"size": 300000, "seed": 100 + seed}))
        for call in calls:
            check_made(late.outcome(call))
        last = late.submit("make", {"size": 100000, "seed": 7})
        wait_until(lambda: other.status()["calls"]["completed"] == 35, "one more")
        other.stop()
        check_made(late.outcome(last))
    t.job.wait()


@case("every rank sees a large payload whole", ranks=(4,))
def checksums(t):
    data = os.urandom(33 * MEBI + 5)
    crc = zlib.crc32(b"{}")
    for part in (b"x", bytes(12), data):
        crc = zlib.crc32(part, crc)
    with t.connect() as client:
        equal(client.invoke("checksum", Payload(b"{}", [Attachment("x", data)])).json["sums"], [crc] * 4)


@case("memory of large payloads is used again and rests, and every rank sees its own call's", ranks=(1, 2, 4), own=True,
      by=("launcher", "mpirun"), timeout=60)
def rooms(t):
    t.job = t.start(env={"RANKCALL_TEST_REST_MS": "20"})
    contents = [os.urandom(size) for size in (40000, 65536, MEBI, MEBI + 7, 9 * MEBI)]
    with t.connect() as one, t.connect() as other:
        for round in range(30):
            calls = []
            for client in (one, other, one, other)[:random.randint(1, 4)]:
                data = random.choice(contents)
                calls.append((client, client.submit("checksum", Payload(b"{}", [Attachment("x", data)])),
                              zlib.crc32(data, zlib.crc32(bytes(12), zlib.crc32(b"x", zlib.crc32(b"{}"))))))
            for client, call, crc in calls:
                equal(client.outcome(call).json["sums"], [crc] * t.job.ranks, "round %d" % round)
            time.sleep(random.choice((0, 0.01, 0.03, 0.05)))


@case("JSON of every length comes back byte for byte")
def json_lengths(t):
    with t.connect() as client:
        for size in list(range(0, 70)) + [4090, 65530, 3 * MEBI]:
            text = b'{"a":"' + b"x" * size + b'"}'
            equal(client.invoke("echo", Payload(text)).text, text)


@case("every type, dtype and shape comes back as it was")
def types(t):
    attachments = [Attachment("bytes", b"b" * 10), Attachment("png", b"\x89PNG not really", wire.IMAGE_PNG),
                   Attachment("jpeg", b"\xff\xd8 not really", wire.IMAGE_JPEG)]
    for dtype in range(1, 16):
        for shape in ((), (0,), (5,), (2, 3, 4), (1,) * 32, (7, 0, 9)):
            size = math.prod(shape) * wire.ITEM_SIZES[dtype]
            attachments.append(Attachment("%d-%d-%d" % (dtype, len(shape), size), os.urandom(size), wire.NDARRAY, dtype, shape))
    with t.connect() as client:
        result = client.invoke("echo", Payload(b"{}", attachments))
    equal(len(result.attachments), len(attachments))
    for got, wanted in zip(result.attachments, attachments):
        check(got == wanted, "%s: %s %s %s" % (wanted.name, got.type, got.dtype, got.shape))


@case("1,024 attachments and the longest name pass")
def many(t):
    attachments = [Attachment("n%d" % number, bytes([number % 256]) * (number % 100)) for number in range(1023)]
    attachments.append(Attachment("\u00fc" * 127 + "x", b"long"))
    with t.connect() as client:
        result = client.invoke("echo", Payload(b"{}", attachments))
    check(all(map(Attachment.__eq__, result.attachments, attachments)) and len(result.attachments) == 1024, "they differ")


@case("a payload at the cap passes, one byte more does not, nor a result", own=True)
def cap(t):
    t.job = t.start(options=("--payload-cap", "1M"))
    room = MEBI - len(Payload(b"{}", [Attachment("x", b"")]).encode())
    with t.connect() as client:
        equal(client.payload_cap, MEBI, "cap")
        fits = Payload(b"{}", [Attachment("x", bytes(room))])
        equal(len(fits.encode()), MEBI)
        equal(len(client.invoke("echo", fits).attachments[0].data), room)
        equal(client.invoke("result_refused", {"mebibytes": 2}).json,
              {"null": "invalid_argument", "bad": "bad_payload", "large": "too_large"})
        with raises("worker_error", 0, "the cap is 1048576"):
            client.invoke("make", {"size": room + 1})
        equal(client.invoke("empty").text, b"{}")
        try:
            client.send(wire.frame(wire.CALL, 9, wire.call_head("echo"), Payload(b"{}", [Attachment("x", bytes(room + 1))])))
        except (BrokenPipeError, ConnectionResetError):
            pass
        equal(client.expect_close()[0].payload.json["error"], "too_large")


@case("a payload of 3 GiB passes when the cap allows it", own=True, timeout=300, labels=("long",))
def three_gibibytes(t):
    if not FULL:
        raise Skip("only in the full run")
    with open("/proc/meminfo") as file:
        available = next(int(line.split()[1]) for line in file if line.startswith("MemAvailable")) << 10
    if available < 20 * GIBI:
        raise Skip("20 GiB of memory are needed, %.1f are available" % (available / GIBI))
    t.job = t.start(options=("--payload-cap", "4G"))
    block = os.urandom(MEBI)
    crc = 0
    size = 3 * GIBI + 12345
    head = Payload(b"{}", [Attachment("x", b"")])
    start = bytearray(head.encode())
    start[16:24] = size.to_bytes(8, "little")
    crc = zlib.crc32(b"x" + bytes(12), zlib.crc32(b"{}"))
    with t.connect() as client:
        head = wire.call_head("checksum")
        client.send(wire.HEADER.pack(wire.MAGIC, 1, wire.CALL, 0, 1, len(head), 0, len(start) + size) + head + start)
        left = size
        while left > 0:
            part = block[:min(left, MEBI)]
            client.send(part)
            crc = zlib.crc32(part, crc)
            left -= len(part)
        client.socket.settimeout(200)
        equal(client.outcome(1).json["sums"], [crc] * t.ranks)
        result = client.invoke("make", {"size": size})
        equal(len(result.attachments[0].data), size)
        equal(zlib.crc32(result.attachments[0].data), result.json["crc"])
        del result
    for pid in t.job.pids:
        check(memory(pid) < GIBI, "memory is given back after the call")


@case("memory is given back after large calls", own=True)
def given_back(t):
    t.job = t.start()
    data = Payload(b"{}", [Attachment("x", os.urandom(16 * MEBI))])
    with t.connect() as client:
        for _ in range(20):  # until the allocator has seen it all
            client.invoke("echo", data)
        before = [memory(pid) for pid in t.job.pids]
        for _ in range(10):
            client.invoke("echo", data)
        for start, pid in zip(before, t.job.pids):
            check(memory(pid) - start < ROOM * 48 * MEBI, "a rank grew by %d bytes" % (memory(pid) - start))


# (what, how, arguments, code, value or None)
LOOK_UPS = [
    ("int", "get", '{"key": 5}', "ok", 5), ("int", "get", '{"key": -9007199254740992}', "ok", -(1 << 53)),
    ("int", "get", '{"key": 5.0}', "ok", 5), ("int", "get", '{"key": 1e3}', "ok", 1000),
    ("int", "get", '{"key": 9007199254740993}', "out_of_range", 77), ("int", "get", '{"key": 1e300}', "out_of_range", 77),
    ("int", "get", '{"key": 18446744073709551616}', "out_of_range", 77), ("int", "get", '{"key": "5"}', "wrong_type", 77),
    ("int", "get", '{"key": true}', "wrong_type", 77), ("int", "get", '{"key": null}', "wrong_type", 77),
    ("int", "get", '{"key": []}', "wrong_type", 77), ("int", "get", "{}", "no_such_key", 77),
    ("int", "opt", "{}", "ok", 77), ("int", "opt", '{"key": null}', "ok", 77), ("int", "opt", '{"key": 1}', "ok", 1),
    ("int", "opt", '{"key": "x"}', "wrong_type", 77), ("int", "in", '{"key": 5, "min": 5, "max": 9}', "ok", 5),
    ("int", "in", '{"key": 4, "min": 5, "max": 9}', "out_of_range", 77),
    ("int", "in", '{"key": 10, "min": 5, "max": 9}', "out_of_range", 77), ("int", "in", "{}", "ok", 77),
    ("double", "get", '{"key": 2.5}', "ok", 2.5), ("double", "get", '{"key": 5}', "ok", 5),
    ("double", "get", '{"key": "2.5"}', "wrong_type", 77), ("double", "get", "{}", "no_such_key", 77),
    ("double", "get", '{"key": 1e400}', "out_of_range", 77), ("double", "opt", "{}", "ok", 77),
    ("double", "in", '{"key": 0.5, "min": 0, "max": 1}', "ok", 0.5),
    ("double", "in", '{"key": 1.5, "min": 0, "max": 1}', "out_of_range", 77),
    ("bool", "get", '{"key": false}', "ok", False), ("bool", "get", '{"key": 0}', "wrong_type", True),
    ("bool", "get", "{}", "no_such_key", True), ("bool", "opt", '{"key": null}', "ok", True),
    ("string", "get", '{"key": "\\u00e9\\ud83d\\ude00"}', "ok", "\u00e9\U0001f600"),
    ("string", "get", '{"key": 5}', "wrong_type", "default"), ("string", "get", "{}", "no_such_key", "default"),
    ("string", "opt", "{}", "ok", "default"), ("string", "opt", '{"key": ["x"]}', "wrong_type", "default"),
    ("doubles", "get", '{"key": [1, 2.5, -3e2]}', "ok", [1, 2.5, -300]), ("doubles", "get", '{"key": []}', "ok", []),
    ("doubles", "get", '{"key": [1, "2"]}', "wrong_type", []), ("doubles", "get", '{"key": 1}', "wrong_type", []),
    ("doubles", "get", "{}", "no_such_key", []),
]


@case("look-ups give the value or say what was found instead")
def look_ups(t):
    with t.connect() as client:
        for what, how, text, code, value in LOOK_UPS:
            body = text[1:-1].strip()
            args = '{"what": "%s", "how": "%s"%s}' % (what, how, ", " + body if body else "")
            result = client.invoke("look_up", Payload(args.encode())).json
            where = "%s %s of %s" % (how, what, text)
            equal(result["code"], code, where)
            equal(result["value"], value, where)
            check(code == "ok" or "key" in result["message"], where + ": the message is %r" % result["message"])
            equal(result["has"], json.loads(text).get("key") is not None, where + ": has")


@case("look-ups of attachments check the name, type and dtype")
def attachment_look_ups(t):
    array = Attachment("key", bytes(8), wire.NDARRAY, 11, (2,))
    with t.connect() as client:
        for attachments, how, type, dtype, code in (
                ([array], "get", 0, 0, "ok"), ([array], "of", 3, 0, "ok"), ([array], "of", 3, 11, "ok"),
                ([array], "of", 3, 12, "wrong_type"), ([array], "of", 0, 0, "wrong_type"), ([], "get", 0, 0, "no_such_key"),
                ([], "of", 3, 11, "no_such_key"), ([Attachment("kez", b"")], "get", 0, 0, "no_such_key")):
            args = {"what": "attachment", "how": how, "type": type, "dtype": dtype}
            result = client.invoke("look_up", Payload(args, attachments)).json
            equal(result["code"], code, "%s %s" % (args, [one.name for one in attachments]))
            equal(result["value"], 8 if code == "ok" else 0, "size")


main("payloads")
