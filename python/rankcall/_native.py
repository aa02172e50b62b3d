# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""librankcall-worker by ctypes: what a rank needs of it.

Functions that may wait are called without the GIL, the others with it: letting it go and taking it again costs more than
they do.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from ctypes import POINTER, Structure, c_bool, c_char_p, c_int, c_size_t, c_uint64, c_void_p
from typing import Any, Dict, List, Optional, Sequence, Tuple

from rankcall._attachment import Attachment
from rankcall.errors import CODES, RankcallError, make_error

SONAME = "librankcall-worker.so.0"
MAX_DIMS = 32
BORROW_LIMIT = 65536  # bytes of an attachment that are rather copied than watched
RANKCALL_OK = 0


class CAttachment(Structure):
    """struct rankcall_attachment"""

    _fields_ = (
        ("name", c_char_p),
        ("type", c_int),
        ("dtype", c_int),
        ("ndim", c_int),
        ("shape", c_uint64 * MAX_DIMS),
        ("data", c_void_p),
        ("size", c_uint64),
    )


class CError(Structure):
    """struct rankcall_error"""

    _fields_ = (
        ("code", c_int),
        ("rank", c_int),
        ("host", c_char_p),
        ("message", c_char_p),
        ("traceback", c_char_p),
    )


HANDLER = ctypes.CFUNCTYPE(c_int, c_void_p)
SETUP = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p)
TEARDOWN = ctypes.CFUNCTYPE(None, c_void_p)
REGROUP = ctypes.CFUNCTYPE(c_int, c_void_p)


class CHandler(Structure):
    """struct rankcall_handler"""

    _fields_ = (("name", c_char_p), ("run", HANDLER), ("help", c_char_p))


class CWorker(Structure):
    """struct rankcall_worker"""

    _fields_ = (
        ("name", c_char_p),
        ("handlers", POINTER(CHandler)),
        ("setup", SETUP),
        ("teardown", TEARDOWN),
        ("regroup", REGROUP),
    )


# name: (result, arguments); those that may wait, and those that don't
WAITING: Dict[str, Tuple[Any, Sequence[Any]]] = {
    "rankcall_worker_main": (c_int, (c_int, POINTER(c_char_p), POINTER(CWorker))),
    "rankcall_emit": (c_int, (c_void_p, c_void_p)),
    "rankcall_result": (c_int, (c_void_p, c_void_p)),
    "rankcall_fail_with": (c_int, (c_void_p, c_char_p, c_char_p)),
    "rankcall_cancelled": (c_bool, (c_void_p,)),
    "rankcall_attach_copy": (c_int, (c_void_p, POINTER(CAttachment))),
    "rankcall_barrier": (c_int, (c_void_p,)),
    "rankcall_broadcast": (c_int, (c_void_p, c_void_p, c_size_t, c_int)),
    "rankcall_gather": (c_int, (c_void_p, c_void_p, c_size_t, c_void_p, c_int)),
    "rankcall_gatherv": (
        c_int,
        (c_void_p, c_void_p, c_size_t, c_void_p, POINTER(c_size_t), POINTER(c_size_t), c_int),
    ),
    "rankcall_all_gather": (c_int, (c_void_p, c_void_p, c_size_t, c_void_p)),
    "rankcall_scatter": (c_int, (c_void_p, c_void_p, c_void_p, c_size_t, c_int)),
    "rankcall_reduce": (c_int, (c_void_p, c_void_p, c_void_p, c_size_t, c_int, c_int, c_int)),
    "rankcall_all_reduce": (c_int, (c_void_p, c_void_p, c_void_p, c_size_t, c_int, c_int)),
    # MPI's own, before there is a call
    "MPI_Bcast": (c_int, (c_void_p, c_int, c_void_p, c_int, c_void_p)),
    "MPI_Allreduce": (c_int, (c_void_p, c_void_p, c_int, c_void_p, c_void_p, c_void_p)),
    "MPI_Allgather": (c_int, (c_void_p, c_int, c_void_p, c_void_p, c_int, c_void_p, c_void_p)),
}
QUICK: Dict[str, Tuple[Any, Sequence[Any]]] = {
    "rankcall_rank": (c_int, (c_void_p,)),
    "rankcall_world_size": (c_int, (c_void_p,)),
    "rankcall_local_rank": (c_int, (c_void_p,)),
    "rankcall_gpu": (c_char_p, (c_void_p,)),
    "rankcall_gpu_uuid": (c_char_p, (c_void_p,)),
    "rankcall_host": (c_char_p, (c_void_p,)),
    "rankcall_comm": (c_void_p, (c_void_p,)),
    "rankcall_is_replacement": (c_bool, (c_void_p,)),
    "rankcall_last_interrupted": (c_uint64, (c_void_p,)),
    "rankcall_fail_setup_with": (c_int, (c_void_p, c_char_p, c_char_p)),
    "rankcall_call_number": (c_uint64, (c_void_p,)),
    "rankcall_streaming": (c_bool, (c_void_p,)),
    "rankcall_interrupted": (c_int, (c_void_p,)),
    "rankcall_mark": (None, (c_void_p, c_char_p, c_char_p)),
    "rankcall_args": (c_void_p, (c_void_p,)),
    "rankcall_args_private": (c_bool, (c_void_p,)),
    "rankcall_payload_json": (c_void_p, (c_void_p, POINTER(c_size_t))),
    "rankcall_payload_from_json": (c_int, (c_char_p, c_size_t, POINTER(c_void_p))),
    "rankcall_payload_ref": (c_void_p, (c_void_p,)),
    "rankcall_payload_free": (None, (c_void_p,)),
    "rankcall_attachment_count": (c_size_t, (c_void_p,)),
    "rankcall_attachment_at": (c_int, (c_void_p, c_size_t, POINTER(CAttachment))),
    "rankcall_attach": (c_int, (c_void_p, POINTER(CAttachment), c_void_p, c_void_p)),
    "rankcall_last_error": (POINTER(CError), ()),
}


