# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""What an attachment of a payload is, with the numbers of the protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Tuple, Union

MARKER = "$rankcall"  # the reserved key of marker objects
PACK = "$packed"  # the attachment that holds what came after the last possible one

BYTES, PNG, JPEG, NDARRAY = range(4)
BFLOAT16 = 15
# number: name in NumPy and torch
DTYPES: Dict[int, str] = {
    1: "bool",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "uint8",
    7: "uint16",
    8: "uint32",
    9: "uint64",
    10: "float16",
    11: "float32",
    12: "float64",
    13: "complex64",
    14: "complex128",
    BFLOAT16: "bfloat16",
}
NUMBERS: Dict[str, int] = {name: number for number, name in DTYPES.items()}
ITEM_SIZES = (0, 1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 4, 8, 8, 16, 2)

Buffer = Union[bytes, bytearray, memoryview, Any]


@dataclass
class Attachment:
    """A named piece of binary data of a payload.

    Attributes:
        name: unique in its payload, 1 to 255 bytes of UTF-8.
        type: ``BYTES``, ``PNG``, ``JPEG`` or ``NDARRAY``.
        dtype: an ndarray's element type, a key of ``DTYPES``, else 0.
        shape: an ndarray's dimensions, else empty.
        data: the bytes, contiguous.
    """

    name: str
    type: int
    dtype: int
    shape: Tuple[int, ...]
    data: Buffer
