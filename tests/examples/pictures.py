# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""PNG, JPEG headers and .npy without further packages, as far as the checks of the examples need them."""

import math
import struct
import zlib


class Picture:
    """8 bits a channel; `rows` are bytes without gaps."""

    def __init__(self, width, height, channels, rows):
        self.size, self.rows = (width, height, channels), rows

    def crop(self, left, top, width, height):
        channels = self.size[2]
        return [row[left * channels:(left + width) * channels] for row in self.rows[top:top + height]]


def chunks(data):
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("no PNG signature")
    at = 8
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8:at + 8 + size]
        if struct.unpack_from(">I", data, at + 8 + size)[0] != zlib.crc32(kind + body):
            raise ValueError("wrong checksum of %r" % kind)
        yield kind, body
        at += 12 + size


def unfilter(kind, row, above, step):
    """One row's filter undone, in place: PNG specification, section 9.2."""
    if kind == 2:
        row[:] = bytes((a + b) & 255 for a, b in zip(row, above))
        return
    for i, value in enumerate(row if kind else ()):
        left, up = row[i - step] if i >= step else 0, above[i]
        if kind == 1:
            guess = left
        elif kind == 3:
            guess = (left + up) // 2
        else:
            corner = above[i - step] if i >= step else 0
            a, b, c = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
            guess = left if a <= b and a <= c else up if b <= c else corner
        row[i] = (value + guess) & 255


def read_png(data):
    """Grey and RGB pictures of 8 bits, not interlaced."""
    parts = list(chunks(data))
    if parts[0][0] != b"IHDR" or parts[-1][0] != b"IEND":
        raise ValueError("a PNG without its first or last chunk")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", parts[0][1])
    if depth != 8 or colour not in (0, 2) or interlaced:
        raise ValueError("a PNG of another kind: depth %d, colour %d" % (depth, colour))
    channels = 3 if colour == 2 else 1
    raw = zlib.decompress(b"".join(body for kind, body in parts if kind == b"IDAT"))
    pitch = width * channels
    if len(raw) != height * (pitch + 1):
        raise ValueError("a PNG with %d bytes of pixels, not %d" % (len(raw), height * (pitch + 1)))
    rows, above = [], bytes(pitch)
    for y in range(height):
        row = bytearray(raw[y * (pitch + 1) + 1:(y + 1) * (pitch + 1)])
        unfilter(raw[y * (pitch + 1)], row, above, channels)
        rows.append(bytes(row))
        above = row
    return Picture(width, height, channels, rows)


def write_png(width, height, colour, raw):
    """A PNG whose header says that size, with `raw` as its rows, right or wrong. `colour`: 0 grey, 2 RGB."""
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))


def psnr(one, other):
    """In dB."""
    if one.size != other.size:
        raise ValueError("sizes differ: %s, %s" % (one.size, other.size))
    total = sum((a - b) ** 2 for rows in zip(one.rows, other.rows) for a, b in zip(*rows))
    return 10 * math.log10(255 ** 2 * math.prod(one.size) / total)


def jpeg_size(data):
    """Width, height and channels, from the frame header; the file must have its end."""
    if data[:2] != b"\xff\xd8" or data[-2:] != b"\xff\xd9":
        raise ValueError("no whole JPEG")
    at = 2
    while data[at + 1] not in (0xC0, 0xC1, 0xC2):
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    height, width, channels = struct.unpack_from(">HHB", data, at + 5)
    return width, height, channels


def flip(data, at):
    """The data with one bit turned over."""
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1:]


def write_npy(path, dtype, shape, values):
    """A NumPy file, version 1.0. `dtype`: "|u1" or "<f8"."""
    header = str({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    body = bytes(values) if dtype == "|u1" else struct.pack("<%dd" % len(values), *values)
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body)
