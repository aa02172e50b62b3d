# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Server-Sent Events: `data: {json}` blocks that a browser's EventSource understands.

Pictures, arrays and tensors become objects with a data URL: ``content_type``, ``width`` and ``height`` or ``shape`` and
``dtype``, ``data`` (null) and ``url``.
"""

from __future__ import annotations

import base64
import io
import json
import math
from typing import Any, Dict, Sequence, Tuple

from rankcall._attachment import JPEG, PNG, Attachment
from rankcall._unflatten import Unflattener


def text_event(text: bytes, attachments: Sequence[Attachment]) -> bytes:
    """The block of one event or result, from its payload."""
    value = _Shown(attachments).run(text)
    try:
        shown = json.dumps(value, allow_nan=False)
    except (ValueError, TypeError):
        shown = json.dumps(_plain(value))
    return b"data: " + shown.encode() + b"\n\n"


def _plain(value: Any) -> Any:
    """Without what JSON has not: NaN, which no browser parses, becomes null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key if isinstance(key, str) else _key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _key(key: Any) -> str:
    return json.dumps(key) if key is None or isinstance(key, (bool, int, float)) else str(key)


def _data_url(content_type: str, data: Any) -> str:
    return "data:%s;base64,%s" % (content_type, base64.b64encode(data).decode("ascii"))


class _Shown(Unflattener):
    """Attachments as objects with data URLs. Pictures are not decoded."""

    def attached(self, kind: str, node: Dict[str, Any]) -> Any:
        if kind == "bytearray":
            return self.binary(self.find(node))
        return super().attached(kind, node)

    def binary(self, one: Attachment) -> Any:
        content_type = "application/octet-stream"
        return {"content_type": content_type, "data": None, "url": _data_url(content_type, one.data)}

    def image(self, one: Attachment) -> Any:
        content_type = "image/jpeg" if one.type == JPEG else "image/png"
        width, height = _png_size(one.data) if one.type == PNG else _jpeg_size(one.data)
        url = _data_url(content_type, one.data)
        return {"content_type": content_type, "width": width, "height": height, "data": None, "url": url}

    def raw_image(self, one: Attachment, node: Dict[str, Any]) -> Any:
        from PIL import Image

        buffer = io.BytesIO()
        Image.frombytes(node["mode"], tuple(node["size"]), bytes(one.data)).convert("RGB").save(buffer, format="PNG")
        return self.image(Attachment(one.name, PNG, 0, (), buffer.getvalue()))

    def array(self, one: Attachment, dtype: Any, shape: Tuple[int, ...]) -> Any:
        value = super().array(one, dtype, shape)
        if isinstance(value, Attachment):  # no NumPy here
            return self.described("application/octet-stream", shape, str(dtype), one.data)
        import numpy

        buffer = io.BytesIO()
        numpy.save(buffer, value)
        return self.described("application/ndarray", shape, str(value.dtype), buffer.getbuffer())

    def tensor(self, one: Attachment, dtype: str, shape: Tuple[int, ...]) -> Any:
        try:
            import torch
        except ImportError:
            return self.array(one, dtype, shape)
        buffer = io.BytesIO()
        torch.save(super().tensor(one, dtype, shape), buffer)
        return self.described("application/tensor", shape, "torch." + dtype, buffer.getbuffer())

    def described(self, content_type: str, shape: Tuple[int, ...], dtype: str, data: Any) -> Dict[str, Any]:
        url = _data_url(content_type, data)
        return {"content_type": content_type, "shape": list(shape), "dtype": dtype, "data": None, "url": url}


def _png_size(data: Any) -> Tuple[int, int]:
    header = bytes(data[16:24])
    return int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")


def _jpeg_size(data: Any) -> Tuple[int, int]:
    """From the frame's header; (0, 0) for what is no JPEG file."""
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            break
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        if marker == 0xFF:  # padding
            at += 1
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0, 0
