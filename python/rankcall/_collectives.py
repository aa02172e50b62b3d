# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 The rankcall authors

"""Collectives for workers, which can be interrupted: a rank that waits in one comes back when the call is cancelled, its
time is over, or another rank fails or dies."""

from __future__ import annotations

import array
import ctypes
from typing import TYPE_CHECKING, Any, Callable, List, Optional, Sequence, Tuple

from rankcall._attachment import NUMBERS

if TYPE_CHECKING:
    from rankcall._rank import Rank

OPERATIONS = {"sum": 0, "product": 1, "prod": 1, "min": 2, "max": 3}
REDUCIBLE = frozenset(("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"))


class Collectives:
    """What every rank calls together: in the same order, with the same root and operation.

    Values are what payloads may hold; arrays and tensors come back as such, on the device they had. All methods raise
    a RankcallError when the call is to be left (``CallCancelledError``, ``CallTimeoutError``, ``WorkerError``: another rank
    failed, ``RankDiedError``), and RuntimeError outside calls.
    """

    if TYPE_CHECKING:
        rank: int
        world_size: int

        def _rankcall_job(self) -> "Rank": ...

    def barrier(self) -> None:
        """Returns when all ranks have come."""
        job = self._rankcall_job()
        job.in_call(job.library.barrier)

    def broadcast(self, value: Any = None, root: int = 0) -> Any:
        """Returns the root's value on all ranks; the others' is ignored."""
        job = self._rankcall_job()
        data = bytearray(_pack(value)) if self.rank == root else bytearray()
        size = self._rankcall_broadcast_size(len(data), root)
        if self.rank != root:
            data = bytearray(size)
        job.in_call(job.library.broadcast, _pointer(data), size, root)
        return value if self.rank == root else _unpack(data, value)

    def gather(self, value: Any, root: int = 0) -> "Optional[List[Any]]":
        """Returns the list of all ranks' values at the root, None elsewhere."""
        job = self._rankcall_job()
        data = bytearray(_pack(value))
        sizes = self._rankcall_gather_sizes(len(data), root)
        if sizes is None:
            job.in_call(job.library.gatherv, _pointer(data), len(data), None, None, None, root)
            return None
        offsets = [sum(sizes[:rank]) for rank in range(len(sizes))]
        received = bytearray(sum(sizes))
        counts = (ctypes.c_size_t * len(sizes))(*sizes)
        places = (ctypes.c_size_t * len(sizes))(*offsets)
        job.in_call(job.library.gatherv, _pointer(data), len(data), _pointer(received), counts, places, root)
        view = memoryview(received)
        return [_unpack(view[at : at + size], value) for at, size in zip(offsets, sizes)]

    def all_gather(self, value: Any) -> "List[Any]":
        """Returns the list of all ranks' values on all ranks."""
        job = self._rankcall_job()
        data = bytearray(_pack(value))
        mine = array.array("Q", [len(data)])
        sizes = array.array("Q", [0] * self.world_size)
        job.in_call(job.library.all_gather, _pointer(mine), 8, _pointer(sizes))
        room = max(sizes)
        data += bytes(room - len(data))
        received = bytearray(room * self.world_size)
        job.in_call(job.library.all_gather, _pointer(data), room, _pointer(received))
        view = memoryview(received)
        return [_unpack(view[room * rank : room * rank + size], value) for rank, size in enumerate(sizes)]

    def scatter(self, values: "Optional[Sequence[Any]]" = None, root: int = 0) -> Any:
        """Returns to each rank its item of the root's ``values``, which has ``world_size`` of them."""
        job = self._rankcall_job()
        parts: List[bytes] = []
        wrong = ""
        if self.rank == root:
            count = None if values is None else len(values)
            if values is None or count != self.world_size:
                wrong = "scatter: the root gives %s values, there are %d ranks" % (count or "no", self.world_size)
            else:
                parts = [_pack(value) for value in values]
        if wrong:
            raise ValueError(wrong)
        room = self._rankcall_broadcast_size(max(map(len, parts)) if parts else 0, root)
        send = bytearray(b"".join(part.ljust(room, b"\0") for part in parts))
        received = bytearray(room)
        job.in_call(job.library.scatter, _pointer(send), _pointer(received), room, root)
        sample = values[root] if values is not None and self.rank == root else None
        return sample if self.rank == root else _unpack(received, sample)

    def reduce(self, value: Any, op: str = "sum", root: int = 0) -> Any:
        """Combines numbers, arrays or tensors element by element: returns the result at the root, None elsewhere.

        Parameters:
            value: of the same shape and dtype on all ranks: integers of 8 to 64 bits, float32, float64.
            op: ``"sum"``, ``"product"``, ``"min"`` or ``"max"``.
        """
        job = self._rankcall_job()
        send, count, number, restore = _reducible(value)
        receive = bytearray(len(send))
        job.in_call(job.library.reduce, _pointer(send), _pointer(receive), count, number, _operation(op), root)
        return restore(receive) if self.rank == root else None

    def all_reduce(self, value: Any, op: str = "sum") -> Any:
        """The same with the result on all ranks, the same bits everywhere."""
        job = self._rankcall_job()
        send, count, number, restore = _reducible(value)
        receive = bytearray(len(send))
        job.in_call(job.library.all_reduce, _pointer(send), _pointer(receive), count, number, _operation(op))
        return restore(receive)

    def mark(self, text: str) -> None:
        """Says what this rank does ("epoch 3"), for those who ask where a call hangs. Not collective."""
        job = self._rankcall_job()
        if job.call:
            job.library.mark(job.call, b"%s", text.replace("\0", " ").encode("utf-8", "replace"))

    def _rankcall_broadcast_size(self, size: int, root: int) -> int:
        job = self._rankcall_job()
        told = array.array("Q", [size])
        job.in_call(job.library.broadcast, _pointer(told), 8, root)
        return int(told[0])

    def _rankcall_gather_sizes(self, size: int, root: int) -> "Optional[List[int]]":
        job = self._rankcall_job()
        mine = array.array("Q", [size])
        sizes = array.array("Q", [0] * self.world_size)
        job.in_call(job.library.gather, _pointer(mine), 8, _pointer(sizes), root)
        return list(sizes) if self.rank == root else None


