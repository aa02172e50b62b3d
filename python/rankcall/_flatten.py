# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Values to payloads."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import io
import json
import math
import pathlib
import sys
import uuid
from collections.abc import Mapping
from typing import Any, Dict, List, Optional, Set, Tuple, Union

from rankcall._attachment import BYTES, JPEG, MARKER, NDARRAY, NUMBERS, PACK, PNG, Attachment, Buffer

MAX_ATTACHMENTS = 1000  # single ones; the protocol allows 1,024 in all
MAX_DEPTH = 64  # of the JSON text
MAX_NAME = 255
LARGE_INT = 1 << 64  # integers from here on travel as hexadecimal digits
PLAIN = frozenset((str, bool, type(None)))
JPEG_MODES = frozenset(("1", "L", "RGB", "CMYK", "YCbCr", "RGBX"))
PNG_MODES = frozenset(("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA"))
TEXTS: Dict[Any, str] = {
    datetime.datetime: "datetime",
    datetime.date: "date",
    datetime.time: "time",
}

Path = Union[Tuple[()], Tuple[Any, Any]]  # (path of the container, key)


class _Refused(TypeError):
    """Raised where a value can't be sent; the containers around it put their keys in front."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.keys: List[Any] = []


def flatten(
    value: Any, *, image_format: str = "jpeg", quality: int = 95, what: str = "payload"
) -> Tuple[bytes, List[Attachment]]:
    """Makes the JSON text and the attachments of a value.

    Parameters:
        value: a dict of arguments, a result or an event.
        image_format: ``"jpeg"`` or ``"png"``; pictures that JPEG can't hold (with transparency, say) become PNG.
        quality: of JPEG, 1 to 100.
        what: names the value in errors.

    Raises:
        TypeError: something in the value can't be sent; the message has its path, such as ``payload["a"][3]``.
    """
    try:
        try:
            text, attachments = _Flattener(image_format, quality, False).run(value)
            if "\\u0000" not in text:  # may be a NUL in a key, which JSON has but the protocol not
                return text.encode(), attachments
        except UnicodeEncodeError:  # half a surrogate pair somewhere
            pass
        text, attachments = _Flattener(image_format, quality, True).run(value)
        return text.encode(), attachments
    except _Refused as refused:
        path = what + "".join("[%s]" % _key_text(key) for key in reversed(refused.keys))
        raise TypeError("%s %s" % (path, refused.reason)) from refused.__cause__


def arguments(payload: Any) -> Tuple[bytes, List[Attachment]]:
    """The same for a call's payload, which is a dict or becomes one; pictures lose nothing."""
    if type(payload) is not dict:
        payload = {} if payload is None else _as_object(payload)
        if not isinstance(payload, Mapping):
            raise TypeError("payload is a %s, and has to be a dict" % _type_name(payload))
        payload = dict(payload)
    return flatten(payload, image_format="png")


def _key_text(key: Any) -> str:
    return json.dumps(key, ensure_ascii=False) if isinstance(key, str) else repr(key)


_encoder = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"))


