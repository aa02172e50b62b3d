# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Payloads to values."""

from __future__ import annotations

import datetime
import decimal
import io
import json
import pathlib
import uuid
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from rankcall._attachment import BFLOAT16, BYTES, DTYPES, MARKER, NDARRAY, PACK, Attachment

_decode = json.JSONDecoder().decode


def unflatten(text: bytes, attachments: Sequence[Attachment], *, device: Any = None, copy: bool = False) -> Any:
    """Makes a value of a payload's JSON text and attachments.

    Attachments that the JSON does not mention become members of the top-level object under their names: those of
    clients in other languages.

    Parameters:
        text: JSON, one object.
        attachments: of the same payload.
        device: where torch tensors go; None: the CPU.
        copy: True: arrays and tensors have memory of their own. False: they are views of the attachments' data, which
            can be written to if that can.

    Returns: the value. An array without NumPy here, a tensor without torch and NumPy, and a picture without PIL stay what they
    are: an ``Attachment``.
    """
    return Unflattener(attachments, device, copy).run(text)


class Unflattener:
    """One payload on its way to a value. Other ways to show attachments override ``array``, ``tensor`` and so on."""

    def __init__(self, attachments: Sequence[Attachment], device: Any = None, copy: bool = False) -> None:
        self.attachments = attachments
        self.device = device
        self.copy = copy
        self.used: List[str] = []
        self.by_name: Optional[Dict[str, Attachment]] = None

    def run(self, text: bytes) -> Any:
        marked = MARKER.encode() in text
        top = _decode(str(text, "utf-8")) if text else {}
        if marked or b"\\u" in text:
            top = self.node(top)
        if self.attachments and isinstance(top, dict):
            used = set(self.used)
            for one in self.attachments:
                if one.name not in used and one.name not in top and one.name != PACK:
                    top[one.name] = self.unmarked(one)
        return top

    def node(self, value: Any) -> Any:
        if type(value) is dict:
            kind = value.get(MARKER)
            if kind is not None:
                return self.marked(kind, value)
            return {key: self.node(item) for key, item in value.items()}
        if type(value) is list:
            return [self.node(item) for item in value]
        return value

    def marked(self, kind: Any, node: Dict[str, Any]) -> Any:
        if kind in ATTACHED:
            return self.attached(kind, node)
        make = KINDS.get(kind) if isinstance(kind, str) else None
        if make is None:
            raise ValueError('a value of the unknown kind "%s": sent by a newer version?' % (kind,))
        return make(self, node)

    def find(self, node: Dict[str, Any]) -> Attachment:
        if self.by_name is None:
            self.by_name = {one.name: one for one in self.attachments}
        if "packed" in node:
            start, size, type, dtype, shape = node["packed"]
            data = memoryview(self.by_name[PACK].data)[start : start + size]
            return Attachment(PACK, type, dtype, tuple(shape), data)
        found = self.by_name.get(node.get("attachment", ""))
        if found is None:
            raise ValueError('the payload lacks the attachment "%s"' % (node.get("attachment"),))
        self.used.append(found.name)
        return found

    def attached(self, kind: str, node: Dict[str, Any]) -> Any:
        one = self.find(node)
        if kind == "bytes":
            return self.binary(one)
        if kind == "bytearray":
            return bytearray(one.data)
        if kind == "image":
            return self.raw_image(one, node) if "mode" in node else self.image(one)
        if kind == "tensor":
            shape = tuple(node["shape"]) if "dtype" in node else one.shape
            return self.tensor(one, node.get("dtype") or DTYPES[one.dtype], shape)
        shape = tuple(node["shape"]) if "dtype" in node else one.shape
        result = self.array(one, node.get("dtype") or DTYPES[one.dtype], shape)
        return result[()] if kind == "scalar" and not isinstance(result, Attachment) else result

    def unmarked(self, one: Attachment) -> Any:
        """An attachment of a client that knows no markers."""
        if one.type == NDARRAY and one.dtype == BFLOAT16:
            return self.tensor(one, DTYPES[BFLOAT16], one.shape)
        if one.type == NDARRAY:
            return self.array(one, DTYPES[one.dtype], one.shape)
        return self.binary(one) if one.type == BYTES else self.image(one)

    # ---- What attachments become ----

    def binary(self, one: Attachment) -> Any:
        return bytes(one.data)

    def array(self, one: Attachment, dtype: Any, shape: Tuple[int, ...]) -> Any:
        try:
            import numpy
            import numpy.lib.format as description
        except ImportError:
            return self.kept(one)
        if dtype == DTYPES[BFLOAT16]:
            return self.kept(one)
        kind = numpy.dtype(dtype) if isinstance(dtype, str) else description.descr_to_dtype(_tupled(dtype))
        if 0 in shape or kind.itemsize == 0:
            return numpy.empty(shape, kind)
        result = numpy.frombuffer(one.data, kind).reshape(shape)
        return result.copy() if self.copy else result

    def tensor(self, one: Attachment, dtype: str, shape: Tuple[int, ...]) -> Any:
        try:
            import torch
        except ImportError:
            return self.array(one, dtype, shape)
        kind = getattr(torch, dtype)
        if 0 in shape:
            result = torch.empty(shape, dtype=kind)
        else:
            data = memoryview(one.data)
            own = bytearray(data) if self.copy or data.readonly else data
            result = torch.frombuffer(own, dtype=kind).reshape(shape)
        return result if self.device is None else result.to(self.device)

    def image(self, one: Attachment) -> Any:
        try:
            from PIL import Image
        except ImportError:
            return self.kept(one)
        return Image.open(io.BytesIO(one.data))

    def raw_image(self, one: Attachment, node: Dict[str, Any]) -> Any:
        try:
            from PIL import Image
        except ImportError:
            return self.kept(one)
        return Image.frombytes(node["mode"], tuple(node["size"]), bytes(one.data))

    def kept(self, one: Attachment) -> Attachment:
        data = bytes(one.data) if self.copy else one.data
        return Attachment(one.name, one.type, one.dtype, one.shape, data)