def _pointer(memory: Any) -> Any:
    """Writable memory for C; None when it is empty."""
    view = memoryview(memory).cast("B")
    return (ctypes.c_char * view.nbytes).from_buffer(view) if view.nbytes else None


def _operation(op: str) -> int:
    if op not in OPERATIONS:
        raise ValueError('there is no operation "%s": it is sum, product, min or max' % op)
    return OPERATIONS[op]


def _pack(value: Any) -> bytes:
    from rankcall._protocol import encode_payload
    from rankcall._values import flatten

    return b"".join(
        bytes(piece) if not isinstance(piece, bytes) else piece
        for piece in encode_payload(*flatten(value, image_format="png", what="value"))
    )


def _unpack(data: Any, like: Any) -> Any:
    """The value, its tensors on the device of `like` if that is one."""
    from rankcall._protocol import decode_payload
    from rankcall._values import unflatten

    return unflatten(*decode_payload(data), device=getattr(like, "device", None) if _is_tensor(like) else None)


def _is_tensor(value: Any) -> bool:
    return any(one.__name__ == "Tensor" for one in type(value).__mro__)


def _reducible(value: Any) -> "Tuple[bytearray, int, int, Callable[[bytearray], Any]]":
    """A copy of the numbers, how many, their type's number, and what makes a value like the given one of others."""
    if isinstance(value, (bool, int, float)) and not hasattr(value, "dtype"):
        code, name = ("d", "float64") if isinstance(value, float) else ("q", "int64")
        numbers = array.array(code, [value])
        return bytearray(numbers.tobytes()), 1, NUMBERS[name], lambda data: array.array(code, bytes(data))[0]
    if _is_tensor(value):
        import torch

        name = str(value.dtype).replace("torch.", "")
        _check_type(name)
        flat = value.detach().cpu().contiguous()
        data = bytearray(flat.numpy().tobytes())

        def restore(received: bytearray) -> Any:
            if not received:
                return torch.empty_like(value)
            return torch.frombuffer(received, dtype=value.dtype).reshape(value.shape).to(value.device)

        return data, value.numel(), NUMBERS[name], restore
    import numpy

    given = numpy.asarray(value)
    _check_type(given.dtype.name)
    given = given.astype(given.dtype.newbyteorder("="))
    shape, dtype = given.shape, given.dtype
    return (
        bytearray(given.tobytes()),
        int(given.size),
        NUMBERS[dtype.name],
        lambda received: numpy.frombuffer(received, dtype).reshape(shape),
    )


def _check_type(name: str) -> None:
    if name not in REDUCIBLE:
        raise TypeError("%s can't be reduced: integers of 8 to 64 bits, float32 and float64 can" % name)