def _candidates() -> List[str]:
    """Where the library may be, the first that can be loaded counts."""
    found = [os.environ.get("RANKCALL_WORKER_LIBRARY", "")]
    here = os.path.dirname(os.path.abspath(__file__))
    found += [os.path.join(here, folder, SONAME) for folder in ("_runtime/lib", "_runtime/lib64")]
    for command in (os.environ.get("RANKCALL_COMMAND"), shutil.which("rankcall")):
        if command:
            prefix = os.path.dirname(os.path.dirname(os.path.realpath(command)))
            found += [os.path.join(prefix, folder, SONAME) for folder in ("lib", "lib64")]
    found.append(SONAME)
    return [one for one in found if one and ("/" not in one or os.path.exists(one))]


def _from_pkg_config() -> List[str]:
    try:
        folder = subprocess.run(
            ["pkg-config", "--variable=libdir", "rankcall-worker"], capture_output=True, text=True, check=False
        ).stdout.strip()
    except OSError:
        return []
    return [os.path.join(folder, SONAME)] if folder else []


def find_library() -> str:
    """The path or name under which the library can be loaded.

    Raises:
        OSError: it can't be found; says where it was looked for.
    """
    tried = []
    for find in (_candidates, _from_pkg_config):
        for name in find():
            try:
                ctypes.CDLL(name)
                return name
            except OSError as error:
                tried.append(str(error))
    raise OSError(
        "rankcall's worker library can't be loaded: install rankcall, or set RANKCALL_WORKER_LIBRARY to the path of "
        "%s (tried: %s)" % (SONAME, "; ".join(tried) or "nothing")
    )


class Library:
    """The functions, as attributes without their prefix: ``library.rank(context)``."""

    def __init__(self) -> None:
        self.path = find_library()
        self.waiting = ctypes.CDLL(self.path)
        self.quick = ctypes.PyDLL(self.path)
        for library, table in ((self.waiting, WAITING), (self.quick, QUICK)):
            for name, (result, arguments) in table.items():
                function = getattr(library, name)
                function.restype = result
                function.argtypes = arguments
                setattr(self, name[len("rankcall_") :] if name.startswith("rankcall_") else name, function)
        self.release_count = ctypes.cast(self.waiting.rankcall_release_count, c_void_p)

    def __getattr__(self, name: str) -> Any:  # only for what __init__ did not set; tells mypy that the others exist
        raise AttributeError(name)

    def mpi_object(self, name: str) -> int:
        """The address of one of Open MPI's predefined objects, which is its handle."""
        return ctypes.addressof(ctypes.c_char.in_dll(self.waiting, name))

    def check(self, code: int) -> None:
        """Raises the thread's last error unless the code is RANKCALL_OK."""
        if code:
            raise self.error(code)

    def error(self, code: int) -> RankcallError:
        """The thread's last error as an exception."""
        error = self.last_error().contents
        name = CODES.get(code, "internal")
        if error.code != code:
            return make_error(name, name)
        text = error.message.decode("utf-8", "replace")
        return make_error(name, text, rank=error.rank if error.rank >= 0 else None)