ATTACHED = frozenset(("bytes", "bytearray", "ndarray", "scalar", "tensor", "image"))


def _complex(node: Dict[str, Any]) -> complex:
    real, imaginary = node["value"]
    return complex(float(real), float(imaginary))


def _dict(self: Unflattener, node: Dict[str, Any]) -> Dict[Any, Any]:
    return {self.node(key): self.node(item) for key, item in node["items"]}


def _items(make: Callable[[List[Any]], Any]) -> Callable[[Unflattener, Dict[str, Any]], Any]:
    return lambda self, node: make([self.node(item) for item in node["items"]])


def _dtype(node: Dict[str, Any]) -> Any:
    try:
        import numpy.lib.format as description
    except ImportError:
        return str(node["value"])
    return description.descr_to_dtype(_tupled(node["value"]))


def _torch_dtype(node: Dict[str, Any]) -> Any:
    try:
        import torch
    except ImportError:
        return str(node["value"])
    found = getattr(torch, node["value"], None)
    if not isinstance(found, torch.dtype):
        raise ValueError('torch has no dtype "%s" here' % (node["value"],))
    return found


def _torch_device(node: Dict[str, Any]) -> Any:
    try:
        import torch
    except ImportError:
        return str(node["value"])
    return torch.device(node["value"])


KINDS: Dict[str, Callable[[Unflattener, Dict[str, Any]], Any]] = {
    "value": lambda self, node: self.node(node["value"]),
    "tuple": _items(tuple),
    "set": _items(set),
    "frozenset": _items(frozenset),
    "dict": _dict,
    "float": lambda self, node: float(node["value"]),
    "int": lambda self, node: int(node["hex"], 16),
    "str": lambda self, node: bytes.fromhex(node["hex"]).decode("utf-8", "surrogatepass"),
    "complex": lambda self, node: _complex(node),
    "datetime": lambda self, node: datetime.datetime.fromisoformat(node["value"]),
    "date": lambda self, node: datetime.date.fromisoformat(node["value"]),
    "time": lambda self, node: datetime.time.fromisoformat(node["value"]),
    "timedelta": lambda self, node: datetime.timedelta(*node["value"]),
    "decimal": lambda self, node: decimal.Decimal(node["value"]),
    "uuid": lambda self, node: uuid.UUID(node["value"]),
    "dtype": lambda self, node: _dtype(node),
    "torch.dtype": lambda self, node: _torch_dtype(node),
    "torch.device": lambda self, node: _torch_device(node),
    "path": lambda self, node: pathlib.Path(self.node(node["value"])),
}


def _tupled(description: Any) -> Any:
    """NumPy's description of a dtype: lists of tuples, which JSON has made lists of lists."""
    return [_field(one) for one in description] if isinstance(description, list) else description


def _field(field: List[Any]) -> Tuple[Any, ...]:
    name = tuple(field[0]) if isinstance(field[0], list) else field[0]
    shape = [tuple(one) for one in field[2:]]
    return (name, _tupled(field[1]), *shape)