class _Flattener:
    def __init__(self, image_format: str, quality: int, careful: bool) -> None:
        self.image_format = image_format.lower()
        if self.image_format == "jpg":
            self.image_format = "jpeg"
        self.quality = quality
        self.careful = careful  # strings are looked at, too
        self.attachments: List[Attachment] = []
        self.names: Set[str] = set()
        self.unnamed = 0
        self.depth = 1
        self.packed: List[Buffer] = []
        self.packed_size = 0

    def run(self, value: Any) -> Tuple[str, List[Attachment]]:
        value = _as_object(value)
        if isinstance(value, dict) and self.plain_keys(value):
            top = self.members(value)
        else:
            node = self.node(value, ())
            top = node if type(node) is dict and MARKER in node else {MARKER: "value", "value": node}
        if self.packed:
            self.attachments.append(Attachment(PACK, BYTES, 0, (), b"".join(self.packed)))
        return _encoder.encode(top), self.attachments

    def members(self, value: Dict[str, Any]) -> Dict[str, Any]:
        """The top level. Attachments under their key need no marker unless JSON members follow: those keep the order."""
        self.names.update(value)
        top: Dict[str, Any] = {}
        for key, item in value.items():
            kind = type(item)
            if kind in PLAIN and not self.careful:
                top[key] = item
                continue
            try:
                top[key] = self.node(item, ((), key))
            except _Refused as refused:
                refused.keys.append(key)
                raise
        for key in reversed(list(top)):
            if type(top[key]) is not dict or not _implied(key, top[key]):
                break
            del top[key]
        return top

    def plain_keys(self, value: Dict[Any, Any]) -> bool:
        for key in value:
            if type(key) is not str or key == MARKER or "\0" in key:
                return False
            if self.careful and not _is_text(key):
                return False
        return True

    def node(self, value: Any, path: Path) -> Any:
        kind = type(value)
        if kind is str:
            return value if not self.careful or _is_text(value) else {MARKER: "str", "hex": _surrogates(value)}
        if kind is bool or value is None:
            return value
        if kind is int:
            return value if -LARGE_INT < value < LARGE_INT else {MARKER: "int", "hex": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else {MARKER: "float", "value": repr(value)}
        if self.depth >= MAX_DEPTH - 2:
            raise _Refused("is nested more than %d deep" % (MAX_DEPTH - 3))
        self.depth += 1
        try:
            if kind is dict:
                return self.mapping(value, path)
            if kind is list:
                return self.items(value, path)
            if kind is tuple:
                return self.marked_items("tuple", value, path)
            return self.other(value, path)
        finally:
            self.depth -= 1

    def mapping(self, value: Dict[Any, Any], path: Path) -> Dict[str, Any]:
        plain = self.plain_keys(value)
        if not plain:
            self.depth += 2
        result: Dict[Any, Any] = {}
        pairs: List[List[Any]] = []
        for key, item in value.items():
            try:
                node = self.node(item, (path, key))
                if plain:
                    result[key] = node
                else:
                    pairs.append([self.node(key, path), node])
            except _Refused as refused:
                refused.keys.append(key)
                raise
        if plain:
            return result
        self.depth -= 2
        return {MARKER: "dict", "items": pairs}

    def items(self, value: Any, path: Path) -> List[Any]:
        if not self.careful and PLAIN.issuperset(map(type, value)):
            return list(value)
        result = []
        for index, item in enumerate(value):
            try:
                result.append(self.node(item, (path, index)))
            except _Refused as refused:
                refused.keys.append(index)
                raise
        return result

    def marked_items(self, kind: str, value: Any, path: Path) -> Dict[str, Any]:
        self.depth += 1
        items = self.items(value, path)
        self.depth -= 1
        return {MARKER: kind, "items": items}

    def other(self, value: Any, path: Path) -> Any:
        """What is neither JSON's nor a tuple."""
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self.binary(value, path)
        library = self.of_library(value, path)
        if library is not None:
            return library
        if isinstance(value, enum.Enum):
            return self.node(value.value, path)
        if isinstance(value, str):
            return self.node(str.__str__(value), path)
        if isinstance(value, int):
            return self.node(int.__pos__(value), path)
        if isinstance(value, float):
            return self.node(float.__pos__(value), path)
        if isinstance(value, Mapping):
            return self.mapping(dict(value), path)
        if isinstance(value, list):
            return self.items(value, path)
        if isinstance(value, tuple):
            return self.marked_items("tuple", value, path)
        if isinstance(value, (set, frozenset)):
            return self.marked_items("frozenset" if isinstance(value, frozenset) else "set", list(value), path)
        plain = _as_object(value)
        return self.node(plain, path) if plain is not value else self.scalar(value)

    def scalar(self, value: Any) -> Dict[str, Any]:
        if isinstance(value, complex):
            return {MARKER: "complex", "value": [repr(value.real), repr(value.imag)]}
        for kind, name in TEXTS.items():
            if type(value) is kind:
                return {MARKER: name, "value": value.isoformat()}
        if isinstance(value, datetime.timedelta):
            return {MARKER: "timedelta", "value": [value.days, value.seconds, value.microseconds]}
        if isinstance(value, decimal.Decimal):
            return {MARKER: "decimal", "value": str(value)}
        if isinstance(value, uuid.UUID):
            return {MARKER: "uuid", "value": str(value)}
        if isinstance(value, pathlib.PurePath):
            return {MARKER: "path", "value": self.node(str(value), ())}
        raise _Refused("is a %s, which cannot be sent" % _type_name(value))

    # ---- Binary data ----

    def attach(self, path: Path, kind: str, type: int, data: Buffer, dtype: int = 0, shape: Any = ()) -> Dict[str, Any]:
        """The marker of a new attachment."""
        shape = tuple(int(size) for size in shape)
        if len(self.attachments) >= MAX_ATTACHMENTS:
            marker = {MARKER: kind, "packed": [self.packed_size, len(data), type, dtype, list(shape)]}
            padding = -len(data) % 64
            self.packed += [data, bytes(padding)]
            self.packed_size += len(data) + padding
            return marker
        name = self.name(path)
        self.attachments.append(Attachment(name, type, dtype, shape, data))
        return {MARKER: kind, "attachment": name}

    def name(self, path: Path) -> str:
        """The path's keys with dots between them; a number where that is no good name."""
        keys = []
        while path:
            path, key = path
            keys.append(key if isinstance(key, str) else str(key) if type(key) is int else "\0")
        name = ".".join(reversed(keys)) or "value"
        fresh = len(keys) == 1 and isinstance(keys[0], str) or name not in self.names
        if not fresh or not _is_name(name):
            while True:
                name, self.unnamed = "$%d" % self.unnamed, self.unnamed + 1
                if name not in self.names:
                    break
        self.names.add(name)
        return name

    def binary(self, value: Any, path: Path) -> Dict[str, Any]:
        view = memoryview(value)
        if view.nbytes == 0:
            data: Buffer = b""
        else:
            data = view.cast("B") if view.c_contiguous else view.tobytes()
        return self.attach(path, "bytearray" if isinstance(value, bytearray) else "bytes", BYTES, data)

    def of_library(self, value: Any, path: Path) -> Optional[Any]:
        """Values of NumPy, torch and PIL; None for any other."""
        numpy: Any = sys.modules.get("numpy")
        if _is(value, numpy, "ndarray"):
            return self.array(numpy, value, path, "ndarray")
        if _is(value, numpy, "generic"):
            plain = value.item()
            if isinstance(plain, (bool, int, float, complex, str, bytes)) and value.dtype.kind in "biufcSU":
                return self.node(plain, path)
            return self.array(numpy, numpy.asarray(value), path, "scalar")
        if _is(value, numpy, "dtype"):
            return {MARKER: "dtype", "value": _listed(numpy.lib.format.dtype_to_descr(value))}
        torch: Any = sys.modules.get("torch")
        if _is(value, torch, "Tensor"):
            return self.tensor(torch, value, path)
        for name in ("dtype", "device"):
            if _is(value, torch, name):
                return {MARKER: "torch." + name, "value": str(value).replace("torch.", "")}
        pil: Any = sys.modules.get("PIL.Image")
        if _is(value, pil, "Image"):
            return self.image(value, path)
        return None

    def array(self, numpy: Any, value: Any, path: Path, kind: str) -> Dict[str, Any]:
        dtype = value.dtype
        if dtype.hasobject:
            raise _Refused("is an array of Python objects (dtype %s), which cannot be sent" % dtype)
        if dtype.kind not in "biufcSUVmM" or (dtype.kind == "V" and dtype.type is not numpy.void):
            raise _Refused("is an array of dtype %s, which cannot be sent" % dtype)
        if isinstance(value, numpy.ma.MaskedArray):
            raise _Refused("is a masked array, which cannot be sent: send .data and .mask")
        value = numpy.asarray(value)
        if not value.flags.c_contiguous:
            value = value.copy(order="C")
        data = b"" if value.nbytes == 0 else value.reshape(-1).view(numpy.uint8).data
        number = NUMBERS.get(dtype.name, 0) if dtype.isnative and dtype.kind in "biufc" else 0
        if number and value.ndim <= 32:
            return self.attach(path, kind, NDARRAY, data, number, value.shape)
        marker = self.attach(path, kind, BYTES, data)
        description = _listed(numpy.lib.format.dtype_to_descr(dtype))
        return {**marker, "dtype": description, "shape": list(value.shape)}

    def tensor(self, torch: Any, value: Any, path: Path) -> Dict[str, Any]:
        if value.layout is not torch.strided or value.is_quantized:
            raise _Refused("is a %s tensor, which cannot be sent: make it dense first" % str(value.layout))
        if value.device.type == "meta":
            raise _Refused("is a tensor on the device meta, which has no data to send")
        dense = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
        name = str(dense.dtype).replace("torch.", "")
        data = _tensor_data(dense)
        number = NUMBERS.get(name, 0)
        if number and dense.dim() <= 32:
            return self.attach(path, "tensor", NDARRAY, data, number, dense.shape)
        marker = self.attach(path, "tensor", BYTES, data)
        return {**marker, "dtype": name, "shape": list(dense.shape)}

    def image(self, value: Any, path: Path) -> Dict[str, Any]:
        buffer = io.BytesIO()
        if self.image_format == "jpeg" and value.mode in JPEG_MODES:
            value.save(buffer, format="JPEG", quality=self.quality)
            return self.attach(path, "image", JPEG, buffer.getbuffer())
        if self.image_format not in ("jpeg", "png"):
            raise _Refused('is an image, and image_format is "%s": "jpeg" and "png" are known' % self.image_format)
        if value.mode in PNG_MODES:
            value.save(buffer, format="PNG", compress_level=1)
            return self.attach(path, "image", PNG, buffer.getbuffer())
        return {**self.attach(path, "image", BYTES, value.tobytes()), "mode": value.mode, "size": list(value.size)}


def _is(value: Any, module: Any, name: str) -> bool:
    """Whether a value is of a class of a module that may not be there, or is being imported just now."""
    kind = getattr(module, name, None)
    return isinstance(kind, type) and isinstance(value, kind)


def _implied(key: str, node: Dict[str, Any]) -> bool:
    """Whether a marker says no more than the attachment of that name does itself."""
    return len(node) == 2 and node.get("attachment") == key and node.get(MARKER) in ("bytes", "ndarray", "image")


def _as_object(value: Any) -> Any:
    """Dataclasses and pydantic models as dicts, one level deep or all; other values as they are."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    pydantic: Any = sys.modules.get("pydantic")
    if _is(value, pydantic, "BaseModel"):
        return value.model_dump() if hasattr(value, "model_dump") else value.dict()
    return value


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_name(name: str) -> bool:
    return _is_text(name) and "\0" not in name and len(name.encode()) <= MAX_NAME and name != PACK


def _surrogates(text: str) -> str:
    return text.encode("utf-8", "surrogatepass").hex()


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else "%s.%s" % (kind.__module__, kind.__qualname__)


def _listed(description: Any) -> Any:
    return [_listed(one) for one in description] if isinstance(description, (list, tuple)) else description


def _tensor_data(tensor: Any) -> Buffer:
    """The memory of a dense tensor on the CPU, which lives as long as the buffer."""
    import ctypes

    size = tensor.numel() * tensor.element_size()
    if size == 0:
        return b""
    memory = (ctypes.c_ubyte * size).from_address(tensor.data_ptr())
    memory.owner = tensor
    return memoryview(memory).cast("B")