class _Hold:
    """Keeps a payload as long as a view of its bytes lives."""

    __slots__ = ("free", "payload")

    def __init__(self, library: Library, payload: int) -> None:
        self.payload = library.payload_ref(payload)
        self.free = library.payload_free

    def __del__(self) -> None:
        self.free(self.payload)


def read_payload(library: Library, payload: int, own: bool) -> Tuple[bytes, List[Attachment]]:
    """A received payload's JSON text and attachments.

    Parameters:
        own: True: the bytes are this rank's alone, and the attachments show them without a copy, to be written to. False:
            they are copied.
    """
    size = c_size_t()
    text = ctypes.string_at(library.payload_json(payload, ctypes.byref(size)), size.value)
    count = library.attachment_count(payload)
    if not count:
        return text, []
    hold = _Hold(library, payload) if own else None
    attachments = []
    found = CAttachment()
    for position in range(count):
        library.check(library.attachment_at(payload, position, ctypes.byref(found)))
        data: Any = bytearray()
        if found.size:
            view = (ctypes.c_char * found.size).from_address(found.data)
            if hold:
                view.hold = hold
            data = memoryview(view).cast("B") if hold else bytearray(view)
        shape = tuple(found.shape[: found.ndim])
        attachments.append(Attachment(found.name.decode(), found.type, found.dtype, shape, data))
    return text, attachments


class Lent:
    """Memory of Python's that C reads for a while. C counts what it no longer needs; Python looks and lets go."""

    def __init__(self) -> None:
        self.lots: List[Tuple[c_uint64, int, List[Any]]] = []

    def add(self, count: c_uint64, memory: List[Any]) -> None:
        """Keeps `memory` until `count` has reached its length."""
        if memory:
            self.lots.append((count, len(memory), memory))

    def look(self) -> bool:
        """Lets go of what is free. Returns whether something is left."""
        if self.lots:
            self.lots = [lot for lot in self.lots if lot[0].value < lot[1]]
        return bool(self.lots)


def _held_once() -> int:
    """What getrefcount says of an object that a local variable and one more hold; that depends on Python's version."""
    holder = [object()]
    owner = holder[0]
    return sys.getrefcount(owner)


HELD_ONCE = _held_once()


def is_ours_alone(view: memoryview) -> bool:
    """Whether nobody but the view can change the memory behind it: bytes, or an array that nobody else refers to, nor to
    what it is a view of."""
    owner: Any = view.obj
    while sys.getrefcount(owner) <= HELD_ONCE:
        kind = type(owner).__name__
        if isinstance(owner, memoryview):
            owner = owner.obj
        elif kind == "ndarray" and owner.base is not None:
            owner = owner.base
        else:
            return kind == "ndarray" or isinstance(owner, (bytes, bytearray, ctypes.Array))
    return isinstance(owner, bytes)


def _address(view: memoryview) -> Tuple[int, Any]:
    """Where a view's bytes lie, and what must live as long as that is used."""
    if view.readonly:
        keep: Any = view.obj if isinstance(view.obj, bytes) and view.nbytes == len(view.obj) else bytes(view)
        return ctypes.cast(ctypes.c_char_p(keep), c_void_p).value or 0, keep
    array = (ctypes.c_char * view.nbytes).from_buffer(view)
    return ctypes.addressof(array), array


def make_payload(library: Library, text: bytes, attachments: List[Attachment], lent: Optional[Lent] = None) -> Tuple[int, Any]:
    """A payload of C's.

    Parameters:
        lent: keeps memory that C shall read without a copy after this function; None: all is copied where C needs it
            after the payload was given away.

    Returns: the payload, and what must live until it is given away.
    """
    payload = c_void_p()
    library.check(library.payload_from_json(text, len(text), ctypes.byref(payload)))
    if not attachments:
        return payload.value or 0, None
    memory: List[Any] = []
    kept: List[Any] = []
    count = c_uint64()
    try:
        for one in attachments:
            view = memoryview(one.data).cast("B") if len(one.data) else memoryview(b"")
            one.data = b""  # so that the view is the only one who refers to the memory
            free = lent is not None and view.nbytes >= BORROW_LIMIT and is_ours_alone(view)
            address, keep = _address(view)
            (memory if free else kept).append(keep)
            described = CAttachment(one.name.encode(), one.type, one.dtype, len(one.shape), one.shape, address, view.nbytes)
            release = (library.release_count, ctypes.byref(count)) if free else (None, None)
            library.check(library.attach(payload, ctypes.byref(described), *release))
    except BaseException:
        library.payload_free(payload)
        raise
    if lent is not None:
        lent.add(count, memory)
    return payload.value or 0, kept
